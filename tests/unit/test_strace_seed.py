"""The case of the 2010 post, from its own trace continued to all of its reads."""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path

from profiler.capture.strace.logs import reading
from profiler.report import text
from profiler.report.summarise import summarise

ROOT = Path(__file__).resolve().parents[2]
MAKE_LOG = ROOT / "examples" / "seed-2010" / "make-log"
QUOTE = ROOT / "tests" / "data" / "strace" / "seed.strace"


def continued() -> str:
    """What the example's script prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(MAKE_LOG), run_name="__main__")
    return printed.getvalue()


def test_all_reads_of_the_post() -> None:
    trace = reading.parse(io.BytesIO(continued().encode()))
    reads = trace.reads()
    table, blocks = reads.iloc[0], reads.iloc[1:]
    assert table["size"] == 20480
    assert reads["offset"].isna().tolist() == [True] + [False] * 1935
    assert blocks["size"].tolist() == [4096] * 1935
    assert blocks["offset"].tolist() == [143360, *range(8392704, 8392704 + 1934 * 8388608, 8388608)]
    assert (trace.events["op"] == "lseek").sum() == 1935  # recorded, and no reads
    assert len(trace.files) == 1
    assert trace.files["kind"].tolist() == ["regular"]  # a seek proves it
    assert "descriptor 5 of process 17018" in trace.files["path"][0].decode()


def test_the_quoted_lines() -> None:
    trace = reading.parse(QUOTE)
    reads = trace.reads()
    assert reads["offset"].isna().tolist() == [True] + [False] * 7
    assert reads["offset"].tolist()[1:] == [143360, *range(8392704, 50335745, 8388608)]
    assert trace.events["tid"].unique().tolist() == [17018]
    assert trace.meta.wall_s is None
    assert trace.events["duration_ns"].isna().all()
    assert {"early", "threads"} <= set(trace.meta.unseen)
    assert trace.meta.partial == "the log ends before the program does"
    shown = text.report(summarise(trace)).plain
    assert shown.startswith("PARTIAL: the log ends before the program does; what came after is missing.\n")
    assert shown.count("before the program") == 1  # the reason says it; nothing says it again
    assert "no times" in " ".join(trace.meta.notes)


def test_the_example_continues_the_post() -> None:
    log, quoted = continued(), QUOTE.read_text()
    assert log.startswith(quoted)
    assert len(log.splitlines()) == 1 + 2 * 1935
