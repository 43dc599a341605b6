"""The rules of disk images: what their layout makes a start read. See `findings`.

Sizes of QEMU's caches, and the options that set them, after its docs/qcow2-cache.txt.
"""

from __future__ import annotations

import os
import shlex

import numpy as np
import pandas as pd

from profiler.analysis.advice.evidence import DOMINATES, FEW, KIB, MIB, Evidence, Finding
from profiler.analysis.advice.image_reads import guest_reads
from profiler.analysis.advice.traced_image import TracedImage, disk_of, unread
from profiler.analysis.intervals import PAGE
from profiler.units import show_bytes, show_count, show_path, show_percent, show_plural, show_seconds

USUAL_CLUSTER = 64 * KIB
"""QEMU's own cluster size for new images; only smaller ones are blamed for many tables."""

LARGER_CLUSTERS = (USUAL_CLUSTER, 2 * MIB)
"""What is proposed in place of smaller ones: QEMU's usual size and its largest."""

L2_CACHE = 32 * MIB
"""QEMU keeps so much of the L2 tables, unless told otherwise (l2-cache-size)."""

REFCOUNT_CACHE = 4
"""QEMU keeps so many refcount blocks, unless told otherwise (refcount-cache-size)."""

REREAD = 0.2
"""Tables that did not fit are told by reads of what was read: from this share on. Some are read twice by
every open."""

DEEP = 3
"""Files in a chain from which on it is called deep: one file in front of its base is how most are used."""

DEEP_UNREAD = 8
"""The same where none behind the first was read. Each file behind it takes QEMU 8 reads to open and to look
up one cluster: 4.5 requests, 21 ms on hdd-7200 (QEMU 7.2, chains of 2 to 41 files); seven take 0.15 s."""

TORN = 0.1
"""A file is fragmented for this start if so many of its requests go on in the file but not on the device."""
TORN_LEAST = 32

BITMAPS_LEAST = 20
"""Reads of bitmaps from which on these are worth a rule: 0.2 s on a disk. A backup needs one or two."""

DIRTY = "dirty"
"""The kind of the finding that an image was not closed cleanly."""

FEATURES_AT = 72
"""Where a header of qcow2 has the mark of an unclean end (docs/interop/qcow2.txt, incompatible_features)."""

AT_POSITION = ("read", "readv")
"""Operations that read where the last one ended, so that lseek may be for them."""

MERGE = "merge it with what made it (Merge-VHD, vhd-util, VBoxManage, prl_disk_tool): no qemu-img reads it"
"""What is proposed for a chain of a format of which qemu-img does not read what is behind."""

SEEKS_LEAST, SEEKS_SHARE = 100, 0.05
"""So many calls of lseek, and if their time is known so much of the run, are worth a rule."""

UNALIGNED = 0.2
"""From this share of data reads that do not start and end at 4 KiB, the guest's layout is the story: 4 KiB
is the page of the cache and the sector of today's disks. Drishti flags misaligned requests above 10%."""


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
    """L2 tables are read again, so QEMU's cache does not hold those that the start needs: they take more
    than its usual size, or it was told to be smaller."""
    image = seen.image
    needed = tables_bytes(image)
    again = _again(seen, "L2 table")
    if image is None or again is None or not needed:
        return None
    remedy = f"-drive file={seen.path},l2-cache-size={needed}"
    larger = next((size for size in LARGER_CLUSTERS if size > image.cluster), None)
    if larger is not None:
        size = f"cluster_size={larger // KIB}k"
        remedy += f"  # or larger clusters: qemu-img convert -O qcow2 -o {size} {seen.path} NEW"
    if needed > L2_CACHE:
        return _too_small("l2-cache", "L2 tables", needed, L2_CACHE, again, remedy)
    read = _distinct(seen, "L2 table")
    return Finding(
        "l2-cache",
        f"QEMU's L2 cache is smaller than the {show_bytes(read)} of L2 tables that are read: "
        f"{show_count(again)} read again",
        {"reads_again": again, "needed_bytes": needed, "read_bytes": read},
        remedy,
    )


def refcount_cache(seen: Evidence) -> Finding | None:
    """Refcount blocks are read again, and do not all fit in QEMU's cache."""
    image = seen.image
    again = _again(seen, "refcount block")
    if image is None or again is None or not image.cluster:
        return None
    needed = -(-image.virtual // image.cluster) * image.facts.refcount_bits // 8
    cache = REFCOUNT_CACHE * image.cluster
    if needed <= cache:
        return None
    remedy = f"-drive file={seen.path},refcount-cache-size={needed}"
    return _too_small("refcount-cache", "refcounts", needed, cache, again, remedy)


def _too_small(rule: str, what: str, needed: int, cache: int, again: int, remedy: str) -> Finding:
    """One of QEMU's two caches, of so many bytes, does not hold what is read again."""
    return Finding(
        rule,
        f"{what} of {show_bytes(needed)} do not fit in QEMU's {show_bytes(cache)}: "
        f"{show_count(again)} read again",
        {"reads_again": again, "needed_bytes": needed, "cache_bytes": cache},
        remedy,
    )


def chain(seen: Evidence) -> Finding | None:
    """Many images behind each other: each has tables of its own to look up."""
    image = seen.image
    if image is None or image.chain.files < DEEP:
        return None
    behind = seen.reads[(seen.reads["file"] != image.file).to_numpy(bool)]
    if not len(behind):
        return None
    return _chain(seen, image, f"{show_plural(len(behind), 'read')} of those behind the first", behind)


def chain_ahead(seen: Evidence) -> Finding | None:
    """A deep chain of which this start reads the first image alone, as `qemu-img info` does."""
    image = seen.image
    if image is None or image.chain.files < DEEP_UNREAD:
        return None
    behind = seen.reads[(seen.reads["file"] != image.file).to_numpy(bool)]
    if len(behind):
        return None
    return _chain(seen, image, "only the first is read here, all of them when a machine starts", behind)


def _chain(seen: Evidence, image: TracedImage, words: str, behind: pd.DataFrame) -> Finding:
    remedy = f"qemu-img convert -O qcow2 {seen.path} NEW"
    remedy += f"  # or, where nothing else needs the file behind it: qemu-img commit {seen.path}"
    return Finding(
        "backing-chain",
        f"{image.chain.words}: {words}",
        {"files": image.chain.files, "files_read": image.chain.read, "reads_behind": len(behind)},
        MERGE if unread(seen.trace.meta) else remedy,
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
    copy = "cp --sparse=always --reflink=never" if image.by_itself else "qemu-img convert -O qcow2"
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


def snapshots(seen: Evidence) -> Finding | None:
    """Tables of internal snapshots are read at every open."""
    remedy = "qemu-img snapshot -d {name} {path}"
    kept = (
        (seen.image.facts.snapshots, seen.image.facts.snapshot_names) if seen.image is not None else (0, ())
    )
    return _kept(seen, "snapshots", kept, "snapshot", "internal snapshot", remedy, 1)


def bitmaps(seen: Evidence) -> Finding | None:
    """Persistent dirty bitmaps are loaded at every open. Backup software makes them, and needs the last."""
    remedy = "qemu-img bitmap --remove {path} {name}  # backup software owns them: only what it gave up"
    kept = (seen.image.facts.bitmaps, seen.image.facts.bitmap_names) if seen.image is not None else (0, ())
    return _kept(seen, "bitmaps", kept, "bitmap", "persistent dirty bitmap", remedy, BITMAPS_LEAST)


def _kept(
    seen: Evidence,
    kind: str,
    kept: tuple[int, tuple[str, ...]],
    structure: str,
    noun: str,
    remedy: str,
    least: int,
) -> Finding | None:
    """What an image keeps beside its data, and what it costs: `least` reads. kept: how many, and names.
    remedy: with {path} and the {name} of one."""
    count, names = kept
    cost = seen.spent(structure)
    if not count or cost["reads"] < least:
        return None
    name = names[0] if names else "NAME"
    return Finding(
        kind,
        f"{show_plural(count, noun)}: {show_plural(int(cost['reads']), 'read')} of their tables "
        f"({show_percent(cost['share'])} of the image's), {show_plural(int(cost['requests']), 'request')}, "
        f"{show_bytes(int(cost['bytes']))}",
        {kind: count, **cost},
        remedy.format(path=seen.path, name=shlex.quote(show_path(name))),
    )


def rebuild(seen: Evidence) -> Finding | None:
    """The image was not closed cleanly, and QEMU rebuilt its refcounts before all else."""
    rows = _rebuild(seen) if _was_dirty(seen) else None
    if rows is None:
        return None
    size, share = int(rows["size"].sum()), len(rows) / len(seen.reads)
    return Finding(
        DIRTY,
        f"the image was not closed cleanly: refcount rebuild, {show_plural(len(rows), 'read')}, "
        f"{show_bytes(size)}, {show_percent(share)} of the image's reads",
        {"reads": len(rows), "bytes": size, "share": share},
        _repair(seen),
    )


def rebuild_ahead(seen: Evidence) -> Finding | None:
    """The image was not closed cleanly, and opened for reading only: it still is to be repaired."""
    if not _was_dirty(seen) or _rebuild(seen) is not None:
        return None
    size = _size_of(seen, ("L1 table", "L2 table", "refcount table", "refcount block"))
    return Finding(
        DIRTY,
        "the image was not closed cleanly: the next start that may write to it first rebuilds its refcounts "
        f"from {show_bytes(size)} of tables",
        {"reads": 0, "bytes": 0, "tables_bytes": size},
        _repair(seen),
    )


def _was_dirty(seen: Evidence) -> bool:
    """Whether the header said so before the run."""
    return seen.image is not None and seen.image.facts.dirty_before is True


def _repair(seen: Evidence) -> str:
    """What repairs the image before a start has to, and keeps it from getting dirty again."""
    lazy = seen.image is not None and "lazy refcounts" in seen.image.facts.features
    more = f" && qemu-img amend -f qcow2 -o lazy_refcounts=off {seen.path}" if lazy else ""
    return f"qemu-img check -r all {seen.path}{more}"


def _rebuild(seen: Evidence) -> pd.DataFrame | None:
    """The reads of the refcount rebuild: of all tables, before QEMU takes the mark out of the header. None:
    there was none, as the image was opened for reading only."""
    assert seen.image is not None
    reads = seen.reads[(seen.reads["file"] == seen.image.file).to_numpy(bool)]
    kinds = reads["structure"]
    tables = kinds.isin(("L2 table", "refcount block")).to_numpy(bool)
    writes = seen.trace.writes()
    start = writes["offset"].to_numpy(np.int64, na_value=-1)
    end = start + writes["size"].to_numpy(np.int64)
    marks = (writes["file"] == seen.image.file).to_numpy(bool) & (start >= 0) & (start <= FEATURES_AT)
    times = writes["time_ns"].to_numpy(np.int64)[marks & (end > FEATURES_AT)]
    if not tables.any():
        return None
    times = times[times > reads["time_ns"].to_numpy(np.int64)[tables][0]]
    if not len(times):
        return None
    before = (reads["time_ns"] < times[0]).to_numpy(bool)
    found: pd.DataFrame = reads[before & (kinds != "header").to_numpy(bool)]
    return found


def seeks(seen: Evidence) -> Finding | None:
    """Where data and holes of a file lie is asked extent by extent (lseek with SEEK_DATA and SEEK_HOLE).

    Traces do not say what an lseek is for. Of a file that is read at given offsets only, as QEMU does, it
    can be for nothing but that and its size; so the results have to differ. A raw image whose format is
    declared need not be read for it at all, and then is not known to be an image.
    """
    trace = seen.trace
    positioned = trace.events["file"][trace.events["op"].isin(AT_POSITION)].unique()
    calls = trace.events[(trace.events["op"] == "lseek").to_numpy(bool)]
    calls = calls[(calls["file"] >= 0).to_numpy(bool) & ~calls["file"].isin(positioned).to_numpy(bool)]
    if len(calls) < SEEKS_LEAST:
        return None
    file = int(calls["file"].mode().iloc[0])
    calls = calls[(calls["file"] == file).to_numpy(bool)]
    if len(calls) < SEEKS_LEAST or calls["offset"].nunique() < SEEKS_LEAST // 4:
        return None
    took, wall = calls["duration_ns"], trace.meta.wall_s
    numbers: dict[str, int | float] = {"calls": len(calls)}
    cost = "how long they took is not known"
    if not took.isna().any() and wall:
        seconds = float(took.sum()) / 1e9
        if seconds < SEEKS_SHARE * wall:
            return None
        numbers |= {"seconds": seconds, "share": min(seconds / wall, 1.0)}
        cost = f"{show_seconds(seconds)}, {show_percent(numbers['share'])} of the traced run"
    disk = disk_of(trace.meta, file)
    path, whole = (show_path(trace.files["path"].iloc[number]) for number in (file, disk))
    image = trace.meta.images.get(disk)
    is_raw = image is None or image.format == "raw"
    form = "-O raw -S 0" if is_raw else "-O qcow2"
    return Finding(
        "seeks",
        f"{show_count(len(calls))} calls ask where data and holes of {os.path.basename(path)} lie (lseek): "
        f"{cost}",
        numbers,
        f"qemu-img convert {form} {shlex.quote(whole)} NEW",
    )


def _size_of(seen: Evidence, kinds: tuple[str, ...]) -> int:
    """Bytes of the image's structures of these kinds."""
    assert seen.image is not None
    rows = seen.trace.structures
    rows = rows[(rows["file"] == seen.image.file).to_numpy(bool) & rows["kind"].isin(kinds).to_numpy(bool)]
    return int((rows["end"] - rows["start"]).sum())


def _distinct(seen: Evidence, kind: str) -> int:
    """Bytes of such tables that were read, each counted once."""
    rows = seen.reads[(seen.reads["structure"] == kind).to_numpy(bool)]
    return int(rows.drop_duplicates(["file", "offset"])["size"].sum())


def tables_bytes(image: TracedImage | None) -> int:
    """What the L2 cache has to hold so that no table is read twice: disk_size * 8 / cluster_size, twice that
    with extended L2 entries."""
    if image is None or not image.cluster:
        return 0
    return -(-image.virtual // image.cluster) * (16 if image.facts.extended_l2 else 8)


def _again(seen: Evidence, kind: str) -> int | None:
    """How many reads of this kind of table read again what was read; None where that is no sign of a small
    cache: too few, or a check, which reads everything twice."""
    rows = seen.reads[(seen.reads["structure"] == kind).to_numpy(bool)]
    if seen.trace.meta.command[1:2] == ("check",):
        return None
    again = int(rows.duplicated(["file", "pid", "handle", "offset"]).sum())  # each open has a cache
    return again if again >= max(FEW, REREAD * len(rows)) else None
