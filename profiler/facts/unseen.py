"""What a tracer could not see in a run, in words."""

from __future__ import annotations

DEVICE_ONLY = "above the device"
"""Of what is unseen: everything but requests of disks. All there is in such a trace is of the device
layer."""

UNSEEN: dict[str, str] = {
    "mmap": "reads through memory mappings (page faults)",
    "exec": "what the kernel itself read to start each program",
    "io_uring": "io_uring requests",
    "sqpoll": "io_uring requests of rings polled by a kernel thread (SQPOLL)",
    "completions": "results of some asynchronous reads (submitted, end not seen)",
    "readahead": "which reads the page cache answered, and what reached the device",
    "abi": "calls of programs for another processor mode",
    "descriptors": "which files some descriptors name, that could not be looked at",
    "untraced": "child processes that asked not to be traced (CLONE_UNTRACED)",
    "early": "everything before the trace begins",
    "transfers": "sendfile, splice and copy_file_range",
    "aio": "reads by libaio, but for what they brought in and requested",
    "threads": "threads and child processes (the log was made without -f)",
    DEVICE_ONLY: "calls, files and the page cache (the log is of the device layer only)",
}
"""What may be unseen, key -> words. A trace may hold keys that are not here: they are shown as they are."""
