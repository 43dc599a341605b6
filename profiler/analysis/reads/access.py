"""The class of every read, seeks, strides and gaps: in what pattern a run read its files.

A read starts where its file is read from; a seek is a read that does not start where the previous read of
that file ended. All functions take the frame of `Trace.reads()` or the frame that `classify` makes of it;
offsets, sizes, gaps and jumps are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE, Ints, exact_sum, group_sums, joined, spans, to_pages
from profiler.analysis.intervals import new_bytes as new_bytes_of

PATTERNS = ("consecutive", "strided", "forward", "backward", "repeat", "unknown")
"""The classes of a read. Every read has exactly one; `unknown` are the reads whose offset is not known."""

STRIDE_MIN_COUNT = 4
"""A jump recurs if it was made at least this often: two or three equal distances happen by chance (an ELF
file's header, program headers and notes), four in one file hardly do."""

STRIDE_MIN_SHARE = 1 / 20
"""... and if it makes up at least this share of the file's jumps, so that 20,000 random reads of a small
file, where every distance comes up a few times, have no strides. It also bounds a file's dominant strides
to twenty."""

_AT_ONCE = 1 << 20
"""Values that are counted at a time: what is worked out for each on the way would take much memory."""


def classify(reads: pd.DataFrame) -> pd.DataFrame:
    """`reads` (one row a read, in time order) with these columns added:

    pattern: categorical of PATTERNS. seek: bool. gap: Int64, offset minus the end of the previous read of
    the file; jump: Int64, offset minus the start of the previous read; both null for a file's first read
    and where the offset is unknown. new_bytes, new_page_bytes: int64, how much of the read no earlier read
    of the file had, to the byte and in whole pages.

    A read of unknown offset is neither a seek nor sequential; the read after it is compared with the last
    end that is known, and counts as the file's first if there is none.

    >>> coldseek.classify(trace.reads())["pattern"].value_counts()["strided"].item()
    63
    """
    known, file, start, end = _places(reads)
    new_page_bytes = new_bytes_of(file, *to_pages(start, end))
    aligned = not ((start | end) & (PAGE - 1)).any()
    new_bytes = new_page_bytes if aligned else new_bytes_of(file, start, end)
    gap, jump, is_first = _moves(file, start, end)
    del start, end
    seek = is_first | (gap != 0)

    moved = np.flatnonzero(seek & ~is_first)
    strided = np.zeros(len(seek), bool)
    strided[moved] = _dominant(file[moved], jump[moved])[0]
    del moved, file

    code = {name: np.int8(number) for number, name in enumerate(PATTERNS)}
    pattern = np.full(len(seek), code["backward"], np.int8)
    pattern[is_first | (gap > 0)] = code["forward"]
    pattern[strided] = code["strided"]
    pattern[~seek] = code["consecutive"]
    pattern[new_page_bytes == 0] = code["repeat"]
    pattern = _spread(known, pattern, code["unknown"])
    unknown = _spread(known, is_first, True)
    found = _spread(known, new_page_bytes)
    return reads.assign(
        pattern=pd.Categorical.from_codes(pattern, dtype=pd.CategoricalDtype(list(PATTERNS))),
        seek=_spread(known, seek),
        gap=pd.arrays.IntegerArray(_spread(known, gap), unknown.copy()),
        jump=pd.arrays.IntegerArray(_spread(known, jump), unknown),
        new_bytes=found if aligned else _spread(known, new_bytes),
        new_page_bytes=found,
    )


def seeks(reads: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which reads are seeks: the column of `classify` alone, which takes a fraction of the time."""
    known, file, start, end = _places(reads)
    gap, _, is_first = _moves(file, start, end)
    found: npt.NDArray[np.bool_] = _spread(known, is_first | (gap != 0))
    return found


def _places(reads: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32], Ints, Ints]:
    """Which reads have a known offset, and the files, starts and ends of these."""
    known = reads["offset"].notna().to_numpy(bool)
    file, offset, size = reads["file"].to_numpy(), _ints(reads["offset"]), _ints(reads["size"])
    if not known.all():
        file, offset, size = file[known], offset[known], size[known]
    return known, file, *spans(offset, size)


def _moves(file: npt.NDArray[np.int32], start: Ints, end: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Of each read its gap and its jump, 0 for a file's first, and whether it is that."""
    # numbers of 16 bits are sorted much faster, and few traces have more files
    small = len(file) > 0 and file.max() < 2**15
    order = np.argsort(file.astype(np.int16) if small else file, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(file[order]) != 0)[: len(order)])
    gap, jump, is_first = np.zeros_like(start), np.zeros_like(start), np.zeros(len(start), bool)
    begins = start[order]
    jump[order[1:]] = np.diff(begins)
    begins[1:] -= end[order[:-1]]
    gap[order[1:]] = begins[1:]
    is_first[order[first]] = True
    gap[is_first] = jump[is_first] = 0
    return gap, jump, is_first


def strides(classified: pd.DataFrame) -> pd.DataFrame:
    """The dominant recurring jumps of each file, the commonest first: columns file, bytes (signed), count.

    A jump leads from the start of one read to the start of the next, and counts where it is a seek
    (re-reads too).
    """
    file, jump = _jumps(classified)
    _, table = _dominant(file, jump)
    return table.sort_values(["count", "bytes"], ascending=[False, True], ignore_index=True)


def total_strides(classified: pd.DataFrame) -> pd.DataFrame:
    """The dominant strides of all files together, equal ones added up: columns bytes, count."""
    table = strides(classified)
    distances, which = np.unique(_ints(table["bytes"]), return_inverse=True)
    counts = np.bincount(which.reshape(-1), weights=table["count"], minlength=len(distances)).astype(
        np.int64
    )
    added = pd.DataFrame({"bytes": distances, "count": counts})
    return added.sort_values(["count", "bytes"], ascending=[False, True], ignore_index=True)


@dataclass(frozen=True)
class Totals:
    """What a set of reads adds up to. Bytes are exact; ratios are shares of the reads whose offset is known.

    unique_bytes counts every byte once, unique_page_bytes every page of 4 KiB; reread_bytes is what was
    read again. Both leave out the reads of unknown offset. A ratio is None where no offset is known.

    >>> totals = coldseek.summarise(trace).totals
    >>> totals.reads, totals.bytes, totals.patterns["strided"]
    (64, 262144, 63)
    """

    reads: int
    bytes: int
    unique_bytes: int
    unique_page_bytes: int
    reread_bytes: int
    files: int
    seeks: int
    scattered_ratio: float | None
    sequential_ratio: float | None
    ends_of_file: int
    unknown_offsets: int
    patterns: dict[str, int]


def totals(classified: pd.DataFrame, ends_of_file: int = 0) -> Totals:
    """The sums over `classified`; `ends_of_file` is passed through (reads of 0 bytes are counted apart)."""
    reads = len(classified)
    known = classified["offset"].notna().to_numpy(bool)
    size = _ints(classified["size"])
    unique = exact_sum(_ints(classified["new_bytes"]))
    seeks = int(classified["seek"].sum())
    offsets = int(known.sum())
    patterns = classified["pattern"].value_counts()
    return Totals(
        reads=reads,
        bytes=exact_sum(size),
        unique_bytes=unique,
        unique_page_bytes=exact_sum(_ints(classified["new_page_bytes"])),
        reread_bytes=max(exact_sum(size[known]) - unique, 0),
        files=int(classified["file"].nunique()),
        seeks=seeks,
        scattered_ratio=seeks / offsets if offsets else None,
        sequential_ratio=1 - seeks / offsets if offsets else None,
        ends_of_file=ends_of_file,
        unknown_offsets=reads - offsets,
        patterns={name: int(patterns[name]) for name in PATTERNS},
    )


def per_file(classified: pd.DataFrame) -> pd.DataFrame:
    """One row a file that was read, by file number: file, reads, bytes, unique_bytes, unique_page_bytes,
    reread_bytes, seeks, unknown_offsets, scattered_ratio, sequential_ratio (null where no offset is known),
    and a column for each of PATTERNS. Sums are held at 2**63 - 1.
    """
    which = classified["file"].to_numpy()
    files = np.flatnonzero(np.bincount(which))
    count = len(files)
    place = np.zeros(int(files.max(initial=0)) + 1, np.int64)
    place[files] = np.arange(count)
    which = place[which]
    known = classified["offset"].notna().to_numpy(bool)
    size = _ints(classified["size"])
    reads = np.bincount(which, minlength=count)
    offsets = np.bincount(which[known], minlength=count)
    seeks = np.bincount(which[classified["seek"].to_numpy(bool)], minlength=count)
    unique = group_sums(_ints(classified["new_bytes"]), which, count)
    ratio = np.divide(seeks, offsets, out=np.zeros(count), where=offsets > 0)
    codes = classified["pattern"].cat.codes.to_numpy()
    by_pattern = np.bincount(which * len(PATTERNS) + codes, minlength=count * len(PATTERNS))
    return pd.DataFrame(
        {
            "file": files.astype(np.int32),
            "reads": reads,
            "bytes": group_sums(size, which, count),
            "unique_bytes": unique,
            "unique_page_bytes": group_sums(_ints(classified["new_page_bytes"]), which, count),
            "reread_bytes": np.maximum(group_sums(np.where(known, size, 0), which, count) - unique, 0),
            "seeks": seeks,
            "unknown_offsets": reads - offsets,
            "scattered_ratio": pd.arrays.FloatingArray(ratio, offsets == 0),
            "sequential_ratio": pd.arrays.FloatingArray(1 - ratio, offsets == 0),
            **dict(zip(PATTERNS, by_pattern.reshape(count, len(PATTERNS)).T, strict=True)),
        }
    )


def gap_histogram(classified: pd.DataFrame) -> pd.DataFrame:
    """How far reads lie from where the previous read of their file ended: see `log2_histogram`. 0:
    sequential."""
    return log2_histogram(_ints(classified["gap"].dropna()))


def size_histogram(reads: pd.DataFrame) -> pd.DataFrame:
    """How large the reads are: see `log2_histogram`."""
    return log2_histogram(_ints(reads["size"].dropna()))


def log2_histogram(values: Ints) -> pd.DataFrame:
    """Counts of `values` (bytes, may be negative) in bins of powers of two: columns low, high, count; no
    empty bins.

    Positive values v have low <= v < high = 2 * low; negative ones low < v <= high with low = 2 * high; 0
    stands alone as low = high = 0. Ordered from the most negative up. Bounds are Python integers.
    """
    counted = np.zeros(2 * 63 + 1, np.int64)
    for begin in range(0, len(values), _AT_ONCE):
        some = values[begin : begin + _AT_ONCE]
        size = np.abs(np.maximum(some, -(2**63 - 1)))
        exponent = np.minimum(np.frexp(size.astype(np.float64))[1].astype(np.int64), 63)
        # 2**(exponent - 1) <= size < 2**exponent, but for sizes that were rounded up to the next power of
        # two
        exponent -= (exponent > 53) & (size < (np.int64(1) << np.maximum(exponent - 1, 0)))
        counted += np.bincount(np.sign(some) * exponent + 63, minlength=len(counted))
    bins = np.flatnonzero(counted) - 63
    counts = counted[bins + 63]
    edges = [(0, 0) if b == 0 else (1 << abs(b) - 1, 1 << abs(b)) for b in bins.tolist()]
    low = [small if b >= 0 else -large for b, (small, large) in zip(bins, edges, strict=True)]
    high = [large if b >= 0 else -small for b, (small, large) in zip(bins, edges, strict=True)]
    return pd.DataFrame(
        {
            "low": pd.Series(low, dtype=object),
            "high": pd.Series(high, dtype=object),
            "count": counts.astype(np.int64),
        }
    )


def _jumps(classified: pd.DataFrame) -> tuple[Ints, Ints]:
    """File and jump of every seek that has a read of its file before it."""
    rows = classified["seek"].to_numpy(bool) & classified["jump"].notna().to_numpy(bool)
    return _ints(classified["file"])[rows], _ints(classified["jump"])[rows]


def _dominant(file: npt.NDArray[np.integer], jump: Ints) -> tuple[npt.NDArray[np.bool_], pd.DataFrame]:
    """Which of these jumps are a dominant stride of their file, and the strides: columns file, bytes,
    count."""
    if not len(file):
        return np.zeros(0, bool), _stride_table(file, jump, jump)
    distances, values = None, jump
    if int(jump.max()) - int(jump.min()) >= 2**62:  # hostile: the shift below would overflow
        distances, values = np.unique(jump, return_inverse=True)
        values = values.reshape(-1)
    lowest = values.min()
    keys, bits, distinct = joined(file, values - lowest)
    by = np.sort(keys)
    begins = np.flatnonzero(np.append(True, by[1:] != by[:-1]))
    counts = np.diff(np.append(begins, len(by)))
    begins, counts = begins[counts >= STRIDE_MIN_COUNT], counts[counts >= STRIDE_MIN_COUNT]
    found = by[begins]
    of_file, value = found >> bits, found & ((1 << bits) - 1)
    value = (value if distinct is None else distinct[value]) + lowest
    value = value if distances is None else distances[value]
    dominant = (counts / np.bincount(keys >> bits)[of_file] >= STRIDE_MIN_SHARE) & (value != 0)
    table = _stride_table(of_file[dominant] + file.min(), value[dominant], counts[dominant])
    return np.isin(keys, found[dominant]), table


def _stride_table(file: npt.NDArray[np.integer], distance: Ints, count: Ints) -> pd.DataFrame:
    return pd.DataFrame({"file": file.astype(np.int32), "bytes": distance, "count": count.astype(np.int64)})


def _spread(known: npt.NDArray[np.bool_], values: npt.NDArray[Any], otherwise: Any = 0) -> Any:
    """`values` where `known` is True, `otherwise` elsewhere."""
    if known.all():
        return values
    whole = np.full(len(known), otherwise, values.dtype)
    whole[known] = values
    return whole


def _ints(column: pd.Series) -> Ints:
    return column.to_numpy(np.int64, na_value=0) if column.dtype == "Int64" else column.to_numpy(np.int64)
