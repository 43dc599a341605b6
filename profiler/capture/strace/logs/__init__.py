"""Logs as people have them, made what strace wrote: before anything of strace's own is read."""
