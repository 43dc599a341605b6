"""What lies where in the disk images that a run read: taken right after it, as the image may change later.

Only files that the traced program itself read are opened, read-only and without locks: whatever an image
names as its backing file, nothing else is touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.calls import LARGEST
from profiler.images import formats
from profiler.images.build import Wanted
from profiler.images.chain import Link, Opened, chain
from profiler.images.image import take
from profiler.images.map import MAX_RANGES, Map
from profiler.trace import DATA_KINDS, STRUCTURE_COLUMNS, Trace, empty_table, read_bytes
from profiler.units import device_name, show_count, show_path

MAX_PROBED = 64
"""Of so many files, those with the most bytes read, the first bytes are looked at."""

_Identity = tuple[str, int]
"""Device ("major:minor") and inode."""


def structures(trace: Trace) -> tuple[pd.DataFrame, dict[str, Any], tuple[str, ...]]:
    """The structures of the disk images that were read: a table of `trace.STRUCTURE_COLUMNS`; facts of each
    image as of `Meta.images`; and notes.

    An image is a file that is one by its first bytes, the image that the run is about (`meta.image`, which
    may be raw), and whatever these name as their backing or data file, if the program read it. The guest's
    offsets are given for the parts of each that were read. A file is looked at only if it is still the one
    that was read.
    """
    order = read_bytes(trace).index
    named = os.fsencode(trace.meta.image)
    first = [file for file in order if trace.files["path"].iloc[file] == named]
    known: dict[_Identity, int] = {}
    for file in [*first, *order]:
        row = trace.files.iloc[file]
        if row["kind"] in DATA_KINDS and row["inode"] is not pd.NA and row["device"]:
            known.setdefault((row["device"], int(row["inode"])), int(file))
    notes: dict[str, None] = {}
    maps: dict[_Identity, tuple[bool, Map]] = {}
    fronts: dict[_Identity, _Identity] = {}
    with ExitStack() as stack:

        def open_(path: bytes) -> Opened | None:
            found = _open(path, known)
            if found is None:
                return None
            stack.enter_context(closing(found))
            return Opened(found, os.fsdecode(path), found.identity)

        def behind(name: str, image: str) -> Opened | str:
            # of a file that the program did not read nothing needs to be known, nor is anything said of it
            return open_(os.fsencode(os.path.join(os.path.dirname(image), name))) or ""

        for identity, file in list(known.items())[:MAX_PROBED]:
            path = trace.files["path"].iloc[file]
            opened = open_(path)
            if opened is None or opened.identity != identity or identity in maps:
                continue
            format = formats.probe(take(opened.image, 0, formats.PROBE_BYTES))
            if format == "raw" and path != named:
                continue
            try:
                links, more = chain(opened, behind, lambda one: _asked(trace, known[one.identity]))  # type: ignore[index]
            except (ArithmeticError, LookupError, MemoryError, ValueError) as error:
                # not to be expected; but a map is not worth the trace
                notes[f"the structures of {show_path(path)} could not be read: {type(error).__name__}"] = (
                    None
                )
                continue
            notes.update(dict.fromkeys(more))
            for number, link in enumerate(links):
                _keep(maps, link, declared=number > 0)
            for front, link in pairwise(links):
                fronts.setdefault(link.opened.identity, front.opened.identity)  # type: ignore[arg-type]
    made, cut = _table([(known[identity], found) for identity, (_, found) in maps.items()])
    for identity, (_, found) in maps.items():
        shown = show_path(trace.files["path"].iloc[known[identity]])
        notes.update(dict.fromkeys(f"{shown}: {note}" for note in found.notes))
    images = {}
    for one, (_, found) in maps.items():
        images[str(known[one])] = _image_facts(found, known[fronts[one]] if one in fronts else None)
    return made, images, (*notes, *cut)


def _image_facts(found: Map, front: int | None) -> dict[str, Any]:
    """What the image says of itself. in_front: number of the file that names it as its backing or data
    file."""
    facts = {"format": found.format, **found.facts}
    # an image may claim more than a trace can hold
    facts = {name: min(value, LARGEST) if type(value) is int else value for name, value in facts.items()}
    return facts if front is None else facts | {"in_front": front}


def _keep(maps: dict[_Identity, tuple[bool, Map]], link: Link, declared: bool) -> None:
    """What the image in front of a file says of its format counts more than the file's own bytes."""
    identity: _Identity = link.opened.identity  # type: ignore[assignment]
    if identity not in maps or (declared and not maps[identity][0]):
        maps[identity] = (declared, link.map)


def _asked(trace: Trace, file: int) -> Wanted:
    """The parts of a file that were read, as sorted ranges without overlaps."""
    starts, ends = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for piece in trace.pieces():
        reads = piece.reads()
        rows = reads[(reads["file"] == file).to_numpy(bool) & reads["offset"].notna().to_numpy(bool)]
        begins = rows["offset"].to_numpy(np.int64)
        starts, ends = _merged(
            np.append(starts, begins), np.append(ends, begins + rows["size"].to_numpy(np.int64))
        )
    return starts, ends


def _merged(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Wanted:
    """Ranges [start, end) in order, those that overlap or touch as one."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order]) if len(ends) else ends
    fresh = np.flatnonzero(np.concatenate([np.ones(min(1, len(starts)), bool), starts[1:] > ends[:-1]]))
    return starts[fresh], ends[np.append(fresh[1:], len(ends)) - 1] if len(fresh) else ends


def _table(maps: list[tuple[int, Map]]) -> tuple[pd.DataFrame, Iterator[str]]:
    """The maps as one table, and what of them did not fit."""
    tables, notes, left = [empty_table(STRUCTURE_COLUMNS)], [], MAX_RANGES
    for file, found in maps:
        rows, whole = found.places(left)
        if not whole:
            notes.append("the guest's offsets are left out of the structures: there are too many of them")
        if len(rows) > left:
            notes.append(f"the structures are known for the first {show_count(MAX_RANGES)} ranges only")
            rows = rows.iloc[:left]
        rows.insert(0, "file", np.full(len(rows), file, np.int32))
        tables.append(rows)
        left -= len(rows)
    return pd.concat(tables, ignore_index=True).astype(STRUCTURE_COLUMNS), iter(dict.fromkeys(notes))


class _File:
    """A regular file or block device as an image: open for reading only, without read-ahead."""

    def __init__(self, descriptor: int, status: os.stat_result, identity: _Identity) -> None:
        self._descriptor = descriptor
        self.identity = identity
        self.size = status.st_size
        if stat.S_ISBLK(status.st_mode):
            self.size = os.lseek(descriptor, 0, os.SEEK_END)
        # what read-ahead would bring in beside the tables might be found cached by the next run
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, offset: int, length: int) -> bytes:
        parts, at = [], offset
        while at < offset + length:
            try:
                part = os.pread(self._descriptor, offset + length - at, at)
            except (OSError, OverflowError):
                break
            if not part:
                break
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._descriptor)


def _open(path: bytes, known: Container[_Identity]) -> _File | None:
    """The file of this name, if it is one of the known, a regular file or block device, and may be read.

    It is looked at before it is opened: to open a device or a FIFO of that name could have effects, and what
    an image names may be any file of the machine.
    """
    try:
        if _identity(os.stat(path)) not in known:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        identity = _identity(status)
        if identity is not None and identity in known:
            return _File(descriptor, status, identity)
    except OSError:
        pass
    os.close(descriptor)
    return None


def _identity(status: os.stat_result) -> _Identity | None:
    """As `procfs.describe` names a file: a block device by the device that it is."""
    if stat.S_ISBLK(status.st_mode):
        return device_name(status.st_rdev), status.st_ino
    return (device_name(status.st_dev), status.st_ino) if stat.S_ISREG(status.st_mode) else None
