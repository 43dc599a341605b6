"""A device model from measured reads: tables in, a model out. The tables are those of `tables`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.fitting.statistics import (
    HANDED,
    LEAST_BAND,
    LEAST_READS,
    PAGE,
    PAUSED,
    band,
    bandwidth,
    by,
    digits,
    handoff_us_of,
    held_to,
    level,
    overhead,
    pause_us_of,
    queue_rates_of,
    rising,
    series,
    without_stalls,
)
from profiler.devices.flash import Flash
from profiler.devices.model import MEGA, Curve, Floats
from profiler.errors import ColdseekError

FASTEST_ARM_S = 1.5e-3
"""No disk reads random places faster: half a turn at 15,000 rpm takes 2 ms, a short seek 0.3 ms or more."""

USUAL_RPM = (4200, 5400, 5900, 7200, 10_000, 15_000)
_NEAR_RPM = 0.1  # as far from a usual speed it is taken for that: some hundred reads tell no better

_FLAT_QUEUE = 1.1  # this much faster from 8 to 32 at once is no faster
_SAME_RATE = 0.85  # as many requests a second of 64 KiB as of 4 KiB, or nearly


@dataclass(frozen=True)
class Fitted:
    """The model, and the numbers it was made of.

    low_ratio, high_ratio: as in `Device`, from the spread between rounds. direct_us, reads: by size in
    bytes, mean microseconds past the page cache and the number of reads. buffered_us: mean of 4 KiB through
    the page cache, None where not measured. queue: by depth, random reads of 4 KiB a second. distances: by
    bytes, mean milliseconds. start_mb_per_s, end_mb_per_s: sequential. rounds: how many. handoff_us: as in
    `Device`, None where not measured. pause_us: as in
    `Device`, () of a disk with an arm. notes: what a reader should know.
    """

    model: Disk | Flash
    low_ratio: float
    high_ratio: float
    direct_us: dict[int, float]
    reads: dict[int, int]
    buffered_us: float | None
    buffered_reads: int
    queue: dict[int, float]
    distances: dict[int, float]
    start_mb_per_s: float
    end_mb_per_s: float
    rounds: int
    handoff_us: float | None = None
    notes: tuple[str, ...] = ()
    pause_us: Curve = ()

    @property
    def kind(self) -> str:
        return "disk" if isinstance(self.model, Disk) else "flash"


def fit(
    reads: pd.DataFrame,
    rates: pd.DataFrame,
    *,
    span: int,
    capacity: int | None = None,
    rotational: bool | None = None,
    whole: bool = False,
    fresh: bool = False,
) -> Fitted:
    """The model of the device that was measured.

    span: bytes from the first place that was read to the last. capacity: bytes of the whole device, None if
    not known. rotational: what the kernel says of it, None if nothing. whole: the device itself was read,
    not a file on it. fresh: a file was read that has just been written, on a disk of a virtual machine.

    Which mean: a cold start waits for the sum of its reads, so their mean is wanted, the slow ones among
    them; but not what happened to the machine meanwhile. So each round's mean without stalls (STALL), and of
    these means the median ("median of means"). Where stalls take most of the time they are the device's: it
    is held to a number of requests (`held_to`). Times rise with size and with distance: where noise says
    otherwise, neighbours share their mean (`rising`).

    Raises ColdseekError if there is too little to make a model of.
    """
    notes: list[str] = []
    handoff_us = handoff_us_of(reads)
    pause_us = pause_us_of(reads)
    reads = reads[~reads["series"].isin((*HANDED, PAUSED))]  # what follows is about the device
    zeros = float(reads["zeros"].mean()) if len(reads) else 0.0
    disk = _turns(reads, rotational)
    if zeros > LEAST_BAND and not disk:
        notes.append(
            f"{zeros:.0%} of the places held zeros only, which a drive may answer without reading; they do "
            f"not count. A large file, or a directory on it, gives better numbers."
        )
        reads = reads[~reads["zeros"]]
    random = series(reads, "random")
    by_size = {size: found for size, found in by(random, "size").items() if len(found) >= LEAST_READS}
    if PAGE not in by_size:
        raise ColdseekError("too few reads were measured to make a preset of; give more time with --for")
    direct = {size: level(random[random["size"] == size]) for size in by_size}
    buffered = series(reads, "buffered")
    through = None if len(buffered) < LEAST_READS else level(buffered)
    if through is None:
        notes.append("reads through the page cache were not measured: what the kernel adds is left out")
    queue_rates = rates[(rates["series"] == "queue") & (rates["requests"] > 0)]
    queue = queue_rates_of(queue_rates[queue_rates["size"] == PAGE])
    if not queue:
        notes.append("several reads at once were not measured: taken as served one at a time")
    start, end = bandwidth(rates, max(size / seconds for size, seconds in direct.items()))
    low, high = band(random[random["size"] == PAGE], buffered)
    model: Disk | Flash
    if disk:
        model, missed = _disk(reads, direct, queue, start, end, span, capacity or span)
        low, high = min(low, 1 - missed), max(high, 1 + missed)
        if not whole:
            notes.append(
                "a file shows the seeks within itself only; longer ones are taken as its longest. For the "
                "whole seek curve calibrate the block device."
            )
    else:
        large = queue_rates[queue_rates["size"] > PAGE]
        held = held_to(reads, rates)
        if held is not None:
            low, high = 1 - LEAST_BAND, 1 + LEAST_BAND  # as a count it does not depend on the moment
        model = _flash(
            by_size, direct, overhead(random, buffered), queue, held or _limit(queue, queue_rates_of(large)),
            max(start, end),
        )  # fmt: skip
        if rotational:
            notes.append(
                "the kernel calls it rotational, yet its latency does not depend on distance: taken as flash"
            )
    if fresh:
        notes.append(
            "a virtual disk and a new file: its host may still have it in memory, so that older files may "
            "be slower. --existing measures old ones."
        )
    return Fitted(
        model=model,
        low_ratio=digits(max(low, 0.1), 2),
        high_ratio=digits(min(high, 10.0), 2),
        direct_us={size: seconds * 1e6 for size, seconds in direct.items()},
        reads={size: len(seconds) for size, seconds in by_size.items()},
        buffered_us=None if through is None else through * 1e6,
        buffered_reads=len(buffered),
        queue=queue,
        distances={
            far: float(without_stalls(seconds).mean()) * 1e3
            for far, seconds in by(series(reads, "distance"), "distance").items()
        },
        start_mb_per_s=start,
        end_mb_per_s=end,
        rounds=int(reads["round"].nunique()),
        handoff_us=handoff_us,
        pause_us=() if disk else pause_us,
        notes=tuple(notes),
    )


def _flash(
    reads: dict[int, Floats],
    direct: dict[int, float],
    overhead: float,
    queue: dict[int, float],
    limit: float | None,
    transfer: float,
) -> Flash:
    """latency_us: what a program waits, so past the page cache plus the kernel's work for it. channels: the
    most requests a second times the latency of one (Little's law). iops: `limit`, None if there is none.
    """
    if limit is not None and 1 / float(reads[PAGE].mean()) > 0.5 * limit:
        # Already one at a time ran into it: most of the mean is the wait for leave, which the quick ones
        # did without.
        direct = {size: float(np.quantile(reads[size], 0.25)) for size in direct}
    sizes = np.array(sorted(direct), np.int64)
    weights = np.array([len(reads[size]) for size in sizes.tolist()], np.float64)
    seconds = rising(np.array([direct[size] for size in sizes.tolist()]), weights) + overhead
    points: Curve = tuple(
        (float(size), digits(time * 1e6, 4)) for size, time in zip(sizes, seconds, strict=True)
    )
    # what one request after another shows, the device can do
    transfer = digits(max(transfer, float((sizes / seconds).max()) / MEGA), 4)
    if limit is not None:
        return Flash(points, transfer, channels=float(max([1, *queue])), iops=digits(limit, 4))
    channels = max([1.0, *(rate * seconds[0] for rate in queue.values())])
    return Flash(points, transfer, channels=digits(channels, 3))


def _limit(queue: dict[int, float], large: dict[int, float]) -> float | None:
    """The number of requests a second that a device is held to, None if it does not look so: it is where a
    queue of 32 is served no faster than one of 8, and 64 KiB as often as 4 KiB."""
    if not {8, 32} <= set(queue) or 32 not in large:
        return None
    flat = queue[32] <= _FLAT_QUEUE * queue[8]
    return queue[32] if flat and large[32] >= _SAME_RATE * queue[32] else None


def _turns(reads: pd.DataFrame, rotational: bool | None) -> bool:
    """Whether the device has an arm: it is as slow as one, and far reads take longer than near ones.

    Where a file is too small to show that, the kernel is believed if the times spread as turning makes them.
    """
    random = series(reads, "random")
    small = random.loc[random["size"] == PAGE, "seconds"].to_numpy(np.float64)
    if rotational is False or len(small) < LEAST_READS or np.median(small) < FASTEST_ARM_S:
        return False
    apart = [seconds for _, seconds in _apart(reads)]
    if len(apart) > 1:
        near, far = apart[0], apart[-1]
        error = math.sqrt(near.var(ddof=1) / len(near) + far.var(ddof=1) / len(far))
        if far.mean() - near.mean() > max(3 * error, 0.1 * near.mean()):
            return True
    quick, slow = np.quantile(small, [0.1, 0.9])
    return rotational is True and bool(slow - quick > 0.4 * np.median(small))


def _apart(reads: pd.DataFrame) -> list[tuple[int, Floats]]:
    """For each distance that was measured often enough the seconds without stalls, nearest first."""
    found = by(series(reads, "distance"), "distance").items()
    return [(far, without_stalls(seconds)) for far, seconds in found if len(seconds) >= LEAST_READS]


def _disk(
    reads: pd.DataFrame,
    direct: dict[int, float],
    queue: dict[int, float],
    start: float,
    end: float,
    span: int,
    capacity: int,
) -> tuple[Disk, float]:
    """The disk, and by what share of it its mean random read misses the measured one."""
    following = series(reads, "next")["seconds"].to_numpy(np.float64)
    command = max(0.0, float(np.median(following)) - PAGE / (start * MEGA)) if len(following) else 0.0
    command = min(command, FASTEST_ARM_S)
    known = _apart(reads)
    if not known:  # all that is known is the random read
        small = series(reads, "random")
        known = [(span // 3, small.loc[small["size"] == PAGE, "seconds"].to_numpy(np.float64))]
    rpm = _rpm(np.concatenate([seconds - seconds.mean() for _, seconds in known]))
    fixed = command + 30 / rpm + PAGE / (start * MEGA)
    means = np.array([seconds.mean() for _, seconds in known])
    seeks_ms = rising((means - fixed) * 1e3, np.array([len(seconds) for _, seconds in known], np.float64))
    seeks_ms = np.maximum(seeks_ms, 0.01)
    distances = np.array([far for far, _ in known], np.float64)
    average_ms = _average(distances / span, seeks_ms)
    model = Disk(
        rpm=rpm,
        settle_ms=digits(float(seeks_ms[0]), 3),
        average_seek_ms=digits(average_ms, 3),
        full_stroke_ms=digits(float(seeks_ms[-1]), 3),
        command_ms=digits(command * 1e3, 3),
        transfer_mb_per_s=digits(start, 4),
        inner_mb_per_s=digits(min(start, end), 4),
        capacity_gb=digits(capacity / 1e9, 6),
        queue_depth=32.0 if queue and max(queue.values()) > 1.2 / direct[PAGE] else 1.0,
        seek_curve_ms=tuple(
            (digits(far / 1e9, 6), digits(seek, 3)) for far, seek in zip(distances, seeks_ms, strict=True)
        ),
    )
    return model, abs((fixed + average_ms / 1e3) / direct[PAGE] - 1)


def _rpm(around: Floats) -> float:
    """The speed at which the wait for the sector, uniform from nothing to a turn, spreads like `around`.

    The middle 80% of a uniform spread are 80% of a turn. A speed near a usual one is taken for that.
    """
    early, late = np.quantile(around, [0.1, 0.9])
    measured = float(np.clip(60 / max((late - early) / 0.8, 1e-9), 300, 100_000))
    usual = min(USUAL_RPM, key=lambda rpm: abs(math.log(rpm / measured)))
    return float(usual) if abs(usual / measured - 1) <= _NEAR_RPM else digits(measured, 3)


def _average(shares: Floats, seeks_ms: Floats) -> float:
    """The mean seek between random places: x of the span lies between two of them with density 2 (1 - x)."""
    x = (np.arange(1000) + 0.5) / 1000
    return float(np.average(np.interp(x, shares, seeks_ms), weights=1 - x))
