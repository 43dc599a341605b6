"""Pages and files that most starts of a group need."""

from __future__ import annotations

import math
from typing import Any

from profiler.analysis.fleet.findings import COMMON, LEAST_GROUP, CommonFile, Shared
from profiler.analysis.intervals import PAGE
from profiler.facts.fleet import SKETCH

_MOST_GROUPS = 100
_MOST_FILES = 20
_HASHES, _LAST = 2.0**64, 2**64 - 1


def shared(connection: Any) -> tuple[Shared, ...]:
    """Of the groups of LEAST_GROUP starts and more, those with the most common bytes first.

    A sketch holds the smallest hashes of the pages of a start. Below the largest hash of every sketch of a
    group (of those that are full; the others hold all) each page of each start is in its sketch: a sample of
    all pages, drawn by their hashes, of the known share threshold / 2**64.
    """
    rows = connection.execute(
        f"""WITH groups AS (
            SELECT grp, count(*) AS starts, count(DISTINCT pages_digest) AS sets,
                coalesce(min(list_max(sketch)) FILTER (len(sketch) >= {SKETCH}), {_LAST}::UBIGINT) AS most
            FROM good WHERE pages > 0 GROUP BY grp HAVING count(*) >= {LEAST_GROUP}),
        seen AS (
            SELECT g.grp, h, count(*) AS n, any_value(starts) AS starts FROM groups g
            JOIN (SELECT grp, unnest(sketch) AS h FROM good WHERE pages > 0) p
            ON p.grp IS NOT DISTINCT FROM g.grp
            WHERE h <= most GROUP BY g.grp, h),
        counted AS (
            SELECT grp, count(*) AS every, count(*) FILTER (n >= {COMMON} * starts) AS common
            FROM seen GROUP BY grp)
        SELECT g.grp, starts, sets, most::DOUBLE, every, common FROM groups g
        JOIN counted c ON c.grp IS NOT DISTINCT FROM g.grp
        ORDER BY common / (most::DOUBLE + 1) DESC, g.grp LIMIT {_MOST_GROUPS}"""  # noqa: S608
    ).fetchall()
    return tuple(_of_group(connection, *row) for row in rows)


def _of_group(
    connection: Any, name: str | None, starts: int, sets: int, most: float, every: int, common: int
) -> Shared:
    sampled = min((most + 1) / _HASHES, 1.0)
    # each common page is in the sample with this chance: a binomial count
    chance = 2 * math.sqrt(common * (1 - sampled))
    low, middle, high = (
        max(count, 0) / sampled * PAGE for count in (common - chance, common, common + chance)
    )
    return Shared(
        name, starts, middle, low, high, every / sampled * PAGE, sets == 1, _files(connection, name, starts)
    )


def _files(connection: Any, name: str | None, starts: int) -> tuple[CommonFile, ...]:
    rows = connection.execute(
        f"""SELECT f.path, count(*) AS n, median(f.page_bytes) AS size, count(DISTINCT f.digest) = 1
        FROM (SELECT unnest(files) AS f FROM good WHERE grp IS NOT DISTINCT FROM $1)
        GROUP BY f.path HAVING n >= {COMMON} * $2 AND size > 0
        ORDER BY size DESC, f.path LIMIT {_MOST_FILES}""",  # noqa: S608
        [name, starts],
    ).fetchall()
    return tuple(CommonFile(*row) for row in rows)
