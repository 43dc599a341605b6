"""QED, after QEMU's docs/specs/qed_spec.txt: clusters behind two levels of tables, without refcounts."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from profiler.images.build import Builder, cut_short, safe
from profiler.images.map import Map
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, gather, take, text
from profiler.images.tables import distinct

MAGIC = b"QED\0"
KINDS = ("header", "L1 table", "L2 table", "data cluster")
_FOLDS = ("data cluster",)
_HEADER = struct.Struct("<4sIIIQQQQQII")
_MAX_L1_BYTES = 32 << 20
_CHUNK = 4 << 20  # bytes
_FEATURES = ("backing file", "needs a check", "backing file is raw")


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a QED image. Raises nothing: what is wrong with the image becomes a note."""
    raw = take(image, 0, _HEADER.size)
    if len(raw) < _HEADER.size:
        return cut_short(image, "qed", KINDS, _FOLDS)
    (_, cluster, tables, header, features, _, _, l1, size, name_at, name_size) = _HEADER.unpack(raw)
    facts: dict[str, Any] = {
        "cluster_size": cluster,
        "virtual_size": size,
        "table_size": tables,
        "features": [name for bit, name in enumerate(_FEATURES) if features >> bit & 1],
    }
    powers = all(value and not value & (value - 1) for value in (cluster, tables))
    if not (powers and 4096 <= cluster <= 64 << 20 and tables <= 16 and header):
        builder = Builder(image, KINDS, _FOLDS)
        builder.lacks("the header does not hold the sizes of a QED image")
        builder.claim("header", 0, _HEADER.size)
        return builder.finish("qed", facts)
    builder = Builder(image, KINDS, _FOLDS, unit=cluster, wanted=wanted)
    builder.claim("header", 0, header * cluster)
    if features & 2:
        builder.note("the image is marked as in need of a check")
    if features >> len(_FEATURES):
        builder.note("the image uses features that are not known here; QEMU would not open it either")
    backing = ""
    if features & 1:
        if name_size > 1023 or name_at + name_size > min(header * cluster, image.size):
            builder.note("the name of the backing file does not lie within the header")
        else:
            backing = text(take(image, name_at, name_size))
    facts["backing_file"] = safe(backing)
    facts |= _tables(image, builder, cluster, tables, l1)
    return builder.finish("qed", facts, backing=backing, backing_format="raw" if features & 4 else "")


def _tables(image: Image, builder: Builder, cluster: int, tables: int, l1: int) -> dict[str, int]:
    length, per_table = tables * cluster, tables * cluster // 8
    if l1 % cluster:
        builder.note(f"the L1 table at offset {l1:,} does not start where a cluster does")
        return {}
    builder.claim("L1 table", l1, length)
    offsets, index = _entries(take(image, l1, min(length, _MAX_L1_BYTES)))
    good = builder.within("L2 table", offsets) & (index < (1 << 62) // (per_table * cluster))
    offsets, index = distinct(builder, "L2 table", offsets[good], index[good], length)
    free = builder.claim_blocks("L2 table", offsets // cluster, tables)
    offsets, index = offsets[free], index[free]
    # a table may be as large as 1 GiB: it is read in pieces
    piece = min(length, _CHUNK)
    places = (offsets[:, None] + np.arange(0, length, piece)).reshape(-1)
    entries = (index[:, None] * per_table + np.arange(0, per_table, piece // 8)).reshape(-1)
    step, allocated = max(1, _CHUNK // piece), 0
    for first in range(0, len(places), step):
        rows, short = gather(image, places[first : first + step], piece)
        if short:
            builder.lacks("the file ends within its L2 tables")
        # bit 0 alone: the cluster reads as zeros and lies nowhere
        host, at = _entries(rows.tobytes(), but=1)
        allocated += len(host)
        row = at // (piece // 8)
        guest = (entries[first : first + step][row] + at - row * (piece // 8)) * cluster
        good = builder.within("data cluster", host)
        host, guest = host[good], guest[good]
        free = builder.claim_cells("data cluster", host // cluster)
        builder.place(host[free], cluster, guest[free])
    return {"l2_tables": len(offsets), "allocated_clusters": allocated}


def _entries(raw: bytes, but: int = 0) -> tuple[Offsets, Offsets]:
    """The entries of a table that point somewhere, and their numbers; `but` is nothing, as 0 is."""
    words = np.frombuffer(raw, "<u8", len(raw) // 8)
    at = np.flatnonzero((words != 0) & (words != but))
    return words[at].astype(np.int64), at  # beyond 2^63 they are negative, so outside
