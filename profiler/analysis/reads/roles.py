"""What each file is to the start: the image, what lies behind it, the program, its libraries, other data."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.simulation.sharing import behind
from profiler.facts.images import Images
from profiler.trace import Meta, Trace

ROLES = ("image", "backing file", "program", "library", "memory", "data")
"""image: a disk image that stands behind no other, with its external data file. backing file: one behind it.
program: it was executed. library: parts of it were mapped to be executed, its loader included. memory: of a
file system without a device (`pagecache.MEMORY_FILESYSTEMS`). data: anything else."""


def roles(trace: Trace) -> npt.NDArray[np.object_]:
    """The role of each file of the trace, one of ROLES; the first that fits, but a file system without a
    device before all."""
    files, events = trace.files, trace.events
    found = np.full(len(files), "data", object)
    for op in ("mmap_exec", "exec"):
        touched = events["file"][(events["op"] == op).to_numpy(bool)].to_numpy(np.int64)
        found[touched[touched >= 0]] = "library"
    executed = set(trace.tasks["program"]) - {b""}
    found[files["path"].isin(executed).to_numpy(bool)] = "program"
    if not executed:  # some tracers and logs do not say; the loader is executed too
        ran = events["file"][(events["op"] == "exec").to_numpy(bool)].unique()
        named = [number for number in ran if number >= 0 and not _is_loader(files["path"].iloc[number])]
        found[named] = "program"
    image = named_image(trace)
    if image is not None:
        found[image] = "image"
    found[list(trace.meta.images)] = "image"
    found[list(behind(trace.meta.images))] = "backing file"
    found[files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)] = "memory"
    return found


def named_image(trace: Trace) -> int | None:
    """The file that is the image which the run is about (`Meta.image`): by its path as it was recorded, else
    by its name if only one file has it. None: no image was named, or it was not met."""
    meta = trace.meta
    if not meta.image:
        return None
    paths = trace.files["path"].tolist()
    wanted = image_path(meta)
    exact = [number for number, path in enumerate(paths) if path in (wanted, _bytes(meta.image))]
    name = os.path.basename(wanted)
    alike = [number for number, path in enumerate(paths) if os.path.basename(path) == name]
    return (exact or alike)[0] if exact or len(alike) == 1 else None


def chain(images: Images, member: int) -> list[int]:
    """All files of the backing chain that this one is a member of, by number: the image in front, what lies
    behind it, and so on; external data files are among these. A file that is no image is
    alone.
    """
    found = [member]
    for behind_it in found:  # up to the one in front
        image = images.get(behind_it)
        if image is not None and image.in_front is not None and image.in_front not in found:
            found.append(image.in_front)
    found = found[-1:]
    for front in found:
        next_ones = (number for number, image in images.items() if image.in_front == front)
        found.extend(number for number in next_ones if number not in found)
    return found


def image_path(meta: Meta) -> bytes:
    """The absolute path of the named image."""
    return _bytes(os.path.normpath(os.path.join(meta.cwd, meta.image)))


def _bytes(text: str) -> bytes:
    """As os.fsencode, but for any text: a trace may hold surrogates that no file name can have become."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _is_loader(path: bytes) -> bool:
    """Named as dynamic loaders are: ld-linux-x86-64.so.2, ld-2.31.so, ld-musl-x86_64.so.1."""
    return os.path.basename(path).startswith(b"ld-")
