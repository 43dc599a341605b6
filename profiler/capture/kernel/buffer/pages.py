"""The kernel's trace ring buffer, from the bytes of `per_cpu/cpuN/trace_pipe_raw` to columns of numbers.

A page begins with the time stamp of its first record and ends where its `commit` says. Between lie entries
of whole 32-bit words: a header, `type_len` in its low 5 bits and `time_delta` above them, then what
`type_len` says follows. Each entry has to be looked at to find the next, so pages are the rows here: entry
number i of many thousand pages is decoded at once. Written for Linux: include/linux/ring_buffer.h,
kernel/trace/ring_buffer.c, on a little-endian machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from profiler.capture.kernel.buffer.formats import Field, Format, PageLayout
from profiler.errors import ColdseekError

_LONG, _PADDING, _TIME_EXTEND, _TIME_STAMP = 0, 29, 30, 31  # type_len; 1 to 28: that many words of data
_SHIFT = np.uint64(27)  # bits of time_delta
_STAMP_HIGH, _STAMP_CARRY = np.uint64(0xF8 << 56), np.uint64(1 << 59)  # an absolute stamp has 59 bits
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30
_COMMIT_LENGTH = (1 << 27) - 1  # what trace-cmd takes (COMMIT_MASK)
_CHUNK_BYTES = 4 << 20  # decoded at once; takes about three times that
LAST_NS = 2**63 - 1  # no event is later
_LONGEST_TEXT = 512  # bytes of a path in a record; what is longer is cut
_NOWHERE = 1 << 40  # a word beyond any page
_SPECIAL = np.zeros(32, bool)
_SPECIAL[[_LONG, _PADDING, _TIME_EXTEND, _TIME_STAMP]] = True


@dataclass
class _Wanted:
    """An event's columns so far: one array of each for every chunk of pages that had the event."""

    format: Format
    columns: dict[str, Field]  # by their names in the table
    times: list[np.ndarray] = field(default_factory=list)
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)


@dataclass
class _Walk:
    """The pages that are not at their end. One element a page.

    at, end: words from the beginning of the chunk: where the page's next entry is, and the page's end.
    clock: uint64, ns, of the entry before.
    """

    at: np.ndarray
    end: np.ndarray
    clock: np.ndarray

    def read(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read each page's next entry, and move the clock on to it.

        Returns the word at which its data begin, -1 if it has none, and the word after it. That is beyond
        the page's end if the entry makes no sense, but never at or before the entry itself.
        """
        header = words[self.at]
        kind, delta = header & 31, header >> 5
        self.clock += delta
        first = self.at + 1
        after = first + kind
        special = np.flatnonzero(_SPECIAL[kind])
        if len(special):
            first[special], after[special] = self._special(words, special, kind[special], delta[special])
        return first, after

    def go_on(self, after: np.ndarray, good: np.ndarray) -> None:
        """Go to the entries `after`; pages that are not `good` are left."""
        self.at = after
        keep = good & (after < self.end)
        if not keep.all():
            self.at, self.end, self.clock = self.at[keep], self.end[keep], self.clock[keep]

    def _special(
        self, words: np.ndarray, rows: np.ndarray, kind: np.ndarray, delta: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`read` for the pages `rows`, whose entries are of `_SPECIAL` kinds."""
        at, end, clock = self.at[rows], self.end[rows], self.clock[rows]
        # The word after the header; where the page ends before it, `after` is beyond the end whatever it is.
        second = words[np.minimum(at + 1, len(words) - 1)].astype(np.int64)
        high = second.astype(np.uint64) << _SHIFT
        self.clock[rows] = np.select(
            [kind == _TIME_EXTEND, kind == _TIME_STAMP, (kind == _PADDING) & (delta == 1)],
            [
                clock + high,
                _absolute(high | delta, clock - delta),
                clock - delta,  # a discarded record: the 1 stands for 0, which would mean "to the end"
            ],
            clock,
        )
        long, padding = kind == _LONG, kind == _PADDING
        length = (second + 3) // 4  # its own word and, after that, the data
        after = at + 1 + np.where(long | padding, length, 1)
        after[second < np.select([long, padding], [8, 4])] = _NOWHERE
        to_the_end = padding & (delta == 0)
        after[to_the_end] = end[to_the_end]
        return np.where(long, at + 2, -1), after


class Decoder:
    """Decodes the pages of all CPUs, fed one CPU's after another's.

    wanted: name of an event -> names of its fields. ColdseekError if the kernel has not got them.

    lost: events that were overwritten before they were read. gaps: places where that happened and the kernel
    did not say how many. What a full buffer turned away (`options/overwrite` 0) is in neither: no page tells
    of it, only `per_cpu/cpuN/stats`. damaged: pages that were left at an entry that makes no sense.
    """

    def __init__(
        self, layout: PageLayout, formats: Sequence[Format], wanted: Mapping[str, Sequence[str]]
    ) -> None:
        self.lost = 0
        self.gaps = 0
        self.damaged = 0
        self._layout = layout
        known = {format_.name: format_ for format_ in formats}
        self._wanted = {event: _want(event, known.get(event), names) for event, names in wanted.items()}
        # The words that a record of each type must have; 0 for the types that are not wanted.
        self._needed = np.zeros(1 << 16, np.int64)
        for one in self._wanted.values():
            last = max(column.offset + column.size for column in one.columns.values())
            self._needed[one.format.id] = -(-last // 4)

    def feed(self, data: bytes | memoryview, page_bytes: int) -> None:
        """Decode whole pages of one CPU, in their order. page_bytes: of one page (the sub-buffer size).

        Give it many pages in one call: most of the cost is by the call and by the entries of one page. Part
        of a page at the end counts as damaged. ColdseekError if no page can have that size.
        """
        if page_bytes % 4 or page_bytes <= self._layout.data_at:
            raise ColdseekError(f"no page of the kernel's trace buffer can have {page_bytes} bytes")
        view = memoryview(data).cast("B")
        whole = len(view) // page_bytes * page_bytes
        chunk = max(_CHUNK_BYTES // page_bytes, 1) * page_bytes
        for start in range(0, whole, chunk):
            self._feed(view[start : min(start + chunk, whole)], page_bytes)
        self.damaged += whole < len(view)

    def take(self, end_ns: int = LAST_NS) -> dict[str, dict[str, np.ndarray]]:
        """The events before end_ns that were not taken yet: event -> column -> one element an event, in the
        order of time.

        "time_ns": int64, by the ring buffer's clock. "tid": int32, the thread that was running. Then the
        wanted fields: numbers as int64 (an unsigned one from 2^63 on comes out negative), text as bytes up
        to its NUL, 512 of them at most.
        """
        return {event: _taken(wanted, end_ns) for event, wanted in self._wanted.items()}

    def _feed(self, data: memoryview, page_bytes: int) -> None:
        at, types, times = self._records(data, page_bytes)
        for one in self._wanted.values():
            chosen = np.flatnonzero(types == one.format.id)
            if len(chosen):
                one.times.append(times[chosen])
                for name, column in one.columns.items():
                    values = _values(data, at[chosen] + column.offset, column)
                    one.parts.setdefault(name, []).append(values)

    def _records(self, data: memoryview, page_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The wanted records in their order: their first bytes in `data`, their types, their times."""
        words, shorts = np.frombuffer(data, "<u4"), np.frombuffer(data, "<u2")
        # By the word at which a record begins: read from end to end, this is their order.
        types, times = np.zeros(len(words), np.uint16), np.empty(len(words), np.uint64)
        walk = self._begin(data, page_bytes)
        while len(walk.at):
            first, after = walk.read(words)
            good = after <= walk.end
            rows = np.flatnonzero(good & (first >= 0))
            begin = first[rows]
            type_ = shorts[2 * begin]
            needed = self._needed[type_]
            enough = after[rows] - begin >= needed
            good[rows] = enough
            hit = np.flatnonzero(enough & (needed > 0))
            types[begin[hit]] = type_[hit]
            times[begin[hit]] = walk.clock[rows[hit]]
            self.damaged += len(good) - int(np.count_nonzero(good))
            walk.go_on(after, good)
        found = np.flatnonzero(types)
        return found * 4, types[found], times[found].view(np.int64)

    def _begin(self, data: memoryview, page_bytes: int) -> _Walk:
        """The first entries of pages; counts what the pages' headers say of losses."""
        layout = self._layout
        capacity = page_bytes - layout.data_at
        pages = np.arange(0, len(data), page_bytes)
        clock = _anywhere(data, "<u8")[pages + layout.timestamp_at]
        commit = _anywhere(data, "<u4")[pages + layout.commit_at].astype(np.int64)
        length = commit & _COMMIT_LENGTH
        good = (length <= capacity) & (length % 4 == 0)
        missed = good & (commit & _MISSED_EVENTS != 0)
        stored = missed & (commit & _MISSED_STORED != 0) & (length + layout.commit_bytes <= capacity)
        counts = (pages + layout.data_at + length)[stored]
        self.lost += sum(_anywhere(data, f"<u{layout.commit_bytes}")[counts].tolist())
        self.gaps += int(np.count_nonzero(missed & ~stored))
        self.damaged += int(np.count_nonzero(~good))
        walk = _Walk((pages + layout.data_at) // 4, (pages + layout.data_at + length) // 4, clock)
        walk.go_on(walk.at, good)
        return walk


def _absolute(stamp: np.ndarray, before: np.ndarray) -> np.ndarray:
    """An absolute time stamp in full: its upper 5 bits are those of the time before (rb_fix_abs_ts)."""
    high = before & _STAMP_HIGH
    full: np.ndarray = stamp | high
    full[(high != 0) & (full < before)] += _STAMP_CARRY
    return full


def _want(event: str, format_: Format | None, names: Sequence[str]) -> _Wanted:
    if format_ is None:
        raise ColdseekError(f"the kernel has no trace event {event}")
    for name in names:
        if name not in format_.fields:
            raise ColdseekError(f"the kernel's trace event {event} has no {name}")
        if format_.fields[name].kind == "other":
            raise ColdseekError(f"{name} of the kernel's trace event {event} is neither a number nor text")
    columns = {"tid": format_.fields["common_pid"], **{name: format_.fields[name] for name in names}}
    return _Wanted(format_, columns)


def _anywhere(data: memoryview, dtype: str) -> np.ndarray:
    """`data` as overlapping numbers: element i begins at byte i, whether that is aligned or not."""
    return np.ndarray(len(data) - np.dtype(dtype).itemsize + 1, dtype, data, strides=(1,))


def _values(data: memoryview, at: np.ndarray, column: Field) -> np.ndarray:
    """The values of a column at the bytes `at`, in no more bytes than they have."""
    is_text, sign = column.kind == "text", "i" if column.signed else "u"
    values: np.ndarray = _anywhere(data, f"S{column.size}" if is_text else f"<{sign}{column.size}")[at]
    if column.kind == "located":
        begin = at - column.offset + (values & 0xFFFF)
        # no record leaves its page, and none of what a broken one points to may be outside of the chunk
        ends = np.minimum(begin + (values >> 16), len(data))
        return np.array([
            bytes(data[start:end]).partition(b"\0")[0]
            for start, end in zip(begin.tolist(), ends.tolist(), strict=True)
        ], f"S{_LONGEST_TEXT}")  # fmt: skip
    if is_text:
        letters = values.view(np.uint8).reshape(len(values), column.size)
        # what follows the NUL is whatever was in the buffer before
        letters[np.logical_or.accumulate(letters == 0, axis=1)] = 0
    return values


_TEXTS = {"text": "S{}".format, "located": lambda _: f"S{_LONGEST_TEXT}"}


def _width(name: str) -> type[np.generic]:
    return np.int32 if name == "tid" else np.int64


def _taken(wanted: _Wanted, end_ns: int) -> dict[str, np.ndarray]:
    """The events of one kind before end_ns, by time; those from then on stay."""
    times = np.concatenate([np.empty(0, np.int64), *wanted.times])
    order = np.argsort(times, kind="stable")
    end = len(order) if end_ns == LAST_NS else int(np.searchsorted(times[order], end_ns))
    taken, left = order[:end], np.sort(order[end:])
    table = {"time_ns": times[taken]}
    wanted.times = [times[left]]
    for name, column in wanted.columns.items():
        dtype = _TEXTS[column.kind](column.size) if column.kind in _TEXTS else _width(name)
        values = np.concatenate(wanted.parts.get(name) or [np.empty(0, dtype)])
        table[name] = values[taken].astype(dtype, copy=False)
        wanted.parts[name] = [values[left]] if len(left) else []
    return table
