"""Why a start is slow, by rules: few, each with its numbers. A rule looks at one table of evidence and finds
something or nothing; what a remedy would gain is for `advice` to tell.

Sizes of QEMU's caches, and the options that set them, after its docs/qcow2-cache.txt.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.analysis.attribution import structure_of
from profiler.analysis.contributors import IMAGE, Contributor, by_bytes, contributors, in_words
from profiler.analysis.costs import Cost
from profiler.analysis.image_reads import guest_reads
from profiler.analysis.intervals import PAGE
from profiler.analysis.pagecache import NEVER, facts_of_devices, number_in
from profiler.analysis.projection import Cold
from profiler.analysis.traced_image import TracedImage, image_of
from profiler.trace import Trace
from profiler.units import show_bytes, show_count, show_path, show_percent, show_plural

KIB, MIB = 2**10, 2**20

FEW = 100
"""Fewer reads than this are not worth a rule: about a second on a disk."""

DOMINATES = 0.5
"""Tables dominate from this share of the image's reads on: the start reads more about data than data."""

USUAL_CLUSTER = 64 * KIB
"""QEMU's own cluster size for new images; only smaller ones are blamed for many tables."""

L2_CACHE = 32 * MIB
"""QEMU keeps so much of the L2 tables, unless told otherwise (l2-cache-size)."""

REFCOUNT_CACHE = 4
"""QEMU keeps so many refcount blocks, unless told otherwise (refcount-cache-size)."""

REREAD = 0.2
"""Tables that did not fit are told by reads of what was read: from this share on. Some are read twice by
every open."""

DEEP = 3
"""Files in a chain from which on it is called deep: one file in front of its base is how most are used."""

TORN = 0.1
"""A file is fragmented for this start if so many of its requests go on in the file but not on the device."""
TORN_LEAST = 32

UNALIGNED = 0.2
"""From this share of data reads that do not start and end at 4 KiB, the guest's layout is the story: 4 KiB
is the page of the cache and the sector of today's disks. Drishti flags misaligned requests above 10%."""

CONTRIBUTORS = "contributors"
"""The kind of the finding that names what costs most, which pages also say in more words."""

UNUSED = 0.5
"""Read-ahead hurts if so large a share of what it brings in is touched by nobody, and UNUSED_LEAST bytes."""
UNUSED_LEAST = 4 * MIB

WORTH_A_NAME = 0.05
"""What costs less than this share of all is not named among the dearest."""

USUAL_READ_AHEAD_KB = 128
"""The kernel's default (VM_READAHEAD_PAGES)."""


@dataclass(frozen=True)
class Finding:
    """kind: its name in JSON. words: one line. numbers: the evidence, counts, bytes and shares of 1. remedy:
    a command or an option; texts from outside are escaped."""

    kind: str
    words: str
    numbers: dict[str, int | float]
    remedy: str


@dataclass(frozen=True)
class Evidence:
    """What the rules look at. reads: those of the image's files, with `structure`; all files where there is
    no image. requests: of `Cold`. dearest: what costs most. path: of the image, for remedies.
    """

    trace: Trace
    image: TracedImage | None
    reads: pd.DataFrame
    requests: pd.DataFrame
    dearest: tuple[Contributor, ...]

    @property
    def path(self) -> str:
        if self.image is None:
            return ""
        return shlex.quote(show_path(self.trace.files["path"].iloc[self.image.file]))


def find(trace: Trace, reads: pd.DataFrame, cold: Cold, costs: Sequence[Cost] = ()) -> tuple[Finding, ...]:
    """What the rules find, in their order: the image's structure first. reads: trace.reads(). costs:
    what its files cost; empty: by the bytes that reach the device."""
    image = image_of(trace)
    if image is not None:
        reads = reads[reads["file"].isin(image.files).to_numpy(bool)]
    reads = reads.assign(structure=structure_of(reads, trace.structures))
    evidence = Evidence(
        trace, image, reads, cold.requests, contributors(trace, costs or by_bytes(trace, cold))
    )
    return tuple(found for rule in RULES if (found := rule(evidence)) is not None)


def metadata(seen: Evidence) -> Finding | None:
    """Most reads are for tables, as the clusters are small."""
    image, reads = seen.image, seen.reads
    if image is None or image.format != "qcow2" or not 0 < image.cluster < USUAL_CLUSTER:
        return None
    tables = int(reads["structure"].str.contains("L2 table|refcount block", regex=True).sum())
    share = tables / len(reads) if len(reads) else 0.0
    if tables < FEW or share < DOMINATES:
        return None
    return Finding(
        "metadata",
        f"{show_percent(share)} of the image's reads are for tables: {show_bytes(image.cluster)} clusters",
        {"reads": tables, "share": share, "cluster_size": image.cluster},
        f"qemu-img convert -O qcow2 -o cluster_size=64k {seen.path} NEW",
    )


def l2_cache(seen: Evidence) -> Finding | None:
    """L2 tables are read again, and do not all fit in QEMU's cache."""
    image = seen.image
    needed = tables_bytes(image)
    again = _again(seen, "L2 table")
    if image is None or again is None or needed <= L2_CACHE:
        return None
    return _too_small("l2-cache", "L2 tables", needed, L2_CACHE, again, seen)


def refcount_cache(seen: Evidence) -> Finding | None:
    """Refcount blocks are read again, and do not all fit in QEMU's cache."""
    image = seen.image
    again = _again(seen, "refcount block")
    if image is None or again is None or not image.cluster:
        return None
    bits = number_in(image.facts, "refcount_bits", 16, 64)
    needed = -(-image.virtual // image.cluster) * bits // 8
    cache = REFCOUNT_CACHE * image.cluster
    if needed <= cache:
        return None
    return _too_small("refcount-cache", "refcounts", needed, cache, again, seen)


def _too_small(rule: str, what: str, needed: int, cache: int, again: int, seen: Evidence) -> Finding:
    """One of QEMU's two caches, of so many bytes, does not hold what is read again."""
    return Finding(
        rule,
        f"{what} of {show_bytes(needed)} do not fit in QEMU's {show_bytes(cache)}: "
        f"{show_count(again)} read again",
        {"reads_again": again, "needed_bytes": needed, "cache_bytes": cache},
        f"-drive file={seen.path},{rule}-size={needed}",
    )


def chain(seen: Evidence) -> Finding | None:
    """Many files behind each other: each has tables of its own to look up."""
    if seen.image is None or len(seen.image.files) < DEEP:
        return None
    files = len(seen.image.files)
    behind = int((seen.reads["file"] != seen.image.file).sum())
    return Finding(
        "backing-chain",
        f"a chain of {files} files: {show_plural(behind, 'read')} of those behind the first",
        {"files": files, "reads_behind": behind},
        f"qemu-img convert -O qcow2 {seen.path} NEW",
    )


def fragmentation(seen: Evidence) -> Finding | None:
    """What lies together in the file lies apart on the device."""
    image, frame = seen.image, seen.requests
    if image is None:
        return None
    frame = frame[(frame["file"] == image.file).to_numpy(bool)]
    offset, size, place = (frame[name].to_numpy(np.int64) for name in ("offset", "size", "device_offset"))
    goes_on = offset[1:] == offset[:-1] + size[:-1]
    torn = int((goes_on & (place[1:] != place[:-1] + size[:-1])).sum())
    if torn < max(TORN_LEAST, TORN * len(frame)):
        return None
    extents = int((seen.trace.extents["file"] == image.file).sum())
    copy = "cp --sparse=always --reflink=never" if len(image.files) == 1 else "qemu-img convert -O qcow2"
    return Finding(
        "fragmentation",
        f"fragmented on its device: {show_plural(extents, 'extent')}, {show_count(torn)} reads torn apart",
        {"extents": extents, "requests_torn": torn},
        f"{copy} {seen.path} NEW",
    )


def unaligned(seen: Evidence) -> Finding | None:
    """The guest reads across pages and sectors of its own disk. Where the file has its data is up to the
    format: compressed clusters, VDI and VMDK put them anywhere."""
    if seen.image is None:
        return None
    offset, size = guest_reads(seen.reads, seen.trace.structures)
    end = offset + size
    odd = int(((offset % PAGE != 0) | (end % PAGE != 0)).sum())
    if odd < max(FEW, UNALIGNED * len(offset)):
        return None
    return Finding(
        "unaligned",
        f"{show_count(odd)} of {show_plural(len(offset), 'read')} of data do not start and end at 4 KiB",
        {"reads": odd, "share": odd / len(offset)},
        "partitions that start at a multiple of 1 MiB, file systems with blocks of 4 KiB",
    )


def read_ahead(seen: Evidence) -> Finding | None:
    """The kernel's read-ahead is off though much is read in a row, or brings in what nobody needs."""
    reads, frame = seen.reads, seen.requests
    if seen.image is not None:
        frame = frame[frame["file"].isin(seen.image.files).to_numpy(bool)]
    if not len(reads) or not len(frame):
        return None
    device = str(seen.trace.files["device"].iloc[int(reads["file"].mode().iloc[0])])
    facts = facts_of_devices(seen.trace).get(device, {})
    size = number_in(facts, "read_ahead_kb", USUAL_READ_AHEAD_KB, 2**31)
    name = show_path(str(facts.get("disk") or "DEVICE"))
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


def snapshots(seen: Evidence) -> Finding | None:
    """Tables of internal snapshots are read at every open."""
    if seen.image is None:
        return None
    of_them = seen.reads["structure"].str.startswith("snapshot").to_numpy(bool)
    size = int(seen.reads["size"].to_numpy(np.int64, na_value=0)[of_them].sum())
    count = number_in(seen.image.facts, "snapshots", 0, 2**31)
    if not count or not of_them.any():
        return None
    return Finding(
        "snapshots",
        f"{show_plural(count, 'internal snapshot')}: {show_plural(int(of_them.sum()), 'read')} of their "
        f"tables, {show_bytes(size)}",
        {"snapshots": count, "reads": int(of_them.sum()), "bytes": size},
        f"qemu-img snapshot -d NAME {seen.path}",
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
        "coldseek prefetch TRACE",
    )


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


RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    metadata, l2_cache, refcount_cache, chain, fragmentation, unaligned, dearest, mapped, lookups,
    read_ahead, snapshots,
)  # fmt: skip


def tables_bytes(image: TracedImage | None) -> int:
    """What the L2 cache has to hold so that no table is read twice: disk_size * 8 / cluster_size, twice that
    with extended L2 entries."""
    if image is None or not image.cluster:
        return 0
    return -(-image.virtual // image.cluster) * (16 if image.facts.get("extended_l2") else 8)


def _again(seen: Evidence, kind: str) -> int | None:
    """How many reads of this kind of table read again what was read; None where that is no sign of a small
    cache: too few, or a check, which reads everything twice."""
    rows = seen.reads[(seen.reads["structure"] == kind).to_numpy(bool)]
    if seen.trace.meta.command[1:2] == ("check",):
        return None
    again = int(rows.duplicated(["file", "offset"]).sum())
    return again if again >= max(FEW, REREAD * len(rows)) else None
