"""Recording what the kernel itself says of I/O: its trace events, read from tracefs."""
