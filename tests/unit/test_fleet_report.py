"""The report of a catalogue: what is planted is found, and what is chance is not."""

from __future__ import annotations

import datetime
import json
import os
import re
import statistics
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.analysis.fleet.findings import MEASURES, OUTLIER, Fleet
from profiler.analysis.fleet.pages import hashes, sketch
from profiler.errors import ColdseekError, UsageError
from profiler.facts.fleet import DAMAGED, Facts, FileRow, Place, Row, Saving
from profiler.files import catalogues
from profiler.report import fleet as forms

pytest.importorskip("duckdb")
from profiler.fleet import engine, moments, reduce

DAY = datetime.datetime(2026, 10, 1)


def row(number: int, seconds: float = 10.0, *, start: str = "/img/a", day: float = 0.0, **facts: Any) -> Row:
    usual: dict[str, Any] = {
        "host": f"host-{number % 7}", "start": start, "image": start, "lost_events": 0,
        "started_at": (DAY + datetime.timedelta(days=day)).isoformat(timespec="microseconds") + "+00:00",
        "seconds": {"hdd-7200": seconds, "nvme": seconds / 50}, "requests": 1000, "bytes": 10**6, "pages": 0,
        "kernel": "6.1.0", "files": (),
    }  # fmt: skip
    return Row(Place(f"/t/{number:04}", 100, 1), f"{number:064x}", "model", Facts(**usual | facts))


def report(*rows: Row, **options: Any) -> Fleet:
    return reduce.fleet(catalogues.table_of(rows), **options)


def spread(count: int, seed: int = 1) -> list[float]:
    """So many seconds around 10, by chance."""
    return (10 + 0.3 * np.random.default_rng(seed).normal(size=count)).tolist()


# ---- outliers -------------------------------------------------------------------------------------------


def test_a_planted_outlier_is_first_and_it_is_told_what_differs() -> None:
    rows = [row(number, seconds) for number, seconds in enumerate(spread(50))]
    new = FileRow("/usr/lib/new.so", 1, 4096, 64 * 4096, "d")
    rows.append(row(50, 25.0, requests=3000, kernel="6.9.0", files=(new,)))
    found = report(*rows)
    first = found.outliers[0]
    assert first.trace == "/t/0050" and first.value == 25.0 and first.measure == "seconds"
    differs = {each.what: (each.here, each.usual) for each in first.differs}
    assert differs["kernel"] == ("6.9.0", "6.1.0")
    assert differs["requests"] == (3000, 1000)
    assert differs["bytes of /usr/lib/new.so"] == (64 * 4096, None)


@settings(max_examples=15)
@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=40))
def test_the_score_is_the_modified_z_score(values: list[float]) -> None:
    found = report(*(row(number, seconds) for number, seconds in enumerate(values)))
    middle = statistics.median(values)
    mad = statistics.median(abs(value - middle) for value in values)
    scores = [(value - middle) / max(1.4826 * mad, 0.02 * middle) for value in values]
    wanted = [score for score in scores if score > OUTLIER] if len(values) >= 5 else []
    assert [each.score for each in found.outliers] == pytest.approx(sorted(wanted, reverse=True))
    (group,) = found.groups
    assert (group.starts, group.median_s, group.mad_s) == (
        len(values),
        pytest.approx(middle),
        pytest.approx(mad),
    )


def test_equal_starts_have_no_outliers_and_small_groups_none_at_all() -> None:
    assert not report(*(row(number) for number in range(30))).outliers
    assert not report(*(row(number) for number in range(3)), row(3, 99.0)).outliers


def test_a_group_that_became_slower_is_two_groups() -> None:
    rows = [row(n, value * (1.3 if n >= 25 else 1), day=n) for n, value in enumerate(spread(40))]
    found = report(*rows, row(40, 40.0, day=3))
    assert [each.trace for each in found.outliers] == ["/t/0040"]
    assert found.outliers[0].median == pytest.approx(10, rel=0.05)


def test_a_start_that_took_long_by_the_clock_stands_out_too() -> None:
    rows = [row(number, wall_s=1.0 + number / 100) for number in range(20)]
    (found,) = report(*rows, row(20, wall_s=9.0)).outliers
    assert (found.trace, found.measure) == ("/t/0020", "wall_s") and found.measure in MEASURES


# ---- regressions ----------------------------------------------------------------------------------------


def test_a_planted_regression_is_first_with_its_first_bad_start() -> None:
    steady = [row(number, value, start="/img/steady", day=number) for number, value in enumerate(spread(40))]
    worse = [
        row(
            100 + number,
            value * (1.3 if number >= 25 else 1),
            day=number,
            kernel="6.9" if number >= 25 else "6.1",
        )
        for number, value in enumerate(spread(40, 2))
    ]
    (found,) = report(*steady, *worse).regressions
    assert (found.group, found.trace, found.since) == (
        "/img/a",
        "/t/0125",
        DAY + datetime.timedelta(days=25),
    )
    assert (found.starts_before, found.starts_after) == (25, 15)
    assert found.after / found.before == pytest.approx(1.3, rel=0.05)
    assert {each.what: (each.here, each.usual) for each in found.differs} == {"kernel": ("6.9", "6.1")}


def test_the_first_bad_start_is_the_first_though_those_before_were_high_by_chance() -> None:
    """Ranks alone would take the three highest before the change for the first after it."""
    seconds = [10.0 + 0.01 * (number % 7) for number in range(31)] + [10.2, 10.3, 10.4] + [13.0] * 16
    seconds[4] = 90.0  # an outlier is no change
    (found,) = report(*(row(number, value, day=number) for number, value in enumerate(seconds))).regressions
    assert (found.trace, found.starts_before, found.starts_after) == ("/t/0034", 34, 16)


def test_chance_is_that_of_pettitt() -> None:
    """Worked out here from the signs of all differences, as the test was published."""
    values = [row(number, value + (number >= 20), day=number) for number, value in enumerate(spread(40, 3))]
    (found,) = report(*values).regressions
    seconds = np.array([dict(each.facts.seconds)["hdd-7200"] for each in values])
    signs = np.sign(seconds[:, None] - seconds[None, :])
    statistic = max(abs(signs[:cut, cut:].sum()) for cut in range(1, 40))
    assert found.chance == pytest.approx(2 * np.exp(-6 * statistic**2 / (40**3 + 40**2)))


def test_what_varies_by_chance_or_got_better_is_no_regression() -> None:
    for seed in range(6):
        rows = [row(number, value, day=number) for number, value in enumerate(spread(60, seed))]
        assert not report(*rows).regressions
    faster = [row(n, value * (0.5 if n > 30 else 1), day=n) for n, value in enumerate(spread(60))]
    assert not report(*faster).regressions


# ---- what else ------------------------------------------------------------------------------------------


def test_what_is_not_counted_is_told_first() -> None:
    good = [row(number, day=number) for number in range(6)]
    broken = Row(Place("/t/broken", 5, 1), "f" * 64, "model", Facts(), DAMAGED, "\x1b[31mno Parquet")
    other = Row(Place("/t/other", 5, 1), "e" * 64, "older", row(9).facts)
    rows = [*good, broken, other, row(10, lost_events=3), row(11, started_at=None)]
    found = report(*rows, since=DAY + datetime.timedelta(days=2))
    assert (found.traces, found.counted) == (10, 5)
    assert (found.incomplete, found.other_model, found.earlier, found.undated) == (1, 1, 2, 1)
    shown = forms.text(found).plain
    assert shown.index("1 trace broken") < shown.index("Became slower")
    assert "\x1b" not in shown and "1 trace INCOMPLETE" in shown


def test_what_the_advice_would_save_is_added_up() -> None:
    save = (Saving("qcow2-64k", "64 KiB clusters", "hdd-7200", 3.0), Saving("x", "worse", "hdd-7200", -1.0))
    rows = [row(number, start=f"/img/{number % 3}", day=number, savings=save) for number in range(6)]
    (found,) = report(*rows, row(6)).savings
    assert (found.option, found.images, found.starts, found.total_s) == ("qcow2-64k", 3, 6, 18.0)
    assert found.a_day_s == pytest.approx(18.0 / 5)
    assert report(*rows[:1]).savings[0].a_day_s is None  # of less than a day


def test_common_pages_are_estimated_from_sketches() -> None:
    """20,000 pages that all need, and 10,000 of each start's own."""
    rows = []
    for number in range(10):
        own = np.append(np.arange(20_000), (1 + number) * 10**6 + np.arange(10_000))
        pages = hashes([b"/img"], np.zeros(len(own), np.int64), own)
        rows.append(row(number, pages=len(own), sketch=sketch(pages), pages_digest=str(number)))
    (found,) = report(*rows).shared
    assert found.low <= 20_000 * 4096 <= found.high and not found.alike
    assert found.of == pytest.approx(120_000 * 4096, rel=0.5)
    few = sketch(hashes([b"/a"], np.zeros(9, np.int64), np.arange(9)))
    (exact,) = report(*(row(n, pages=9, sketch=few, pages_digest="same") for n in range(5))).shared
    assert (exact.bytes, exact.of, exact.alike) == (pytest.approx(9 * 4096), pytest.approx(9 * 4096), True)


@pytest.mark.parametrize("by", reduce.BY)
def test_starts_can_be_grouped_by_anything_that_is_asked(by: str) -> None:
    found = report(*(row(number) for number in range(14)), by=by)
    assert found.group_count == {"host": 7}.get(by, 1)
    assert sum(group.starts for group in found.groups) == 14


def test_another_device_can_count() -> None:
    rows = [row(number) for number in range(5)]
    assert report(*rows, device="nvme").total_s == pytest.approx(1.0)
    with pytest.raises(UsageError, match=r"no device sd\\x1b; it has hdd-7200, nvme"):
        report(*rows, device="sd\x1b")
    with pytest.raises(ColdseekError, match="no trace of it has facts"):
        reduce.fleet(catalogues.empty())


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("7d", DAY - datetime.timedelta(days=7)),
        ("12h", DAY - datetime.timedelta(hours=12)),
        ("2026-09-01", datetime.datetime(2026, 9, 1)),
        ("2026-09-01T06:00+02:00", datetime.datetime(2026, 9, 1, 4)),
    ],
)
def test_since_is_a_date_or_so_long_ago(words: str, moment: datetime.datetime) -> None:
    assert moments.since(words, DAY.replace(tzinfo=datetime.UTC)) == moment


@pytest.mark.parametrize("words", ["yesterday", "999999d", "7", "0001-01-01T00:00+14:00"])
def test_since_says_what_can_be_said(words: str) -> None:
    with pytest.raises(UsageError, match="say 7d"):
        moments.since(words, DAY.replace(tzinfo=datetime.UTC))


# ---- forms ----------------------------------------------------------------------------------------------


def hostile() -> Fleet:
    evil = "<script>x</script>|`\x1b[31m\n[a](b)"
    rows = [
        row(number, 10.0 if number else 90.0, start=evil, host=evil, kernel=evil + str(number % 2))
        for number in range(12)
    ]
    return report(*rows, Row(Place(evil, 1, 1), "f" * 64, "model", Facts(), DAMAGED, evil))


def usual() -> Fleet:
    rows = [
        row(number, value * (1.3 if number >= 25 else 1), day=number)
        for number, value in enumerate(spread(40))
    ]
    return report(*rows, row(40, 40.0, day=3, kernel="6.9.0", requests=4000))


@pytest.mark.parametrize("width", [80, 99])
def test_text_is_no_wider_than_the_page(width: int) -> None:
    for fleet in (usual(), hostile()):
        assert max(map(len, forms.text(fleet, width).plain.split("\n"))) <= width


@pytest.mark.parametrize("form", [lambda fleet: forms.text(fleet).plain, forms.markdown, forms.html])
def test_nothing_from_outside_steers_a_form(form: Callable[[Fleet], str]) -> None:
    shown = form(hostile())
    assert "\x1b" not in shown
    if form is forms.html:
        assert "<script" not in shown and "&lt;script" in shown
        HTMLParser().feed(shown)
    if form is forms.markdown:
        for line in shown.splitlines():
            assert not line.startswith("|") or line.replace("\\|", "").count("|") >= 3


def test_json_is_whole_and_has_no_nan() -> None:
    told = json.loads(json.dumps(forms.as_json(usual()), allow_nan=False))
    assert told["schema"] == "coldseek.fleet/1"
    assert told["outliers"][0]["trace"] == "/t/0040"
    assert told["outliers"][0]["started_at"] == "2026-10-04T00:00:00.000000Z"
    assert told["regressions"][0]["since"].startswith("2026-10-26")


@pytest.mark.parametrize("form", ["txt", "md"])
def test_the_report_is_as_it_was(form: str) -> None:
    shown = forms.markdown(usual()) if form == "md" else forms.text(usual()).plain + "\n"
    path = ROOT / f"tests/data/fleet.{form}"
    if os.environ.get("COLDSEEK_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


# ---- SQL of strangers -----------------------------------------------------------------------------------

CATALOGUE = catalogues.table_of(row(number) for number in range(3))


def test_a_query_sees_the_rows() -> None:
    names, rows = engine.query(
        CATALOGUE, "select host, seconds['nvme'] as s, started_at from fleet order by host"
    )
    assert names == ["host", "s", "started_at"]
    assert rows[0] == ["host-0", 0.2, DAY]
    assert "host-0" in forms.rows_as_text(names, rows)
    assert json.dumps(forms.rows_as_json(names, rows), allow_nan=False)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{secret}')", "select * from read_blob('{secret}')",
        "select * from '{secret}'",
        "select * from read_csv('{secret}')", "select * from glob('{folder}/*')",
        "copy fleet to '{folder}/out.csv'", "copy (select 1) to '{folder}/out.parquet'",
        "attach '{folder}/out.db'", "export database '{folder}/out'", "install httpfs", "load httpfs",
        "select * from 'https://example.org/x.parquet'", "set enable_external_access = true",
        "reset lock_configuration", "set lock_configuration = false", "set temp_directory = '{folder}'",
        "set memory_limit = '1TB'", "select * from table_of_ours", "select getenv('HOME')",
        "create persistent secret s (type s3)", "select * from sniff_csv('{secret}')",
    ],
)  # fmt: skip
def test_a_query_reaches_nothing_else_of_the_machine(sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n")
    table_of_ours = pa.table({"a": [1]})  # which DuckDB would find by its name
    assert table_of_ours.num_rows == 1
    with pytest.raises(UsageError, match="DuckDB") as failure:
        engine.query(CATALOGUE, sql.format(secret=secret, folder=tmp_path))
    assert "\n" not in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_the_queries_of_the_documents_run() -> None:
    text = (ROOT / "docs/fleet.md").read_text()
    queries = re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(queries) >= 10
    for sql in queries:
        names, _ = engine.query(CATALOGUE, sql)
        assert names


def test_the_columns_of_the_documents_are_those_that_there_are() -> None:
    text = (ROOT / "docs/fleet.md").read_text().partition("## Columns")[2].partition("\n## ")[0]
    told = [
        name
        for line in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert told == catalogues.schema().names
