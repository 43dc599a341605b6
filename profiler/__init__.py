"""coldseek: a cold-start I/O profiler for Linux."""

__version__ = "0.1.0"
