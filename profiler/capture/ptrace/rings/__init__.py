"""Asynchronous reads whose requests and results lie in the program's memory: io_uring and libaio."""
