"""The tracer that runs strace, and logs of strace that others made."""
