"""Where tracers put what they see: a compact log of events and a list of files, in the end a Trace."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from profiler.calls import LARGEST, READ_OPS, WRITE_OPS
from profiler.trace import (
    CACHE_OPS,
    DEVICE_OPS,
    EVENT_COLUMNS,
    EXTENT_COLUMNS,
    FILE_COLUMNS,
    LAYERS,
    STRUCTURE_COLUMNS,
    Meta,
    Trace,
    empty_table,
)
from profiler.units import show_plural

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = -(2**63)
"""Stands for null in the packed log: an offset, size or duration that is not known."""

OPS = (
    *READ_OPS, *WRITE_OPS,
    "open", "close", "lseek", "mmap", "mmap_exec", "exec",
    "fadvise_normal", "fadvise_random", "fadvise_sequential", "fadvise_willneed", "fadvise_dontneed",
    "fadvise_noreuse", "readahead",
    "madvise_normal", "madvise_random", "madvise_sequential", "madvise_willneed", *CACHE_OPS, *DEVICE_OPS,
)  # fmt: skip
OP_CODES = {name: code for code, name in enumerate(OPS)}
_LAYER_CODES = np.array([1 if op in CACHE_OPS else 2 if op in DEVICE_OPS else 0 for op in OPS], np.int8)

_EVENT = struct.Struct("<qqqqqiiiihhB")
EVENT_DTYPE = np.dtype(
    [
        ("time_ns", "<i8"), ("duration_ns", "<i8"), ("offset", "<i8"), ("requested", "<i8"), ("size", "<i8"),
        ("pid", "<i4"), ("tid", "<i4"), ("file", "<i4"), ("handle", "<i4"),
        ("op", "<i2"), ("errno", "<i2"), ("direct", "u1"),
    ]
)  # fmt: skip
_SIZE_AT = 32  # bytes into the packed event, see the struct
_NULLABLE = ("duration_ns", "offset", "size")


@dataclass(slots=True)
class FileFacts:
    """What is known of one file; the columns of `trace.FILE_COLUMNS` without its number. None: not known."""

    path: bytes
    device: str = ""
    inode: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    kind: str = "unknown"
    filesystem: str = ""


def _sound(rows: np.ndarray, files: int) -> tuple[np.ndarray, list[str]]:
    """The rows, with what no trace may hold made unknown, and a note of it: no event shall cost the rest."""
    time, duration, offset = rows["time_ns"], rows["duration_ns"], rows["offset"]
    size = rows["size"]
    faults = {
        "time_ns": (time < 0, 0),
        "duration_ns": ((duration < 0) & (duration != UNKNOWN), UNKNOWN),
        "offset": (
            (offset < 0) & (offset != UNKNOWN) | (offset > 0) & (offset - 1 > LARGEST - np.maximum(size, 0)),
            UNKNOWN,
        ),
        "requested": (rows["requested"] < 0, LARGEST),
        "size": ((size < 0) & (size != UNKNOWN), UNKNOWN),
        "file": ((rows["file"] < -1) | (rows["file"] >= files), -1),
        "errno": (rows["errno"] < 0, 0),
    }  # fmt: skip
    wrong = np.logical_or.reduce([fault for fault, _ in faults.values()])
    if not wrong.any():
        return rows, []
    rows = rows.copy()
    for name, (fault, unknown) in faults.items():
        rows[name][fault] = unknown
    count = show_plural(int(wrong.sum()), "event")
    return rows, [f"{count} made no sense in part: what could not be is taken as not known"]


class Recorder:
    """Collects events and files in memory; 61 bytes an event.

    `reads` and `read_bytes` count as it goes, for progress displays.
    """

    def __init__(self) -> None:
        self.files: list[FileFacts] = []
        self.handles = 0
        self.reads = 0
        self.read_bytes = 0
        self.unseen: set[str] = set()
        self.notes: list[str] = []
        self._log = bytearray()
        self._numbers: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._log) // _EVENT.size

    def file(self, key: object, facts: FileFacts) -> int:
        """The number of the file known by `key` (device and inode where they are known, else its path)."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.files)
            self.files.append(facts)
        return number

    def known(self, key: object) -> int | None:
        """The number of the file if `key` was given before."""
        return self._numbers.get(key)

    def rename(self, old: object, new: object | None) -> None:
        """The file known by `old` is known by `new` from now on, or by no key at all."""
        number = self._numbers.pop(old, None)
        if number is not None and new is not None:
            self._numbers[new] = number

    def note_once(self, words: str) -> None:
        """Add a note, unless there are no words or they are there already."""
        if words and words not in self.notes:
            self.notes.append(words)

    def handle(self) -> int:
        """A new number for an open of a file."""
        self.handles += 1
        return self.handles - 1

    def add(
        self,
        time_ns: int,
        duration_ns: int,
        pid: int,
        tid: int,
        op: int,
        file: int,
        handle: int,
        offset: int,
        requested: int,
        size: int,
        errno: int = 0,
        direct: bool = False,
    ) -> int:
        """Append one event, UNKNOWN for null, `op` a code of OP_CODES; gives the event's number."""
        log = self._log
        at = len(log)
        log += _EVENT.pack(
            time_ns, duration_ns, offset, requested, size, pid, tid, file, handle, op, errno, direct
        )
        if size > 0 and op < len(READ_OPS):
            self.reads += 1
            self.read_bytes += size
        return at // _EVENT.size

    def complete(self, event: int, size: int, errno: int, end_ns: int) -> None:
        """Fill in the result of an operation that was submitted before: `size` bytes, ended at `end_ns`."""
        at = event * _EVENT.size
        values = list(_EVENT.unpack_from(self._log, at))
        values[1], values[4], values[10] = end_ns - values[0], size, errno
        _EVENT.pack_into(self._log, at, *values)
        if size > 0 and values[9] < len(READ_OPS):
            self.reads += 1
            self.read_bytes += size

    def extend(self, columns: dict[str, np.ndarray]) -> None:
        """Append many events at once: arrays of equal length, keyed by the names of the packed columns."""
        events = np.zeros(len(columns["time_ns"]), EVENT_DTYPE)
        for name, values in columns.items():
            events[name] = values
        self._log += events.tobytes()
        got = (events["op"] < len(READ_OPS)) & (events["size"] > 0)
        self.reads += int(got.sum())
        self.read_bytes += int(events["size"][got].sum())

    def reads_of(self, files: Iterable[int]) -> int:
        """How many reads there are of these files."""
        rows = np.frombuffer(bytes(self._log), EVENT_DTYPE)
        got = (rows["op"] < len(READ_OPS)) & (rows["size"] > 0)
        return int((got & np.isin(rows["file"], list(files))).sum())

    def rows(self) -> np.ndarray:
        """All events so far: a copy, of dtype EVENT_DTYPE, in the order in which they came."""
        return np.frombuffer(bytes(self._log), EVENT_DTYPE).copy()

    def replace(self, rows: np.ndarray) -> None:
        """Take these events (of dtype EVENT_DTYPE) in place of all so far."""
        self._log = bytearray(rows.tobytes())
        got = (rows["op"] < len(READ_OPS)) & (rows["size"] > 0)
        self.reads, self.read_bytes = int(got.sum()), int(rows["size"][got].sum())

    def trace(self, meta: Meta) -> Trace:
        """Everything recorded so far as a Trace without extents and structures; the recorder stays usable.

        `meta.unseen` and `meta.notes` are extended by what was noted here.
        """
        import pandas as pd  # late, see profiler/trace.py

        packed, mended = _sound(np.frombuffer(bytes(self._log), EVENT_DTYPE), len(self.files))
        times = packed["time_ns"]
        if (times[1:] < times[:-1]).any():
            packed = packed[np.argsort(times, kind="stable")]
        columns: dict[str, object] = {}
        for name, dtype in EVENT_COLUMNS.items():
            if name == "layer":
                columns[name] = pd.Categorical.from_codes(
                    _LAYER_CODES[packed["op"]], categories=pd.Index(LAYERS)
                )
            elif name == "op":
                used = np.unique(packed["op"])
                columns[name] = pd.Categorical.from_codes(
                    np.searchsorted(used, packed["op"]), categories=pd.Index([OPS[code] for code in used])
                )
            elif name in _NULLABLE:
                values = packed[name].astype(np.int64)
                unknown = values == UNKNOWN
                columns[name] = pd.arrays.IntegerArray(np.where(unknown, 0, values), unknown)
            else:
                columns[name] = packed[name].astype(dtype)
        events = pd.DataFrame(columns)
        if not len(events):
            events = empty_table(EVENT_COLUMNS)
        meta = dataclasses.replace(
            meta,
            unseen=tuple(sorted({*meta.unseen, *self.unseen})),
            notes=(*meta.notes, *self.notes, *mended),
        )
        return Trace(
            meta, events, self._file_table(), empty_table(EXTENT_COLUMNS), empty_table(STRUCTURE_COLUMNS)
        )

    def _file_table(self) -> pd.DataFrame:
        import pandas as pd

        made = {"file": pd.Series(range(len(self.files)), dtype="int32")}
        for name, dtype in FILE_COLUMNS.items():
            if name != "file":
                made[name] = pd.Series([getattr(facts, name) for facts in self.files], dtype=dtype)
        return pd.DataFrame(made)
