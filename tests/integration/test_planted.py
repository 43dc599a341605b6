"""Where the time went of programs whose time is planted: ten whose time is the disk's, ten whose is not.

Each measures itself where its time went: on a processor, ready for one, waiting. So what a busy machine
steals is known, and allowed for.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import planted
import pytest
from conftest import PATIENCE_S, need, need_root, need_tracer
from expected_reads import build
from planted import MIB, Planted, disk, group, idle_is_told, locked, serving, told

from profiler.analysis.cost.walltime import WallTime, answer, wall_time
from profiler.capture.watch.watcher import missing
from profiler.files.traces import load
from profiler.trace import Trace

NEAR = 0.1  # of what was planted, each part
START_S = 0.1  # at most: the program's start and end, which it does not measure itself


@dataclass(frozen=True)
class Case:
    """way: of planted.c. held: of the control group that holds the disk. cpu: of one that holds the
    processors. waited: what the other time was spent on, in the words of the answer, or their end."""

    way: str
    is_disk: bool
    held: Mapping[str, str] = field(default_factory=dict)
    cpu: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    waited: str = ""


IOPS, BPS = "blkio__throttle__read_iops_device", "blkio__throttle__read_bps_device"
USUAL = {IOPS: "200"}
CASES = {
    **{way: Case(way, True, USUAL) for way in (
        "scattered", "mapped", "metadata", "many", "child", "pool", "uring", "computed",
    )},
    "sequential": Case("sequential", True, {BPS: str(12 * MIB)}),
    "throttled": Case("scattered", True, {IOPS: "100"}),
    "sleep": Case("sleep", False, waited="a timer"),
    "busy": Case("busy", False),
    "server": Case("server", False, waited="(python)"),
    "lock": Case("lock", False, waited="a lock"),
    "pipe": Case("pipe", False, waited="a timer"),  # the child's: it is what ends the wait
    "tmpfs": Case("again", False, place="/dev/shm"),
    "warm": Case("again", False, place="here"),
    "half": Case("busy", False, cpu={"cpu__cfs_quota_us": "50000"}, waited="a processor"),
    "timer": Case("timer", False, waited="a timer"),
    "daemon": Case("daemon", False, waited="/daemon (python)"),
}  # fmt: skip
ALWAYS = ("sleep", "busy", "server", "lock")
"""Those that need no disk and no control group."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_root()
    need_tracer("kernel")
    return build("planted", tmp_path_factory.mktemp("built"))


def run(
    case: Case, program: Path, place: Path, begin: str, env: Mapping[str, str], options: Sequence[str] = ()
) -> tuple[Planted, Trace]:
    """What the program says of itself, and its trace. begin: what a shell does before it."""
    trace = place.parent / "x.trace.parquet"
    own = ["nice", "-n", "-20", "sh", "-c", f'{begin}exec "$0" "$@"', program, case.way, place]
    done = subprocess.run(
        [*planted.RECORD, *options, "-o", trace, "--", *own],
        capture_output=True, text=True, timeout=PATIENCE_S, env={**planted.ENVIRONMENT, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return told(done.stdout), load(trace)


@contextlib.contextmanager
def ready(case: Case, tmp_path: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """The folder that the program works in, what a shell does first, and its environment."""
    with contextlib.ExitStack() as stack:
        place = tmp_path / "work"
        place.mkdir()
        if case.held:
            made = stack.enter_context(disk(tmp_path))
            made.forget()
            held = {name: f"{made.device} {value}" for name, value in case.held.items()}
            yield made.folder, stack.enter_context(group("blkio", **held)) + "; ", {}
        elif case.cpu:
            yield place, stack.enter_context(group("cpu", **case.cpu)) + "; ", {}
        elif case.place:
            if case.place != "here":
                place = Path(stack.enter_context(planted.folder_in(case.place)))
            (place / "data").write_bytes(bytes(8 * MIB))
            yield place, "", {}
        else:
            stack.enter_context(locked(place) if case.way == "lock" else contextlib.nullcontext())
            served = case.way in ("server", "daemon")
            port = stack.enter_context(serving(place)) if served else 0
            yield place, "", {"PORT": str(port)}


def judged(
    case: Case, program: Path, tmp_path: Path, options: Sequence[str] = ()
) -> tuple[Planted, WallTime, Trace]:
    with ready(case, tmp_path) as (place, begin, env):
        own, trace = run(case, program, place, begin, env, options)
    time = wall_time(trace)
    assert time is not None and None not in (time.running_s, time.device_s, time.other_s)
    parts = (time.running_s or 0) + (time.device_s or 0) + (time.other_s or 0) + time.unknown_s
    assert parts == pytest.approx(time.wall_s, abs=1e-6)
    assert answer(trace, time).is_disk is case.is_disk, (own, time)
    if case.waited and own.waited > 1:
        longest = max((one for one in time.waited_for if one.what != "a processor"), default=None,
                      key=lambda one: one.seconds)  # fmt: skip
        assert longest is not None and longest.what.endswith(case.waited), time
    return own, time, trace


@pytest.mark.alone
@pytest.mark.parametrize("name", ALWAYS)
def test_the_verdict_is_right(name: str, program: Path, tmp_path: Path) -> None:
    judged(CASES[name], program, tmp_path)


@pytest.mark.alone
@pytest.mark.parametrize("name", ["busy", "server"])
def test_the_verdict_is_right_where_nobody_is_stopped(name: str, program: Path, tmp_path: Path) -> None:
    """By the engine that watches others too."""
    fault = missing()
    need(not fault, fault)
    with subprocess.Popen(["sleep", "infinity"]) as other:
        try:
            _, time, _ = judged(CASES[name], program, tmp_path, ["--with", f"pid:{other.pid}"])
        finally:
            other.kill()
    assert time.traced_s == 0


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize("name", CASES)
def test_each_part_is_what_was_planted(name: str, program: Path, tmp_path: Path) -> None:
    if name == "half" and not idle_is_told():  # who is held by a control group is woken by nobody
        pytest.skip("this kernel does not tell of switches from idle processors")  # in CI too
    case = CASES[name]
    own, time, _ = judged(case, program, tmp_path)
    processor = sum(one.seconds for one in time.waited_for if one.what == "a processor")
    waited = time.device_s if case.is_disk else (time.other_s or 0) - processor
    parts = {"ran": time.running_s, "waited": waited, "ready": processor}
    for what, seconds in parts.items():
        # coldseek's own stops are in what the program measured, and in no part
        meant = getattr(own, what)
        slack = max(meant * NEAR, START_S)
        assert seconds is not None
        assert meant - slack - time.traced_s <= seconds <= meant + slack, (what, meant, time)
