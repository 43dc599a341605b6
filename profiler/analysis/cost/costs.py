"""What a cold start's files cost: files and structures of images, ranked by what is waited for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.analysis.cost.charges import HOWS, Charges, charges
from profiler.analysis.intervals import group_sums
from profiler.analysis.simulation.projection import Cold
from profiler.trace import Trace

__all__ = ["HOWS", "Cost", "by_file", "costs", "ranking"]


@dataclass(frozen=True)
class Cost:
    """What one file, or one kind of structure of an image, costs a cold start, in one way of HOWS.

    file: row of `files`, -1 for metadata of a file system. path: as it was recorded; of metadata the file
    system ("ext4 on 8:1"). structure: its kind, "" of a whole file. requests, bytes: that reached the
    device. waited_s: seconds that the program waited for it (see `charges`), None where it is not known.
    observed: these are from the layers that the tracer saw, else from the simulation (waited_s: projected on
    `charges.USUAL_DEVICE`).
    """

    file: int
    path: bytes
    structure: str
    how: str
    requests: int
    bytes: int
    waited_s: float | None
    observed: bool


def costs(
    trace: Trace, reads: pd.DataFrame | None = None, cold_start: Cold | None = None
) -> tuple[Cost, ...]:
    """The costs of a start, the dearest first. Each request and each byte is in one of them.

    They are ranked by the seconds that are waited for them, or by bytes where that is not known of all.
    cold_start: `projection.requests(trace)` if at hand.
    """
    return ranking(trace, charges(trace, reads, cold_start))


def ranking(trace: Trace, charged: Charges) -> tuple[Cost, ...]:
    """`costs` of requests that are at hand."""
    table = charged.requests
    groups = table.groupby(["file", "of", "structure", "how"], sort=False, observed=True)
    group = groups.ngroup().to_numpy(np.int64)
    count = groups.ngroups
    requests = np.bincount(group, minlength=count).tolist()
    size = group_sums(table["size"].to_numpy(np.int64), group, count).tolist()
    seconds = table["waited_s"].to_numpy(np.float64)
    known = ~np.isnan(seconds)
    waited = np.bincount(group, np.where(known, seconds, 0), count).round(9).tolist()  # nanoseconds
    is_known = (np.bincount(group, known, count) > 0).tolist()
    keys = table.iloc[np.unique(group, return_index=True)[1]]
    rows = [
        Cost(
            file, of.encode() if file < 0 else trace.files["path"].iloc[file], structure, how,
            requests[row], size[row], waited[row] if is_known[row] else None, charged.observed,
        )
        for row, (file, of, structure, how) in enumerate(
            keys[["file", "of", "structure", "how"]].itertuples(index=False, name=None)
        )
    ]  # fmt: skip
    by_time = all(is_known)
    rows.sort(key=lambda cost: (-(cost.waited_s or 0) if by_time else 0, -cost.bytes, -cost.requests))
    return tuple(rows)


def by_file(costs: Sequence[Cost]) -> dict[int, float]:
    """The share of all costs that each file has, the dearest first; -1: what file systems read of their own.
    Nothing where nothing is waited for and nothing is read."""
    by_time = all(cost.waited_s is not None for cost in costs) and any(cost.waited_s for cost in costs)
    sums: dict[int, float] = {}
    for cost in costs:
        weight = cost.waited_s if by_time and cost.waited_s is not None else float(cost.bytes)
        sums[cost.file] = sums.get(cost.file, 0.0) + weight
    total = sum(sums.values())
    if not total:
        return {}
    return {file: weight / total for file, weight in sorted(sums.items(), key=lambda pair: -pair[1])}
