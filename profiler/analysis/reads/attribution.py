"""What each read and each observed request of a disk image was for: the structure that it got."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, group_sums, holding
from profiler.analysis.simulation import inverse
from profiler.trace import Trace

UNMAPPED = "not in the map"
"""The structure of a read of an image at a place of which its map says nothing, or of unknown offset."""

COLUMNS = ("file", "structure", "reads", "bytes", "unique_bytes", "seeks", "seconds")


def structure_of(reads: pd.DataFrame, structures: pd.DataFrame) -> npt.NDArray[np.object_]:
    """`structures_of` as texts."""
    found: npt.NDArray[np.object_] = np.asarray(structures_of(reads, structures), object)
    return found


def structures_of(reads: pd.DataFrame, structures: pd.DataFrame) -> pd.Categorical[Any]:
    """For each of `reads` (columns file, offset, size: of reads or of requests) the kind of the structure
    that holds its first byte; "" for files without a map.

    structures: the trace's table. Where two overlap, as only a trace that lies can say, the one that starts
    last counts.
    """
    which, kinds = pd.factorize(
        np.append(np.array(["", UNMAPPED], object), structures["kind"].to_numpy(object))
    )
    found: Any = np.zeros(len(reads), np.int16 if len(kinds) < 2**15 else np.int32)
    names: Any = pd.CategoricalDtype(list(kinds))
    if not len(structures):
        return pd.Categorical.from_codes(found, dtype=names)
    file = reads["file"].to_numpy()
    mapped = np.isin(file, structures["file"].to_numpy())
    found[mapped] = 1
    known = np.flatnonzero(mapped & reads["offset"].notna().to_numpy(bool))
    if len(known):
        owner, start, until = (structures[name].to_numpy(np.int64) for name in ("file", "start", "end"))
        offset = reads["offset"].to_numpy(np.int64, na_value=0)[known]
        holder = holding(owner, start, until, file[known], offset)
        inside = holder >= 0
        found[known[inside]] = which[2:][holder[inside]]
    return pd.Categorical.from_codes(found, dtype=names)


def by_structure(
    classified: pd.DataFrame, structures: pd.DataFrame, seconds: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """One row for each structure of each file with a map that was read: COLUMNS, the most reads first
    within a file. The reads of a file's rows add up to its reads.

    classified: of `access.classify`. seconds: what each read costs on some device, one number a read.
    """
    structure = structures_of(classified, structures)
    mapped = np.flatnonzero(structure.codes > 0)  # "" is the first
    rows = classified.iloc[mapped]
    made = _summed(
        rows["file"].to_numpy(np.int64),
        structure[mapped],
        {
            "reads": np.ones(len(rows), np.int64),
            "bytes": rows["size"].to_numpy(np.int64),
            "unique_bytes": rows["new_bytes"].to_numpy(np.int64),
            "seeks": rows["seek"].to_numpy(np.int64),
            "seconds": seconds[mapped],
        },
    )
    return _most_reads_first(made)


def requests_by_structure(trace: Trace) -> tuple[Ints, pd.DataFrame]:
    """The files with a map of which it is known what requests read them (`inverse.known_files`), and one
    row for each structure of theirs that a request began with: file, structure, requests, bytes (the
    program's bytes in them). As they were observed: lost events are not in it.
    """
    known = inverse.known_files(trace)
    requests = inverse.requests(trace, known)
    found = _summed(
        requests["file"].to_numpy(np.int64),
        structures_of(requests, trace.structures),
        {"requests": np.ones(len(requests), np.int64), "bytes": requests["size"].to_numpy(np.int64)},
    )
    return known, found


def with_requests(table: pd.DataFrame, known: Ints, requested: pd.DataFrame) -> pd.DataFrame:
    """`table` (of `by_structure`) with the column requests (Int64) of `requests_by_structure`, null where
    the file is not among the known. What was requested and never read, but brought in by read-ahead or
    through a mapping, has a row of no reads.
    """
    sums = {"reads": "Int64", "bytes": "Int64", "unique_bytes": "Int64", "seeks": "Int64"}
    counts = requested[["file", "structure", "requests"]].astype({"requests": "Int64"})
    made = table.astype(sums).merge(counts, "outer", ["file", "structure"])  # Int64: floats are not exact
    unread = {**dict.fromkeys(sums, 0), "seconds": 0.0}
    made = made.fillna(unread).astype(dict.fromkeys(sums, "int64"))
    unasked = made["requests"].isna() & made["file"].isin(known)
    made["requests"] = made["requests"].mask(unasked, 0)
    return _most_reads_first(made)


def _summed(
    file: Ints, structure: pd.Categorical[Any], values: dict[str, Ints | npt.NDArray[np.float64]]
) -> pd.DataFrame:
    """One row for each (file, structure), by file and name: the sums of `values`, of whole numbers exact."""
    names, rank = np.unique(np.asarray(structure.categories, str), return_inverse=True)
    which = rank.reshape(-1)[structure.codes]
    keys, group = np.unique(file * (len(names) + 1) + which, return_inverse=True)
    group = group.reshape(-1)
    sums = {
        name: group_sums(column.astype(np.int64, copy=False), group, len(keys))
        if column.dtype == np.int64
        else np.bincount(group, column, len(keys))
        for name, column in values.items()
    }
    of_keys = names[keys % (len(names) + 1)] if len(names) else []
    return pd.DataFrame({"file": keys // (len(names) + 1), "structure": of_keys, **sums})


def _most_reads_first(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["file", "reads"], ascending=[True, False], kind="stable", ignore_index=True)
