"""The disk image that a trace is about, as far as the trace tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from profiler.analysis.host import number_in
from profiler.trace import Meta, Trace
from profiler.units import show_plural

MAX_DISK = 2**56
"""Bytes of a guest's disk; a qcow2 image cannot map more, whatever a trace claims."""

COMPRESSED = ("compressed cluster", "compressed grain")
DATA = (*COMPRESSED, "data cluster", "data", "data block", "payload block", "grain")
"""Kinds of structures that hold what the guest wrote, apart from any other kind of known place in its
disk."""


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
    facts: as in `Meta.images`. virtual: bytes of the guest's disk. cluster: bytes, 0 where the format has
    none.
    """

    file: int
    files: tuple[int, ...]
    format: str
    facts: dict[str, Any]
    virtual: int
    cluster: int
    chain: Chain = Chain()

    @property
    def by_itself(self) -> bool:
        """Whether its file is all of its disk that the start read, so that a copy of the file is one of the
        disk. The data of a qcow2 image may lie in another file, which two images would then write to."""
        features = self.facts.get("features")
        return len(self.files) == 1 and not (isinstance(features, list) and "external data file" in features)


def unread(meta: Meta) -> str:
    """What of the images of a start qemu-img does not read, so that no copy by it is whole; "": nothing."""
    for facts in meta.images.values():
        form = str(facts.get("format"))
        if form in PARENTS_UNREAD and facts.get("parent_id"):
            return f"qemu-img does not read what is behind an image of this format ({form})"
        if form == "parallels" and facts.get("subformat") == "descriptor":
            return "qemu-img does not read the descriptor that makes the files of a Parallels disk one"
    return ""


def disk_of(meta: Meta, file: int) -> int:
    """The file that names the disk of which this one holds a part, as the descriptor of a VMDK does of its
    extents; itself, where it is no such part. A file that was not read is taken for an extent where a
    descriptor lacks some."""
    seen: set[int] = set()
    while (facts := meta.images.get(str(file), {})).get("part") is True and file not in seen:
        seen.add(file)
        front = facts.get("in_front")
        if type(front) is not int:
            break
        file = front
    lacking = [number for number in meta.images if in_pieces(meta, number)]
    return int(lacking[0]) if str(file) not in meta.images and len(lacking) == 1 else file


def in_pieces(meta: Meta, number: str) -> bool:
    """Whether an image names more extents than the trace has beside it."""
    beside = sum(str(facts.get("in_front")) == number for facts in meta.images.values())
    return beside < number_in(meta.images[number], "extents", 0, 2**31)


def image_of(trace: Trace) -> TracedImage | None:
    """The image that the trace is about: of those with known facts that nothing lies in front of, the one
    with the most reads, of its extents and of what is behind it too. None: there is none."""
    known = {int(number): facts for number, facts in trace.meta.images.items()}
    behind = {number: facts.get("in_front") for number, facts in known.items()}
    reads = trace.reads()["file"].value_counts()
    fronts = [number for number, front in behind.items() if front not in known]
    if not fronts:
        return None
    chains = [_chain(front, behind) for front in fronts]
    top, *_ = files = max(chains, key=lambda found: sum(int(reads.get(number, 0)) for number in found))
    facts = known[top]
    size = trace.files["size"].iloc[top]
    members = [number for number in files if known[number].get("part") is not True]
    read, layers = len(members), facts.get("layers")
    paths = tuple(trace.files["path"].iloc[members])
    chain = Chain(max(read, layers or 1), read, facts.get("layers_complete") is not False, paths)
    virtual = facts.get("virtual_size") or (0 if size is pd.NA else int(size))
    return TracedImage(
        top, tuple(files), str(facts.get("format", "")), facts, min(max(virtual, 0), MAX_DISK),
        facts.get("cluster_size") or 0, chain,
    )  # fmt: skip


def _chain(top: int, behind: dict[int, Any]) -> list[int]:
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
