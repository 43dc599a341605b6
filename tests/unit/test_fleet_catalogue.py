"""A catalogue of traces: made, brought up to date, read from strangers."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any, get_type_hints

import made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiler import devices
from profiler.analysis.fleet.facts import model_of
from profiler.errors import CatalogueError, ColdseekError, UsageError
from profiler.facts.fleet import DAMAGED, UNREADABLE, Facts, Place, Row
from profiler.files import catalogues, traces
from profiler.fleet import mapping, places, update
from profiler.fleet.examine import Asked, Known, Task, examine
from profiler.fleet.update import Counts

pytest.importorskip("dask")

HDD = (devices.find("hdd-7200"),)
ASKED = Asked(HDD, False, model_of(HDD, "1"))
LONG_AGO_S = 1_700_000_000


def put(folder: Path, name: str, **meta: Any) -> Path:
    """A trace, of long ago."""
    path = folder / f"{name}.trace.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    traces.save(made.trace([(0, 0, 4096), (1, 8192, 4096)], command=("start", name), **meta), path)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return path


def brought(catalogue: Path, *names: Path | str, asked: Asked = ASKED) -> Counts:
    return update.update(str(catalogue), [str(name) for name in names], asked, workers=0)


def rows(catalogue: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = catalogues.load(str(catalogue)).to_pylist()
    return found


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    for host in ("one", "two"):
        put(folder / host, f"boot-{host}")
    (folder / "broken.trace.parquet").write_bytes(b"PAR1 and nothing else")
    os.utime(folder / "broken.trace.parquet", (LONG_AGO_S, LONG_AGO_S))
    return folder


def test_every_trace_is_a_row_and_a_broken_one_says_why(fleet: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "fleet.parquet"
    assert brought(catalogue, fleet) == Counts(traces=3, new=3, failed=1, moved=0, rows=3)
    good = [row for row in rows(catalogue) if not row["failure"]]
    assert sorted(row["command"] for row in good) == ["start boot-one", "start boot-two"]
    assert all(row["reads"] == 2 and dict(row["seconds"])["hdd-7200"] > 0 for row in good)
    (bad,) = (row for row in rows(catalogue) if row["failure"])
    assert bad["failure"] == DAMAGED and "not a whole Parquet file" in bad["reason"] and bad["reads"] is None


def test_only_what_is_new_is_looked_at(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = tmp_path / "fleet.parquet"
    brought(catalogue, fleet)
    before = catalogue.read_bytes()
    read: list[str] = []
    monkeypatch.setattr("profiler.fleet.examine.read", lambda name: read.append(name) or places.read(name))
    assert brought(catalogue, fleet).new == 0
    assert not read and catalogue.read_bytes() == before
    added = put(fleet, "boot-three")
    assert brought(catalogue, fleet) == Counts(traces=4, new=1, failed=0, moved=0, rows=4)
    assert read == [str(added)]


def test_a_trace_that_was_moved_is_not_worked_out_again(fleet: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "fleet.parquet"
    brought(catalogue, fleet)
    shutil.copy2(fleet / "one/boot-one.trace.parquet", fleet / "copy.trace.parquet")
    assert brought(catalogue, fleet) == Counts(traces=4, new=0, failed=0, moved=1, rows=3)
    (row,) = (row for row in rows(catalogue) if row["command"] == "start boot-one")
    names = [os.path.relpath(each["name"], fleet) for each in row["places"]]
    assert names == ["copy.trace.parquet", "one/boot-one.trace.parquet"] and row["trace"].endswith(
        "copy.trace.parquet"
    )
    assert brought(catalogue, fleet).moved == 0


def test_a_trace_that_changed_is_a_row_more(fleet: Path, tmp_path: Path) -> None:
    """What it was when it was seen stays: it was a start, too."""
    catalogue = tmp_path / "fleet.parquet"
    brought(catalogue, fleet)
    put(fleet / "one", "boot-one", cwd="/elsewhere")
    assert brought(catalogue, fleet).new == 1
    assert sum(row["command"] == "start boot-one" for row in rows(catalogue)) == 2


def test_a_trace_of_this_moment_is_looked_at_again(tmp_path: Path) -> None:
    """It may change once more within the tick of the clock of its file system."""
    path = put(tmp_path, "new")
    os.utime(path)
    (place,) = places.find([str(path)], path.stat().st_mtime_ns + 10**9)
    assert place.changed_ns is None
    (place,) = places.find([str(path)], path.stat().st_mtime_ns + 3 * 10**9)
    assert place.changed_ns == path.stat().st_mtime_ns


def test_another_model_works_all_out_again(fleet: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "fleet.parquet"
    brought(catalogue, fleet)
    other = dataclasses.replace(ASKED, model=model_of(HDD, "2"))
    assert brought(catalogue, fleet, asked=other) == Counts(traces=3, new=3, failed=1, moved=0, rows=3)
    assert {row["model"] for row in rows(catalogue)} == {other.model}


def test_what_cannot_be_read_is_tried_again(fleet: Path, tmp_path: Path) -> None:
    catalogue, link = tmp_path / "fleet.parquet", fleet / "gone.trace.parquet"
    link.symlink_to(fleet / "later")
    assert brought(catalogue, fleet).failed == 2
    (bad,) = (row for row in rows(catalogue) if row["failure"] == UNREADABLE)
    assert bad["reason"] == "No such file or directory" and bad["content"] == ""
    shutil.copy2(put(tmp_path, "late"), fleet / "later")
    assert brought(catalogue, fleet) == Counts(traces=4, new=1, failed=0, moved=0, rows=4)
    assert not any(row["failure"] == UNREADABLE for row in rows(catalogue))


def test_pipes_and_links_to_folders_set_nothing_going(fleet: Path, tmp_path: Path) -> None:
    os.mkfifo(fleet / "pipe.trace.parquet")
    (fleet / "loop").symlink_to(fleet)
    assert brought(tmp_path / "fleet.parquet", fleet) == Counts(traces=4, new=4, failed=2, moved=0, rows=4)


def test_the_order_of_traces_makes_no_difference(fleet: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    brought(whole, fleet)
    for name in ("two/boot-two", "broken", "one/boot-one"):
        brought(parts, fleet / f"{name}.trace.parquet")
    assert whole.read_bytes() == parts.read_bytes()


def test_an_interrupt_keeps_what_there_is(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, seen = tmp_path / "fleet.parquet", []

    def stops_at_the_third(task: Task, asked: Asked) -> Row | Known:
        seen.append(task)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return examine(task, asked)

    monkeypatch.setattr(mapping, "_WAVE", 1)
    monkeypatch.setattr(update, "examine", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        brought(catalogue, fleet)
    assert len(rows(catalogue)) == 2
    monkeypatch.setattr(update, "examine", examine)
    assert brought(catalogue, fleet).new == 1


def test_patterns_and_urls_name_traces(fleet: Path, tmp_path: Path) -> None:
    assert brought(tmp_path / "pattern.parquet", fleet / "*" / "boot-*").traces == 2
    assert brought(tmp_path / "url.parquet", f"file://{fleet}").traces == 3
    assert brought(tmp_path / "urls.parquet", f"file://{fleet}/*/boot-*.parquet").rows == 2
    with pytest.raises(UsageError, match="no trace is there"):
        places.find([str(tmp_path / "nowhere")], 0)
    with pytest.raises(ColdseekError, match="cannot list"):
        places.find(["nosuch://bucket/traces"], 0)


def test_any_name_of_a_file_can_be_catalogued(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\n\x1b[31m.trace.parquet"
    os.rename(put(tmp_path, "x"), name)
    catalogue = tmp_path / "fleet.parquet"
    assert brought(catalogue, tmp_path).rows == 1
    assert rows(catalogue)[0]["trace"].endswith("/\\xff\n\x1b[31m.trace.parquet")
    assert brought(catalogue, tmp_path).new == 0


# ---- the file -------------------------------------------------------------------------------------------


def test_the_columns_are_the_facts() -> None:
    names = catalogues.schema().names
    own = ["content", "model", "trace", "places", "trace_bytes", "failure", "reason"]
    assert names == own + [item.name for item in dataclasses.fields(Facts)]
    assert set(get_type_hints(Facts)) <= set(names)


def test_a_catalogue_survives_a_round_trip(tmp_path: Path) -> None:
    table = catalogues.table_of([Row(Place("/t", 5, 7), "ab", "m", Facts(host="h", sketch=(2**64 - 1,)))])
    catalogues.save(table, str(tmp_path / "c"))
    assert catalogues.load(str(tmp_path / "c")).equals(table)


def damaged(path: Path, **columns: pa.Array) -> None:
    table = catalogues.table_of([Row(Place("/t", 5, 7), "ab", "m", Facts())])
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)


def test_catalogues_of_strangers_are_looked_over(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    damaged(path)
    assert catalogues.load(str(path)).num_rows == 1
    damaged(path, sizes=pa.array([[1, 2]], pa.list_(pa.int64())))
    with pytest.raises(CatalogueError, match="sizes are not 64"):
        catalogues.load(str(path))
    damaged(path, failure=pa.array(["\x1b[31mno"]))
    with pytest.raises(CatalogueError, match="failures"):
        catalogues.load(str(path))
    damaged(path, reads=pa.array(["many"]))
    with pytest.raises(CatalogueError, match="no catalogue"):
        catalogues.load(str(path))
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    )
    damaged(path, host=bad)
    with pytest.raises(CatalogueError):
        catalogues.load(str(path))


@pytest.mark.parametrize(
    ("version", "words"), [(None, "but no catalogue"), ("2", "reads up to 1"), ("x", "does not say")]
)
def test_other_formats_are_refused_by_number(tmp_path: Path, version: str | None, words: str) -> None:
    path = tmp_path / "c.parquet"
    table = catalogues.empty().replace_schema_metadata({"coldseek.fleet": version} if version else None)
    pq.write_table(table, path)
    with pytest.raises(CatalogueError, match=words):
        catalogues.load(str(path))


def test_what_is_no_file_of_parquet_says_so(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"text")
    with pytest.raises(CatalogueError, match="no catalogue"):
        catalogues.load(str(tmp_path / "c"))
    with pytest.raises(ColdseekError, match="No such file"):
        catalogues.load(str(tmp_path / "none"))


def test_damaged_bytes_of_a_catalogue_are_an_error_in_one_line(tmp_path: Path, fleet: Path) -> None:
    path = tmp_path / "c.parquet"
    brought(path, fleet)
    whole = path.read_bytes()
    for place in range(0, len(whole), 997):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            catalogues.load(str(path))
        except ColdseekError as error:
            assert "\n" not in str(error)
