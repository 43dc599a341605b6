"""What each read of a disk image was for: the structure of the image that it got."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import group_sums, joined

UNMAPPED = "not in the map"
"""The structure of a read of an image at a place of which its map says nothing, or of unknown offset."""

COLUMNS = ("file", "structure", "reads", "bytes", "unique_bytes", "seeks", "seconds")


def structure_of(reads: pd.DataFrame, structures: pd.DataFrame) -> npt.NDArray[np.object_]:
    """For each of `reads` (columns file, offset, size: of reads or of requests) the kind of the structure
    that holds its first byte; "" for files without a map.

    structures: the trace's table. Where two overlap, as only a trace that lies can say, the one that starts
    last counts.
    """
    found = np.full(len(reads), "", object)
    file = reads["file"].to_numpy(np.int64)
    mapped = np.isin(file, structures["file"].to_numpy(np.int64))
    found[mapped] = UNMAPPED
    known = np.flatnonzero(mapped & reads["offset"].notna().to_numpy(bool))
    if not len(known):
        return found
    owner = structures["file"].to_numpy(np.int64)
    start, until = (structures[name].to_numpy(np.int64) for name in ("start", "end"))
    offset = reads["offset"].to_numpy(np.int64, na_value=0)[known]
    keys, _, _ = joined(np.concatenate([owner, file[known]]), np.concatenate([start, offset]))
    starts, points = keys[: len(owner)], keys[len(owner) :]
    order = np.argsort(starts, kind="stable")
    place = np.searchsorted(starts[order], points, side="right") - 1
    holder = order[np.maximum(place, 0)]
    inside = (place >= 0) & (owner[holder] == file[known]) & (offset < until[holder])
    kinds = structures["kind"].to_numpy(object)
    found[known[inside]] = kinds[holder[inside]]
    return found


def by_structure(
    classified: pd.DataFrame, structures: pd.DataFrame, seconds: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """One row for each structure of each file with a map that was read: COLUMNS, the most reads first
    within a file. The reads of a file's rows add up to its reads.

    classified: of `access.classify`. seconds: what each read costs on some device, one number a read.
    """
    structure = structure_of(classified, structures)
    mapped = np.flatnonzero(structure != "")
    rows = classified.iloc[mapped]
    names, which = np.unique(structure[mapped].astype(str), return_inverse=True)
    keys, group = np.unique(rows["file"].to_numpy(np.int64) * (len(names) + 1) + which, return_inverse=True)
    sums = {
        name: group_sums(values.astype(np.int64), group.reshape(-1), len(keys))
        for name, values in (
            ("reads", np.ones(len(rows))),
            ("bytes", rows["size"].to_numpy(np.int64)),
            ("unique_bytes", rows["new_bytes"].to_numpy(np.int64)),
            ("seeks", rows["seek"].to_numpy(bool)),
        )
    }
    made = pd.DataFrame(
        {
            "file": keys // (len(names) + 1),
            "structure": names[keys % (len(names) + 1)] if len(names) else [],
            **sums,
            "seconds": np.bincount(group.reshape(-1), seconds[mapped], len(keys)),
        }
    )
    return made.sort_values(["file", "reads"], ascending=[True, False], kind="stable", ignore_index=True)
