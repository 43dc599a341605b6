"""What a cold start costs on a device: the requests that reach it, served by a model of it.

Cold cost counts first touches of pages only: nothing is cached at the start, nothing is evicted, a re-read
is free. The program waits for every read, and the time between its reads is not part of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, exact_sum
from profiler.analysis.pagecache import first_touches
from profiler.analysis.placement import FILE_GAP, SPACE, Placement, place
from profiler.devices.model import Device, continues
from profiler.errors import ColdseekError, UsageError
from profiler.trace import Trace

READ_AHEAD = 128 * 1024
"""Bytes of a contiguous run that one of several copies reads before another has its turn: the kernel's
default read-ahead (read_ahead_kb = 128)."""

MAX_SERVED = 50_000_000
"""Requests times copies; more are refused (about 100 bytes of memory each)."""


@dataclass(frozen=True)
class Projection:
    """The projected cost of a cold start on one device.

    device, title: its name and one line on it. copies: starts at once. requests, bytes: what reaches the
    device, of all copies. seconds: until the last copy is done, if the device serves one request at a time;
    low_s, high_s: the band that real devices of this kind are expected in. placed: as in `Placement.known`.
    shares: part of the time -> share of it, as far as the model tells parts apart. times: float64, seconds
    for each request of one copy and its counterparts in the others. reads: int64, the row of the reads'
    frame that caused each of these requests.
    """

    device: str
    title: str
    copies: int
    requests: int
    bytes: int
    seconds: float
    low_s: float
    high_s: float
    placed: str
    shares: dict[str, float]
    times: npt.NDArray[np.float64] = field(repr=False, compare=False)
    reads: Ints = field(repr=False, compare=False)


def requests(trace: Trace, reads: pd.DataFrame | None = None) -> Placement:
    """What reaches the device in a cold start, and where it lies there. `reads`: trace.reads() if at
    hand."""
    reads = trace.reads() if reads is None else reads
    return place(first_touches(reads, trace.files), trace.files, trace.extents)


def project(what: Trace | Placement, device: Device, copies: int = 1) -> Projection:
    """The cost of a cold start on `device`, as if everything that was read lay on it.

    what: a trace, or what `requests` made of it (made once for several devices).

    Devices of the trace are laid one after another on the one that is projected, FILE_GAP apart. `copies`
    such starts at once are served round robin, a request each, or up to READ_AHEAD of a contiguous run; each
    has files of its own, laid behind those of the one before. A scheduler that sorts requests would do
    better, copies that share their files much better.

    Raises UsageError for copies < 1, ColdseekError for more requests than MAX_SERVED.
    """
    placement = requests(what) if isinstance(what, Trace) else what
    if copies < 1:
        raise UsageError(f"{copies} copies make no sense; give a number from 1")
    frame = placement.requests
    if len(frame) * copies > MAX_SERVED:
        raise ColdseekError(
            f"{copies} copies of {len(frame)} requests are too many; at most {MAX_SERVED} are modelled"
        )
    sizes = frame["size"].to_numpy(np.int64)
    offsets, span = _on_one_device(frame)
    request, served_offsets = _interleave(offsets, sizes, span, copies)
    parts = device.model.parts(served_offsets, sizes[request])
    times = np.zeros(len(frame))
    for part in parts.values():
        times += np.bincount(request, weights=part, minlength=len(frame))
    seconds = float(times.sum())
    return Projection(
        device=device.name,
        title=device.title,
        copies=copies,
        requests=len(request),
        bytes=exact_sum(sizes) * copies,
        seconds=seconds,
        low_s=seconds * device.low_ratio,
        high_s=seconds * device.high_ratio,
        placed=placement.known,
        shares={name: float(part.sum()) / seconds for name, part in parts.items()} if seconds else {},
        times=times,
        reads=frame["read"].to_numpy(np.int64),
    )


def _on_one_device(frame: pd.DataFrame) -> tuple[Ints, int]:
    """Offsets with all devices laid one after another, and how much of the device they span, in bytes."""
    offsets = frame["device_offset"].to_numpy(np.int64).copy()
    ends = offsets + np.minimum(frame["size"].to_numpy(np.int64), SPACE)
    which, names = pd.factorize(frame["device"])
    base = 0
    for index in range(len(names)):
        rows = which == index
        lowest = int(offsets[rows].min())
        end = int(ends[rows].max())
        if index:
            offsets[rows] = (offsets[rows] - lowest + base) % SPACE
            base += end - lowest + FILE_GAP
        else:
            base = end + FILE_GAP
    return offsets, base


def _interleave(offsets: Ints, sizes: Ints, span: int, copies: int) -> tuple[Ints, Ints]:
    """The order of service: for each place in it the request of one copy, and its offset in its own copy."""
    if copies == 1:
        return np.arange(len(offsets)), offsets
    going_on = continues(offsets, sizes)
    ends = np.cumsum(sizes.astype(np.float64))
    run = np.maximum.accumulate(np.where(going_on, 0.0, ends - sizes))  # bytes read when the run began
    part = ((ends - sizes - run) // READ_AHEAD).astype(np.float64)
    turn = np.cumsum(~going_on | np.append(True, part[1:] != part[:-1])[: len(part)])
    request = np.tile(np.arange(len(offsets)), copies)
    copy = np.repeat(np.arange(copies), len(offsets))
    order = np.lexsort((request, copy, turn[request]))
    request, copy = request[order], copy[order]
    shift = np.array([number * span % SPACE for number in range(copies)], np.int64)
    return request, (offsets[request] + shift[copy]) % SPACE
