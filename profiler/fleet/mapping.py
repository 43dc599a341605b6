"""Work on many items, on Dask: on processes of this machine, or on a cluster that is there.

Processes of this machine are talked to through pipes. A cluster of Dask listens on ports, and runs whatever
reaches them: none is ever started here.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from profiler.errors import ColdseekError
from profiler.fleet.extra import needed
from profiler.units import show_path

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]
Lost = Callable[[Item, str], Result]

_WAVE = 64
"""Items a process that Dask gets at a time: results are at hand after each wave."""

_WAVE_OF_CLUSTER = 4096


def mapped(
    work: Work[Item, Result],
    items: Sequence[Item],
    lost: Lost[Item, Result],
    workers: int,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """The results, in the order of the items. workers: processes; 0: in this one. lost: the result of an
    item whose process ended. tell: is called with how many are done, from any thread."""
    if not workers:
        yield from _waves(work, items, None, 1, tell)
        return
    done = 0
    while done < len(items):
        with _Pool(workers) as pool:
            try:
                for result in _waves(work, items, pool, workers, tell, done):
                    yield result
                    done += 1
                return
            except BrokenProcessPool:
                pass
        # who it was is not known: each of that wave gets a try of its own
        for result in _one_by_one(work, items[done : done + _WAVE * workers], lost):
            yield result
            done += 1
            tell(done)


def _waves(
    work: Work[Item, Result],
    items: Sequence[Item],
    pool: ProcessPoolExecutor | None,
    workers: int,
    tell: Callable[[int], None],
    first: int = 0,
) -> Iterator[Result]:
    """The results from the item `first` on."""
    dask, callbacks = needed("dask"), needed("dask.callbacks")
    done = first

    def one_more(*_: Any) -> None:
        nonlocal done
        done += 1
        tell(done)

    how: dict[str, Any] = {"scheduler": "synchronous"}
    if pool is not None:
        how = {"scheduler": "processes", "pool": pool, "num_workers": workers, "chunksize": 1}
    run = dask.delayed(work, pure=False, traverse=False)
    for start in range(first, len(items), _WAVE * workers):
        with callbacks.Callback(posttask=one_more):
            wave = [run(item) for item in items[start : start + _WAVE * workers]]
            yield from dask.compute(*wave, optimize_graph=False, **how)


def _one_by_one(
    work: Work[Item, Result], items: Sequence[Item], lost: Lost[Item, Result]
) -> Iterator[Result]:
    rest = list(reversed(items))
    while rest:
        with _Pool(1) as pool:
            try:
                while rest:
                    yield pool.submit(work, rest[-1]).result()
                    rest.pop()
            except BrokenProcessPool:
                yield lost(rest.pop(), "the process that read it ended; is there enough memory?")


class _Pool(ProcessPoolExecutor):
    """Processes that leave Ctrl-C to us, and end when we do, whatever they are at."""

    def __init__(self, workers: int) -> None:
        # not by fork: Arrow has threads
        super().__init__(workers, multiprocessing.get_context("spawn"), _begin)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            for process in list((self._processes or {}).values()):
                process.kill()
        self.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()


def _end_with_parent() -> None:
    """Without this a kill -9 of coldseek would leave its processes behind; prctl(2), PR_SET_PDEATHSIG."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def on_cluster(
    work: Work[Item, Result],
    items: Sequence[Item],
    lost: Lost[Item, Result],
    address: str,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """The results, as they come, of the workers of a Dask cluster, which have to have coldseek installed and
    to reach the traces. An item whose worker ends is given to another, as often as the scheduler
    allows (`distributed.scheduler.allowed-failures`). Raises ColdseekError where that cannot be reached."""
    distributed = needed("distributed")
    try:
        client = distributed.Client(address, timeout="20s", set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise ColdseekError(
            f"cannot reach the scheduler {show_path(address)}; name one as tcp://HOST:8786"
        ) from error
    done = 0
    with client:
        for start in range(0, len(items), _WAVE_OF_CLUSTER):
            wave = items[start : start + _WAVE_OF_CLUSTER]
            futures = client.map(work, wave, pure=False)
            item_of = {future.key: item for future, item in zip(futures, wave, strict=True)}
            for future in distributed.as_completed(futures, loop=client.loop, raise_errors=False):
                problem = future.exception() if future.status == "error" else None
                done += 1
                tell(done)
                if problem is None and future.status == "finished":
                    yield future.result()
                else:
                    why = type(problem).__name__ if problem is not None else str(future.status)
                    yield lost(item_of[future.key], f"no worker of the cluster came back with it ({why})")
