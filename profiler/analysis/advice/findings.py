"""Why a start is slow, by rules: few, each with its numbers. A rule looks at one table of evidence and finds
something or nothing; what a remedy would gain is for `advice` to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from profiler.analysis.advice import image_rules, program_rules
from profiler.analysis.advice.evidence import Evidence, Finding
from profiler.analysis.advice.traced_image import image_of
from profiler.analysis.cost.contributors import by_bytes, contributors
from profiler.analysis.cost.costs import Cost
from profiler.analysis.reads.attribution import structures_of
from profiler.analysis.simulation.projection import Cold
from profiler.trace import Trace

RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    image_rules.rebuild, image_rules.bitmaps, image_rules.metadata, image_rules.l2_cache,
    image_rules.refcount_cache, image_rules.chain, image_rules.seeks, image_rules.fragmentation,
    image_rules.unaligned, program_rules.dearest, program_rules.mapped, program_rules.lookups,
    program_rules.read_ahead, image_rules.snapshots, image_rules.rebuild_ahead, image_rules.chain_ahead,
)  # fmt: skip


COLUMNS = ("time_ns", "pid", "file", "handle", "offset", "size")
"""Of the reads, for the rules."""


def find(trace: Trace, reads: pd.DataFrame, cold: Cold, costs: Sequence[Cost] = ()) -> tuple[Finding, ...]:
    """What the rules find, in their order: the image's structure first. reads: trace.reads(). costs:
    what its files cost; empty: by the bytes that reach the device."""
    if trace.meta.device_only:  # of no file and no program anything is known
        return ()
    image = image_of(trace)
    if image is not None:
        of_image = reads["file"].isin(image.files).to_numpy(bool)
        reads = reads if of_image.all() else reads[of_image]
    reads, requests = (
        frame.assign(structure=structures_of(frame, trace.structures)) for frame in (reads, cold.requests)
    )
    evidence = Evidence(trace, image, reads, requests, contributors(trace, costs or by_bytes(trace, cold)))
    return tuple(found for rule in RULES if (found := rule(evidence)) is not None)
