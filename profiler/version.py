"""The version of coldseek, which traces carry with them."""

__version__ = "0.1.0"
