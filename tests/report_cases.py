"""Traces whose reports are kept as golden files."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from made import GIB, MIB, below, seed_2010, trace

from profiler.capture.block_logs.reading import parse
from profiler.facts.structures import roles_of
from profiler.trace import EXTENT_COLUMNS, STRUCTURE_COLUMNS, FileFacts, Trace, table

DATA = Path(__file__).resolve().parent / "data"


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


def kernel(**meta: Any) -> Trace:
    """Like `check`, as the tracer in the kernel sees it: the refcount blocks come in one by one, the L2
    tables with read-ahead; the program and a library are mapped.
    """
    step, page, ahead = 200_000, 4096, 32
    places = [143360 + number * 8 * MIB for number in range(2048)]
    rows = [(0, place, page) for place in (*places, *places)]
    rows += [(0, 17 * GIB + number * page, page) for number in range(2048)]
    facts = {
        "/vm/disk0.qcow2": "regular", "/usr/bin/qemu-img": "regular", "/usr/lib/libc.so.6": "regular",
        "/dev/vda": "metadata", "/dev/vda ": "block",
    }  # fmt: skip
    files = [
        FileFacts(path.strip().encode(), "254:0", size=20 * GIB, kind=kind) for path, kind in facts.items()
    ]
    known = {
        "command": ("qemu-img", "check", "disk0.qcow2"), "cwd": "/vm", "image": "disk0.qcow2",
        "tracer": "kernel", "tracer_version": "0.1.0", "cache": "cold", "resident_before_bytes": 0,
        "resident_checked_bytes": 16 * GIB, "wall_s": 2.4, "exit_status": 0, "measured": RUNS,
        "device_read_bytes": 18 * MIB,
    }  # fmt: skip
    made = trace(rows, files, step_ns=step, duration_ns=150_000, **(known | meta))
    needed = [(number, place, page) for number, place in enumerate(places)]
    needed += [(4096 + number, 17 * GIB + number * page, ahead * page) for number in range(0, 2048, ahead)]
    faulted = [(file, at * 65536) for file, count in ((1, 32), (2, 96)) for at in range(count)]
    mapped = [(number * step + 160_000, file, place) for number, (file, place) in enumerate(faulted)]
    made = below(made, [
        *((number * step + 5000, "miss", 0, place, size) for number, place, size in needed),
        *((number * step + 4000, "miss", 3, place // 128, page) for number, place, size in needed[::16]),
        *((between, "fault", file, place, page) for between, file, place in mapped),
        *((between + 10_000, "miss", file, place, 65536) for between, file, place in mapped),
    ])  # fmt: skip
    latency = random.Random(23)
    for op, chosen in (("request", slice(0, None, 2)), ("kernel_request", slice(1, None, 8))):
        requests = [
            (number * step + 6000, op, 4, place // 2, size) for number, place, size in needed[chosen]
        ]
        durations = pd.array([latency.randint(80_000, 140_000) for _ in requests], "Int64")
        made = below(made, requests, duration_ns=durations)
    return made


def image() -> Trace:
    """Like `kernel`, with a map of the image and its places on the disk, half as far apart as in the
    file."""
    host = {"devices": {"254:0": {"disk_number": "254:0", "start_bytes": 0}}}
    made = kernel(measured={}, host=host)
    blocks = [(143360 + number * 8 * MIB, 4096) for number in range(2048)]
    tables = [(17 * GIB + number * 131072, 131072) for number in range(64)]
    extents = [(0, start, start // 2, size, 0) for start, size in [*blocks, *tables[:-1]]]
    extents += [(0, start, start // 2, size, 1) for start, size in tables[-1:]]
    extents += [(file, 0, (20 + file) * GIB, 8 * MIB, 1) for file in (1, 2)]
    ranges = [(0, start, start + size, "refcount block", pd.NA) for start, size in blocks]
    ranges += [(0, 17 * GIB, 17 * GIB + 4 * MIB, "L2 table", pd.NA)]
    ranges += [(0, 17 * GIB + 4 * MIB, 17 * GIB + 16 * MIB, "data cluster", 0)]
    return dataclasses.replace(
        made,
        extents=rows_of(EXTENT_COLUMNS, extents),
        structures=rows_of(STRUCTURE_COLUMNS, ranges),
    )


def rows_of(columns: dict[str, str], rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """A table; of structures without their role, which their kind tells."""
    made = [dict(zip(columns, row, strict=False)) for row in rows]
    if columns is STRUCTURE_COLUMNS:
        made = [row | {"role": roles_of([row["kind"]])[0]} for row in made]
    return table(columns, made)


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
    "kernel": kernel,
    "image": image,
    "hostile": hostile,
    "block": lambda: parse("perf", DATA / "block_logs" / "perf.log"),
}
