"""What timed reads have in common: means without stalls, by size, by distance, by depth of the queue."""

from __future__ import annotations

import numpy as np
import pandas as pd

from profiler.devices.model import MEGA, Curve, Floats

PAGE = 4096
STALL = 20.0
"""A read that took so many times the median of its series was held up by something else: left out."""

HELD = 0.4
"""But if stalls take so large a share of all the time, that is how the device is held to its limit: the
kernel lets many requests pass at once and then none for long."""

LEAST_BAND = 0.1
"""No band is narrower: a model of a few numbers does not hit the next start better than this, our own
judgement."""
LEAST_READS = 3

NOTICED = 0.05
"""A pause that adds less to a read is left out: rounds differ by as much."""
PAUSED = "paused"
HANDED = ("handed", "handed cached", "alone", "alone cached")


def without_stalls(seconds: Floats) -> Floats:
    """Those that took at most STALL times the median."""
    return seconds[seconds <= STALL * np.median(seconds)] if len(seconds) else seconds


def level(reads: pd.DataFrame) -> float:
    """The median over rounds of each round's mean without stalls, in seconds."""
    return float(np.median(round_means(reads)))


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


def round_means(reads: pd.DataFrame) -> pd.Series[float]:
    """Each round's mean without stalls, in seconds, by round."""
    limit = STALL * float(reads["seconds"].median())
    return reads[reads["seconds"] <= limit].groupby("round")["seconds"].mean()


def held_to(reads: pd.DataFrame, rates: pd.DataFrame) -> float | None:
    """Requests a second that the device is held to if stalls show that it is, else None: all requests in all
    the time, as what one series is let do another has to wait for. A busy machine has stalls too, and so has
    a disk whose host must fetch what it serves, but there many at once get more done.
    """
    small = reads.loc[(reads["series"] == "random") & (reads["size"] == PAGE), "seconds"].to_numpy(
        np.float64
    )
    if small.sum() - without_stalls(small).sum() < HELD * small.sum():
        return None
    held = float((len(reads) + rates["requests"].sum()) / (reads["seconds"].sum() + rates["seconds"].sum()))
    queue = rates[(rates["series"] == "queue") & (rates["size"] == PAGE)]
    queue = queue[queue["depth"] == queue["depth"].max()]
    together = float(queue["requests"].sum() / queue["seconds"].sum()) if len(queue) else 0.0
    return held if together < 2 * held else None


def series(reads: pd.DataFrame, name: str) -> pd.DataFrame:
    return reads[reads["series"] == name]


def by(reads: pd.DataFrame, column: str) -> dict[int, Floats]:
    """The seconds of the reads for each value of an integer column, smallest first."""
    values = reads[column].to_numpy(np.int64)
    seconds = reads["seconds"].to_numpy(np.float64)
    return {int(value): seconds[values == value] for value in np.unique(values)}


def overhead(random: pd.DataFrame, buffered: pd.DataFrame) -> float:
    """Seconds that a read of 4 KiB takes longer through the page cache than past it: both were measured in
    mixed order, so that each round's means can be compared. 0 where it is lost in the noise."""
    small = random[random["size"] == PAGE]
    if len(buffered) < LEAST_READS:
        return 0.0
    gained = (round_means(buffered) - round_means(small)).dropna()
    return max(0.0, float(gained.median())) if len(gained) else 0.0


def handoff_us_of(reads: pd.DataFrame) -> float | None:
    """What a miss through a worker takes longer than one without, less what a hit does: the median of the
    rounds, 0 where it is lost in the noise, None where it was not measured.

    Each round's medians, not its means: some microseconds are looked for among reads that at times wait
    milliseconds for a processor that other programs have.
    """
    table = reads[reads["series"].isin(HANDED)]
    if not set(HANDED) <= set(table["series"]):
        return None
    middle = table.groupby(["round", "series"])["seconds"].median().unstack().dropna()
    handed, handed_cached, alone, alone_cached = (middle[name].to_numpy(np.float64) for name in HANDED)
    more = (handed - handed_cached) - (alone - alone_cached)
    return digits(max(0.0, float(np.median(more)) * 1e6), 3) if len(more) else None


def pause_us_of(reads: pd.DataFrame) -> Curve:
    """Points (pause, what a read of 4 KiB takes longer after it), in microseconds: the median over rounds of
    what its mean is above that of reads without a pause. () where it was not measured, or is lost in the
    noise: never more than NOTICED of a read.
    """
    paused = series(reads, PAUSED)
    random = series(reads, "random")
    without = round_means(random[random["size"] == PAGE])
    known = {
        us: rows
        for us in sorted(set(paused["distance"].tolist()))
        if len(rows := paused[paused["distance"] == us]) >= LEAST_READS
    }
    if not known or without.empty:
        return ()
    longer = [float((round_means(rows) - without).dropna().median()) for rows in known.values()]
    weights = np.array([len(rows) for rows in known.values()], np.float64)
    rise = rising(np.maximum(np.nan_to_num(np.array(longer)), 0.0), weights) * 1e6
    if rise[-1] <= NOTICED * float(without.median()) * 1e6:
        return ()
    # right behind the read before it takes what all other series measure
    return ((0.0, 0.0), *((float(us), digits(more, 3)) for us, more in zip(known, rise, strict=True)))


def band(*series: pd.DataFrame) -> tuple[float, float]:
    """Between what ratios to its level the means of most rounds lie (all but a tenth on either side); at
    least LEAST_BAND to both sides."""
    low, high = 1 - LEAST_BAND, 1 + LEAST_BAND
    for reads in series:
        if len(reads) >= LEAST_READS:
            ratios = round_means(reads) / level(reads)
            low = min(low, float(np.quantile(ratios, 0.1)))
            high = max(high, float(np.quantile(ratios, 0.9)))
    return low, high


def queue_rates_of(rates: pd.DataFrame) -> dict[int, float]:
    """By depth, requests a second over all rounds."""
    return {depth: float(rate) for depth, rate in _per_second(rates, "depth", rates["requests"]).items()}


def _per_second(rates: pd.DataFrame, column: str, amount: pd.Series[float]) -> dict[int, float]:
    values = rates[column].to_numpy(np.float64)
    amounts, seconds = (each.to_numpy(np.float64) for each in (amount, rates["seconds"]))
    return {
        int(value): float(amounts[values == value].sum() / seconds[values == value].sum())
        for value in np.unique(values)
    }


def bandwidth(rates: pd.DataFrame, fallback: float) -> tuple[float, float]:
    """Sequential MB/s at the start and at the end; `fallback` (bytes/s) for both if not measured."""
    rows = rates[(rates["series"] == "sequential") & (rates["requests"] > 0)]
    if rows.empty:
        return fallback / MEGA, fallback / MEGA
    speed = _per_second(rows, "place", rows["requests"] * rows["size"] / MEGA)
    return speed[min(speed)], speed[max(speed)]


def digits(value: float, count: int) -> float:
    """Rounded to so many significant digits."""
    return float(f"{value:.{count}g}")
