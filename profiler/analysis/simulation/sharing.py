"""Which files several starts at once share, and which each of them has for itself.

What is shared is read once: whoever asks for a page that is there has it, and whoever asks for one that is
on its way waits for no more than that.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import exact_sum
from profiler.facts.images import Images
from profiler.trace import Trace

NOTHING = "none"
"""In place of a pattern: no file is a start's own."""

_IMAGE = re.compile(rb"(?!init(rd|ramfs))[^/]*\.(qcow2?|qed|raw|img|vmdk|vdi|vhdx?)", re.IGNORECASE)
"""Names of disk images. An initrd.img is none; nor is an .iso, which nobody writes to."""


@dataclass(frozen=True)
class Sharing:
    """What was taken as shared and as own, of the requests of one start: files (in bytes of requests, not of
    sizes) that all starts share, and the names of those that each has for itself."""

    shared_files: int = 0
    shared_bytes: int = 0
    own_bytes: int = 0
    own: tuple[bytes, ...] = ()


def own_files(
    trace: Trace, patterns: Sequence[str] | None = None, of: Iterable[int] | None = None
) -> npt.NDArray[np.bool_]:
    """For each file of the trace whether each start has one of its own; one entry more, False, where file -1
    points. of: the numbers of those to look at, the others are False; None: all.

    patterns: shell patterns of their names (NOTHING: of none). A pattern without a slash in front is of the
    last parts of a name, and one of a directory of all that is in it. None: those that the trace says; where
    it does not, the block devices and the disk images but backing files: those that are images by what is in
    them (`Meta.images`), by the user's word (`Meta.image`) or by their names. So is a file of which neither
    name nor inode is known, as in some logs: what is own is never projected too low.
    """
    patterns = trace.meta.copies.own if patterns is None else patterns
    files = trace.files
    if patterns is None:
        own = _images(trace)
    else:
        ways = _regular_expressions(patterns)
        paths, there = files["path"].tolist(), files["host_path"].tolist()
        wanted = [number for number in (range(len(files)) if of is None else of) if number >= 0]
        own = {number for number in wanted if _is_one((paths[number], there[number]), ways)}
    found = np.zeros(len(files) + 1, bool)
    found[list(own)] = True
    return found


def sharing(requests: pd.DataFrame, files: pd.DataFrame) -> Sharing:
    """What is shared of `requests`: columns file, size (bytes) and each, one row a request."""
    own = requests["each"].to_numpy(bool)
    file, size = (requests[name].to_numpy(np.int64) for name in ("file", "size"))
    numbers = [number for number in np.unique(file[own]).tolist() if number >= 0]
    return Sharing(
        shared_files=len(np.unique(file[~own])),
        shared_bytes=exact_sum(size[~own]),
        own_bytes=exact_sum(size[own]),
        own=tuple(files["path"].iloc[number] for number in numbers),
    )


def _regular_expressions(patterns: Iterable[str]) -> list[re.Pattern[str]]:
    """For each pattern that of a name, and that of a name in a folder of that name."""
    wanted = [one.rstrip("/") for one in patterns if one != NOTHING]
    return [
        re.compile(("" if one.startswith("/") else "(?:.*/)?") + fnmatch.translate(one + more))
        for one in wanted
        for more in ("", "/*")
        if one
    ]


def _is_one(names: Iterable[bytes], ways: Sequence[re.Pattern[str]]) -> bool:
    """Whether any of the names of a file, b"" being none, is as one of these says."""
    texts = [name.decode("utf-8", "surrogateescape") for name in names if name]
    return any(way.match(text) for text in texts for way in ways)


def _images(trace: Trace) -> set[int]:
    """The block devices, the disk images that stand behind no other and what is not known, by number."""
    meta, files = trace.meta, trace.files
    rear = behind(meta.images)
    word = os.path.normpath(os.path.join(meta.cwd, meta.image)) if meta.image else ""
    found = set(meta.images)
    columns = (files["path"].tolist(), files["kind"].tolist(), files["inode"].isna().tolist())
    for number, (path, kind, nowhere) in enumerate(zip(*columns, strict=True)):
        by_name = _IMAGE.fullmatch(os.path.basename(path)) or path.decode("utf-8", "surrogateescape") == word
        if kind == "block" or by_name or (nowhere and path.startswith(b"(")):
            found.add(number)
    return found - rear


def behind(images: Images) -> set[int]:
    """The backing files, by number. What is a part of an image is none, such as its extents and its external
    data file: it is the image's."""
    found = set()
    for number, image in images.items():
        front = images.get(image.in_front) if image.in_front is not None else None
        # traces of before `part` tell of an external data file by what is in front of it
        if front is not None and not image.part and not front.data_is_elsewhere:
            found.add(number)
    return found
