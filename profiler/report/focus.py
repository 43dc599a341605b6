"""Which file a report looks at closely: the image where it matters, else the one that costs the most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiler.analysis.cost.costs import Cost, by_file, costs
from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import group_sums
from profiler.analysis.reads.roles import chain, named_image
from profiler.trace import Trace

MATTERS = 0.1
"""The named image is in focus from this share of what the start costs on. It is what the user asked about,
so less is enough than of any other file; below it nothing that is done to the image would be noticed."""

STANDS_OUT = 1 / 3
"""Any other file is in focus from this share on. With less there is more than one story to tell, and the
view is of all files together."""


def focus(trace: Trace, ranked: Sequence[Cost] | None = None) -> int | None:
    """The number of the file in focus; None: none stands out. ranked: `costs` of the trace if at hand.

    Of an image with files behind it the whole chain counts, and the dearest of them is in focus. Where
    nothing costs anything, as in a log without offsets, the bytes that were read decide. A file that
    lies in memory is never in focus.
    """
    ranked = costs(trace) if ranked is None else ranked
    shares = by_file(ranked) or _by_bytes(trace)
    image = named_image(trace)
    if image is not None:
        members = chain(trace.meta.images, image)
        if sum(shares.get(member, 0) for member in members) >= MATTERS:
            return max(members, key=lambda member: shares.get(member, 0))
    dearest = next((file for file in shares if file >= 0), None)
    return dearest if dearest is not None and shares[dearest] >= STANDS_OUT else None


def _by_bytes(trace: Trace) -> dict[int, float]:
    """The share of the bytes read that each file has, the most first."""
    reads = trace.reads(("file", "size"))
    in_memory = trace.files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    reads = reads[~in_memory[reads["file"].to_numpy(np.int64)]]
    files, which = np.unique(reads["file"].to_numpy(np.int64), return_inverse=True)
    sizes = group_sums(reads["size"].to_numpy(np.int64), which.reshape(-1), len(files)).astype(np.float64)
    order = np.argsort(-sizes, kind="stable")
    return {int(files[row]): float(sizes[row] / sizes.sum()) for row in order}
