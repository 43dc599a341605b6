"""Whom to watch, with real processes: their threads, descendants, control groups and users."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import need, need_root
from small_programs import until

from profiler.capture.watch.whom.processes import tasks
from profiler.capture.watch.whom.targets import Target, Watched, _mounted, parse
from profiler.errors import UsageError
from profiler.machine.cgroups import cgroup_of

FAMILY = """
import os, sys, threading
threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
def child():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        threading.Event().wait()
child()
for _ in sys.stdin: child()
"""
"""Four threads, a child at once, and one more for each line."""


@contextlib.contextmanager
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with four threads, and the number of its child. All end with the test, orphans too."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as parent:  # type: ignore[call-overload]
        try:
            assert parent.stdout is not None
            yield parent, int(parent.stdout.readline())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, 9)


@contextlib.contextmanager
def sleeper(**how: object) -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"], **how) as process:  # type: ignore[call-overload]
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_process_its_threads_and_children_made_before_and_after() -> None:
    with family() as (parent, child):
        watched = Watched([Target("pid", str(parent.pid))])
        assert watched.look() == {**dict.fromkeys(tasks(parent.pid), parent.pid), child: child}
        assert len(tasks(parent.pid)) == 4
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write("\n")
        parent.stdin.flush()
        later = int(parent.stdout.readline())
        assert watched.look().get(later) == later
        assert watched.anchors() == {} and not watched.everything and not watched.holds("/")
        parent.kill()
        parent.wait()
        assert set(watched.look()) == {child, later}  # given to another parent, it still belongs


def test_what_coldseek_runs_itself_never_belongs_but_its_children_do() -> None:
    with family() as (parent, child):
        own = {parent.pid}
        everything = Watched([Target("all")], own)
        assert everything.everything and everything.holds("/whatever")
        found = everything.look()
        assert parent.pid not in found.values() and found[child] == child
        assert threading.get_native_id() in found
        own.add(child)
        assert child not in everything.look()


def test_a_number_that_is_used_again_is_another_process() -> None:
    with sleeper() as pid:
        watched = Watched([Target("pid", str(pid))])
        assert watched.look() == {pid: pid}
        watched._line[pid] -= 1  # as if the one that was meant had begun earlier
        assert watched.look() == {}


def test_a_thread_is_no_process_and_its_process_is_named() -> None:
    with family() as (parent, _):
        thread = max(tasks(parent.pid))
        with pytest.raises(UsageError, match=f"use pid:{parent.pid}"):
            Watched([Target("pid", str(thread))])


def test_all_processes_of_a_user_as_they_become_it() -> None:
    need_root()
    number = 54321
    watched = Watched([Target("user", str(number))])
    assert watched.look() == {}
    with sleeper(user=number) as pid, sleeper():
        assert until(lambda: watched.look() == {pid: pid}, 10)


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_control_groups_old_and_new_with_those_below(kind: str) -> None:
    need_root()
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = [line[4] for line in lines if line[line.index("-") + 1] == kind and line[3] == "/"]
    need(places, f"needs {kind} mounted")
    name = f"coldseek-test-{os.urandom(6).hex()}.slice"
    folder = Path(places[0]) / name
    try:
        (folder / "unit.service" / "below").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"no control group can be made in {places[0]}: {error.strerror}")  # in CI too
    try:
        asked = [f"cgroup:/{name}", f"cgroup:{folder}", f"cgroup:/{name}/unit.service"]
        by_path = [Watched([parse(text)]) for text in asked]
        unit = Watched([Target("unit", "unit.service", coming=True)])
        with sleeper() as pid:
            assert all(one.look() == {} for one in (*by_path, unit))
            (folder / "unit.service" / "below" / "cgroup.procs").write_text(str(pid))
            # found with the next look that reads it again, which is a second later at most
            assert all(until(lambda one=one: one.look() == {pid: pid}, 10) for one in (*by_path, unit))
            for one in by_path:
                assert one.holds(f"/{name}/unit.service/below") and not one.holds(f"/{name}2/unit.service")
            assert unit.holds(f"/{name}/unit.service") and not unit.holds(f"/{name}")
            assert Watched([parse("unit:unit")]).look() == {pid: pid}  # it runs, whoever has started it
    finally:
        for one in (folder / "unit.service" / "below", folder / "unit.service", folder):
            assert until(lambda one=one: gone(one), 10)


def gone(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def test_where_control_groups_are_mounted_is_known() -> None:
    told = {
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup" in line
    }
    assert {place for place, _ in _mounted()} == told


def test_the_first_process_is_an_anchor_of_units() -> None:
    watched = Watched([Target("unit", "no-such-unit-here.service", coming=True)])
    watched.look()
    assert watched.anchors().get(1) == 1


def test_this_process_has_a_control_group_and_one_that_is_not_there_has_none() -> None:
    assert cgroup_of(os.getpid()).startswith(b"/")
    assert cgroup_of(2**22 + 1) == b""
