"""The rules of any program's start: what it reads, and how that comes in. See `findings`."""

from __future__ import annotations

import numpy as np

from profiler.analysis.advice.evidence import DOMINATES, FEW, KIB, MIB, Evidence, Finding
from profiler.analysis.cost.contributors import IMAGE, in_words
from profiler.analysis.simulation.page_cache import NEVER
from profiler.facts.values import known
from profiler.units import show_bytes, show_path, show_percent, show_plural

CONTRIBUTORS = "contributors"
"""The kind of the finding that names what costs most, which pages also say in more words."""

UNUSED = 0.5
"""Read-ahead hurts if so large a share of what it brings in is touched by nobody, and UNUSED_LEAST bytes."""
UNUSED_LEAST = 4 * MIB

WORTH_A_NAME = 0.05
"""What costs less than this share of all is not named among the dearest."""

USUAL_READ_AHEAD_KB = 128
"""The kernel's default (VM_READAHEAD_PAGES)."""


def dearest(seen: Evidence) -> Finding | None:
    """The things that cost most, and what they are; no news where that is a disk image, or all that is
    read."""
    if len(seen.dearest) < 2 or seen.dearest[0].kind == IMAGE:
        return None
    named = [one for one in seen.dearest if one.share >= WORTH_A_NAME] or seen.dearest[:1]
    return Finding(
        CONTRIBUTORS,
        ", ".join(f"{in_words(one)} {show_percent(one.share)}" for one in named),
        {"share": sum(one.share for one in named), "files": sum(one.files for one in named)},
        "",
    )


def mapped(seen: Evidence) -> Finding | None:
    """Most of what comes in is mapped: page by page, where the program happens to touch it."""
    frame = seen.requests[~seen.requests["own"].to_numpy(bool)]
    size = frame["size"].to_numpy(np.float64)
    of_maps = (frame["read"] < 0).to_numpy(bool)
    count, brought = int(of_maps.sum()), float(size[of_maps].sum())
    if count < FEW or brought < DOMINATES * size.sum():
        return None
    share = brought / float(size.sum())
    return Finding(
        "mapped",
        f"{show_percent(share)} of what comes in are mapped pages (program and libraries)",
        {"requests": count, "bytes": int(brought), "share": share},
        "coldseek prefetch TRACE --save PLAN",
    )


def lookups(seen: Evidence) -> Finding | None:
    """Most requests are what file systems read of their own: many small files, or far apart."""
    own = int(seen.requests["own"].sum())
    files = int(seen.requests["file"][~seen.requests["own"].to_numpy(bool)].nunique())
    if own < FEW or own < DOMINATES * len(seen.requests):
        return None
    share = own / len(seen.requests)
    return Finding(
        "lookups",
        f"{show_percent(share)} of the requests look up names and inodes: {show_plural(files, 'file')}",
        {"requests": own, "share": share, "files": files},
        "fewer files (an archive, an image such as squashfs), or coldseek prefetch as root",
    )


def read_ahead(seen: Evidence) -> Finding | None:
    """The kernel's read-ahead is off though much is read in a row, or brings in what nobody needs."""
    reads, frame = seen.reads, seen.requests
    if seen.image is not None:
        frame = frame[frame["file"].isin(seen.image.files).to_numpy(bool)]
    if not len(reads) or not len(frame):
        return None
    device = str(seen.trace.files["device"].iloc[int(reads["file"].mode().iloc[0])])
    facts = seen.trace.meta.host.device(device)
    size = known(facts.read_ahead_kb, USUAL_READ_AHEAD_KB)
    name = show_path(facts.disk or "DEVICE")
    remedy = f"blockdev --setra {USUAL_READ_AHEAD_KB * 2} /dev/{name}"
    if size == 0:
        rows = reads.sort_values("file", kind="stable")
        offset = rows["offset"].to_numpy(np.int64, na_value=-1)
        length = rows["size"].to_numpy(np.int64, na_value=0)
        file = rows["file"].to_numpy(np.int64)
        in_row = int(((offset[1:] == offset[:-1] + length[:-1]) & (file[1:] == file[:-1])).sum())
        if in_row < FEW:
            return None
        words = f"read-ahead is off on {name}, and {show_plural(in_row, 'read')} go on where one ended"
        return Finding("read-ahead-off", words, {"reads": in_row, "read_ahead_kb": 0}, remedy)
    brought = frame["size"].to_numpy(np.float64)
    unused = float(brought[frame["needed_ns"].to_numpy(np.int64) >= NEVER].sum())
    if unused < max(UNUSED_LEAST, UNUSED * brought.sum()):
        return None
    return Finding(
        "read-ahead-hurts",
        f"read-ahead of {show_bytes(size * KIB)} brings in {show_bytes(unused)} that nobody reads",
        {"unused_bytes": int(unused), "read_ahead_kb": size},
        remedy,
    )
