"""Measuring a device: timed reads of a file or block device, as the tables that `fitting` reads.

Nothing is written to a device; what is opened is opened for reading. Every place is read once. All series
are measured in each of several rounds, so that what the machine does meanwhile shows as a difference
between rounds; each has a share of the time and a number of reads, and ends with the first that is used up.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from profiler.calibration.aio import Queue
from profiler.calibration.handover import BATCH, Worker, batches
from profiler.calibration.opened import Opened
from profiler.calibration.places import PAGE, Ints, Places
from profiler.calibration.target import NEW_FILE, Progress, Target, open_target
from profiler.errors import ColdseekError
from profiler.facts.host import Device, Host
from profiler.machine.host import host_facts
from profiler.machine.procfs import device_bytes_read
from profiler.units import show_bytes, show_path

SECONDS = 30.0
ROUNDS = 20
_LEAST_ROUNDS = 5

SIZES = {  # bytes -> reads in a round
    8192: 30, 16384: 30, 32768: 30, 65536: 30, 131072: 20, 262144: 12, 524288: 6, 2**20: 4,
}  # fmt: skip
DEPTHS = (1, 2, 4, 8, 16, 32)
_SMALL = 500  # reads of 4 KiB a round, past the page cache; and as many through it
_STEPS = 20  # reads a round at each distance
_QUEUED = 20  # reads a round at each depth, times the depth
_MOST_QUEUED = 500
_LEAST_ALONE = 12  # reads, however late it is
_LARGE_QUEUED = (65536, 32, 64)  # size, depth, reads a round: whether it is requests or bytes that limit
_NEXT = 32
_RUN = 2**20  # bytes of a sequential read
_RUN_DEPTH = 4
_RUNS = 64  # sequential reads a round at the start, and at the end
_RESERVED = 8  # an eighth of it at the start and at the end is for sequential reads
_NEAREST = 2**20  # the shortest distance; every next is four times as far
PAUSES_US = {100: 12, 300: 12, 1000: 12, 3000: 8, 10_000: 5}
"""Microseconds in which the reader is busy before a read -> reads a round. Starts compute for some 50
(git) to 400 us (Python) between two."""
_HANDED = 8  # batches a round, half of them through a worker
_SHARES = {
    "at random": 0.42, "apart": 0.2, "after pauses": 0.1, "handed over": 0.08, "at once": 0.12,
    "in a row": 0.06, "next": 0.02,
}  # fmt: skip
_REACHED = 0.5  # of the bytes read so much must have come from a device


@dataclass(frozen=True)
class Measured:
    """What was measured. reads, rates: tables as of `fitting.tables`,
    in order. rounds: those that were completed.

    kind, filesystem, device, size: of the target, see `target.Target`. span: bytes from the first place to
    the last. host: `host.host_facts` with the device. interrupted: by Ctrl-C, before all rounds.
    """

    kind: str
    filesystem: str
    device: str
    size: int
    span: int
    host: Host
    reads: pd.DataFrame
    rates: pd.DataFrame
    rounds: int
    seconds: float
    interrupted: bool

    @property
    def facts(self) -> Device:
        """Of the device; all None where the kernel does not say."""
        return self.host.device(self.device)


def _silent(_share: float, _words: str) -> None:
    pass


def calibrate(
    path: str,
    seconds: float = SECONDS,
    progress: Progress = _silent,
    opened: Callable[[Device], None] = lambda _: None,
    existing: bool = False,
) -> Measured:
    """Measure the device that `path` is, or lies on, in about `seconds`.

    opened: told what is known of the device, as soon as the target is known to be one that can be measured;
    it may raise to end all. existing: not a new file in the directory `path`, but the files that are there.

    Raises ColdseekError as `target.open_target` does, and where reads fail or do not reach a device;
    KeyboardInterrupt before the first round is complete.
    """
    began = time.monotonic()
    with open_target(path, began + seconds / 3, progress, existing) as target:
        host = host_facts([target.device])
        opened(host.device(target.device))
        left = max(seconds - (time.monotonic() - began), seconds / 2)
        series = _Series(target, np.random.default_rng(), ROUNDS if seconds > 5 else _LEAST_ROUNDS)
        interrupted = False
        try:
            series.measure(left, progress)
        except KeyboardInterrupt:
            if not series.rounds:
                raise
            interrupted = True
        except OSError as error:
            raise ColdseekError(
                f"reading {show_path(path)} failed: {os.strerror(error.errno or 0)}"
            ) from error
        finally:
            series.close()
        reads, rates = series.tables()
        came, asked = series.from_device, series.asked
    if host.device(target.device).name and came is not None and came < _REACHED * asked:
        raise ColdseekError(
            f"of {show_bytes(asked)} read of {show_path(path)} only {show_bytes(came)} came from a device: "
            f"the rest was cached and stays so; name a file that no program uses, or a directory"
        )
    return Measured(
        kind=target.kind,
        filesystem=target.filesystem,
        device=target.device,
        size=target.size,
        span=int(target.extents[-1].sum() - target.extents[0, 0]),
        host=host,
        reads=reads,
        rates=rates,
        rounds=series.rounds,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
    )


@dataclass
class _Round:
    """The places of one round."""

    alone: list[tuple[str, int, int]]  # series, size, offset
    walks: dict[int, tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]]
    queue: dict[int, Ints]
    large: Ints
    following: Ints
    handed: Ints
    paused: list[tuple[int, int]]  # microseconds, offset
    runs: dict[float, Ints] = dataclasses.field(default_factory=dict)


class _Series:
    """All series, round after round."""

    def __init__(self, target: Target, rng: np.random.Generator, rounds: int) -> None:
        self.rounds = 0
        self.from_device: int | None = 0
        self.asked = 0
        self._target = target
        self._wanted = rounds
        self._reads: list[tuple[str, int, int, int, float, bool]] = []
        self._rates: list[tuple[str, int, int, int, float, int, float]] = []
        self._complete = (0, 0)  # rows of both after the last whole round
        self._memory = mmap.mmap(-1, _RUN)
        self._plan = _plan(Places(target.extents, rng), rounds, target.kind != "files")
        self._queue_works = True
        self._worker = Worker(target.buffered)
        self._queues: dict[tuple[int, int], Queue] = {}

    def close(self) -> None:
        """Wait for what is under way."""
        self._worker.close()
        for queue in self._queues.values():
            queue.close()

    def measure(self, seconds: float, progress: Progress) -> None:
        """Measure for about so many seconds."""
        began = time.perf_counter()
        for number, plan in enumerate(self._plan):
            left = (began + seconds - time.perf_counter()) / (self._wanted - number)
            for name, run in self._parts(number, plan):
                share = (number + 0.5) / self._wanted
                progress(share, f"{name}, round {number + 1} of {self._wanted}")
                run(time.perf_counter() + max(left, 0.0) * _SHARES[name])
            self.rounds = number + 1
            self._complete = len(self._reads), len(self._rates)
            progress(self.rounds / self._wanted, f"round {number + 1} of {self._wanted}")

    def _parts(self, number: int, plan: _Round) -> Iterator[tuple[str, Callable[[float], None]]]:
        yield "at random", lambda until: self._alone(number, plan, until)
        yield "apart", lambda until: self._apart(number, plan, until)
        yield "after pauses", lambda until: self._paused(number, plan, until)
        yield "handed over", lambda until: self._handed(number, plan, until)
        yield "at once", lambda until: self._queued(number, plan, until)
        yield "in a row", lambda until: self._in_a_row(number, plan, until)
        yield "next", lambda until: self._next(number, plan, until)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`reads` and `rates` of the rounds that were completed."""
        reads, rates = self._complete
        return (
            pd.DataFrame(
                self._reads[:reads], columns=["series", "round", "size", "distance", "seconds", "zeros"]
            ),
            pd.DataFrame(
                self._rates[:rates],
                columns=["series", "round", "size", "depth", "place", "requests", "seconds"],
            ),
        )

    def _read(self, files: Opened, offset: int, size: int) -> tuple[float, bool]:
        """Seconds that a read took, and whether it found zeros only."""
        view = memoryview(self._memory)[:size]
        into = [view]
        descriptor, place = files.at(offset)
        began = time.perf_counter()
        got = os.preadv(descriptor, into, place)
        took = time.perf_counter() - began
        if got != size:
            raise ColdseekError(f"{show_path(self._target.path)} became shorter while it was measured")
        return took, view[:PAGE] == _ZEROS

    def _alone(self, number: int, plan: _Round, until: float) -> None:
        """Random reads of all sizes, past the page cache and through it, in mixed order: so that all meet
        the same moments."""
        before = device_bytes_read(os.getpid(), threading.get_native_id())
        asked = 0
        for series, size, offset in _until(plan.alone, until, _LEAST_ALONE):
            if series == "buffered":
                descriptor, place = self._target.buffered.at(offset)
                os.posix_fadvise(descriptor, place, size, os.POSIX_FADV_DONTNEED)
                took, zeros = self._read(self._target.buffered, offset, size)
            else:
                took, zeros = self._read(self._target.direct, offset, size)
            self._note(series, number, size, 0, took, zeros)
            asked += size
        after = device_bytes_read(os.getpid(), threading.get_native_id())
        if before is None or after is None or self.from_device is None:
            self.from_device = None
        else:
            self.from_device += after - before
        self.asked += asked

    def _apart(self, number: int, plan: _Round, until: float) -> None:
        for distance, (offsets, apart), end in _shared(plan.walks, until):
            for offset, far in _until(zip(offsets.tolist(), apart.tolist(), strict=True), end, 4):
                took, zeros = self._read(self._target.direct, offset, PAGE)
                self._note("distance" if far else "other", number, PAGE, distance if far else 0, took, zeros)

    def _paused(self, number: int, plan: _Round, until: float) -> None:
        """Single reads, each after the reader was busy for a while."""
        for pause_us, offset in _until(plan.paused, until, 2 * len(PAUSES_US)):
            busy_until = time.perf_counter() + pause_us / 1e6
            while time.perf_counter() < busy_until:
                pass
            took, zeros = self._read(self._target.direct, offset, PAGE)
            self._note("paused", number, PAGE, pause_us, took, zeros)

    def _handed(self, number: int, plan: _Round, until: float) -> None:
        """Reads through a worker and without, in whole batches until the time is up."""
        for start in _until(range(0, len(plan.handed) - 2 * BATCH + 1, 2 * BATCH), until, 1):
            offsets = plan.handed[start : start + 2 * BATCH].tolist()
            for series, took in batches(self._target.buffered, self._worker, offsets):
                self._note(series, number, PAGE, 0, took, False)

    def _queued(self, number: int, plan: _Round, until: float) -> None:
        size, deep, _ = _LARGE_QUEUED
        jobs = {(PAGE, depth): offsets for depth, offsets in plan.queue.items()} | {(size, deep): plan.large}
        for (size, depth), offsets, end in _shared(jobs, until):
            self._together("queue", number, size, depth, 0.0, offsets, end)

    def _in_a_row(self, number: int, plan: _Round, until: float) -> None:
        for place, offsets, end in _shared(plan.runs, until):
            self._together("sequential", number, _RUN, _RUN_DEPTH, place, offsets, end)

    def _next(self, number: int, plan: _Round, until: float) -> None:
        for place, offset in enumerate(_until(plan.following.tolist(), until)):
            took, zeros = self._read(self._target.direct, offset, PAGE)
            self._note("next" if place else "other", number, PAGE, 0, took, zeros)

    def _together(
        self, series: str, number: int, size: int, depth: int, place: float, offsets: Ints, until: float
    ) -> None:
        if not self._queue_works or len(offsets) < depth:
            return
        if (
            size,
            depth,
        ) not in self._queues:  # kept: to free one takes the kernel some hundredths of a second
            try:
                self._queues[size, depth] = Queue(self._target.direct, depth, size)
            except OSError:  # a container may forbid it: then the fit says that it was not measured
                self._queue_works = False
                return
        requests, took = self._queues[size, depth].read(offsets.tolist(), until)
        self._rates.append((series, number, size, depth, place, requests, took))

    def _note(self, series: str, number: int, size: int, distance: int, took: float, zeros: bool) -> None:
        self._reads.append((series, number, size, distance, took, zeros))


_ZEROS = bytes(PAGE)


def _plan(places: Places, rounds: int, one_piece: bool) -> list[_Round]:
    """All places of all rounds, the largest reads first, as they find the least room. one_piece: how far two
    places are from one another is how far they are on the device, or nearly."""
    total = places.total
    scale = min(1.0, total / NEW_FILE)
    reserved = min(total // _RESERVED, NEW_FILE) // _RUN * _RUN
    start = places.one_after_another(0, reserved, _RUN)
    end = places.one_after_another((total - reserved) // PAGE * PAGE, total, _RUN)
    a_run = _RUN // (_NEXT * PAGE)  # so many rounds find room for "next" in one
    spare = -(-rounds // a_run)
    in_round = min(_RUNS, max(0, len(start) - spare) // rounds, len(end) // rounds)

    def split(found: Ints) -> list[Ints]:
        return np.array_split(found, rounds)

    def random(size: int, count: int) -> list[Ints]:
        return split(places.random(size, max(3, int(count * scale)) * rounds))

    sizes = {size: random(size, count) for size, count in reversed(SIZES.items())}
    size, _, count = _LARGE_QUEUED
    large = random(size, count)
    queue = {depth: random(PAGE, min(_QUEUED * depth, _MOST_QUEUED)) for depth in DEPTHS}
    walks = {}
    for distance in distances(total) if one_piece else ():
        offsets, apart = places.walk(distance, _STEPS * rounds)
        walks[distance] = list(zip(split(offsets), np.array_split(apart, rounds), strict=True))
    small = {series: random(PAGE, _SMALL) for series in ("random", "buffered")}
    handed = random(PAGE, _HANDED * BATCH)
    pauses = [us for us, count in PAUSES_US.items() for _ in range(count)]
    paused = random(PAGE, len(pauses))
    plans = []
    order = np.random.default_rng()
    for number in range(rounds):
        runs = {
            at: run[number * in_round : (number + 1) * in_round] for at, run in ((0.0, start), (1.0, end))
        }
        following = np.zeros(0, np.int64)
        if len(start) >= in_round * rounds + spare:  # else too scattered a file
            first = start[in_round * rounds + number // a_run]
            following = first + (number % a_run * _NEXT + np.arange(_NEXT)) * PAGE
        alone = [(series, PAGE, at) for series in small for at in small[series][number].tolist()]
        alone += [("random", size, at) for size in sizes for at in sizes[size][number].tolist()]
        plans.append(
            _Round(
                [alone[place] for place in order.permutation(len(alone))],
                {distance: walks[distance][number] for distance in walks},
                {depth: queue[depth][number] for depth in queue},
                large[number],
                following,
                handed[number],
                list(zip(order.permutation(pauses).tolist(), paused[number].tolist(), strict=False)),
                runs,
            )
        )
    return plans


def distances(span: int) -> list[int]:
    """The distances to measure in so many bytes: each four times the one before it, at last all of it."""
    found = []
    distance = _NEAREST
    while distance < span / 3:
        found.append(distance)
        distance *= 4
    return [*found, span // 3 // PAGE * PAGE, span * 9 // 10 // PAGE * PAGE]


def _until(items: Iterable[Any], until: float, least: int = 3) -> Iterator[Any]:
    """The items until the time is up, but at least so many."""
    for number, item in enumerate(items):
        if number >= least and time.perf_counter() > until:
            return
        yield item


def _shared(jobs: dict[Any, Any], until: float) -> Iterator[tuple[Any, Any, float]]:
    """Each job with its end: of the time that is left each takes an equal part."""
    for number, (key, job) in enumerate(jobs.items()):
        now = time.perf_counter()
        yield key, job, now + max(until - now, 0.0) / (len(jobs) - number)
