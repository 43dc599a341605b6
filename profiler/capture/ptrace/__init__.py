"""The tracer that stops a program at the calls that matter, by ptrace(2)."""
