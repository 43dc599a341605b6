"""The usual lines of a strace log, many at a time: from a block of text to columns of numbers.

A log has one layout of lines nearly throughout. `decode` finds the lines of that layout and the kind of
each with regular expressions that run in one pass (RE2, no groups), and takes the numbers out with numpy.
Whatever it does not claim as `skipped` or `hot` is for the general parser, so that this file is about
speed and never about meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profiler.calls import CALLS, Row
from profiler.capture.strace.grammar import LARGEST_REAL_PID, Prefix

FULL, STARTED, RESUMED, GENERAL = range(4)
"""Shapes of a line: a whole call; its beginning, `<unfinished ...>`; its end, `<... resumed>`; anything
else.
"""

_UNFINISHED = len(b" <unfinished ...>\n")
_LONGEST_KEY = 256
_FACTORS = np.random.default_rng(0).integers(0, 2**64, _LONGEST_KEY // 8 + 2, np.uint64) | np.uint64(1)
# without a 0 before it: that would be an octal number, which is not worth being quick for
_DESCRIPTOR = r'(?:0|[1-9]\d{0,8})(?:<[^<>",\n]*>)?'
_NUMBER = r"(?:0|[1-9]\d{0,17})"
_BUFFER = r'"(?:[^"\\\n]|\\.)*"(?:\.\.\.)?'
_RESULT = r"\) += \d{1,9}"  # reads and writes move less than 2 GiB
_ARGUMENTS = {"fd": _DESCRIPTOR, "buf": _BUFFER, "offset": f"-?{_NUMBER}", "whence": "SEEK_(?:SET|CUR|END)"}
_HOT_CALLS = tuple(row for row in CALLS if row.self_contained)
_HOT_NAMES = tuple(row.name for row in _HOT_CALLS)
# those whose end tells all that has to be known: where to write stands in the beginning
_SPLIT = tuple(row.name for row in _HOT_CALLS for move in row.moves if not (move.writes and move.offset))


def _hot(row: Row) -> Iterator[str]:
    """Regular expressions for the lines of a call without errors: whole, and where it is resumed."""
    first, *others = [_ARGUMENTS.get(argument.name, _NUMBER) for argument in row.arguments]
    result = _RESULT if row.moves else r"\) += \d{1,18}"
    yield rf"{row.name}\({', '.join((first, *others))}{result}"
    if row.name in _SPLIT:  # what a call gives back is printed when it has returned
        told = "" if row.moves[0].writes else ", ".join(others)
        yield rf"<\.\.\. {row.name} resumed> ?{told}{result}"


_HOT = "|".join(pattern for row in _HOT_CALLS for pattern in _hot(row))
_HOT_START = rf"(?:{'|'.join(_SPLIT)})\({_DESCRIPTOR}, .* <unfinished \.\.\.>\n$"


@dataclass(frozen=True)
class Layout:
    """How the lines of one log begin and end.

    task: "" | "bare" | "bracket". time: "" or the style of a `Stamp`. digits: of the time's fraction.
    duration: digits of the fraction of `<0.000012>`, -1 if the lines have none.
    """

    task: str
    time: str
    digits: int
    duration: int

    @property
    def tokens(self) -> int:
        """Words before the text proper."""
        return {"": 0, "bare": 1, "bracket": 2}[self.task] + (self.time != "")

    def prefix(self) -> str:
        """A regular expression for the beginning of a line."""
        fraction = rf"\.\d{{{self.digits}}}" if self.digits else ""
        task = {"": "", "bare": r"\d{1,9} +", "bracket": r"\[pid +\d{1,9}\] +"}[self.task]
        time = {
            "": "",
            "clock": r"\d\d:\d\d:\d\d",
            "relative": r" *\d{1,8}",
            "absolute": r"(?:[1-8]\d{9}|[1-9]\d{8})",
        }[self.time]
        return f"^{task}{time}{fraction} " if self.time else f"^{task}"

    def suffix(self) -> str:
        if self.duration < 0:
            return r"\n$"
        return rf" <\d{{1,9}}\.\d{{{self.duration}}}>\n$" if self.duration else r" <\d{1,9}>\n$"


def layout_of(prefixes: Iterable[tuple[Prefix, bytes, bytes]]) -> Layout | None:
    """The commonest layout of some calls, each given as its prefix, the prefix's text and its `<duration>`.

    None if there are no calls or if they are too unusual for `decode`.
    """
    counts: dict[Layout, int] = {}
    for prefix, text, duration in prefixes:
        task = "" if prefix.task is None else "bracket" if prefix.bracketed else "bare"
        time = "" if prefix.stamp is None else prefix.stamp.style
        layout = Layout(
            task, time,
            len(text.rpartition(b".")[2].strip()) if time and b"." in text else 0,
            -1 if not duration else len(duration.strip(b"<>").partition(b".")[2]),
        )  # fmt: skip
        if len(text.split()) == layout.tokens:
            counts[layout] = counts.get(layout, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else None


@dataclass(slots=True)
class Columns:
    """A block of whole lines. Arrays have one element a line; those from `shape` on one for each line
    `chosen`.

    starts, ends: bytes into the block, the newline within. task, stamp_ns: -1 if the line does not say.
    text_at: where the text begins after task and time; -1 if the line is not in the layout, and then neither
    are task and stamp_ns known. chosen: numbers of the lines that are not skipped. shape: FULL ... GENERAL.
    group: row of `keys`: task and text of a hot line, up to its first comma or, if it is STARTED, to its
    end. last, before, result, duration_ns: numbers of the hot lines.
    """

    starts: np.ndarray
    ends: np.ndarray
    task: np.ndarray
    stamp_ns: np.ndarray
    text_at: np.ndarray
    chosen: np.ndarray
    shape: np.ndarray
    group: np.ndarray
    keys: list[tuple[int, bytes]]
    last: np.ndarray
    before: np.ndarray
    result: np.ndarray
    duration_ns: np.ndarray


class Decoder:
    """Decodes blocks of lines of one layout. names: calls that matter; lines of all others are skipped."""

    def __init__(self, layout: Layout | None, names: Collection[str]) -> None:
        self.layout = layout
        if layout is not None:
            prefix = layout.prefix()
            self._matters = rf"{prefix}(?:(?:{'|'.join(names)})\(|<\.\.\. (?:{'|'.join(names)}) resumed>)"
            self._other = rf"{prefix}(?:\w+\(|<\.\.\. \w+ resumed>).*(?: = [^\n]*|<unfinished \.\.\.>)\n$"
            self._hot = rf"{prefix}(?:(?:{_HOT}){layout.suffix()}|{_HOT_START})"
            self._matters_letters = _beginnings(names)
            self._hot_letters = _beginnings(_HOT_NAMES)

    def decode(self, block: bytes) -> Columns:
        """`block` must end with a newline."""
        text = np.frombuffer(block + b"\n" * (_LONGEST_KEY + 8), np.uint8)  # some looks go beyond the end
        ends = np.flatnonzero(text[: len(block)] == 10) + 1
        starts = np.concatenate((np.zeros(1, ends.dtype), ends[:-1]))
        count = len(ends)
        task, stamp, text_at = np.full((3, count), -1)
        skipped = hot = np.zeros(count, bool)
        layout = self.layout
        if layout is not None:
            solid = text[: len(block)] > 32
            words = np.flatnonzero(solid & ~np.concatenate((np.zeros(1, bool), solid[:-1])))
            word_ends = np.searchsorted(words, ends)
            first = np.concatenate((np.zeros(1, word_ends.dtype), word_ends[:-1]))
            begin = np.append(words, np.full(layout.tokens + 1, len(block)))[first + layout.tokens]
            skipped, hot, ours = self._sort(text, block, starts, begin)
            ours = np.flatnonzero(ours)
            text_at[ours] = begin[ours]
            if layout.task:
                task[ours] = numbers(text, words[first[ours] + (layout.task == "bracket")], 9)
                if layout.task == "bare" and not layout.time:  # larger ones are times, as by themselves
                    times = ours[task[ours] > LARGEST_REAL_PID]
                    task[times] = text_at[times] = -1
            if layout.time:
                stamp[ours] = _stamps(text, words[first[ours] + layout.tokens - 1], layout)
        chosen = np.flatnonzero(~skipped)
        columns = Columns(
            starts, ends, task, stamp, text_at, chosen, np.full(len(chosen), GENERAL, np.int8),
            np.zeros(len(chosen), np.int64), [], *np.zeros((4, len(chosen)), np.int64),
        )  # fmt: skip
        if hot.any():
            among = np.flatnonzero(hot[chosen])
            rows = chosen[among]
            self._group(text, block, columns, among, rows)
            self._take_numbers(text, columns, among, words, word_ends[rows] - 1)
        return columns

    def _sort(
        self, text: np.ndarray, block: bytes, starts: np.ndarray, begin: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which lines are calls of no interest, which are hot, and which begin in this layout at all.

        begin: where their texts begin if they are in this layout. Each expression is tried only on lines
        whose texts begin with the letters of one of its calls: most do not.
        """
        count = len(starts)
        offsets = np.append(starts, len(block)).astype(np.int32)
        lines = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(block)])
        letters = _letters(text, np.where(text[begin] == ord("<"), begin + len("<... "), begin))
        hot, matters, skipped = np.zeros((3, count), bool)
        for chosen, pattern, candidates in (
            (hot, self._hot, self._hot_letters[letters]),
            (matters, self._matters, self._matters_letters[letters]),
            (skipped, self._other, np.ones(count, bool)),
        ):
            left = candidates & ~(hot | matters)
            if left.any():
                chosen[left] = _matches(lines.filter(pa.array(left)), pattern)
        matters |= hot
        return skipped, hot, matters | skipped

    def _group(
        self, text: np.ndarray, block: bytes, columns: Columns, among: np.ndarray, rows: np.ndarray
    ) -> None:
        """Fill in shape, group and keys of the hot lines `rows`, which are the lines `among` the
        chosen.
        """
        begin, end, task = columns.text_at[rows], columns.ends[rows], np.maximum(columns.task[rows], 0)
        started = (text[end - 2] == ord(">")) & (text[end - 3] == ord("."))
        shape = np.where(started, STARTED, np.where(text[begin] == ord("<"), RESUMED, FULL))
        commas = np.append(np.flatnonzero(text[: len(block)] == ord(",")), len(block))
        comma = commas[np.searchsorted(commas, begin)]
        length = np.where(started, end - _UNFINISHED, np.where(shape == FULL, comma, begin)) - begin
        columns.shape[among] = np.where(length > _LONGEST_KEY, GENERAL, shape)
        width = min(_LONGEST_KEY, int(length.max())) // 8 * 8 + 8
        bytes_of = np.lib.stride_tricks.sliding_window_view(text, width)[begin]
        bytes_of[np.arange(width) >= length[:, None]] = 0
        numbers_of = np.column_stack((bytes_of.view(np.uint64), task.astype(np.uint64)))
        hashes = numbers_of @ _FACTORS[: numbers_of.shape[1]]
        _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
        same = (numbers_of == numbers_of[first[group]]).all(axis=1)
        columns.shape[among[~same]] = GENERAL  # two texts with one hash
        columns.group[among] = group
        places = zip(
            task[first].tolist(), begin[first].tolist(), (begin + length)[first].tolist(), strict=True
        )
        columns.keys = [(number, block[key_from:key_to]) for number, key_from, key_to in places]

    def _take_numbers(
        self, text: np.ndarray, columns: Columns, among: np.ndarray, words: np.ndarray, tail: np.ndarray
    ) -> None:
        """Fill in the numbers of the hot lines, the last word of each being `tail` of `words`.

        Counted from the right: ..., BEFORE, LAST) = RESULT <DURATION>
        """
        assert self.layout is not None
        whole = columns.shape[among] != STARTED
        among, tail = among[whole], tail[whole]
        if self.layout.duration >= 0:
            scale = 10 ** (9 - self.layout.duration)
            columns.duration_ns[among] = numbers(text, words[tail] + 1, 19, point=True) * scale
            tail = tail - 1
        else:
            columns.duration_ns[among] = -1
        columns.result[among] = numbers(text, words[tail], 18)
        columns.last[among] = numbers(text, words[tail - 2], 18)
        columns.before[among] = numbers(text, words[tail - 3], 18)


def numbers(text: np.ndarray, places: np.ndarray, width: int, point: bool = False) -> np.ndarray:
    """The decimal numbers that begin at `places`, of at most `width` characters; 0 where none does.

    point: 1.25 gives 125.
    """
    value = np.zeros(len(places), np.int64)
    alive = np.ones(len(places), bool)
    for place in range(width):
        digit = text[places + place] - np.uint8(48)  # anything else wraps to 10 and more
        is_digit = digit < 10
        alive &= (is_digit | (digit == 254)) if point else is_digit
        if not alive.any():
            break
        value = np.where(alive & is_digit if point else alive, value * 10 + digit, value)
    return value


def _stamps(text: np.ndarray, places: np.ndarray, layout: Layout) -> np.ndarray:
    """Times in ns."""
    scale = 10 ** (9 - layout.digits)
    if layout.time != "clock":
        return np.asarray(numbers(text, places, 20, point=True) * scale)
    hours, minutes, seconds = (numbers(text, places + place, 2) for place in (0, 3, 6))
    part = numbers(text, places + 9, layout.digits) if layout.digits else 0
    return np.asarray((hours * 3600 + minutes * 60 + seconds) * 10**9 + part * scale)


def _letters(text: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The two characters at each of `places` as one number below 2**16."""
    return np.asarray(text[places] * np.uint16(256) + text[places + 1])


def _beginnings(names: Iterable[str]) -> np.ndarray:
    """Of each two characters, as `_letters` gives them, whether one of the names begins with them."""
    begins = np.zeros(1 << 16, bool)
    begins[[int.from_bytes(name[:2].encode(), "big") for name in names]] = True
    return begins


def _matches(lines: pa.Array, pattern: str) -> np.ndarray:
    matches: np.ndarray = pc.match_substring_regex(lines, pattern).to_numpy(zero_copy_only=False)
    return matches
