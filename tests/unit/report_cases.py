"""Traces whose reports are kept as golden files."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from made import GIB, MIB, seed_2010, trace

from profiler.trace import Trace


def run(wall_s: float, resident: int, device: int) -> dict[str, Any]:
    return {
        "wall_s": wall_s,
        "exit_status": 0,
        "resident_before_bytes": resident,
        "resident_checked_bytes": 16 * GIB,
        "device_read_bytes": device,
    }


RUNS = {
    "cold": [run(2.29, 0, 41 * MIB), run(2.35, 0, 41 * MIB), run(2.21, 0, 41 * MIB)],
    "warm": [run(1.2, 41 * MIB, 0), run(1.19, 41 * MIB, 0), run(1.24, 41 * MIB, 0)],
}


def check(**meta: Any) -> Trace:
    """Like `qemu-img check` of a preallocated image: every refcount block twice, then the L2 tables in a
    row."""
    rows = [(0, 143360 + number * 8 * MIB, 4096) for _ in range(2) for number in range(2048)]
    rows += [(0, 17 * GIB + number * 4096, 4096) for number in range(8192)]
    for library in range(1, 6):
        rows += [(library, 0, 832), (library, 64, 784), (library, 50 * 4096, 8192)]
    known = {
        "command": ("qemu-img", "check", "disk0.qcow2"),
        "cwd": "/vm",
        "image": "disk0.qcow2",
        "tracer": "ptrace",
        "tracer_version": "0.1.0",
        "cache": "cold",
        "resident_before_bytes": 0,
        "resident_checked_bytes": 16 * GIB,
        "wall_s": 5.5,
        "exit_status": 0,
        "unseen": ("mmap", "exec"),
        "measured": RUNS,
    }
    files = [b"/vm/disk0.qcow2", *(b"/lib/x86_64-linux-gnu/lib%d.so.6" % number for number in range(5))]
    return trace(rows, files, **(known | meta))


def python_import(count: int = 200, **meta: Any) -> Trace:
    """Many small files, each read from its start to its end in pieces of 8 KiB."""
    sizes = [random.Random(number).randint(1000, 60000) for number in range(count)]
    rows = [
        (file, at, min(8192, size - at)) for file, size in enumerate(sizes) for at in range(0, size, 8192)
    ]
    files = [
        b"/usr/lib/python3.11/asyncio/__pycache__/m%d.cpython-311.pyc" % number for number in range(count)
    ]
    known = {
        "command": ("python3", "-c", "import json, decimal, asyncio"),
        "tracer": "strace",
        "cache": "keep",
        "wall_s": 0.31,
        "exit_status": 0,
        "unseen": ("mmap",),
    }
    return trace(rows, files, **(known | meta))


def hostile() -> Trace:
    """Everything in it is meant to confuse."""
    return trace(
        [(0, 2**62, 2**62), (0, 2**62, 2**62), (1, None, 2**60), (1, 0, 1)],
        files=[b"/\x1b[2J\n\xff[red]", b"/$x^2$"],
        command=("a[red]b[/red]", "\x1b[2J\n" * 60),
        cache="odd\x07",
        partial="killed\x1b[31m",
        lost_events=12,
        notes=tuple(f"note {number}\n" for number in range(50)),
        unseen=("zork\x1b",),
        measured={
            "cold": [{"wall_s": float("nan")}, 3, None, {"wall_s": 1, "exit_status": "x"}],
            "warm": "no",
        },
        host={"x": float("inf"), "y": b"z"},
        wall_s=0.0,
        exit_status=137,
    )


CASES: dict[str, Callable[[], Trace]] = {
    "empty": trace,
    "seed": lambda: seed_2010(command=("qemu-img", "info", "disk0.qcow2"), cwd="/vm", image="disk0.qcow2"),
    "check": check,
    "python": lambda: python_import(30),
    "hostile": hostile,
}
