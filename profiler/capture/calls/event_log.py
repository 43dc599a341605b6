"""Where tracers put what they see: a compact log of events and a list of files, in the end a Trace."""

from __future__ import annotations

import dataclasses
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from profiler.calls import LARGEST, READ_OPS, WRITE_OPS
from profiler.capture.calls.spill import FullError, Spill, array, budget_bytes
from profiler.trace import (
    CACHE_OPS,
    DEVICE_OPS,
    EVENT_COLUMNS,
    EXTENT_COLUMNS,
    FILE_COLUMNS,
    LAYERS,
    MOST_ROWS,
    STRUCTURE_COLUMNS,
    TASK_COLUMNS,
    FileFacts,
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
    "open", "lookup", "close", "lseek", "mmap", "mmap_exec", "present", "exec",
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
_ROWS_A_TURN = 1 << 17
_NULLABLE = ("duration_ns", "offset", "size")


@dataclass(slots=True)
class TaskFacts:
    """What is known of one task, from its start or from the start of a program in it; the columns of
    `trace.TASK_COLUMNS`. None: not known, or before the run, or not yet."""

    tid: int
    pid: int
    parent: int = -1
    name: bytes = b""
    program: bytes = b""
    cgroup: bytes = b""
    container: str = ""
    start_ns: int | None = None
    end_ns: int | None = None


_MENDED = "made no sense in part: what could not be is taken as not known"


def _sound(rows: np.ndarray, files: int) -> tuple[np.ndarray, int]:
    """The rows, with what no trace may hold made unknown, and how many had such: no event shall cost the
    rest."""
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
        return rows, 0
    rows = rows.copy()
    for name, (fault, unknown) in faults.items():
        rows[name][fault] = unknown
    return rows, int(wrong.sum())


class Recorder:
    """Collects files, and events, 61 bytes each, in memory at first and then on disk.

    `reads` and `read_bytes` count as it goes, for progress displays. `lost`: events that found no room on
    the disk.
    """

    def __init__(self) -> None:
        self._budget = budget_bytes()
        self.files: list[FileFacts] = []
        self.tasks: list[TaskFacts] = []
        self.handles = 0
        self.reads = 0
        self.read_bytes = 0
        self.unseen: set[str] = set()
        self.notes: list[str] = []
        self.lost = 0
        self._count = 0
        self._log = Spill(self._budget)
        self._numbers: dict[object, int] = {}
        self._naming = threading.Lock()  # names of files may come from a thread of their own

    def __len__(self) -> int:
        return self._count

    def file(self, key: object, facts: FileFacts) -> int:
        """The number of the file known by `key` (device and inode where they are known, else its path)."""
        number = self._numbers.get(key)
        if number is not None:
            return number
        with self._naming:
            number = self._numbers.get(key)
            if number is None:
                number = len(self.files)
                self.files.append(facts)
                self._numbers[key] = number
        return number

    def task(self, facts: TaskFacts) -> TaskFacts:
        """Keep what is known of a task; more may be filled in later. A task's number may come again."""
        if len(self.tasks) < MOST_ROWS["tasks"]:
            self.tasks.append(facts)
        else:
            self.note_once(f"who did it is known of the first {MOST_ROWS['tasks']:,} tasks only")
        return facts

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
        self._put(
            _EVENT.pack(
                time_ns, duration_ns, offset, requested, size, pid, tid, file, handle, op, errno, direct
            ),
            1,
        )
        if size > 0 and op < len(READ_OPS):
            self.reads += 1
            self.read_bytes += size
        return self._count - 1

    def complete(self, event: int, size: int, errno: int, end_ns: int) -> None:
        """Fill in the result of an operation that was submitted before: `size` bytes, ended at `end_ns`."""
        at = event * _EVENT.size
        values = list(_EVENT.unpack(self._log.read(at, _EVENT.size)))
        values[1], values[4], values[10] = end_ns - values[0], size, errno
        self._log.write(at, _EVENT.pack(*values))
        if size > 0 and values[9] < len(READ_OPS):
            self.reads += 1
            self.read_bytes += size

    def extend(self, columns: dict[str, np.ndarray]) -> None:
        """Append many events at once: arrays of equal length, keyed by the names of the packed columns."""
        events = np.zeros(len(columns["time_ns"]), EVENT_DTYPE)
        for name, values in columns.items():
            events[name] = values
        self.append(events)

    def append(self, rows: np.ndarray) -> None:
        """Append events of dtype EVENT_DTYPE."""
        self._put(rows.tobytes(), len(rows))
        got = (rows["op"] < len(READ_OPS)) & (rows["size"] > 0)
        self.reads += int(got.sum())
        self.read_bytes += int(rows["size"][got].sum())

    def _put(self, events: bytes, count: int) -> None:
        try:
            self._log.append(events)
            self._count += count
        except FullError as error:  # what is there already has to be saved
            self.lost += count
            self.note_once(f"INCOMPLETE: {error}")

    def reads_of(self, files: Iterable[int]) -> int:
        """How many reads there are of these files."""
        rows = self._log.view(EVENT_DTYPE)
        got = (rows["op"] < len(READ_OPS)) & (rows["size"] > 0)
        return int((got & np.isin(rows["file"], list(files))).sum())

    def take(self) -> np.ndarray:
        """All events so far, of dtype EVENT_DTYPE, in the order in which they came; none are left here."""
        rows: np.ndarray = self._log.view(EVENT_DTYPE).copy()
        self._log.close()
        self._count = self.reads = self.read_bytes = 0
        return rows

    def trace(self, meta: Meta) -> Trace:
        """Everything recorded so far as a Trace without extents and structures; the recorder stays usable.

        `meta.unseen`, `meta.notes` and `meta.lost_events` are extended by what was noted here.
        """
        events, mended = self._event_table()
        notes = [f"{show_plural(mended, 'event')} {_MENDED}"] if mended else []
        meta = dataclasses.replace(
            meta,
            lost_events=meta.lost_events + self.lost,
            unseen=tuple(sorted({*meta.unseen, *self.unseen})),
            notes=(*meta.notes, *self.notes, *notes),
        )
        return Trace(
            meta,
            events,
            self._file_table(),
            empty_table(EXTENT_COLUMNS),
            empty_table(STRUCTURE_COLUMNS),
            self._task_table(),
        )

    def _event_table(self) -> tuple[pd.DataFrame, int]:
        """The events by time, and how many of them made no sense in part. Columns of many rows lie on the
        disk, and are filled some rows at a time."""
        import pandas as pd  # late, see profiler/trace.py

        if not self._count:
            return empty_table(EVENT_COLUMNS), 0
        packed, mended = self._log.view(EVENT_DTYPE), 0
        times = packed["time_ns"].copy()
        order = None if (times[1:] >= times[:-1]).all() else np.argsort(times, kind="stable")
        del times
        in_memory = self._count * _EVENT.size <= self._budget
        columns = {
            name: array(self._count, packed.dtype[name], in_memory) for name in EVENT_DTYPE.fields or ()
        }
        unknown = {name: array(self._count, np.bool_, in_memory) for name in _NULLABLE}
        for start in range(0, self._count, _ROWS_A_TURN):
            turn = slice(start, start + _ROWS_A_TURN)
            rows, faults = _sound(packed[turn] if order is None else packed[order[turn]], len(self.files))
            mended += faults
            for name, column in columns.items():
                column[turn] = rows[name]
            for name, mask in unknown.items():
                mask[turn] = rows[name] == UNKNOWN
                columns[name][turn][mask[turn]] = 0
        op = columns["op"]
        used = np.flatnonzero(np.bincount(op, minlength=1))
        made: dict[str, object] = {}
        for name, dtype in EVENT_COLUMNS.items():
            if name == "layer":
                made[name] = pd.Categorical.from_codes(_LAYER_CODES[op], categories=pd.Index(LAYERS))
            elif name == "op":
                codes = np.searchsorted(used, op).astype(np.int8)
                made[name] = pd.Categorical.from_codes(
                    codes, categories=pd.Index([OPS[code] for code in used])
                )
            elif name in _NULLABLE:
                made[name] = pd.arrays.IntegerArray(columns[name], unknown[name])
            else:
                made[name] = columns[name].astype(dtype, copy=False)
        return pd.DataFrame(made, copy=False), mended

    def _file_table(self) -> pd.DataFrame:
        import pandas as pd

        files = list(self.files)  # whoever names files may still be at it
        made = {"file": pd.Series(range(len(files)), dtype="int32")}
        for name, dtype in FILE_COLUMNS.items():
            if name != "file":
                made[name] = pd.Series([getattr(facts, name) for facts in files], dtype=dtype)
        return pd.DataFrame(made)

    def _task_table(self) -> pd.DataFrame:
        import pandas as pd

        made = {}
        for name, dtype in TASK_COLUMNS.items():
            values = [getattr(facts, name) for facts in self.tasks]
            if name in ("start_ns", "end_ns"):
                values = [None if one is None or one < 0 else one for one in values]
            made[name] = pd.Series(values, dtype=dtype)
        return pd.DataFrame(made)
