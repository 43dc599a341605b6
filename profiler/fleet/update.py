"""A catalogue made or brought up to date: find, map, merge, save."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from profiler.facts.fleet import Row
from profiler.files import catalogues
from profiler.fleet.catalogue import KEYS, index_of, merged, tasks
from profiler.fleet.examine import Asked, Known, examine, lost
from profiler.fleet.mapping import mapped, on_cluster
from profiler.fleet.places import find

_SAVES_EVERY_S = 60.0
_SHARE_OF_SAVING = 0.05
"""Of a long run the catalogue is saved now and then: at most so much of the time goes into that."""


@dataclass(frozen=True)
class Counts:
    """What an update came to. traces: that were named. new: worked out, failed of them without facts; moved:
    places of contents that were known; rows: of the catalogue."""

    traces: int
    new: int
    failed: int
    moved: int
    rows: int


def update(
    path: str,
    names: Sequence[str],
    asked: Asked,
    *,
    workers: int,
    scheduler: str = "",
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Counts:
    """Bring the catalogue at `path` up to date with the traces of these names; see `places.find`.

    Only what is not in it by contents and model is looked at. A trace whose name, size and time are those of
    a row is not even read. Rows of traces that are not named any more stay. workers: processes of this
    machine, 0: none but this; scheduler: of a cluster of Dask, which is used in their place. tell: is called
    with how many traces are done, and of how many. An interrupt saves what there is.

    Raises UsageError, ColdseekError, CatalogueError.
    """
    found = find(names, time.time_ns())
    exists = os.path.lexists(path)
    keys = catalogues.load(path, KEYS) if exists else catalogues.empty()
    todo = tasks(found, index_of(keys, asked.model))
    if exists and not todo:
        return Counts(len(found), 0, 0, 0, len(keys))
    table = catalogues.load(path) if exists else catalogues.empty()
    results: list[Row | Known] = []
    new = failed = moved = 0
    work, gone = partial(examine, asked=asked), partial(lost, asked=asked)

    def told(done: int) -> None:
        tell(done, len(todo))

    stream = (
        on_cluster(work, todo, gone, scheduler, told)
        if scheduler
        else mapped(work, todo, gone, workers, told)
    )
    saved, took = time.monotonic(), 0.0
    try:
        for result in stream if todo else ():
            results.append(result)
            new += isinstance(result, Row)
            moved += isinstance(result, Known)
            failed += isinstance(result, Row) and bool(result.failure)
            now = time.monotonic()
            if now - saved > max(_SAVES_EVERY_S, took / _SHARE_OF_SAVING):
                table, results = merged(table, results), []
                catalogues.save(table, path)
                saved = time.monotonic()
                took = saved - now
    finally:
        if results:
            table = merged(table, results)
            catalogues.save(table, path)
    return Counts(len(found), new, failed, moved, len(table))
