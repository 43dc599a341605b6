"""What a program leaves running is never harmed: `record` ends, and that goes on, under every tracer."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_tracer
from expected_reads import build
from small_programs import Recorded, behind, lives, until

from profiler.capture import tracer
from profiler.files.traces import load
from profiler.report.summarise import summarise
from profiler.report.verdict.doubts import late
from profiler.studies.record import record

pytestmark = pytest.mark.alone

DAEMON = str(ROOT / "tests/programs/daemon.py")


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """The file that the daemon writes to; the daemon is ended with the test."""
    told = tmp_path / "told"
    yield told
    if told.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(told.read_text().partition("\n")[0]), signal.SIGKILL)


def test_how_a_command_was_killed_is_said(name: str, daemon: Path, tmp_path: Path) -> None:
    script = '"$@"; kill -SEGV $$'
    recorded = Recorded(name, tmp_path, "sh", "-c", script, "sh", sys.executable, "-S", DAEMON, str(daemon))
    assert until(lambda: "still running" in recorded.words), "nothing was said of what goes on"
    assert "has ended with exit status 139 (killed by SIGSEGV); still running" in recorded.words
    assert recorded.end(signal.SIGINT) == 139


def dots(told: Path) -> int:
    return told.read_bytes().count(b".") if told.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_daemon_goes_on_when_its_recording_is_ended(
    name: str, number: signal.Signals, daemon: Path, tmp_path: Path
) -> None:
    recorded = Recorded(name, tmp_path, sys.executable, "-S", DAEMON, str(daemon))
    assert until(lambda: "still running" in recorded.words), "nothing was said of what goes on"
    seen = dots(daemon)
    assert until(lambda: dots(daemon) > seen + 3), "the daemon does not work"
    assert "has ended with exit status 0; still running, and recorded: python" in recorded.words
    assert recorded.end(number) == 0  # the command's own
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 20), "the daemon was harmed"
    assert "left running: python" in recorded.words
    found = load(recorded.trace)
    assert found.meta.partial == "" and found.meta.exit_status == 0
    assert sum(path == b"/etc/passwd" for path in found.reads()["path"]) >= 3


def test_what_stays_behind_ends_with_the_last_that_it_is_for(
    name: str, daemon: Path, tmp_path: Path
) -> None:
    recorded = Recorded(name, tmp_path, sys.executable, "-S", DAEMON, str(daemon))
    assert until(lambda: "still running" in recorded.words), "nothing was said of what goes on"
    recorded.end(signal.SIGTERM)
    keeper = int(recorded.words.partition("; process ")[2].split()[0])
    os.kill(int(daemon.read_text().partition("\n")[0]), signal.SIGKILL)
    assert until(lambda: not os.path.exists(f"/proc/{keeper}")), "it goes on for nobody"


def test_children_that_ask_not_to_be_traced_work_under_what_stays_behind(
    name: str, daemon: Path, tmp_path: Path
) -> None:
    """The program checks that they do, and that what it asked for is as it was."""
    program = build("untraced", tmp_path)
    script = (
        f"cd {tmp_path}; export EXPECT=/dev/null\n"
        f"(while {program}; do printf . >> {daemon}; sleep 0.05; done) &\n"
        f'printf "%d\\n" $! >> {daemon}'
    )
    recorded = Recorded(name, tmp_path, "/bin/sh", "-c", script)
    assert until(lambda: "still running" in recorded.words), "nothing was said of what goes on"
    assert recorded.end(signal.SIGTERM) == 0
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 5), "its children were harmed"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.full
def test_a_program_that_does_not_answer_is_left_running(
    name: str, number: signal.Signals, status: int, daemon: Path, tmp_path: Path
) -> None:
    script = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "told = open(sys.argv[1], 'ab', buffering=0); told.write(b'%d\\n' % os.getpid())\n"
        "while True: open('/etc/passwd').read(); told.write(b'.'); time.sleep(0.02)"
    )
    recorded = Recorded(name, tmp_path, sys.executable, "-S", "-c", script, str(daemon))
    assert until(lambda: dots(daemon) > 3), "the program does not work"
    assert recorded.end(number) == status
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 20), "the program was harmed"
    assert "goes on" in load(recorded.trace).meta.partial


def test_a_signal_while_a_finished_run_is_saved_loses_nothing(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ended"
    recorded = Recorded(
        name, tmp_path, "/bin/sh", "-c", f"cat /etc/passwd > /dev/null; : > {marker}; exit 7"
    )
    assert until(marker.exists), "the program did not run"
    assert recorded.end(signal.SIGTERM) in (7, 143)
    assert recorded.trace.exists(), recorded.words
    assert load(recorded.trace).meta.exit_status in (7, 143)


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_what_a_first_run_left_is_ended_before_the_run_that_is_recorded(
    cache: str, daemon: Path, tmp_path: Path
) -> None:
    """It finds out which files to drop, or warms them; a server could not be started twice."""
    need_tracer("ptrace")
    command = [sys.executable, "-S", DAEMON, str(daemon)]
    recorded = Recorded("ptrace", tmp_path, *command, options=("--cache", cache))
    assert until(lambda: "still running, and recorded" in recorded.words), recorded.words
    pids = [int(line.lstrip(".")) for line in daemon.read_text().splitlines() if line.strip(".")]
    assert not any(lives(pid) for pid in pids[:-1]) and lives(pids[-1])
    assert recorded.end(signal.SIGINT) == 0
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 5), "the daemon was harmed"
    os.kill(pids[-1], signal.SIGKILL)
    if cache == "warm":
        assert len(pids) == 2 and "ended what the command left running" in recorded.words


def test_it_is_said_that_the_tracer_was_killed(name: str, daemon: Path, tmp_path: Path) -> None:
    """Its end is that of what it traced: a program whose calls fail would be worse (see `stops.OPTIONS`)."""
    recorded = Recorded(name, tmp_path, "/bin/sh", "-c", f"echo $$ > {daemon}; exec sleep 900")
    assert until(lambda: daemon.exists() and daemon.read_text()), recorded.words
    os.kill(behind(recorded.process.pid), signal.SIGKILL)
    assert recorded.process.wait(PATIENCE_S) == 137
    assert "ended by SIGKILL, and the program with it; nothing was saved" in recorded.words
    assert until(lambda: not lives(int(daemon.read_text())))


def test_a_daemon_goes_on_even_if_the_interpreter_is_gone(name: str, daemon: Path, tmp_path: Path) -> None:
    """As after an upgrade during a long recording: what stays behind cannot become a small process then."""
    interpreter = tmp_path / "python"
    interpreter.symlink_to(os.path.realpath(sys.executable))
    command = [sys.executable, "-S", DAEMON, str(daemon)]
    recorded = Recorded(name, tmp_path, *command, interpreter=str(interpreter))
    assert until(lambda: "still running" in recorded.words), recorded.words
    interpreter.unlink()
    assert recorded.end(signal.SIGTERM) == 0
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 20), "the daemon was harmed"


def test_no_signal_ends_what_stays_behind(name: str, daemon: Path, tmp_path: Path) -> None:
    recorded = Recorded(name, tmp_path, sys.executable, "-S", DAEMON, str(daemon))
    assert until(lambda: "still running" in recorded.words), recorded.words
    recorded.end(signal.SIGTERM)
    keeper = int(recorded.words.partition("; process ")[2].split()[0])
    # when it has become the small process
    assert until(lambda: b"keeper.py" in Path(f"/proc/{keeper}/cmdline").read_bytes())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        os.kill(keeper, number)
    after = dots(daemon)
    assert until(lambda: dots(daemon) > after + 20), "the daemon was harmed"


@pytest.mark.parametrize("name", ["kernel", "ptrace"], indirect=True)
def test_a_terminal_that_closes_ends_the_recording_and_not_the_daemon(
    name: str, daemon: Path, tmp_path: Path
) -> None:
    """coldseek leads its session, as where ssh or a terminal runs it: only the leader is told. (strace hears
    of it by itself, and ends.)"""
    trace = tmp_path / "run.trace.parquet"
    child, terminal = pty.fork()
    if child == 0:
        words = ["record", "--tracer", name, "-o", str(trace), "--"]
        words += [sys.executable, "-S", DAEMON, str(daemon)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-m", "profiler", *words], environment)
    try:
        said = b""
        while b"still running" not in said:
            said += os.read(terminal, 4096)
        time.sleep(2.5)  # the progress line is drawn: to clear it there must fail
        os.close(terminal)
        assert until(lambda: not lives(child))
        after = dots(daemon)
        assert until(lambda: dots(daemon) > after + 20), "the daemon was harmed"
        assert load(trace).meta.partial == ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.full
def test_the_status_is_that_of_the_signal_that_ended_it(name: str, daemon: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "for number in (2, 15): signal.signal(number, signal.SIG_IGN)\n"
        "told = open(sys.argv[1], 'ab', buffering=0); told.write(b'%d\\n' % os.getpid())\n"
        "while True: told.write(b'.'); time.sleep(0.02)"
    )
    recorded = Recorded(name, tmp_path, sys.executable, "-S", "-c", script, str(daemon))
    assert until(lambda: dots(daemon) > 3), "the program does not work"
    recorded.process.send_signal(signal.SIGINT)
    time.sleep(2.5)  # a second Ctrl-C within two seconds would mean more than a first
    assert recorded.end(signal.SIGTERM) == 143
    assert "ended by SIGTERM" in load(recorded.trace).meta.partial


def test_what_is_read_after_the_end_is_counted_and_told(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(100_000))
    found = record(["sh", "-c", '(sleep 2; exec cat "$0") > /dev/null &', str(data)], name)
    assert found.meta.wall_s is not None
    summary = summarise(found)
    if name == "strace":  # its log says when all have ended, and that is the time then
        assert found.meta.wall_s >= 2 and late(summary) == []
        return
    assert found.meta.wall_s < 2 and summary.late.bytes >= 100_000
    (said,) = late(summary)
    assert said.startswith("AFTER THE END: ") and "by what it left running" in said
