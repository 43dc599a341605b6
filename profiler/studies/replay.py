"""Recorded reads made again on a disk of this machine, cold, and timed: measured, not projected."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import tempfile
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.errors import ColdseekError
from profiler.facts.replays import Played, Replay
from profiler.iolog import iolog
from profiler.machine.mounts import MEMORY_FILESYSTEMS, filesystem_of
from profiler.machine.page_cache.cache import evict
from profiler.machine.page_cache.residency import residency
from profiler.machine.processes.scratch import Scratch
from profiler.machine.replay import allocated, fio
from profiler.units import device_name, show_bytes, show_count, show_path

Ints = npt.NDArray[np.int64]

MOST_READS = 1_000_000
MOST_BYTES_A_READ = 2**30
"""fio holds a read in memory, in one piece."""
PREFIX = ".coldseek-replay-"
_BLKGETSIZE64 = 0x80081272  # linux/fs.h


def is_device(place: str) -> bool:
    """Whether reads are to be made on a block device; False: in a directory. Raises ColdseekError where it
    is neither, is not there, or lies in memory."""
    shown = show_path(place)
    try:
        facts = os.stat(place)
    except (OSError, ValueError) as error:
        why = os.strerror(getattr(error, "errno", 0) or 22)
        raise ColdseekError(
            f"cannot replay on {shown}: {why}; name a directory or a block device"
        ) from error
    if stat.S_ISBLK(facts.st_mode):
        return True
    if not stat.S_ISDIR(facts.st_mode):
        raise ColdseekError(f"{shown} is no directory or block device; name one on the disk to measure")
    if (kind := filesystem_of(device_name(facts.st_dev), os.fsencode(place))) in MEMORY_FILESYSTEMS:
        raise ColdseekError(f"{shown} lies in memory ({kind}): there is no disk to measure; name another")
    return False


def replay(
    reads: pd.DataFrame, sizes: Ints, place: str, *, layer: str, pauses: bool, runs: int,
    tell: Callable[[str], None],
) -> Replay:  # fmt: skip
    """Make the reads again on `place`, `runs` times, one after another.

    reads: time_ns, file, offset, size, in order; sizes: bytes of each file; both of
    `analysis.replayed`. layer: "device": past the page cache; "syscall": through it, with what
    the kernel reads ahead, all of it dropped before. pauses: at the recorded distances, where the disk keeps
    up. tell: what comes now, in words. Raises ColdseekError.
    """
    command = fio.find()
    on_device = is_device(place)
    if len(reads) > MOST_READS:
        raise ColdseekError(f"{show_count(len(reads))} reads are too many; at most {show_count(MOST_READS)}")
    if (largest := int(reads["size"].max())) > MOST_BYTES_A_READ:
        raise ColdseekError(f"a read of {show_bytes(largest)} is too large; use --layer device")
    try:
        scratch = Scratch(tempfile.gettempdir() if on_device else place, PREFIX)
    except OSError as error:
        raise ColdseekError(
            f"cannot make a folder in {show_path(place)}: {os.strerror(error.errno or 0)}; "
            f"name another place"
        ) from error
    try:
        folded, written, extents = 0, 0, None
        offsets: Ints | None
        if on_device:
            reads, folded = _onto_device(reads, place)
            os.symlink(os.path.realpath(place), os.path.join(scratch.inside, "f0"))
            names, offsets = ["f0"], reads["offset"].to_numpy(np.int64)
        else:
            names, reads, offsets, written, extents = _onto_files(reads, sizes, scratch, place, layer, tell)
        rows = reads.assign(time_us=(reads["time_ns"] - reads["time_ns"].iloc[0]) // 1000)
        columns = (rows[name].tolist() for name in ("time_us", "file", "offset", "size"))
        with open(os.path.join(scratch.inside, fio.LOG), "x", encoding="ascii") as log:
            log.writelines(iolog(names, zip(*columns, strict=True)))
        paths = [os.fsencode(os.path.join(scratch.inside, name)) for name in names]
        played: list[Played] = []
        resident: list[int] = []
        for number in range(runs):
            tell(f"replay {number + 1} of {runs}")
            resident.append(_cold(paths, on_device))
            played.append(fio.play(command, scratch.inside, layer == "device", pauses))
            _check(played[-1], len(reads), int(reads["size"].sum()))
    finally:
        scratch.close()
    return Replay(
        place, "block device" if on_device else "directory", layer, pauses, fio.version(command),
        len(reads), int(reads["size"].sum()), tuple(played), tuple(resident), written, extents, folded,
        offsets,
    )  # fmt: skip


def _check(played: Played, reads: int, size: int) -> None:
    if (played.reads, played.bytes) != (reads, size):
        raise ColdseekError(
            f"fio made {show_count(played.reads)} reads of {show_bytes(played.bytes)}, not the "
            f"{show_count(reads)} of {show_bytes(size)} that were recorded; use fio 3.31 or newer"
        )


def _cold(paths: list[bytes], on_device: bool) -> int:
    """Drop the files from the page cache; bytes that stayed. Of a device nothing is dropped, as what others
    have written would have to be written back to it first: reads go past the page cache anyhow."""
    return residency(paths).resident_bytes if on_device else evict(paths).resident_bytes


def _onto_device(reads: pd.DataFrame, place: str) -> tuple[pd.DataFrame, int]:
    """The reads within the size of the device, and how many had to be moved for that."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            (room,) = struct.unpack("=Q", fcntl.ioctl(descriptor, _BLKGETSIZE64, b"\0" * 8))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ColdseekError(
            f"cannot read {show_path(place)}: {os.strerror(error.errno or 0)}; run it as root, or name a "
            f"directory on it"
        ) from error
    offset, size = reads["offset"].to_numpy(np.int64), reads["size"].to_numpy(np.int64)
    if room < int(size.max()):
        raise ColdseekError(f"{show_path(place)} has {show_bytes(room)}, too little for the reads")
    behind = offset + size > room
    block = 4096
    within = np.maximum((room - size) // block * block, block)
    return reads.assign(offset=np.where(behind, offset % within, offset)), int(behind.sum())


def _onto_files(
    reads: pd.DataFrame, sizes: Ints, scratch: Scratch, place: str, layer: str, tell: Callable[[str], None]
) -> tuple[list[str], pd.DataFrame, Ints | None, int, int | None]:
    """Make the files; their names, the reads with rows of these names, their places on the device, and how
    many bytes in how many pieces were made."""
    used, which = np.unique(reads["file"].to_numpy(np.int64), return_inverse=True)
    if len(used) > fio.most_files():
        raise ColdseekError(
            f"{show_count(len(used))} files are more than may be open at once "
            f"({show_count(fio.most_files())}); raise the limit (ulimit -Hn), or use --on DEVICE"
        )
    needed = sum(sizes[used].tolist())
    allocated.check_space(place, needed)
    names = [f"f{number}" for number in range(len(used))]
    starts = reads["offset"].to_numpy(np.int64)
    ends = starts + reads["size"].to_numpy(np.int64)
    offsets, pieces = np.full(len(reads), -1, np.int64), 0
    rows_of = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    for name, size, rows in zip(names, sizes[used].tolist(), rows_of, strict=True):
        tell(f"writing {show_bytes(needed)}")
        whole = layer == "syscall"  # what the kernel reads ahead is to be there too
        begin = np.zeros(1, np.int64) if whole else starts[rows]
        end = np.array([size]) if whole else ends[rows]
        extents = allocated.write(os.path.join(scratch.inside, name), size, begin, end, place)
        pieces += _pieces(extents)
        offsets[rows] = _placed(extents, starts[rows])
    known = bool((offsets >= 0).all())
    return names, reads.assign(file=which), offsets if known else None, needed, pieces if known else None


def _pieces(extents: allocated.Extents) -> int:
    """How many pieces lie apart on the device: written and unwritten neighbours are one."""
    if not len(extents):
        return 0
    return 1 + int((extents[1:, 1] != extents[:-1, 1] + extents[:-1, 2]).sum())


def _placed(extents: allocated.Extents, starts: Ints) -> Ints:
    """Where the bytes at `starts` of a file lie on its device; -1: not known."""
    if not len(extents):
        return np.full(len(starts), -1, np.int64)
    row = np.clip(np.searchsorted(extents[:, 0], starts, side="right") - 1, 0, None)
    inside = starts - extents[row, 0]
    return np.where((inside >= 0) & (inside < extents[row, 2]), extents[row, 1] + inside, -1)
