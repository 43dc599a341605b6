"""Traces of a small qcow2 image made by hand, for tests of what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from made import MIB, trace

from profiler.facts.structures import roles_of
from profiler.trace import STRUCTURE_COLUMNS, FileFacts, Trace, table
from profiler.validity import validate

PAGE = 4096
VIRTUAL = 64 * MIB
IMAGE = b"/vm/disk0.qcow2"
STRUCTURES: list[tuple[int, int, str, int | None]] = [
    (0, 4096, "header", None),
    (4096, 8192, "refcount table", None),
    (8192, 12288, "refcount block", None),
    (12288, 16384, "L1 table", None),
    (16384, 20480, "L2 table", None),
    (20480, 28672, "data cluster", MIB),
    (28672, 32768, "data cluster", 4 * MIB),
    (32768, 36864, "L2 table", None),
]
"""start, end, kind, guest: clusters of 4 KiB, of which each L2 table maps 2 MiB."""
FACTS: dict[str, Any] = {
    "format": "qcow2", "cluster_size": PAGE, "virtual_size": VIRTUAL, "refcount_bits": 16,
    "extended_l2": False, "snapshots": 0, "encryption": "",
}  # fmt: skip


def image_trace(
    reads: Iterable[tuple[int, int | None, int]],
    structures: Sequence[tuple[int, int, str, int | None]] = STRUCTURES,
    facts: dict[str, Any] | None = None,
    size: int = 36864,
    **more: Any,
) -> Trace:
    """A trace of reads of the image, file 0, and of a library, file 1."""
    files = [
        FileFacts(IMAGE, device="8:1", size=size, kind="regular", filesystem="ext4"),
        FileFacts(b"/lib/a.so", device="8:1", size=MIB, kind="regular", filesystem="ext4"),
    ]
    images = {"0": FACTS | (facts or {})}
    made = trace(reads, files, images=images, **more)
    rows = [
        {"file": 0, "start": start, "end": end, "kind": kind, "guest": guest, "role": roles_of([kind])[0]}
        for start, end, kind, guest in structures
    ]
    made = dataclasses.replace(made, structures=table(STRUCTURE_COLUMNS, rows))
    validate(made)
    return made
