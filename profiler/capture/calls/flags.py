"""Flags and other numbers of calls, from the kernel's headers."""

import os

O_APPEND = os.O_APPEND
O_CLOEXEC = os.O_CLOEXEC
O_DIRECT = os.O_DIRECT
O_PATH = os.O_PATH

FD_CLOEXEC = 1  # linux/fcntl.h
# linux/close_range.h, linux/sched.h
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4
CLONE_VM, CLONE_FILES, CLONE_THREAD = 0x100, 0x400, 0x10000
PROT_EXEC = 0x4  # asm-generic/mman-common.h
FADVICE = ("normal", "random", "sequential", "willneed", "dontneed", "noreuse")  # linux/fadvise.h
