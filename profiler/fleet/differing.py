"""What differs between a start that stands out and its group, and between the starts before and after a
change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from profiler.analysis.fleet.findings import Difference, Outlier, Regression

FACTS = (
    "kernel", "machine", "distribution", "virtual", "filesystems", "disk_models", "read_ahead_kb",
    "image_format", "image_cluster", "image_chain", "tracer", "cache", "exit_status",
)  # fmt: skip
"""Differ if they are not the commonest."""

NUMBERS = (
    "requests", "metadata_requests", "request_bytes", "reads", "bytes", "unique_bytes", "seeks",
    "file_count", "pages", "image_size", "memory_bytes", "cpus",
)  # fmt: skip
"""Differ if they are this far from the median:"""
_FAR = 1.2

_MOST_FILES = 3
_HALF = 0.5


def differing(connection: Any, outliers: Iterable[Outlier]) -> tuple[Outlier, ...]:
    """The outliers with what differs, what explains most first."""
    return tuple(
        dataclasses.replace(
            each,
            differs=(
                *_compared(connection, "trace = $2", "true", [each.group, each.trace]),
                *_files(connection, "trace = $2", [each.group, each.trace]),
            ),
        )
        for each in outliers
    )


def regressed(connection: Any, changes: tuple[Regression, ...], most: int) -> tuple[Regression, ...]:
    """The first `most` of the regressions with what differs after them."""
    after, before = "started_at >= $2", "started_at < $2"
    return (
        *(
            dataclasses.replace(
                each,
                differs=(
                    *_compared(connection, after, before, [each.group, each.since]),
                    *_files(connection, after, [each.group, each.since]),
                ),
            )
            for each in changes[:most]
        ),
        *changes[most:],
    )


def _compared(connection: Any, here: str, usual: str, values: list[Any]) -> list[Difference]:
    """The rows `here` of a group ($1) against those of it that are usual."""
    columns = [
        f"{how}({name}) FILTER ({rows})"
        for how, names in (("mode", FACTS), ("median", NUMBERS))
        for name in names
        for rows in (here, usual)
    ]
    row = connection.execute(
        f"SELECT {', '.join(columns)} FROM good WHERE grp IS NOT DISTINCT FROM $1",  # noqa: S608
        values,
    ).fetchone()
    pairs = list(zip(row[::2], row[1::2], strict=True))
    facts = [
        Difference(name, this, that)
        for name, (this, that) in zip(FACTS, pairs, strict=False)
        if this != that and None not in (this, that)
    ]
    ratios = [
        (max(this / that, that / this) if this and that else float("inf"), Difference(name, this, that))
        for name, (this, that) in zip(NUMBERS, pairs[len(FACTS) :], strict=True)
        if this != that and None not in (this, that)
    ]
    return facts + [each for ratio, each in sorted(ratios, key=lambda pair: -pair[0]) if ratio >= _FAR]


def _files(connection: Any, here: str, values: list[Any]) -> list[Difference]:
    """Files of which more pages are read here than by most others of the group, the most first."""
    rows = connection.execute(
        f"""WITH mine AS (SELECT {here} AS here, content, unnest(files) AS f FROM good
                WHERE grp IS NOT DISTINCT FROM $1),
            counts AS (SELECT count(*) FILTER ({here}) AS here_n, count(*) FILTER (NOT ({here})) AS other_n
                FROM good WHERE grp IS NOT DISTINCT FROM $1),
            by_file AS (SELECT f.path AS path, sum(f.page_bytes) FILTER (here) / any_value(here_n) AS this,
                coalesce(median(f.page_bytes) FILTER (NOT here), 0)
                * (count(*) FILTER (NOT here) > {_HALF} * any_value(other_n))::INT AS that
                FROM mine, counts GROUP BY f.path)
        SELECT path, this, that FROM by_file WHERE this >= {_FAR} * that AND this > 0
        ORDER BY this - that DESC, path LIMIT {_MOST_FILES}""",  # noqa: S608
        values,
    ).fetchall()
    return [Difference(f"bytes of {path}", this, that or None) for path, this, that in rows]
