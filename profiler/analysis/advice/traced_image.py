"""The disk image that a trace is about, as far as the trace tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.facts.images import ImageFacts
from profiler.trace import Meta, Trace
from profiler.units import show_plural

MAX_DISK = 2**56
"""Bytes of a guest's disk; a qcow2 image cannot map more, whatever a trace claims."""

PARENTS_UNREAD = ("vpc", "vhdx", "vdi")
"""Formats of which QEMU reads no parent: it opens a VHD without it, and no VHDX or VDI that has one
(block/vpc.c, vhdx.c, vdi.c; QEMU 7.2)."""


@dataclass(frozen=True)
class Chain:
    """The images behind each other, the first included; the extents and the external data file of one are no
    images of their own. files: how many there are. read: how many of them the start read. complete: False
    where there may be more. members: the paths of those that were read, the first in front."""

    files: int = 1
    read: int = 1
    complete: bool = True
    members: tuple[bytes, ...] = ()

    @property
    def words(self) -> str:
        least = "" if self.complete else "at least "
        return f"a chain of {least}{show_plural(self.files, 'file')}"


@dataclass(frozen=True)
class TracedImage:
    """The disk image that a trace is about, as far as the trace tells.

    file: its number. files: of all files of its chain that were read, itself first. format: QEMU's name.
    facts: what is known of it. virtual: bytes of the guest's disk. cluster: bytes, 0 where the format has
    none.
    """

    file: int
    files: tuple[int, ...]
    format: str
    facts: ImageFacts
    virtual: int
    cluster: int
    chain: Chain = Chain()

    @property
    def by_itself(self) -> bool:
        """Whether its file is all of its disk that the start read, so that a copy of the file is one of the
        disk. The data of a qcow2 image may lie in another file, which two images would then write to."""
        return len(self.files) == 1 and not self.facts.data_is_elsewhere


def unread(meta: Meta) -> str:
    """What of the images of a start qemu-img does not read, so that no copy by it is whole; "": nothing."""
    for image in meta.images.values():
        if image.format in PARENTS_UNREAD and image.parent_id:
            return f"qemu-img does not read what is behind an image of this format ({image.format})"
        if image.format == "parallels" and image.subformat == "descriptor":
            return "qemu-img does not read the descriptor that makes the files of a Parallels disk one"
    return ""


def disk_of(meta: Meta, file: int) -> int:
    """The file that names the disk of which this one holds a part, as the descriptor of a VMDK does of its
    extents; itself, where it is no such part. A file that was not read is taken for an extent where a
    descriptor lacks some."""
    seen: set[int] = set()
    while (image := meta.images.get(file)) is not None and image.part and file not in seen:
        seen.add(file)
        if image.in_front is None:
            break
        file = image.in_front
    lacking = [number for number in meta.images if in_pieces(meta, number)]
    return lacking[0] if file not in meta.images and len(lacking) == 1 else file


def in_pieces(meta: Meta, number: int) -> bool:
    """Whether an image names more extents than the trace has beside it."""
    beside = sum(image.in_front == number for image in meta.images.values())
    return beside < meta.images[number].extents


def image_of(trace: Trace) -> TracedImage | None:
    """The image that the trace is about: of those with known facts that nothing lies in front of, the one
    with the most reads, of its extents and of what is behind it too. None: there is none."""
    known = trace.meta.images
    behind = {number: image.in_front for number, image in known.items()}
    fronts = [number for number, front in behind.items() if front not in known]
    if not fronts:
        return None
    reads = trace.reads(("file",))["file"].value_counts()
    chains = [_chain(front, behind) for front in fronts]
    top, *_ = files = max(chains, key=lambda found: sum(int(reads.get(number, 0)) for number in found))
    facts = known[top]
    size = trace.files["size"].iloc[top]
    members = [number for number in files if not known[number].part]
    read = len(members)
    paths = tuple(trace.files["path"].iloc[members])
    chain = Chain(max(read, facts.layers or 1), read, facts.layers_complete, paths)
    virtual = facts.virtual_size or (0 if size is pd.NA else int(size))
    return TracedImage(
        top, tuple(files), facts.format, facts, min(max(virtual, 0), MAX_DISK), facts.cluster_size, chain
    )


def _chain(top: int, behind: dict[int, int | None]) -> list[int]:
    """The files of an image, by number, itself first."""
    files = [top]
    for number in files:
        files += [one for one, front in behind.items() if front == number and one not in files]
    return files


def extents_of(trace: Trace, image: TracedImage) -> int:
    """In how many runs the image lies on its device: extents that do not go on where the one before ends,
    distances in the file taken into account."""
    runs = 0
    for number in image.files:
        rows = trace.extents[(trace.extents["file"] == number).to_numpy(bool)].sort_values("logical")
        shift = rows["physical"].to_numpy(np.int64) - rows["logical"].to_numpy(np.int64)
        runs += int((np.diff(shift) != 0).sum()) + (len(rows) > 0)
    return runs
