"""Plans as files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB, trace

from profiler.analysis.simulation import prefetch
from profiler.errors import ColdseekError
from profiler.plan import FORMER, KnownFile, Plan, is_plan, load, plan_of, save

NUMBERS = st.integers(0, 2**62)
FILES = st.builds(
    KnownFile,
    st.binary(max_size=9),
    st.sampled_from(["regular", "metadata", "-", "%41 x"]),
    st.sampled_from(["", "8:1", "254:0"]),
    *[st.none() | NUMBERS] * 2,
    st.none() | st.integers(-(2**62), 2**62),
    st.booleans(),
)


@given(st.lists(FILES, min_size=1, max_size=4), st.data())
def test_everything_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, files: list[KnownFile], data: st.DataObject
) -> None:
    stretch = st.tuples(st.integers(0, len(files) - 1), *[NUMBERS] * 3)
    made = Plan(tuple(files), tuple(data.draw(st.lists(stretch, max_size=5))))
    where = str(tmp_path_factory.getbasetemp() / "round.plan")
    save(made, where)
    assert is_plan(where)
    assert load(where) == made


def test_the_plan_of_a_trace() -> None:
    made = trace([(1, 8 * MIB, 10), (1, 0, 10), (2, 0, 5)], [b"/a", b"/b", b"/c"])
    found = plan_of(prefetch.plan(made, "time"), made.files)
    assert [one.path for one in found.files] == [b"/b", b"/c"]
    assert found.stretches == ((0, 8 * MIB, 4096, 0), (0, 0, 4096, 1), (1, 0, 4096, 2))
    assert found.size == 3 * 4096


GOOD = {"format": FORMER, "files": [["/a", "regular", "8:1", 1, 4096, -5]], "stretches": [[0, 0, 4096]]}


def test_plans_of_the_former_format_still_load(tmp_path: Path) -> None:
    where = tmp_path / "x.plan"
    more = [["/b", "regular", "8:1", 2, None, 7, True]]
    text = json.dumps(GOOD | {"files": GOOD["files"] + more, "stretches": [[0, 0, 4096], [1, 8192, 10]]})
    where.write_text(text)
    assert is_plan(str(where))
    assert load(str(where)) == Plan(
        (
            KnownFile(b"/a", "regular", "8:1", 1, 4096, -5),
            KnownFile(b"/b", "regular", "8:1", 2, None, 7, True),
        ),
        ((0, 0, 4096, 0), (1, 8192, 10, 1)),
    )


HEAD = "#!/usr/bin/python3 -IS\n"
FILE, STRETCH = "#f regular 8:1 1 4096 -5 0 /a\n", "#r 0 0 4096 0\n"


def lines(
    file: str = FILE, stretch: str = STRETCH, head: str = "#= coldseek.plan/2 1 1\n", end: str = ""
) -> str:
    return HEAD + head + file + stretch + end


def test_the_lines_of_a_plan(tmp_path: Path) -> None:
    where = tmp_path / "x.plan"
    where.write_text(lines())
    assert load(str(where)) == Plan((KnownFile(b"/a", "regular", "8:1", 1, 4096, -5),), ((0, 0, 4096, 0),))


def test_a_plan_is_a_program_for_whom_the_umask_lets(tmp_path: Path) -> None:
    where = tmp_path / "x.plan"
    former = os.umask(0o027)
    try:
        save(Plan((), ()), str(where))
    finally:
        os.umask(former)
    assert where.stat().st_mode & 0o777 == 0o750
    compile(where.read_bytes(), "plan", "exec")


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "{}",
        "[" * 100_000,
        json.dumps(GOOD)[:-2],
        json.dumps(GOOD | {"stretches": [[1, 0, 1]]}),
        json.dumps(GOOD | {"stretches": [[-1, 0, 1]]}),
        json.dumps(GOOD | {"stretches": [[0, -1, 1]]}),
        json.dumps(GOOD | {"stretches": [[0, 0, 2**63]]}),
        json.dumps(GOOD | {"stretches": [[0, 0, 1.5]]}),
        json.dumps(GOOD | {"stretches": [[0, 0, True]]}),
        json.dumps(GOOD | {"stretches": [[0, 0]]}),
        json.dumps(GOOD | {"stretches": 7}),
        json.dumps(GOOD | {"files": [["/a", "regular", "8:1", 1, 4096]]}),
        json.dumps(GOOD | {"files": [[5, "regular", "8:1", 1, 4096, 5]]}),
        json.dumps(GOOD | {"files": [["/a", "regular", "8:1", 1, -1, 5]]}),
        json.dumps(GOOD | {"files": [["\ud800", "regular", "8:1", 1, 1, 5]]}),
        json.dumps(GOOD | {"format": "coldseek.plan/2"}),
        HEAD,
        lines(head="#= coldseek.plan/3 1 1\n"),
        lines(head="#= coldseek.plan/2 1\n"),
        lines(head="#= coldseek.plan/2 2 1\n"),
        lines(head="#= coldseek.plan/2 1 2\n"),
        lines(head="#= coldseek.plan/2 999999999999 1\n"),
        lines(head="#= coldseek.plan/2 " + "9" * 10_000 + " 1\n"),
        lines(end="os.system('x')\n"),
        lines(file="#f regular 8:1 1 4096 -5 2 /a\n"),
        lines(file="#f regular 8:1 1 -4096 -5 0 /a\n"),
        lines(file="#f regular 8:1 1 4096 -5 0 /%g1\n"),
        lines(file="#f regular 8:1 1 4096 -5 0 /%\n"),
        lines(file="#f regular 8:1 1 4096 -5 0 /\xe4\n"),
        lines(file="#f regular 8:1 1 4096 -5 0 /" + "a" * 100_000 + "\n"),
        lines(stretch="#r 1 0 4096 0\n"),
        lines(stretch="#r -1 0 4096 0\n"),
        lines(stretch="#r 0 0 4096\n"),
        lines(stretch="#r 0 0 9223372036854775808 0\n"),
        lines(stretch="#r 0 0 " + "9" * 5000 + " 0\n"),
    ],
)
def test_what_is_no_plan_is_said_in_one_line(tmp_path: Path, wrong: str) -> None:
    where = tmp_path / "x.plan"
    where.write_text(wrong)
    with pytest.raises(
        ColdseekError, match="no plan, or is damaged; make it with coldseek prefetch"
    ) as seen:
        load(str(where))
    assert "\n" not in str(seen.value)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    (tmp_path / "t.trace.parquet").write_bytes(b"PAR1")
    os.mkfifo(tmp_path / "pipe")
    for name in ("t.trace.parquet", "pipe", "missing", "", "a\0b"):
        assert not is_plan(str(tmp_path / name))
    with pytest.raises(ColdseekError, match="cannot read"):
        load(str(tmp_path / "missing"))
