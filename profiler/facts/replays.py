"""What was measured of recorded reads that were made again."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Played:
    """One run of fio. wall_s: from its first read to the end of its last, in thousandths of a second.
    reading_s: how long its reads took, all together. reads, bytes: as fio counted them."""

    wall_s: float
    reading_s: float
    reads: int
    bytes: int


@dataclass(frozen=True)
class Replay:
    """Some runs of the same reads.

    place: where. kind: "directory" or "block device". layer: "device" or "syscall". pauses: at the recorded
    distances. tool: fio and its version. requests, bytes: of a run. resident_before_bytes: of what is read,
    in the page cache right before each run; it matters for calls alone. scratch_bytes: of the files that
    were made. extents: pieces that they lie in; None: not known, or none were made. folded: reads whose
    recorded places lie behind the end of the device, taken within it. offsets: int64, on the device, of each
    read; None: not known.
    """

    place: str
    kind: str
    layer: str
    pauses: bool
    tool: str
    requests: int
    bytes: int
    runs: tuple[Played, ...]
    resident_before_bytes: tuple[int, ...]
    scratch_bytes: int = 0
    extents: int | None = None
    folded: int = 0
    offsets: npt.NDArray[np.int64] | None = field(default=None, repr=False, compare=False)

    @property
    def times(self) -> tuple[float, ...]:
        """Seconds that are compared: with pauses of a whole run, else of its reads, without fio's own
        time."""
        return tuple(run.wall_s if self.pauses else run.reading_s for run in self.runs)

    @property
    def median_s(self) -> float:
        return statistics.median(self.times)

    @property
    def warm(self) -> bool:
        """Whether a run may have found some of it in memory."""
        return self.layer == "syscall" and any(self.resident_before_bytes)
