"""What the headers of disk images say before a run: QEMU clears the mark of an unclean end as it opens an
image for writing, and a run that reads no file behind an image says nothing of how many there are.

Read past the page cache, so that a cold start stays one.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeVar

from profiler.capture.images.files import Identity, ImageFile, identity_of, open_known
from profiler.facts.images import ImageFacts
from profiler.files.owner import Owner, acting_as
from profiler.images import formats
from profiler.images.chain import Opened, chain
from profiler.images.readers import qcow2, vhdx
from profiler.images.source import Held, take
from profiler.trace import Trace

Fact = TypeVar("Fact")

_FIRST = 4096
"""Bytes: as little as every device gives past the page cache."""
_HEAD, _HEAD_VHDX = 64 << 10, 4 << 20
"""Within these the name of the file behind an image stands. A VHDX has it in its metadata, which starts at
1 MiB or later and is 1 MiB long (MS-VHDX, 2.2 and 2.6)."""


@dataclass(frozen=True)
class Layers:
    """How many images there are in a chain, the first of them included, as the headers say. complete:
    whether the last of them was reached; a remote one ends it, and one that cannot be opened."""

    count: int
    complete: bool


class _Head:
    """The beginning of an image, as an image: no table is read that lies beyond."""

    def __init__(self, file: ImageFile) -> None:
        self.size = min(file.size, _HEAD)
        self.read = file.read
        if take(self, 0, len(vhdx.MAGIC)) == vhdx.MAGIC:
            self.size = min(file.size, _HEAD_VHDX)


def layers(path: str, owner: Owner | None = None) -> Layers:
    """The chain of this image, as `owner`, who is to run the program, may read it. Regular files are opened;
    of a block device it counts only that it is named."""
    with acting_as(owner), ExitStack() as stack:

        def behind(name: str, image: str) -> Opened | str:
            full = os.path.join(os.path.dirname(image), name)
            try:
                status = os.stat(full)
            except (OSError, ValueError):
                return "cannot be looked at"
            identity = identity_of(status)
            if identity is None:
                return "neither a file nor a block device"
            if stat.S_ISBLK(status.st_mode):
                return Opened(Held(b""), full, identity)
            file = open_known(os.fsencode(full), {identity})
            if file is None:
                return "cannot be opened"
            stack.enter_context(closing(file))
            return Opened(_Head(file), full, identity)

        first = behind(path, "")
        if isinstance(first, str):
            return Layers(1, False)
        links, notes = chain(first, behind)
    return Layers(sum(not link.part for link in links), not notes)


def marked(files: Iterable[bytes]) -> dict[Identity, bool]:
    """Of those of these files that are qcow2 images, whether the header marks them as not closed cleanly."""
    found = {}
    for path in files:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue
        identity = identity_of(status)
        if identity is not None and stat.S_ISREG(status.st_mode):
            first = _first(path, identity)
            if formats.probe(first[: formats.PROBE_BYTES]) == "qcow2":
                found[identity] = qcow2.marked_dirty(first)
    return found


def _first(path: bytes, identity: Identity) -> bytes:
    """The first bytes of a regular file past the page cache, if it still is the one that was looked at."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    for way in (flags | os.O_DIRECT, flags):  # file systems in memory may not have O_DIRECT
        try:
            descriptor = os.open(path, way)
        except OSError:
            continue
        try:
            if identity_of(os.fstat(descriptor)) != identity:
                return b""
            with mmap.mmap(-1, _FIRST) as memory:  # starts with a page, as O_DIRECT asks
                return memory[: os.preadv(descriptor, [memory], 0)]
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return b""


def with_marks(trace: Trace, marks: dict[Identity, bool]) -> Trace:
    """The trace with `dirty_before` among the facts of the images that it read, all of them qcow2."""
    images = dict(trace.meta.images)
    for number, dirty in _numbers(trace, marks):
        images[number] = dataclasses.replace(images.get(number, ImageFacts("qcow2")), dirty_before=dirty)
    return _with(trace, images)


def with_layers(trace: Trace, path: str, found: Layers) -> Trace:
    """The trace with `layers` among the facts of this image, and `layers_complete`."""
    try:
        identity = identity_of(os.stat(path))
    except (OSError, ValueError):
        return trace
    images = dict(trace.meta.images)
    for number, layers in _numbers(trace, {} if identity is None else {identity: found}):
        if number in images:
            images[number] = dataclasses.replace(
                images[number], layers=layers.count, layers_complete=layers.complete
            )
    return _with(trace, images)


def was_dirty(trace: Trace) -> bool:
    """Whether an image was marked so before this run."""
    return any(image.dirty_before is True for image in trace.meta.images.values())


def _numbers(trace: Trace, facts: dict[Identity, Fact]) -> Iterator[tuple[int, Fact]]:
    """The number of each file of the trace of which there is a fact, and that."""
    columns = (trace.files[name].tolist() for name in ("device", "inode"))
    for number, identity in enumerate(zip(*columns, strict=True)):
        if identity in facts:
            yield number, facts[identity]


def _with(trace: Trace, images: dict[int, ImageFacts]) -> Trace:
    return dataclasses.replace(trace, meta=dataclasses.replace(trace.meta, images=images))
