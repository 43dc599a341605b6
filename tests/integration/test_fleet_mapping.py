"""Work on many items: in processes, some of which end; and the command where a library is missing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from profiler.cli import _register, app
from profiler.errors import ColdseekError
from profiler.fleet import extra
from profiler.fleet.mapping import mapped, on_cluster

pytest.importorskip("dask")


def doubled(number: int) -> int:
    """Ends its process on 2, as what kills where memory is short does."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def lost(number: int, why: str) -> int:
    assert "the process that read it ended" in why
    return -number


def test_an_item_that_ends_its_process_is_lost_and_no_other_is() -> None:
    told: list[int] = []
    assert list(mapped(doubled, [0, 1, 2, 3], lost, 1, told.append)) == [0, 2, -2, 6]
    assert told[-1] == 4


def test_in_one_process_nothing_is_started() -> None:
    told: list[int] = []
    assert list(mapped(os.getpgid, [0] * 100, lost, 0, told.append)) == [os.getpgrp()] * 100
    assert sorted(told) == list(range(1, 101))


def test_a_scheduler_that_is_not_there_is_told_by_its_name() -> None:
    with pytest.raises(ColdseekError, match="cannot reach the scheduler nosuch://x"):
        list(on_cluster(doubled, [1], lost, "nosuch://x"))


def test_a_library_that_is_missing_is_told_in_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ColdseekError, match=r"fleet needs nosuch, .*pip install 'coldseek\[fleet\]'"):
        extra.needed("nosuch.part")
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    _register()
    from profiler.files import catalogues

    catalogues.save(catalogues.empty(), str(tmp_path / "c.parquet"))
    done = CliRunner().invoke(app, ["fleet", "sql", str(tmp_path / "c.parquet"), "select 1"])
    assert isinstance(done.exception, ColdseekError) and "coldseek[fleet]" in str(done.exception)


def test_the_first_word_may_be_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _register()
    short, long = (CliRunner().invoke(app, ["fleet", *words, "nowhere"]) for words in ((), ("add",)))
    assert str(short.exception) == str(long.exception) and "no trace is there" in str(short.exception)
