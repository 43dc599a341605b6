"""What a start would cost on a device, and on several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from profiler.analysis.framed import Framed, plain
from profiler.analysis.intervals import Ints
from profiler.analysis.simulation.sharing import Sharing
from profiler.units import show_plural, show_seconds


@dataclass(frozen=True, repr=False)
class Projection(Framed):
    """The projected cost of a cold start on one device.

    device, title: its name and one line on it. copies: starts at once. requests, bytes: what reaches the
    device, of all copies. seconds: how long the program waits for the device (of several copies: the one
    that waits longest; mean_s: all of them in the mean); low_s, high_s: the band that real devices of this
    kind are expected in. sequential_s: the same if these bytes, of all copies, lay in one piece and were
    read in order, all asked for at once (see `sequential`); no more than `seconds`, as nobody waits for much
    of what is read ahead. busy_s: how long the device is busy, with what nobody waits for too. start_s,
    start_low_s, start_high_s: the whole start, which is the untraced warm wall time and the waiting; None
    where no warm run was timed, or runs of another number of copies. The time of one is taken for that of
    several, as if each had a processor of its own. placed: as in `Placement.known`. shares: part of the
    device's time -> share of it, as far as the model tells parts apart. metadata_requests: those of the file
    systems' own among the requests, None where they are left out; metadata_source, missing: as of `Cold`.
    measured_bytes: as of `Cold`, None where that is of another number of copies. sharing: what of the files
    was taken as read once for all copies. times: float64, seconds that each request of one copy is waited
    for. reads: int64, the row of the reads' frame that caused each of these requests; -1: none of them.

    >>> coldseek.project(trace, "hdd-7200")
    <Projection on hdd-7200: 338 ms, 232 ms to 444 ms; 64 requests>
    """

    device: str
    title: str
    copies: int
    requests: int
    bytes: int
    seconds: float
    mean_s: float
    low_s: float
    high_s: float
    sequential_s: float
    busy_s: float
    start_s: float | None
    start_low_s: float | None
    start_high_s: float | None
    placed: str
    shares: dict[str, float]
    metadata_requests: int | None
    metadata_source: str
    missing: tuple[str, ...]
    measured_bytes: int | None
    sharing: Sharing
    times: npt.NDArray[np.float64] = field(compare=False)
    reads: Ints = field(compare=False)

    def __repr__(self) -> str:
        band = f"{show_seconds(self.low_s)} to {show_seconds(self.high_s)}"
        of = show_plural(self.requests, "request")
        return f"<Projection on {self.device}: {show_seconds(self.seconds)}, {band}; {of}>"


class Projections(Framed, tuple[Projection, ...]):
    """A projection for each device, in the order that was asked for; `to_frame` has a row for each.

    >>> several = coldseek.project(trace, ["hdd-7200", "nvme"])
    >>> several.to_frame()["requests"].sum().item()
    128
    """

    __slots__ = ()

    def rows(self) -> Iterable[Mapping[str, object]]:
        return [plain(projection) for projection in self]
