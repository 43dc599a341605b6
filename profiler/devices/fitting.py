"""A device model from measured reads: tables in, a model and the text of a device file out.

The tables are those that `coldseek calibrate` makes. `reads`, a row a read:

    series    "random": at random places, past the page cache (O_DIRECT), nothing else under way
              "buffered": the same of 4 KiB through the page cache, as a program reads; never a hit
              "distance": `distance` bytes from the read before it, past the page cache
              "next": right behind the read before it, past the page cache
              "alone", "handed": of 4 KiB through the page cache, never a hit, made by the thread that wants
              them and by a worker for it; "alone cached", "handed cached": the same again, hits
              "other": what led to one of these; counted, but of no use otherwise
    round     0, 1 ...: all series are measured in every round, so that rounds can be compared
    size, distance   bytes
    seconds   from the call to its return
    zeros     whether nothing but zeros was read

`rates`, a row for reads that were under way together, past the page cache:

    series    "queue": of random places; "sequential": one after another
    round, size   as above
    depth     reads under way at any time
    place     for "sequential": share of the device at which they lie, 0 to 1; else 0
    requests, seconds   how many were done in what time
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.devices.disk import Disk
from profiler.devices.flash import Flash
from profiler.devices.model import COUNTS, MEGA, Curve, Device, Floats
from profiler.errors import ColdseekError

READ_COLUMNS: dict[str, str] = {
    "series": "str", "round": "int64", "size": "int64", "distance": "int64", "seconds": "float64",
    "zeros": "bool",
}  # fmt: skip
RATE_COLUMNS: dict[str, str] = {
    "series": "str", "round": "int64", "size": "int64", "depth": "int64", "place": "float64",
    "requests": "int64", "seconds": "float64",
}  # fmt: skip

PAGE = 4096
STALL = 20.0
"""A read that took so many times the median of its series was held up by something else: left out."""

HELD = 0.4
"""But if stalls take so large a share of all the time, that is how the device is held to its limit: the
kernel lets many requests pass at once and then none for long."""

LEAST_BAND = 0.1
"""No band is narrower: a model of a few numbers does not hit the next start better than this, our own
judgement."""

FASTEST_ARM_S = 1.5e-3
"""No disk reads random places faster: half a turn at 15,000 rpm takes 2 ms, a short seek 0.3 ms or more."""

USUAL_RPM = (4200, 5400, 5900, 7200, 10_000, 15_000)
_NEAR_RPM = 0.1  # as far from a usual speed it is taken for that: some hundred reads tell no better

_FLAT_QUEUE = 1.1  # this much faster from 8 to 32 at once is no faster
_SAME_RATE = 0.85  # as many requests a second of 64 KiB as of 4 KiB, or nearly
_LEAST_READS = 3
_HANDED = ("handed", "handed cached", "alone", "alone cached")


@dataclass(frozen=True)
class Fitted:
    """The model, and the numbers it was made of.

    low_ratio, high_ratio: as in `Device`, from the spread between rounds. direct_us, reads: by size in
    bytes, mean microseconds past the page cache and the number of reads. buffered_us: mean of 4 KiB through
    the page cache, None where not measured. queue: by depth, random reads of 4 KiB a second. distances: by
    bytes, mean milliseconds. start_mb_per_s, end_mb_per_s: sequential. rounds: how many. handoff_us: as in
    `Device`, None where not measured. notes: what a reader should know.
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
    is held to a number of requests (`_held`). Times rise with size and with distance: where noise says
    otherwise, neighbours share their mean (`rising`).

    Raises ColdseekError if there is too little to make a model of.
    """
    notes: list[str] = []
    handoff_us = _handoff_us(reads)
    reads = reads[~reads["series"].isin(_HANDED)]  # what follows is about the device
    zeros = float(reads["zeros"].mean()) if len(reads) else 0.0
    disk = _turns(reads, rotational)
    if zeros > LEAST_BAND and not disk:
        notes.append(
            f"{zeros:.0%} of the places held zeros only, which a drive may answer without reading; they do "
            f"not count. A large file, or a directory on it, gives better numbers."
        )
        reads = reads[~reads["zeros"]]
    random = _series(reads, "random")
    by_size = {size: found for size, found in _by(random, "size").items() if len(found) >= _LEAST_READS}
    if PAGE not in by_size:
        raise ColdseekError("too few reads were measured to make a preset of; give more time with --for")
    direct = {size: level(random[random["size"] == size]) for size in by_size}
    buffered = _series(reads, "buffered")
    through = None if len(buffered) < _LEAST_READS else level(buffered)
    if through is None:
        notes.append("reads through the page cache were not measured: what the kernel adds is left out")
    queue_rates = rates[(rates["series"] == "queue") & (rates["requests"] > 0)]
    queue = _queue(queue_rates[queue_rates["size"] == PAGE])
    if not queue:
        notes.append("several reads at once were not measured: taken as served one at a time")
    start, end = _bandwidth(rates, max(size / seconds for size, seconds in direct.items()))
    low, high = _band(random[random["size"] == PAGE], buffered)
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
        held = _held(reads, rates)
        if held is not None:
            low, high = 1 - LEAST_BAND, 1 + LEAST_BAND  # as a count it does not depend on the moment
        model = _flash(
            by_size, direct, _overhead(random, buffered), queue, held or _limit(queue, _queue(large)),
            max(start, end),
        )  # fmt: skip
        if rotational:
            notes.append(
                "the kernel calls it rotational, yet its latency does not depend on distance: taken as flash"
            )
    if fresh:
        notes.append(
            "a virtual disk and a new file: its host may still have it in memory, so that older files may "
            "be slower. A large file that nobody has read for long shows that."
        )
    return Fitted(
        model=model,
        low_ratio=_digits(max(low, 0.1), 2),
        high_ratio=_digits(min(high, 10.0), 2),
        direct_us={size: seconds * 1e6 for size, seconds in direct.items()},
        reads={size: len(seconds) for size, seconds in by_size.items()},
        buffered_us=None if through is None else through * 1e6,
        buffered_reads=len(buffered),
        queue=queue,
        distances={
            far: float(without_stalls(seconds).mean()) * 1e3
            for far, seconds in _by(_series(reads, "distance"), "distance").items()
        },
        start_mb_per_s=start,
        end_mb_per_s=end,
        rounds=int(reads["round"].nunique()),
        handoff_us=handoff_us,
        notes=tuple(notes),
    )


def source(fitted: Fitted, measured: str) -> str:
    """Where the numbers come from, for the device file. measured: one sentence on when, where and how."""
    small = fitted.direct_us[PAGE]
    parts = [measured, f"Random reads of 4 KiB past the page cache (O_DIRECT): {small:.4g} us"]
    parts[-1] += f" (mean of {fitted.reads[PAGE]:,} reads)"
    if fitted.buffered_us is None:
        parts[-1] += "; through the page cache: not measured."
    else:
        parts[-1] += f"; through it: {fitted.buffered_us:.4g} us ({fitted.buffered_reads:,} reads)."
    if fitted.queue:
        rates = ", ".join(f"{rate:,.0f} with {depth}" for depth, rate in sorted(fitted.queue.items()))
        parts.append(f"Reads of 4 KiB a second by how many are under way: {rates}.")
    if fitted.handoff_us is not None:
        parts.append(
            "handoff_us: what a read of 4 KiB that misses takes longer if one thread makes it for another, "
            "less what a read that hits does, a median; of the machine, not of the device."
        )
    parts.append(
        f"One after another: {fitted.start_mb_per_s:.4g} MB/s at the start, {fitted.end_mb_per_s:.4g} MB/s "
        f"at the end."
    )
    if isinstance(fitted.model, Disk):
        parts.append(
            "seek_curve_ms: mean times by distance less command_ms, half a turn and the transfer; rpm: from "
            "how they spread; command_ms: reads right behind each other."
        )
    else:
        if fitted.model.iops < math.inf:
            parts.append(
                "iops: it is held to so many; latency_us then is of the reads that did not wait for leave."
            )
        parts.append(
            "latency_us: what a program waits, so by size past the page cache, plus what 4 KiB took longer "
            "through it. channels: most reads a second times the latency of one."
        )
    parts.append(
        "Means are medians of the rounds' means, without reads of over 20 times the median. low_ratio, "
        "high_ratio: between these lie the means of most rounds, and at least 10%."
    )
    return " ".join([*parts, *(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in fitted.notes)])


# ---- statistics -------------------------------------------------------------------------------------------


def without_stalls(seconds: Floats) -> Floats:
    """Those that took at most STALL times the median."""
    return seconds[seconds <= STALL * np.median(seconds)] if len(seconds) else seconds


def level(reads: pd.DataFrame) -> float:
    """The median over rounds of each round's mean without stalls, in seconds."""
    return float(np.median(_means(reads)))


def rising(values: Floats, weights: Floats) -> Floats:
    """The nearest rising values (least squares): where one is smaller than the one before it both become
    their mean. Pool adjacent violators; Barlow et al., "Statistical inference under order restrictions",
    1972.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, heavy, many), (two, light, few) = blocks[-2:]
            mean = (one * heavy + two * light) / (heavy + light)
            blocks[-2:] = [(mean, heavy + light, many + few)]
    return np.repeat([mean for mean, _, _ in blocks], [many for _, _, many in blocks])


def _means(reads: pd.DataFrame) -> pd.Series[float]:
    """Each round's mean without stalls, in seconds, by round."""
    limit = STALL * float(reads["seconds"].median())
    return reads[reads["seconds"] <= limit].groupby("round")["seconds"].mean()


def _held(reads: pd.DataFrame, rates: pd.DataFrame) -> float | None:
    """Requests a second that the device is held to if stalls show that it is, else None: all requests in all
    the time, as what one series is let do another has to wait for. A busy machine has stalls too, but there
    several at once get more done.
    """
    small = reads.loc[(reads["series"] == "random") & (reads["size"] == PAGE), "seconds"].to_numpy(
        np.float64
    )
    if small.sum() - without_stalls(small).sum() < HELD * small.sum():
        return None
    held = float((len(reads) + rates["requests"].sum()) / (reads["seconds"].sum() + rates["seconds"].sum()))
    queue = rates[rates["series"] == "queue"]
    together = float(queue["requests"].sum() / queue["seconds"].sum()) if len(queue) else 0.0
    return held if together < 2 * held else None


def _series(reads: pd.DataFrame, name: str) -> pd.DataFrame:
    return reads[reads["series"] == name]


def _by(reads: pd.DataFrame, column: str) -> dict[int, Floats]:
    """The seconds of the reads for each value of an integer column, smallest first."""
    values = reads[column].to_numpy(np.int64)
    seconds = reads["seconds"].to_numpy(np.float64)
    return {int(value): seconds[values == value] for value in np.unique(values)}


def _overhead(random: pd.DataFrame, buffered: pd.DataFrame) -> float:
    """Seconds that a read of 4 KiB takes longer through the page cache than past it: both were measured in
    mixed order, so that each round's means can be compared. 0 where it is lost in the noise."""
    small = random[random["size"] == PAGE]
    if len(buffered) < _LEAST_READS:
        return 0.0
    gained = (_means(buffered) - _means(small)).dropna()
    return max(0.0, float(gained.median())) if len(gained) else 0.0


def _handoff_us(reads: pd.DataFrame) -> float | None:
    """What a miss through a worker takes longer than one without, less what a hit does: the median of the
    rounds, 0 where it is lost in the noise, None where it was not measured.

    Each round's medians, not its means: some microseconds are looked for among reads that at times wait
    milliseconds for a processor that other programs have.
    """
    table = reads[reads["series"].isin(_HANDED)]
    if not set(_HANDED) <= set(table["series"]):
        return None
    middle = table.groupby(["round", "series"])["seconds"].median().unstack().dropna()
    handed, handed_cached, alone, alone_cached = (middle[name].to_numpy(np.float64) for name in _HANDED)
    more = (handed - handed_cached) - (alone - alone_cached)
    return _digits(max(0.0, float(np.median(more)) * 1e6), 3) if len(more) else None


def _band(*series: pd.DataFrame) -> tuple[float, float]:
    """Between what ratios to its level the means of most rounds lie (all but a tenth on either side); at
    least LEAST_BAND to both sides."""
    low, high = 1 - LEAST_BAND, 1 + LEAST_BAND
    for reads in series:
        if len(reads) >= _LEAST_READS:
            ratios = _means(reads) / level(reads)
            low = min(low, float(np.quantile(ratios, 0.1)))
            high = max(high, float(np.quantile(ratios, 0.9)))
    return low, high


def _queue(rates: pd.DataFrame) -> dict[int, float]:
    """By depth, requests a second over all rounds."""
    return {depth: float(rate) for depth, rate in _per_second(rates, "depth", rates["requests"]).items()}


def _per_second(rates: pd.DataFrame, column: str, amount: pd.Series[float]) -> dict[int, float]:
    values = rates[column].to_numpy(np.float64)
    amounts, seconds = (each.to_numpy(np.float64) for each in (amount, rates["seconds"]))
    return {
        int(value): float(amounts[values == value].sum() / seconds[values == value].sum())
        for value in np.unique(values)
    }


def _bandwidth(rates: pd.DataFrame, fallback: float) -> tuple[float, float]:
    """Sequential MB/s at the start and at the end; `fallback` (bytes/s) for both if not measured."""
    rows = rates[(rates["series"] == "sequential") & (rates["requests"] > 0)]
    if rows.empty:
        return fallback / MEGA, fallback / MEGA
    speed = _per_second(rows, "place", rows["requests"] * rows["size"] / MEGA)
    return speed[min(speed)], speed[max(speed)]


# ---- flash ------------------------------------------------------------------------------------------------


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
        (float(size), _digits(time * 1e6, 4)) for size, time in zip(sizes, seconds, strict=True)
    )
    # what one request after another shows, the device can do
    transfer = _digits(max(transfer, float((sizes / seconds).max()) / MEGA), 4)
    if limit is not None:
        return Flash(points, transfer, channels=float(max([1, *queue])), iops=_digits(limit, 4))
    channels = max([1.0, *(rate * seconds[0] for rate in queue.values())])
    return Flash(points, transfer, channels=_digits(channels, 3))


def _limit(queue: dict[int, float], large: dict[int, float]) -> float | None:
    """The number of requests a second that a device is held to, None if it does not look so: it is where a
    queue of 32 is served no faster than one of 8, and 64 KiB as often as 4 KiB."""
    if not {8, 32} <= set(queue) or 32 not in large:
        return None
    flat = queue[32] <= _FLAT_QUEUE * queue[8]
    return queue[32] if flat and large[32] >= _SAME_RATE * queue[32] else None


# ---- disks ------------------------------------------------------------------------------------------------


def _turns(reads: pd.DataFrame, rotational: bool | None) -> bool:
    """Whether the device has an arm: it is as slow as one, and far reads take longer than near ones.

    Where a file is too small to show that, the kernel is believed if the times spread as turning makes them.
    """
    random = _series(reads, "random")
    small = random.loc[random["size"] == PAGE, "seconds"].to_numpy(np.float64)
    if rotational is False or len(small) < _LEAST_READS or np.median(small) < FASTEST_ARM_S:
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
    found = _by(_series(reads, "distance"), "distance").items()
    return [(far, without_stalls(seconds)) for far, seconds in found if len(seconds) >= _LEAST_READS]


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
    following = _series(reads, "next")["seconds"].to_numpy(np.float64)
    command = max(0.0, float(np.median(following)) - PAGE / (start * MEGA)) if len(following) else 0.0
    command = min(command, FASTEST_ARM_S)
    known = _apart(reads)
    if not known:  # all that is known is the random read
        small = _series(reads, "random")
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
        settle_ms=_digits(float(seeks_ms[0]), 3),
        average_seek_ms=_digits(average_ms, 3),
        full_stroke_ms=_digits(float(seeks_ms[-1]), 3),
        command_ms=_digits(command * 1e3, 3),
        transfer_mb_per_s=_digits(start, 4),
        inner_mb_per_s=_digits(min(start, end), 4),
        capacity_gb=_digits(capacity / 1e9, 6),
        queue_depth=32.0 if queue and max(queue.values()) > 1.2 / direct[PAGE] else 1.0,
        seek_curve_ms=tuple(
            (_digits(far / 1e9, 6), _digits(seek, 3)) for far, seek in zip(distances, seeks_ms, strict=True)
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
    return float(usual) if abs(usual / measured - 1) <= _NEAR_RPM else _digits(measured, 3)


def _average(shares: Floats, seeks_ms: Floats) -> float:
    """The mean seek between random places: x of the span lies between two of them with density 2 (1 - x)."""
    x = (np.arange(1000) + 0.5) / 1000
    return float(np.average(np.interp(x, shares, seeks_ms), weights=1 - x))


# ---- text -------------------------------------------------------------------------------------------------


def to_toml(device: Device) -> str:
    """The device file that `loading.parse` reads back as this device (its name is that of the file).

    Fields with their default value are left out. Not for `kind` "network" or "lazy", whose server is a
    preset's name.
    """
    lines = [f"kind = {_quoted(device.kind)}", f"title = {_quoted(device.title)}", 'source = """']
    lines += textwrap.wrap(_escaped(device.source), 100, break_long_words=False, break_on_hyphens=False)
    lines.append('"""')
    for item in dataclasses.fields(device.model):  # type: ignore[arg-type]
        value = getattr(device.model, item.name)
        if value != item.default:
            lines.append(f"{item.name} = {_shown(value)}")
    if device.handoff_us is not None:
        lines.append(f"handoff_us = {_shown(device.handoff_us)}")
    if device.counts != COUNTS[0]:
        lines.append(f"counts = {_quoted(device.counts)}")
    lines += [f"low_ratio = {device.low_ratio!r}", f"high_ratio = {device.high_ratio!r}"]
    return "\n".join(lines) + "\n"


def _shown(value: float | Curve) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"[{_shown(x)}, {_shown(y)}]" for x, y in value) + "]"
    return str(int(value)) if value == int(value) else repr(float(value))


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Text as it stands in a TOML string: quotes, backslashes, and what is no character for a text file."""
    inside = json.dumps(" ".join(text.split()), ensure_ascii=False)[1:-1]
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]", _code, inside)


def _code(found: re.Match[str]) -> str:
    code = ord(found.group())
    return "\\uFFFD" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04X}"  # a lone surrogate is no character


def _digits(value: float, count: int) -> float:
    """Rounded to so many significant digits."""
    return float(f"{value:.{count}g}")
