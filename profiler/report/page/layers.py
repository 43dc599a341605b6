"""A table of marks as it stands in the page: what it loses, and how it is cut to fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from profiler.analysis.intervals import Ints
from profiler.report.page.levels import levels
from profiler.report.page.marks import UNKNOWN, Files, Marks, Numbers
from profiler.report.page.packing import Pack

TICK_NS = 1000
TICKS = 1 << 24
"""Times are told to a microsecond, or of longer runs in so many ticks from their start to their end."""

FINE, COARSE = 1.02, 1.05
"""How long a read took is told as a power of this, so to 1% and 2.5%."""
MANY = 3_000_000
"""Of more marks than this only the coarse power is told, and times in a quarter as many ticks. Only above
this the coarsest level has columns of its own, to be drawn before the marks are unpacked."""

LARGEST = 2**52
"""JavaScript's numbers are exact to 2**53; where a file ends behind this, offsets are in larger units."""

BUDGET = {"reads": 16_000_000, "cache": 4_000_000, "requests": 4_500_000}
"""Bytes that a layer takes at most, before it is base64: of a larger one every n-th mark is kept, which the
page says; its levels count all of them."""

_SAMPLE = 200_000


def layer(marks: Marks, files: Files, pack: Pack, most: int) -> dict[str, Any]:
    """The columns of a layer, its levels, and `step`: every so many-th mark is kept. most: bytes."""
    many = len(marks) > MANY
    step = 1
    if len(marks) > _SAMPLE:
        middle = (len(marks) - _SAMPLE) // 2
        tried = Pack()
        _columns(marks.take(slice(middle, middle + _SAMPLE)), tried, many)
        each = sum(map(len, tried.blocks)) / _SAMPLE
        step = max(int(np.ceil(each * len(marks) / most)), 1)
    kept = marks if step == 1 else marks.take(slice(None, None, step))
    made: dict[str, Any] = {"rows": len(kept), "all": len(marks), "step": step, **_columns(kept, pack, many)}
    made["levels"] = [
        {
            "columns": _columns(marks.take(one.row), pack, many) if step > 1 or (many and at == 0) else None,
            "rows": len(one.row),
            "number": pack.column(np.diff(one.row, prepend=0)),
            "count": pack.column(one.count),
        }
        for at, one in enumerate(levels(marks, files))
    ]
    return made


def _columns(marks: Marks, pack: Pack, many: bool) -> dict[str, Any]:
    tick = _tick(marks.time_ns, many)
    unit = _unit(marks)
    base = FINE if not many else COARSE
    known = marks.offset >= 0
    return {
        "tick_ns": tick,
        "unit": unit,
        "base": base,
        "time": pack.column(np.diff(_whole(marks.time_ns, tick), prepend=0), signed=True),
        "file": pack.column(marks.file),
        "gap": pack.column(_gaps(marks, known, unit), signed=True),
        "size": pack.column(_whole(marks.size, unit)),
        "took": pack.column(powers(marks.took_ns, base)),
        "structure": pack.column(marks.structure + 1),
        "thread": pack.column(marks.thread),
        "op": pack.column(marks.op),
        "flags": pack.column(marks.answer | (marks.seek << 2) | ((~known).astype(np.int8) << 3)),
    }


def _whole(values: Numbers, unit: int) -> Numbers:
    """How many whole units these are, none below 0. They are so narrow that a unit may not fit in beside
    them, and then none of them is one."""
    if unit == 1:
        return values
    return values // unit if unit <= np.iinfo(values.dtype).max else np.zeros_like(values)


def _tick(time: Numbers, many: bool) -> int:
    last = int(time[-1]) if len(time) else 0
    return max(TICK_NS, last // (TICKS // 4 if many else TICKS))


def _unit(marks: Marks) -> int:
    """Bytes that offsets and sizes are counted in: 1, but for the ends of the largest files."""
    end = int((np.maximum(marks.offset, 0) + marks.size.astype(np.int64)).max(initial=0))
    return max(1, 1 << max(end.bit_length() - LARGEST.bit_length() + 1, 0))


def _gaps(marks: Marks, known: Any, unit: int) -> Ints:
    """From where the mark before of the same file ended; 0 where the offset is not known."""
    rows = np.flatnonzero(known)
    order = rows[np.argsort(marks.file[rows], kind="stable")]  # narrow ones are sorted much faster
    start, size, of = marks.offset[order].astype(np.int64), marks.size[order], marks.file[order]
    if unit > 1:
        start, size = start // unit, _whole(size, unit)
    before = np.append(np.int64(0), (start + size)[:-1])[: len(order)]
    before[np.append(True, of[1:] != of[:-1])[: len(order)]] = 0
    gap = np.zeros(len(marks), np.int64)
    gap[order] = start - before
    return gap


def powers(took_ns: Numbers, base: float) -> Numbers:
    """0: not known; else 1 and the power of `base` that is nearest to so many nanoseconds (0 as 1)."""
    power = np.log(np.maximum(took_ns, 1).astype(np.float64))
    power /= np.log(base)
    found: Numbers = np.rint(power, out=power).astype(np.int16) + np.int16(1)
    found[took_ns == UNKNOWN] = 0
    return found
