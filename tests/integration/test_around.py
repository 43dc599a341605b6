"""What is done around a run: commands before and after it, and the end of what it left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import need_root
from small_programs import no_hang, until

from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.errors import ColdseekError, CommandNotFoundError, UsageError
from profiler.files.owner import Owner
from profiler.machine.processes import leftovers
from profiler.machine.processes.timed import run
from profiler.studies.around import Around, words_of

pytestmark = pytest.mark.usefixtures(no_hang.__name__)

DAEMON = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for name in sys.argv[2:]: signal.signal(getattr(signal, name), signal.SIG_IGN)
with open(sys.argv[1], "a") as told: told.write(f"{os.getpid()}\\n")
time.sleep(300)
"""
"""A daemon as they have always been: forked twice, in a session of its own. Notes its process id."""


def daemon(told: Path, *ignored: str) -> list[str]:
    return [sys.executable, "-S", "-c", DAEMON, str(told), *ignored]


def numbers(told: Path) -> list[int]:
    return [int(line) for line in told.read_text().split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def untraced(around: Around, command: list[str]) -> None:
    with around.untraced():
        run(command, output=False, stdin=False)


def traced(around: Around, command: list[str]) -> None:
    with around.traced() as over:
        Ptrace().record(Recording(command, silent=True, over=over))


Way = Callable[[Around, list[str]], None]
both_ways = pytest.mark.parametrize("way", [untraced, traced])


@pytest.fixture
def foreign() -> Iterator[int]:
    """A process that no run has started, though it is a child of ours."""
    with subprocess.Popen(["sleep", "300"]) as sleeping:
        yield sleeping.pid
        sleeping.kill()


@both_ways
@pytest.mark.parametrize("ignored", [(), ("SIGTERM",)])
def test_a_daemon_is_ended_and_nothing_else(
    way: Way, ignored: tuple[str, ...], tmp_path: Path, foreign: int
) -> None:
    said: list[str] = []
    around = Around(say=said.append)
    (tmp_path / "told").touch()
    for _ in range(3 if not ignored else 1):
        way(around, daemon(tmp_path / "told", *ignored))
    # it may have been ended before it could tell of itself
    assert not any(runs(pid) for pid in numbers(tmp_path / "told"))
    assert runs(foreign)
    (line,) = said
    assert line.startswith("ended what the command left running: python")


def test_a_process_that_is_there_already_is_not_taken_for_a_run_s(tmp_path: Path, foreign: int) -> None:
    """Nor what it starts while the run is on."""
    told = tmp_path / "told"
    script = (
        f"while test ! -e {tmp_path}/go; do sleep 0.05; done\n"
        f"sleep 300 & echo $! >{told}.new; mv {told}.new {told}; wait"
    )
    with subprocess.Popen(["sh", "-c", script]) as shell:
        with Around().untraced():
            (tmp_path / "go").touch()
            assert until(told.exists)
        (child,) = numbers(told)
        assert runs(child) and runs(shell.pid) and runs(foreign)
        os.kill(child, signal.SIGKILL)


def test_daemons_that_start_daemons_leave_none() -> None:
    """A race of the looking with the forking: what starts last must be found, too."""
    chain = "import os, time\nfor _ in range(30):\n    if os.fork(): os._exit(0)\ntime.sleep(300)\n"
    before = set(leftovers._processes())
    for _ in range(5):
        untraced(Around(), [sys.executable, "-S", "-c", chain])
    new = [pid for pid, (parent, _) in leftovers._processes().items() if parent == os.getpid()]
    assert not [pid for pid in new if pid not in before]


def test_what_ends_by_itself_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "OWN_S", 30.0)
    said: list[str] = []
    untraced(Around(say=said.append), ["sh", "-c", "sleep 0.1 &"])
    assert said == []


def test_a_process_that_was_stopped_is_ended_too(tmp_path: Path) -> None:
    told = tmp_path / "told"
    untraced(Around(), ["sh", "-c", f"sleep 300 & kill -STOP $!; echo $! >{told}"])
    assert not any(runs(pid) for pid in numbers(told))


@pytest.mark.parametrize("former", [0, 1])
def test_this_process_is_afterwards_what_it_was(former: int) -> None:
    leftovers._be_subreaper(former)
    try:
        untraced(Around(), ["true"])
        assert leftovers._subreaper() == former
    finally:
        leftovers._be_subreaper(0)


# ---- commands -------------------------------------------------------------------------------------------


@both_ways
def test_the_commands_run_before_and_after(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = "echo $0 >> log"
    around = Around(("sh", "-c", note, "before"), ("sh", "-c", note, "after"))
    for _ in range(2):
        way(around, ["sh", "-c", note, "run"])
    assert (tmp_path / "log").read_text().split() == ["before", "run", "after"] * 2


@both_ways
def test_the_command_after_finds_what_the_run_left_and_may_end_it(way: Way, tmp_path: Path) -> None:
    told, found = tmp_path / "told", tmp_path / "found"
    script = (
        f"while test ! -s {told}; do sleep 0.02; done\n"
        f"pid=$(tail -1 {told}); kill -9 $pid && echo $pid >>{found}"
    )
    said: list[str] = []
    for _ in range(2):
        told.unlink(missing_ok=True)
        way(Around(after=("sh", "-c", script), say=said.append), daemon(told, "SIGTERM"))
        assert numbers(found)[-1:] == numbers(told)
    assert said == []


@both_ways
@pytest.mark.parametrize("option", ["before", "after"])
def test_what_the_commands_start_is_not_a_run_s(way: Way, option: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    way(Around(**{option: daemon(told)}), ["sleep", "0.1"])
    assert until(lambda: told.exists() and bool(numbers(told)))
    (pid,) = numbers(told)
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)


@both_ways
def test_the_commands_run_as_the_user_that_the_runs_are_of(way: Way) -> None:
    need_root()
    nobody = Owner(65534, 65534, "nobody", "/", (65534,))
    check = ("sh", "-c", "test $(id -u):$(id -G):$HOME = 65534:65534:/")
    way(Around(check, check, nobody), ["true"])
    with pytest.raises(ColdseekError, match="--after"):
        way(Around(after=check), ["true"])


@both_ways
@pytest.mark.parametrize("option", ["before", "after"])
def test_a_command_that_fails_is_said_in_one_line(way: Way, option: str, tmp_path: Path) -> None:
    script = "echo no; echo one >&2; printf 'two\\033[31m' >&2; exit 4"
    ran = tmp_path / "ran"
    with pytest.raises(ColdseekError) as caught:
        way(Around(**{option: ("sh", "-c", script)}), ["touch", str(ran)])
    assert str(caught.value).endswith(" ended with exit status 4: one / two\\x1b[31m")
    assert str(caught.value).startswith(f"--{option} sh -c ")
    assert ran.exists() == (option == "after")


def test_a_command_that_is_killed_is_said_with_its_signal() -> None:
    with pytest.raises(ColdseekError, match=r"ended with exit status 139 \(killed by SIGSEGV\): it wrote"):
        untraced(Around(before=("sh", "-c", "kill -SEGV $$")), ["true"])


@both_ways
def test_the_command_after_is_run_for_a_run_that_could_not_be(way: Way, tmp_path: Path) -> None:
    with pytest.raises(CommandNotFoundError):
        way(Around(after=("touch", str(tmp_path / "after"))), ["coldseek-no-such-command"])
    assert (tmp_path / "after").exists()


def test_commands_that_are_not_there_are_known_before_any_run() -> None:
    with pytest.raises(ColdseekError, match=r"^--after: coldseek-no-such-command: command not found"):
        Around(after=("coldseek-no-such-command",)).check()


def test_words_are_split_as_by_a_shell_and_no_more() -> None:
    assert words_of("rm -f 'a b' $HOME \"*\"", "--after") == ("rm", "-f", "a b", "$HOME", "*")
    assert words_of("", "--after") == ()
    with pytest.raises(UsageError, match="--after 'x: No closing quotation"):
        words_of("'x", "--after")


def test_a_daemon_may_go_on_writing_to_a_stderr_that_nobody_reads(tmp_path: Path) -> None:
    """Into a pipe it would be killed by SIGPIPE, or wait for a reader."""
    done = tmp_path / "done"
    script = (
        f"(sleep 0.2; for n in 1 2 3; do head -c 100000 /dev/zero >&2 || exit; done; touch {done}) & exit 3"
    )
    with Around().untraced():
        found = run(["sh", "-c", f"echo words >&2; {script}"], output=False, stdin=False)
        assert until(done.exists)
    assert (found.exit_status, found.stderr) == (3, "words")


def test_of_a_long_stderr_the_end_is_kept() -> None:
    script = "i=0; while test $i -lt 500; do echo line $i >&2; i=$((i+1)); done; exit 1"
    lines = run(["sh", "-c", script], output=False).stderr.splitlines()
    assert lines[-1] == "line 499" and 100 < len(lines) < 300 and lines[0].startswith("line ")
    assert run(["sh", "-c", "echo fine >&2"], output=False).stderr == ""
