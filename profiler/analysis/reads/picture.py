"""Where in the files a start reads, against time: a small grid of marks, for a terminal to show.

One file is shown by its offsets. Of all files together, what is brought in of each is stacked, in the order
of first touch: a file that costs much is a broad band, and one that is never touched takes no room.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from profiler.analysis.intervals import Ints, fresh, spans

COLUMNS, ROWS = 512, 128
"""The grid. A terminal of 99 columns has 172 dots of Braille side by side, a picture of 12 lines 48 above
each other."""

READ_COLUMNS = ("time_ns", "file", "offset", "size")
"""Of the reads, for `picture`."""

MOST_GROUPS = 4
"""Kinds of marks that are told apart; the rest are one more."""

_AT_ONCE = 1 << 20
"""Marks that are drawn at a time."""

HIT, REST = "hit", "the rest"


@dataclass(frozen=True)
class Picture:
    """file: the row of `files` that is shown, -1: all of them, `files` in number. groups: what the marks are
    for, the most bytes last, as it is drawn on top; HIT, all reads of the file, first. marks: int64, a row
    each: column of the grid (time), row (0: the lowest offset), group; each once. low, high: bytes at the
    lower and the upper edge, of one file its offsets, of all 0 and their sum. begin_s, end_s: seconds from
    the start of the trace at the left and the right edge.
    """

    file: int
    files: int
    groups: tuple[str, ...]
    marks: Ints = field(repr=False, compare=False)
    low: float
    high: float
    begin_s: float
    end_s: float


def picture(requests: pd.DataFrame, reads: pd.DataFrame | None, file: int) -> Picture | None:
    """The picture of one file, or of all (-1); None where there is nothing to show.

    requests: time_ns, file, offset, size, how and structure of each request of a cold start. reads:
    `trace.reads()`; those of the one file are drawn below its requests. None: they are not wanted.
    """
    shown = requests[((requests["file"] == file) if file >= 0 else (requests["file"] >= 0)).to_numpy(bool)]
    time, which, start, end = _columns(shown)
    names, group = _groups(shown, end - start, file >= 0)
    files = 1
    parts: list[tuple[np.ndarray, ...]]
    if file >= 0 and reads is not None:
        hits = (reads["file"] == file).to_numpy(bool) & reads["offset"].notna().to_numpy(bool)
        mine = (time, start, end, group + 1)
        time, _, start, end = _columns(reads if hits.all() else reads[hits])
        parts = [(time, start, end, np.zeros(len(time), np.int64)), mine]
        names = [HIT, *names]
    else:
        order = pd.factorize(which)[0].astype(np.int64)  # rows come by time
        pieces = fresh(order, start, end)
        files = len(np.unique(order))
        stacked = np.lexsort((pieces.start, order[pieces.row]))
        row = pieces.row[stacked]
        above = np.cumsum((pieces.end - pieces.start)[stacked], dtype=np.float64)
        parts = [(time[row], above - (pieces.end - pieces.start)[stacked], above, group[row])]
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return None
    bottom, top = (
        min(float(low.min()) for _, low, *_ in parts),
        max(float(high.max()) for _, _, high, _ in parts),
    )
    begin, until = min(int(time.min()) for time, *_ in parts), max(int(time.max()) for time, *_ in parts)
    scale = ROWS / max(top - bottom, 1.0)
    grid = np.zeros((len(names), COLUMNS, ROWS + 1), np.int64)
    for part in parts:
        for place in range(0, len(part[0]), _AT_ONCE):
            time, low, high, group = (column[place : place + _AT_ONCE] for column in part)
            column = ((time - begin) / max(until - begin, 1) * (COLUMNS - 1)).astype(np.int64)
            first, last = (
                np.minimum((edge - bottom) * scale, ROWS - 1).astype(np.int64)
                for edge in (low.astype(np.float64), high.astype(np.float64) - 1)
            )
            np.add.at(grid, (group, column, first), 1)
            np.add.at(grid, (group, column, np.maximum(last, first) + 1), -1)
    marked = np.cumsum(grid, axis=2)[:, :, :ROWS] > 0
    return Picture(
        file, files, tuple(names), np.argwhere(marked)[:, [1, 2, 0]], bottom, top, begin / 1e9, until / 1e9
    )


def _columns(rows: pd.DataFrame) -> tuple[Ints, Ints, Ints, Ints]:
    """Times, files, starts and ends."""
    offset, size = (rows[name].to_numpy(np.int64, na_value=0) for name in ("offset", "size"))
    start, end = spans(np.maximum(offset, 0), np.maximum(size, 1))
    return rows["time_ns"].to_numpy(np.int64), rows["file"].to_numpy(np.int64), start, end


def _groups(rows: pd.DataFrame, size: Ints, by_structure: bool) -> tuple[list[str], Ints]:
    """Names of the groups, those of most bytes last, and the group of each row: the structures of an image,
    else how it came in."""
    structure, how = (rows[name].astype("category").cat for name in ("structure", "how"))
    named = (structure.categories != "") & by_structure
    code = structure.codes.to_numpy()
    code = np.where(named[code], code, how.codes.to_numpy() + np.int32(len(named))) if len(rows) else code
    used, found = np.unique(code, return_inverse=True)
    labels = np.array([*structure.categories, *how.categories], str)[used]
    names, rank = np.unique(labels, return_inverse=True)  # of a structure, too, that is called as a way
    found = rank.reshape(-1)[found.reshape(-1)]
    most = np.argsort(-np.bincount(found, size.astype(np.float64), len(names)), kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[most] = np.arange(len(names))
    rank = np.minimum(rank, MOST_GROUPS)
    kept = [str(names[number]) for number in most[:MOST_GROUPS]] + [REST] * (len(names) > MOST_GROUPS)
    return kept[::-1], len(kept) - 1 - rank[found]
