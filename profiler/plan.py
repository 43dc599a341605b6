"""What to bring into the page cache before a start, as a file of its own that runs by itself:
`profiler/runner.py` and `runner_main.py`, and behind it what to read. The libraries that read a trace are
themselves slow to start cold."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from profiler import runner, runner_main
from profiler.errors import ColdseekError
from profiler.files.reading import open_regular
from profiler.units import show_path

if TYPE_CHECKING:
    import pandas as pd

FORMER = "coldseek.plan/1"
"""Format of the plans that were JSON: they are read, and no longer written."""

MAX_BYTES = runner.MOST_BYTES

_SHEBANG = b"#!/usr/bin/python3 -IS\n"
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
    """stretches: (place in `files`, offset, size in bytes, first), in the order in which to read them.
    first: when the start first uses it, in microseconds from its begin; in the order of the plan where that
    is not known.

    >>> plan = coldseek.prefetch_plan(trace)
    >>> plan.files[0].path, plan.stretches[0]
    (b'/vm/disk0.qcow2', (0, 0, 4096, 0))
    """

    files: tuple[KnownFile, ...]
    stretches: tuple[tuple[int, int, int, int], ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, _, size, _ in self.stretches)


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
    """stretches: columns file (a row of `files`), offset, size, time_ns, as `prefetch.plan` gives them.
    written: see `known_files`."""
    stretches = stretches.assign(first=(stretches["time_ns"] // 1000).clip(lower=0))
    numbers = sorted(set(stretches["file"].tolist()))
    place = {number: at for at, number in enumerate(numbers)}
    rows = zip(*(stretches[name].tolist() for name in ("file", "offset", "size", "first")), strict=True)
    return Plan(
        known_files(files.loc[numbers], written), tuple((place[file], *rest) for file, *rest in rows)
    )


def is_plan(path: str) -> bool:
    """Whether the file begins as a plan does; False too for what cannot be read: who reads it says so."""
    try:
        if not os.path.isfile(path):  # to open a pipe would wait for its other end
            return False
        with open_regular(path) as file:
            head = file.read(len(_SHEBANG))
            return head == _SHEBANG or head.startswith(b"{")
    except (OSError, ValueError):
        return False


def save(plan: Plan, path: str) -> None:
    """Write it, as a program, beside `path` and rename it. Raises ColdseekError, as `trace.save` does."""
    from profiler.files.writing import replacing

    with replacing(path, mode=0o777) as file:
        file.write(_SHEBANG + b"\n\n".join(map(_source, (runner, runner_main))))
        file.writelines(_lines(plan))


def _lines(plan: Plan) -> Iterator[bytes]:
    """What `runner.decode` reads, as comments of Python."""
    yield b"%s%s %d %d\n" % (runner.BEGIN, runner.FORMAT.encode(), len(plan.files), len(plan.stretches))
    for file in plan.files:
        names = (_quoted(os.fsencode(name)) for name in (file.kind, file.device))
        words = ("#f", *names, file.inode, file.size, file.mtime_ns, int(file.written), _quoted(file.path))
        yield (" ".join("-" if word is None else str(word) for word in words) + "\n").encode()
    for stretch in plan.stretches:
        yield b"#r %d %d %d %d\n" % stretch


def _quoted(text: bytes) -> str:
    """Text without white space, in ASCII; "-" stands for that of no bytes."""
    plain = "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02x}" for byte in text)
    return {"-": "%2d", "": "-"}.get(plain, plain)


def _source(module: ModuleType) -> bytes:
    assert module.__file__ is not None
    return Path(module.__file__).read_bytes()


def row(file: KnownFile) -> runner.File:
    """A file as `runner` takes it."""
    return astuple(file)


def load(path: str) -> Plan:
    """Read a plan; what it would run is not. Raises ColdseekError for what is none, or says what cannot
    be."""
    remedy = f"{show_path(path)} is no plan, or is damaged; make it with coldseek prefetch TRACE --save FILE"
    try:
        with open_regular(path) as file:
            if file.read(1) == b"{":
                return _former(b"{" + file.read(MAX_BYTES))
            files, stretches = runner.decode(file)
    except OSError as error:
        raise ColdseekError(f"cannot read {show_path(path)}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ColdseekError(remedy) from error
    return Plan(tuple(KnownFile(*known) for known in files), tuple(stretches))


def _former(text: bytes) -> Plan:
    """A plan of FORMER: JSON. Raises ValueError, among others, for what is none."""
    if len(text) > MAX_BYTES:
        raise ValueError
    content = json.loads(text)
    if content["format"] != FORMER:
        raise ValueError
    files = tuple(_file(*row) for row in content["files"])
    return Plan(files, tuple(_stretches(len(files), content["stretches"])))


def _file(
    path: Any, kind: Any, device: Any, inode: Any, size: Any, mtime_ns: Any, written: Any = False
) -> KnownFile:
    if not all(isinstance(text, str) for text in (path, kind, device)) or not isinstance(written, bool):
        raise TypeError
    inode, size, mtime_ns = (None if one is None else _number(one, least) for one, least in (
        (inode, 0), (size, 0), (mtime_ns, -_LARGEST)  # files may be older than 1970
    ))  # fmt: skip
    return KnownFile(os.fsencode(path), kind, device, inode, size, mtime_ns, written)


def _stretches(files: int, rows: Iterable[Any]) -> Iterable[tuple[int, int, int, int]]:
    for place, (file, offset, size) in enumerate(rows):
        if _number(file) >= files:
            raise ValueError
        yield file, _number(offset), _number(size), place


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _LARGEST:
        raise ValueError
    return value
