"""The marks of the map: reads, what came into the page cache, requests to the device; each as columns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.cost import below_the_program
from profiler.analysis.cost.charges import Charges
from profiler.analysis.host import PSEUDO_FILESYSTEMS
from profiler.analysis.intervals import Ints
from profiler.analysis.reads import access, attribution, readers
from profiler.trace import Trace
from profiler.units import show_short

MAX_NAME = 240
"""Characters of a name in a page; of a longer one both ends are kept. JSON has them whole."""

MAX_KINDS = 60_000
"""Threads, structures and operations beyond so many have one name together."""

UNKNOWN = -1

Numbers = npt.NDArray[np.integer]

COLUMNS = ("time_ns", "duration_ns", "pid", "tid", "op", "file", "offset", "size")
"""Of the events, for their marks."""


class Names:
    """Names that marks have in common, numbered in the order in which they come; escaped, as in text."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._numbers: dict[object, int] = {}

    def number(self, key: object, shown: str) -> int:
        if key not in self._numbers:
            if len(self.shown) >= MAX_KINDS:
                key, shown = None, "others"
            if key not in self._numbers:
                self._numbers[key] = len(self.shown)
                self.shown.append(shown)
        return self._numbers[key]

    def codes(self, values: Iterable[object]) -> Numbers:
        """The number of each of these texts (str or bytes, or categories of str)."""
        texts = values if isinstance(values, pd.Categorical) else np.asarray(values, object)
        codes, kinds = pd.factorize(texts)
        known = [self.number(kind, show_short(kind, MAX_NAME)) for kind in kinds]
        return np.array([*known, UNKNOWN], np.int32)[codes]


@dataclass
class Files:
    """Files by path, the same in all traces of a page. low, high: bytes, the span that was touched; touched:
    how many bytes of marks it has."""

    names: list[str] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    low: list[int] = field(default_factory=list)
    high: list[int] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)

    def number(self, path: bytes, own: bool = False) -> int:
        """own: of a file system itself, whose "path" is no path."""
        key = b"\0" + path if own else path
        if key not in self.numbers:
            self.numbers[key] = len(self.names)
            self.names.append(show_short(path if own else os.path.basename(path) or path, 80))
            self.full.append(show_short(path, MAX_NAME))
            self.low.append(2**63 - 1)
            self.high.append(0)
            self.touched.append(0)
        return self.numbers[key]

    def saw(self, marks: Marks) -> None:
        """Widen the spans to what these marks touch."""
        known = marks.offset >= 0
        file, start, size = marks.file, marks.offset, marks.size
        if not known.all():
            file, start, size = file[known], start[known], size[known]
        if not len(file):
            return
        order = np.argsort(file, kind="stable")  # narrow ones are sorted much faster
        file, start, size = file[order], start[order], size[order].astype(np.int64)
        first = np.flatnonzero(np.append(True, file[1:] != file[:-1]))
        lows, highs = np.minimum.reduceat(start, first), np.maximum.reduceat(start + size, first)
        sums = np.add.reduceat(np.minimum(size, 2**40), first)
        for number, low, high, total in zip(
            file[first].tolist(), lows.tolist(), highs.tolist(), sums.tolist(), strict=True
        ):
            self.low[number] = min(self.low[number], low)
            self.high[number] = max(self.high[number], high)
            self.touched[number] = min(self.touched[number] + total, 2**52)


def narrow(values: Numbers) -> Numbers:
    """The same, in the fewest bytes that have room for twice as much: of tens of millions of marks there are
    ten columns."""
    most = int(max(values.max(), -int(values.min()))) if len(values) else 0
    bits = most.bit_length() + 2
    kind = np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64
    return values.astype(kind, copy=False)


@dataclass(frozen=True)
class Marks:
    """A row each, by time, in columns of whole numbers as narrow as they may be (`narrow`).

    file: of `Files`. offset: bytes, UNKNOWN: not known. took_ns: how long the call or the wait for the
    request took, UNKNOWN: not known. structure, thread, op: of their `Names`. answer: place in
    `below_the_program.ANSWERS`. seek: 1: it does not begin where the one before of its file ended.
    """

    time_ns: Numbers
    file: Numbers
    offset: Numbers
    size: Numbers
    took_ns: Numbers
    structure: Numbers
    answer: Numbers
    thread: Numbers
    op: Numbers
    seek: Numbers

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, narrow(getattr(self, one.name)))

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, rows: npt.NDArray[np.integer] | slice) -> Marks:
        return Marks(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass
class Kinds:
    """What the marks of a page name by number."""

    files: Files = field(default_factory=Files)
    structures: Names = field(default_factory=Names)
    threads: Names = field(default_factory=Names)
    ops: Names = field(default_factory=Names)


def of_reads(trace: Trace, kinds: Kinds) -> tuple[Marks, npt.NDArray[np.bool_]]:
    """The reads, and which of `trace.reads()` they are: those of proc and the like are in no totals."""
    asked = trace.reads((*below_the_program.CALL_COLUMNS, "op", "direct"))
    answer = below_the_program.answers(trace, asked)["answer"].cat.codes.to_numpy()
    del asked
    reads = trace.reads(COLUMNS)
    pseudo = trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    kept = ~pseudo[reads["file"].to_numpy()]
    seek = access.seeks(reads).astype(np.int8)
    if not kept.all():
        reads, answer, seek = reads[kept], answer[kept], seek[kept]
    return _marks(trace, reads, kinds, reads["op"], answer, seek), kept


def of_cache(trace: Trace, kinds: Kinds) -> Marks:
    """What came into the page cache, a row a page or folio; none where no tracer looked."""
    rows = trace.layer("cache", ("miss",), COLUMNS)
    known = (rows["file"] >= 0).to_numpy(bool)
    part = below_the_program.brought_in(trace)["part"][known]
    rows = rows[known]
    nothing = np.zeros(len(rows), np.int8)
    return _marks(trace, rows, kinds, part, nothing + below_the_program.ANSWERS.index("miss"), nothing)


def of_requests(charged: Charges, trace: Trace, kinds: Kinds) -> Marks:
    """The requests of a cold start, observed or simulated, at their places in files; what file systems read
    of their own is at its place on the device."""
    rows = charged.requests
    file = rows["file"].to_numpy(np.int64)
    codes, names = pd.factorize(rows["of"].to_numpy(object)[file < 0])
    own = np.array([kinds.files.number(str(name).encode(), True) for name in names], np.int64)
    numbers = np.empty(len(rows), np.int64)
    numbers[file >= 0] = _file_numbers(trace, file[file >= 0], kinds)
    numbers[file < 0] = own[codes] if len(own) else 0
    waited = rows["waited_s"].to_numpy(np.float64)
    took = np.where(np.isnan(waited), UNKNOWN, np.nan_to_num(waited) * 1e9)
    nothing = np.zeros(len(rows), np.int8)
    return Marks(
        time_ns=rows["time_ns"].to_numpy(np.int64),
        file=numbers,
        offset=rows["offset"].to_numpy(np.int64),
        size=rows["size"].to_numpy(np.int64),
        took_ns=np.minimum(took, 2.0**62).astype(np.int64),
        structure=kinds.structures.codes(rows["structure"].array),
        answer=nothing + below_the_program.ANSWERS.index("miss"),
        thread=nothing + np.int64(kinds.threads.number(None, "not known")),
        op=kinds.ops.codes(rows["how"].array),
        seek=nothing,
    )


def _marks(
    trace: Trace, rows: pd.DataFrame, kinds: Kinds, op: pd.Series, answer: Numbers, seek: Numbers
) -> Marks:
    # narrow at once: of tens of millions the ten of them would take more than the trace
    return Marks(
        thread=narrow(_threads(trace, rows, kinds)),
        time_ns=rows["time_ns"].to_numpy(np.int64),
        file=narrow(_file_numbers(trace, rows["file"].to_numpy(), kinds)),
        offset=rows["offset"].to_numpy(np.int64, na_value=UNKNOWN),
        size=narrow(rows["size"].to_numpy(np.int64, na_value=0)),
        took_ns=narrow(rows["duration_ns"].to_numpy(np.int64, na_value=UNKNOWN)),
        structure=kinds.structures.codes(attribution.structures_of(rows, trace.structures)),
        answer=answer,
        op=narrow(kinds.ops.codes(op.array)),
        seek=seek,
    )


def _file_numbers(trace: Trace, file: Numbers, kinds: Kinds) -> Numbers:
    there = np.flatnonzero(np.bincount(file, minlength=len(trace.files)))
    paths = trace.files["path"].to_numpy(object)
    known = np.zeros(len(trace.files), np.int32)
    known[there] = [kinds.files.number(paths[one]) for one in there.tolist()]
    return known[file]


def _threads(trace: Trace, rows: pd.DataFrame, kinds: Kinds) -> Numbers:
    """Who made each: a program's name and its thread's where they are known, and the thread's number."""
    tid, time = rows["tid"].to_numpy(np.int64), rows["time_ns"].to_numpy(np.int64)
    task = readers.rows_of(trace.tasks, tid, time)
    key = tid * (len(trace.tasks) + 1)
    key += task
    which, first = _first_of_each(key)
    del key
    main = readers.rows_of(trace.tasks, rows["pid"].to_numpy(np.int64)[first], time[first])
    tasks = [trace.tasks[column].to_numpy(object) for column in ("name", "program")]
    numbers = []
    for at, of in zip(first.tolist(), main.tolist(), strict=True):
        number, row = int(tid[at]), int(task[at])
        name = tasks[0][row] if row >= 0 else b""
        called = readers.label(tasks[0][of], tasks[1][of], name) if of >= 0 else name
        shown = f"{show_short(called, 60)} ({number})" if called else f"thread {number}"
        numbers.append(kinds.threads.number((number, row, called), shown))
    found: Numbers = np.array(numbers, np.int32)[which] if numbers else tid
    return found


def _first_of_each(keys: Ints) -> tuple[Ints, Ints]:
    """Of each key its place among the distinct ones, ascending; and where each of these comes first."""
    codes, distinct = pd.factorize(keys)
    first = np.zeros(len(distinct), np.int64)
    first[codes[::-1]] = np.arange(len(keys) - 1, -1, -1)  # of several the last one stays
    order = np.argsort(distinct, kind="stable")
    rank = np.empty(len(distinct), np.int64)
    rank[order] = np.arange(len(distinct))
    return rank[codes], first[order]
