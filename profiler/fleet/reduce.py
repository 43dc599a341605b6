"""The report of a catalogue, in SQL."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profiler.analysis.fleet.findings import (
    CHANCE,
    LEAST_AFTER,
    LEAST_BEFORE,
    LEAST_GROUP,
    LEAST_SPREAD,
    LEAST_WORSE,
    OUTLIER,
    PER_MAD,
    Dearest,
    Fleet,
    Group,
    Outlier,
    Reason,
    Regression,
    Saved,
)
from profiler.errors import ColdseekError, UsageError
from profiler.fleet.differing import FACTS, NUMBERS, differing, regressed
from profiler.fleet.engine import opened
from profiler.fleet.sharing import shared
from profiler.units import show_path

if TYPE_CHECKING:
    import pyarrow as pa

BY = ("start", "host", "image", "command", "kernel")
COLUMNS = (
    "content", "model", "trace", "failure", "reason", "host", "started_at", "command", "start", "image",
    *FACTS, "lost_events", "partial", "wall_s", "is_disk", *NUMBERS, "seconds", "pages_digest", "sketch",
    "files", "savings",
)  # fmt: skip
"""What a report needs of a catalogue: half of it."""

MOST = 1_000
"""Entries of a list of the report."""

_DETAILED = 20
"""Outliers and regressions of which it is told what differs."""

USUAL_DEVICE = "hdd-7200"
_DAY_S = 86_400


def fleet(
    table: pa.Table, by: str = "start", since: datetime.datetime | None = None, device: str = ""
) -> Fleet:
    """The report. table: with COLUMNS at least. by: one of BY. since: UTC without a zone; starts before it
    are left out. device: one of those that the catalogue was made for; "": USUAL_DEVICE if that is among
    them, else the first by name.

    Raises UsageError for a device that the catalogue does not have, ColdseekError where nothing is left.
    """
    connection = opened(table)
    ask = connection.execute
    device = _device(ask, device)
    # what is left out, by the first reason for it
    ask(
        f"""CREATE TABLE told AS SELECT *, {by} AS grp, seconds[$1] AS s, CASE
            WHEN failure != '' THEN 'broken'
            WHEN model != (SELECT mode(model) FROM fleet WHERE failure = '') THEN 'other_model'
            WHEN lost_events > 0 OR partial IS NOT NULL OR seconds[$1] IS NULL THEN 'incomplete'
            WHEN started_at < $2 THEN 'earlier' ELSE '' END AS out FROM fleet""",  # noqa: S608
        [device, since],
    )
    ask("CREATE VIEW good AS SELECT * FROM told WHERE out = ''")
    out = dict(ask("SELECT out, count(*) FROM told GROUP BY out").fetchall())
    counted = out.get("", 0)
    first, last, hosts, total_s, undated, advised = ask(
        "SELECT min(started_at), max(started_at), count(DISTINCT host), "
        "coalesce(sum(s ORDER BY content), 0), count(*) FILTER (started_at IS NULL), count(savings) "
        "FROM good"
    ).fetchone()
    regressions = _regressions(connection)
    outliers = _outliers(ask, regressions)
    days = (last - first).total_seconds() / _DAY_S if first is not None else 0.0
    return Fleet(
        device=device, by=by, traces=sum(out.values()), counted=counted,
        **{why: out.get(why, 0) for why in ("incomplete", "other_model", "earlier")},
        undated=undated, advised=advised,
        broken=tuple(
            Reason(*row)
            for row in ask(
                "SELECT failure, reason, count(*) AS n FROM told WHERE out = 'broken' "
                "GROUP BY ALL ORDER BY n DESC, failure, reason LIMIT 100"
            ).fetchall()
        ),
        first=first, last=last, hosts=hosts, total_s=total_s,
        groups=_groups(ask),
        group_count=ask("SELECT count(*) FROM (SELECT DISTINCT grp FROM good)").fetchone()[0],
        outliers=differing(connection, outliers[:_DETAILED]) + outliers[_DETAILED:MOST],
        outlier_count=len(outliers),
        regressions=regressions,
        dearest=_dearest(ask, total_s),
        savings=_savings(ask, device, days),
        shared=shared(connection),
    )  # fmt: skip


def _device(ask: Any, wanted: str) -> str:
    rows = ask("SELECT DISTINCT unnest(map_keys(seconds)) AS d FROM fleet ORDER BY d").fetchall()
    devices = [row[0] for row in rows]
    if not devices:
        raise ColdseekError(
            "no trace of it has facts; see coldseek fleet sql CATALOGUE 'select reason from fleet'"
        )
    if wanted and wanted not in devices:
        names = show_path(", ".join(devices))
        raise UsageError(f"the catalogue has no device {show_path(wanted)}; it has {names}")
    return wanted or (USUAL_DEVICE if USUAL_DEVICE in devices else str(devices[0]))


def _groups(ask: Any) -> tuple[Group, ...]:
    rows = ask(
        "SELECT grp, count(*), count(DISTINCT host), median(s), mad(s), quantile_cont(s, 0.95), "
        "sum(s ORDER BY content) AS total, median(requests), median(bytes), median(wall_s), count(is_disk), "
        "count(*) FILTER (is_disk) FROM good GROUP BY grp ORDER BY total DESC, grp LIMIT $1",
        [MOST],
    ).fetchall()
    return tuple(Group(*row) for row in rows)


_MEASURED = """measured AS (
    SELECT grp, content, trace, host, started_at, 'seconds' AS measure, s AS v FROM good UNION ALL
    SELECT grp, content, trace, host, started_at, 'wall_s', wall_s FROM good WHERE wall_s IS NOT NULL)"""


def _outliers(ask: Any, regressions: Sequence[Regression]) -> tuple[Outlier, ...]:
    """The slower ones, each by the measure in which it stands out most. Where a group became slower, those
    before the change are a group, and those since."""
    ask("CREATE TABLE changed (grp VARCHAR, measure VARCHAR, since TIMESTAMP)")
    for each in regressions:
        ask("INSERT INTO changed VALUES ($1, $2, $3)", [each.group, each.measure, each.since])
    rows = ask(
        f"""WITH {_MEASURED}, phased AS (
            SELECT m.*, coalesce(m.started_at >= c.since, false) AS later FROM measured m
            LEFT JOIN changed c ON m.measure = c.measure AND m.grp IS NOT DISTINCT FROM c.grp),
        usual AS (
            SELECT grp, measure, later, median(v) AS mid, mad(v) AS spread FROM phased
            GROUP BY grp, measure, later HAVING count(*) >= {LEAST_GROUP}),
        scored AS (
            SELECT m.*, mid, (v - mid) / greatest({PER_MAD} * spread, {LEAST_SPREAD} * mid) AS score
            FROM phased m JOIN usual u
            ON m.measure = u.measure AND m.grp IS NOT DISTINCT FROM u.grp AND m.later = u.later
            WHERE mid > 0)
        SELECT trace, host, started_at, grp, measure, v, mid, score FROM scored WHERE score > {OUTLIER}
        QUALIFY row_number() OVER (PARTITION BY content ORDER BY score DESC, measure) = 1
        ORDER BY score DESC, trace"""  # noqa: S608
    ).fetchall()
    return tuple(Outlier(*row) for row in rows)


def _regressions(connection: Any) -> tuple[Regression, ...]:
    """The groups that changed, by the test of Pettitt (1979): its statistic K is the largest of
    |2 W(k) - k (n + 1)|, W(k) the sum of the first k of n ranks, and the chance of it about
    2 exp(-6 K^2 / (n^3 + n^2)). Equal values have the mean of their ranks.

    Where they changed is not where that is largest, which leans to the middle, but where two means leave the
    least squares, values beyond the outer twentieths taken for these: the largest of
    (S(k) - k S(n) / n)^2 / (k (n - k)), S(k) the sum of the first k."""
    rows = connection.execute(
        f"""WITH {_MEASURED}, ranked AS (
            SELECT *, count(*) OVER g AS n,
                row_number() OVER (PARTITION BY grp, measure ORDER BY started_at, content) AS k,
                rank() OVER (PARTITION BY grp, measure ORDER BY v)
                + (count(*) OVER (PARTITION BY grp, measure, v) - 1) / 2.0 AS r
            FROM measured WHERE started_at IS NOT NULL WINDOW g AS (PARTITION BY grp, measure)),
        held AS (
            SELECT *, least(greatest(v, quantile_cont(v, 0.05) OVER g), quantile_cont(v, 0.95) OVER g) AS w
            FROM ranked WINDOW g AS (PARTITION BY grp, measure)),
        summed AS (
            SELECT *, 2 * sum(r) OVER (PARTITION BY grp, measure ORDER BY k) - k * (n + 1) AS u,
                sum(w) OVER (PARTITION BY grp, measure ORDER BY k) - k * avg(w) OVER g AS beyond
            FROM held WINDOW g AS (PARTITION BY grp, measure)),
        cut AS (
            SELECT grp, measure, n, max(abs(u)) AS largest, arg_max(k, beyond * beyond / (k * (n - k)))
                FILTER (k >= {LEAST_BEFORE} AND n - k >= {LEAST_AFTER}) AS k
            FROM summed GROUP BY grp, measure, n HAVING n >= {LEAST_BEFORE + LEAST_AFTER}),
        judged AS (
            SELECT *, least(1.0, 2 * exp(-6 * largest * largest / (n * n * n + n * n))) AS chance FROM cut),
        sides AS (
            SELECT j.grp, j.measure, j.k, j.n, j.chance,
                median(v) FILTER (s.k <= j.k) AS before, median(v) FILTER (s.k > j.k) AS after,
                arg_min(s.started_at, s.k) FILTER (s.k > j.k) AS since,
                arg_min(s.trace, s.k) FILTER (s.k > j.k) AS trace,
                arg_min(coalesce(s.host, ''), s.k) FILTER (s.k > j.k) AS host
            FROM judged j JOIN summed s ON j.measure = s.measure AND j.grp IS NOT DISTINCT FROM s.grp
            GROUP BY ALL)
        SELECT grp, measure, since, trace, nullif(host, ''), before, after, k, n - k, chance FROM sides
        WHERE k >= {LEAST_BEFORE} AND n - k >= {LEAST_AFTER} AND after >= before * {1 + LEAST_WORSE}
            AND chance < {CHANCE} / (SELECT count(*) FROM cut)
        ORDER BY (after - before) * (n - k) DESC, grp, measure LIMIT {MOST}"""  # noqa: S608
    ).fetchall()
    return regressed(connection, tuple(Regression(*row) for row in rows), _DETAILED)


def _dearest(ask: Any, total_s: float) -> tuple[Dearest, ...]:
    rows = ask(
        "SELECT start, count(*), sum(s ORDER BY content) AS total FROM good GROUP BY start "
        "ORDER BY total DESC, start LIMIT $1",
        [MOST],
    ).fetchall()
    return tuple(
        Dearest(start, starts, total, total / total_s if total_s else 0.0) for start, starts, total in rows
    )


def _savings(ask: Any, device: str, days: float) -> tuple[Saved, ...]:
    rows = ask(
        "SELECT v.option, min(v.name), count(DISTINCT start), count(*), "
        "sum(v.seconds ORDER BY content) AS total "
        "FROM (SELECT start, content, unnest(savings) AS v FROM good) WHERE v.device = $1 AND v.seconds > 0 "
        "GROUP BY v.option ORDER BY total DESC, v.option",
        [device],
    ).fetchall()
    return tuple(
        Saved(option, name, images, starts, total, total / days if days >= 1 else None)
        for option, name, images, starts, total in rows
    )
