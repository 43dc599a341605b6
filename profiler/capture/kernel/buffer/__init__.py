"""The trace buffers of the kernel: emptied while a program runs, and read."""
