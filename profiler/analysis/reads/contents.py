"""What of the guest's disk the reads of an image were for: its file systems' structures, its files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, group_sums
from profiler.calls import LARGEST

COLUMNS = ("file", "kind", "path", "reads", "bytes", "unique_bytes", "seconds")


def by_content(
    classified: pd.DataFrame, contents: pd.DataFrame, seconds: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """One row for each kind of content of each image, and for each file of the guest where these have names:
    COLUMNS, the most bytes first within an image.

    A read counts where its first byte lies, its bytes where each of them lies. unique_bytes: each byte of
    the image once. What lies nowhere (tables of the image, say) is left out. classified: of
    `access.classify`. seconds: what each read costs on some device, one number a read. Where two contents
    overlap, as only a trace that lies can say, the one that starts first has what they share.
    """
    parts = [
        _of_image(rows, seconds[rows.index.to_numpy()], contents[(contents["file"] == file).to_numpy(bool)])
        for file, rows in _reads_by_file(classified, contents)
    ]
    if not parts:
        return pd.DataFrame({name: [] for name in COLUMNS})
    made = pd.concat(parts, ignore_index=True)
    return made.sort_values(["file", "bytes"], ascending=[True, False], kind="stable", ignore_index=True)


def _reads_by_file(classified: pd.DataFrame, contents: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    known = classified["offset"].notna() & classified["file"].isin(contents["file"])
    rows = classified.reset_index(drop=True)[known.to_numpy(bool)]
    file = rows["file"].to_numpy(np.int64)
    return [(number, rows[file == number]) for number in np.unique(file).tolist()]


def _of_image(reads: pd.DataFrame, seconds: npt.NDArray[np.float64], contents: pd.DataFrame) -> pd.DataFrame:
    contents = contents.sort_values("start", kind="stable")
    start, end = (contents[name].to_numpy(np.int64) for name in ("start", "end"))
    start = np.maximum(start, np.concatenate([np.zeros(1, np.int64), np.maximum.accumulate(end)[:-1]]))
    end = np.maximum(end, start)
    offset, size = reads["offset"].to_numpy(np.int64), reads["size"].to_numpy(np.int64)
    group, keys = _groups(contents)
    at = np.searchsorted(start, offset, "right") - 1
    inside = at >= 0
    inside[inside] = offset[inside] < end[at[inside]]
    of_read = group[at[inside]]
    made = pd.DataFrame({
        "file": int(contents["file"].iloc[0]), "kind": keys["kind"], "path": keys["path"],
        "reads": np.bincount(of_read, minlength=len(keys)),
        "bytes": group_sums(_covered(start, end, offset, offset + size), group, len(keys)),
        "unique_bytes": group_sums(_covered(start, end, *_union(offset, offset + size)), group, len(keys)),
        "seconds": np.bincount(of_read, seconds[inside], len(keys)),
    })  # fmt: skip
    return made[(made["bytes"] > 0).to_numpy(bool)]


def _groups(contents: pd.DataFrame) -> tuple[Ints, pd.DataFrame]:
    """Number the pairs of kind and path: that of each row, and the pairs."""
    pairs = contents[["kind", "path"]]
    numbers = pairs.groupby(["kind", "path"], sort=True).ngroup().to_numpy(np.int64)
    first = np.unique(numbers, return_index=True)[1]
    return numbers.astype(np.int64), pairs.iloc[first].reset_index(drop=True)


def _covered(start: Ints, end: Ints, low: Ints, high: Ints) -> Ints:
    """How many bytes of each of the sorted, separate ranges [start, end) lie in the ranges [low, high),
    those in several of these several times; held at 2**63 - 1."""
    first, last = np.searchsorted(end, low, "right"), np.searchsorted(start, high, "left") - 1
    some = first <= last
    first, last, low, high = first[some], last[some], low[some], high[some]
    count = len(start)
    edge = group_sums(np.minimum(high, end[first]) - np.maximum(low, start[first]), first, count)
    several = first < last
    edge_last = group_sums((np.minimum(high, end[last]) - start[last])[several], last[several], count)
    # between its first and its last each has ranges as a whole: counted by where these begin and end
    begins, over = (
        np.bincount(first + 1, minlength=count + 1),
        np.bincount(np.maximum(last, first + 1), minlength=count + 1),
    )
    whole = np.cumsum(begins - over)[:count]
    sums = zip(whole.tolist(), (end - start).tolist(), edge.tolist(), edge_last.tolist(), strict=True)
    return np.array([min(times * size + one + other, LARGEST) for times, size, one, other in sums], np.int64)


def _union(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(low, kind="stable")
    low, high = low[order], np.maximum.accumulate(high[order]) if len(high) else high
    fresh = np.flatnonzero(np.concatenate([np.ones(min(1, len(low)), bool), low[1:] > high[:-1]]))
    return low[fresh], high[np.append(fresh[1:], len(high)) - 1] if len(fresh) else high
