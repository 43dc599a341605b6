"""What to bring into the page cache before a start, as a file of its own: small, and read with nothing but
Python's standard library, because the libraries that read a trace are themselves slow to start cold."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.errors import ColdseekError
from profiler.files.reading import open_regular
from profiler.units import show_path

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "coldseek.plan/1"

MAX_BYTES = 256 * 2**20
"""A larger file is no plan: this is enough for some ten million stretches."""

_LARGEST = 2**62


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when the start was recorded. device: "major:minor"; size: bytes; None: not known.

    kind: one of `trace.FILE_KINDS`; of `metadata` the file is the device itself. written: the start
    writes to it, so that its size and time are not what they were.
    """

    path: bytes
    kind: str
    device: str
    inode: int | None
    size: int | None
    mtime_ns: int | None
    written: bool = False


@dataclass(frozen=True)
class Plan:
    """stretches: (place in `files`, offset, size in bytes), in the order in which to read them."""

    files: tuple[KnownFile, ...]
    stretches: tuple[tuple[int, int, int], ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, _, size in self.stretches)


def known_files(files: pd.DataFrame, written: Collection[int] = ()) -> tuple[KnownFile, ...]:
    """Rows of `trace.FILE_COLUMNS`, by their names on the host. written: numbers of those that the start
    itself writes to."""
    from profiler.trace import host_paths  # late: to read a plan takes no tables

    names = ("kind", "device", "inode", "size", "mtime_ns")
    columns = (files[name].tolist() for name in ("file", *names))
    return tuple(
        KnownFile(path, kind, device, _or_none(inode), _or_none(size), _or_none(mtime_ns), file in written)
        for path, file, kind, device, inode, size, mtime_ns in zip(host_paths(files), *columns, strict=True)
    )


def _or_none(number: Any) -> int | None:
    return number if isinstance(number, int) else None  # pandas' own null


def plan_of(stretches: pd.DataFrame, files: pd.DataFrame, written: Collection[int] = ()) -> Plan:
    """stretches: columns file (a row of `files`), offset, size, as `prefetch.plan` gives them.
    written: see `known_files`."""
    numbers = sorted(set(stretches["file"].tolist()))
    place = {number: at for at, number in enumerate(numbers)}
    rows = zip(*(stretches[name].tolist() for name in ("file", "offset", "size")), strict=True)
    return Plan(
        known_files(files.loc[numbers], written), tuple((place[file], *rest) for file, *rest in rows)
    )


def is_plan(path: str) -> bool:
    """Whether the file begins as a plan does; False too for what cannot be read: who reads it says so."""
    try:
        if not os.path.isfile(path):  # to open a pipe would wait for its other end
            return False
        with open_regular(path) as file:
            return file.read(1) == b"{"
    except (OSError, ValueError):
        return False


def save(plan: Plan, path: str) -> None:
    """Write it beside `path` and rename it. Raises ColdseekError, as `trace.save` does."""
    from profiler.files.writing import replacing

    files = [
        [
            os.fsdecode(one.path),
            one.kind,
            one.device,
            one.inode,
            one.size,
            one.mtime_ns,
            *([True] if one.written else []),
        ]
        for one in plan.files
    ]
    text = json.dumps({"format": FORMAT, "files": files, "stretches": plan.stretches}, separators=(",", ":"))
    with replacing(path) as file:
        file.write(text.encode("ascii") + b"\n")


def load(path: str) -> Plan:
    """Read a plan. Raises ColdseekError for what is none, or says what cannot be."""
    try:
        with open_regular(path) as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ColdseekError(f"cannot read {show_path(path)}: {error.strerror}") from error
    remedy = f"{show_path(path)} is no plan, or is damaged; make it with coldseek prefetch TRACE --save FILE"
    if len(text) > MAX_BYTES:
        raise ColdseekError(remedy)
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ColdseekError(f"{show_path(path)} is of another version of coldseek; {remedy}")
        files = tuple(_file(*row) for row in found["files"])
        return Plan(files, tuple(_stretch(len(files), *row) for row in found["stretches"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ColdseekError(remedy) from error


def _file(
    path: Any, kind: Any, device: Any, inode: Any, size: Any, mtime_ns: Any, written: Any = False
) -> KnownFile:
    if not all(isinstance(text, str) for text in (path, kind, device)) or not isinstance(written, bool):
        raise TypeError
    inode, size, mtime_ns = (None if one is None else _number(one, least) for one, least in (
        (inode, 0), (size, 0), (mtime_ns, -_LARGEST)  # files may be older than 1970
    ))  # fmt: skip
    return KnownFile(os.fsencode(path), kind, device, inode, size, mtime_ns, written)


def _stretch(files: int, file: Any, offset: Any, size: Any) -> tuple[int, int, int]:
    if _number(file) >= files:
        raise ValueError
    return file, _number(offset), _number(size)


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _LARGEST:
        raise ValueError
    return value
