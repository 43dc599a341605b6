"""The table of calls against what others say of them: the kernel's headers, and python-ptrace."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from conftest import need

from profiler.calls import CALLS

HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "i386": "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    "generic": "/usr/include/asm-generic/unistd.h",
}


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_are_those_of_the_kernel_s_headers(column: str) -> None:
    header = Path(HEADERS[column])
    need(header.exists(), f"needs {header} (apt install linux-libc-dev)")
    named = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    known = {name: int(number) for name, number in named}
    for row in CALLS:
        number = getattr(row, column)
        if number is not None and row.name in known:  # headers may be older than a call
            assert number == known[row.name], row.name
        if number is None:
            # 32-bit x86's mmap takes a pointer to its arguments, and no C library uses it any more; calls
            # with times of 64 bits are made by 32-bit machines only
            assert row.name not in known or row.name == "mmap" or row.name.endswith("_time64"), row.name


@pytest.mark.parametrize(
    ("column", "module"), [("x86_64", "x86_64"), ("i386", "i386"), ("generic", "aarch64")]
)
def test_numbers_are_those_of_python_ptrace(column: str, module: str) -> None:
    """The table of x86_64 there holds the calls of x32 too, under the same names and higher numbers."""
    named = import_module(f"ptrace.syscall.linux.{module}").SYSCALL_NAMES
    known = {name: number for number, name in sorted(named.items(), reverse=True)}
    for row in CALLS:
        number = getattr(row, column)
        assert number is None or known.get(row.name, number) == number, row.name
