"""Limits of a check: read from words, and taken from the spread of a baseline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.analysis.check.held import BETTER, REGRESSED, UNKNOWN, UNLIMITED, WITHIN, Held, held
from profiler.analysis.check.limits import Limit, asked, need_baseline, parse, usual
from profiler.errors import UsageError
from profiler.facts.starts import Image, Program, Start


def start(**quantities: object) -> Start:
    """A start of so many runs; a number is the value of each of three."""
    lists = {
        name.replace("__", "."): values if isinstance(values, tuple) else (values,) * 3
        for name, values in quantities.items()
    }
    return Start(("./start",), 0, max(map(len, lists.values()), default=1), lists)  # type: ignore[arg-type]


def check(
    before: Start | None, now: Start, *limits: str, wanted: int = 3, faults: tuple[str, ...] = ()
) -> Held:
    return held(before, now, dict(map(parse, limits)), wanted=wanted, faults=faults)


def state_of(result: Held, name: str) -> str:
    return next(line.state for line in result.lines if line.name == name)


@pytest.mark.parametrize(
    ("words", "name", "limit"),
    [
        ("requests=+5%", "requests", Limit("+", 0.05, True)),
        ("requests=+20", "requests", Limit("+", 20)),
        ("seconds=-10%", "seconds", Limit("-", 0.1, True)),
        ("seconds.hdd-7200=2.5", "seconds.hdd-7200", Limit("=", 2.5)),
        ("device_bytes=1e6", "device_bytes", Limit("=", 1e6)),
        ("all=off", "all", Limit("off")),
    ],
)
def test_a_limit_is_read(words: str, name: str, limit: Limit) -> None:
    assert parse(words) == (name, limit)


@pytest.mark.parametrize(
    "words", ["requests", "wall=+5%", "requests=", "requests=5%", "requests=+-5", "requests=nan", "=+5%",
              "requests=+1e999", "requests=+5%%", "requests=\x1b[31m"],
)  # fmt: skip
def test_what_is_no_limit_is_refused_by_name(words: str) -> None:
    with pytest.raises(UsageError, match="cannot read the limit"):
        parse(words)


def test_the_floor_is_one_percent_or_four_requests() -> None:
    assert usual(start(requests=1000), "requests") == Limit("+", 10)
    assert usual(start(requests=100), "requests") == Limit("+", 4)
    # four of a hundred requests are 4% of the bytes and of the time
    few = start(requests=100, device_bytes=1000, seconds__nvme=0.5)
    assert usual(few, "device_bytes") == Limit("+", 40)
    assert usual(few, "seconds.nvme") == Limit("+", pytest.approx(0.02))


def test_runs_that_differ_make_the_limit_wider() -> None:
    assert usual(start(requests=(1000, 1020, 1010)), "requests") == Limit("+", 40)


def test_no_limit_comes_of_what_is_not_known() -> None:
    assert usual(start(requests=(100, None, 100)), "requests") is None
    assert usual(start(reads=5), "requests") is None


def test_within_regressed_and_better() -> None:
    before = start(requests=1000)
    assert check(before, start(requests=1010)).state == WITHIN
    assert check(before, start(requests=1011)).state == REGRESSED
    assert state_of(check(before, start(requests=989)), "requests") == BETTER
    assert check(before, start(requests=989)).state == WITHIN


def test_one_wild_run_of_three_is_no_regression() -> None:
    assert check(start(requests=1000), start(requests=(1000, 1000, 5000))).state == WITHIN


def test_limits_that_are_asked_for_go_before() -> None:
    before = start(requests=1000)
    assert check(before, start(requests=1050), "requests=+5%").state == WITHIN
    assert check(before, start(requests=1051), "requests=+5%").state == REGRESSED
    assert check(before, start(requests=901), "requests=-10%").state == REGRESSED
    assert check(before, start(requests=900), "requests=-10%").state == WITHIN
    assert check(before, start(requests=9999), "all=off").state == WITHIN
    assert check(before, start(requests=9999), "all=off", "requests=+1%").state == REGRESSED


def test_the_most_exact_name_counts() -> None:
    limits = dict(map(parse, ["all=off", "seconds=+5%", "seconds.nvme=2"]))
    assert asked(limits, "seconds.nvme") == Limit("=", 2)
    assert asked(limits, "seconds.nas-1g") == Limit("+", 0.05, True)
    assert asked(limits, "reads") == Limit("off")


def test_a_most_needs_no_baseline() -> None:
    assert check(None, start(requests=500), "requests=500").state == WITHIN
    assert check(None, start(requests=501), "requests=500").state == REGRESSED
    need_baseline(None, dict([parse("requests=500")]), "b.json", update=False)
    need_baseline(None, {}, "b.json", update=True)
    with pytest.raises(UsageError, match="--update"):
        need_baseline(None, dict([parse("requests=+5%")]), "b.json", update=False)


def test_what_has_a_limit_and_is_not_known_cannot_be_told() -> None:
    before = start(requests=100, metadata_requests=50)
    assert check(before, start(requests=100, metadata_requests=None)).state == UNKNOWN
    assert check(before, start(requests=100)).state == UNKNOWN
    # what a newer coldseek counts besides has no limit yet
    result = check(start(requests=100), start(requests=100, reads=9))
    assert (result.state, state_of(result, "reads")) == (WITHIN, UNLIMITED)


def test_a_regression_is_told_whatever_else_is_not_known() -> None:
    before = start(requests=100, metadata_requests=50)
    assert check(before, start(requests=200, metadata_requests=None)).state == REGRESSED


def test_too_few_runs_and_another_exit_status_cannot_be_told() -> None:
    before = start(requests=100)
    assert check(before, start(requests=(900, 900)), faults=("NOT COLD",)).state == UNKNOWN
    failed = Start(("./start",), 1, 3, {"requests": (10, 10, 10)})
    assert check(before, failed).state == UNKNOWN


def test_a_baseline_of_something_else_is_told() -> None:
    before = start(requests=100)
    images = (Image("disk.qcow2", "qcow2", 10),), (Image("disk.qcow2", "qcow2", 20), Image("new.raw", "raw"))
    before = Start(
        ("./start",), 0, 3, before.quantities, {}, Program("/bin/a", 1, "aa"), images[0],
        {"kernel": "6.1", "tracer": "ptrace"}, "0.1",
    )  # fmt: skip
    now = Start(
        ("./other",), 0, 3, before.quantities, {}, Program("/bin/a", 1, "bb"), images[1],
        {"kernel": "6.9"}, "0.2",
    )  # fmt: skip
    told = "\n".join(check(before, now).warnings)
    for words in (
        "another command", "/bin/a is another file", "disk.qcow2 has another size", "new.raw is new",
        "kernel was 6.1 and is 6.9", "tracer was ptrace and is not known", "coldseek 0.1",
    ):  # fmt: skip
        assert words in told
    assert check(now, now).warnings == ()


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=9),
    st.integers(0, 8),
    st.sampled_from(["requests", "device_bytes", "seconds.nvme"]),
)
def test_a_baseline_is_within_its_own_limits(values: list[int], pick: int, name: str) -> None:
    """Any of its own runs, three times over, is no regression."""
    before = Start(runs=len(values), quantities={"requests": tuple(values), name: tuple(values)})
    now = Start(runs=3, quantities={key: (values[pick % len(values)],) * 3 for key in before.quantities})
    assert check(before, now).state == WITHIN
