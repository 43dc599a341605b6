"""What a replay measured, beside what devices are projected to take."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.analysis.simulation.replayed import Expected
from profiler.facts.replays import Replay


@dataclass(frozen=True)
class Replayed:
    """recorded_extents: pieces that the recorded files lay in; None: not known."""

    measured: Replay
    projected: tuple[Expected, ...] = ()
    recorded_extents: int | None = None
