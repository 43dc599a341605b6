"""`compare` and `open`: runs that fail, commands around them, and the one signal that ends it all.

They empty the page cache, but nothing here is about what is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, coldseek, need_tool
from small_programs import catches, until

from profiler.files.traces import load

ONCE = """
echo run >> log
if test -e started; then echo 'error: it runs already' >&2; exit 1; fi
touch started
"""
"""As a client of a daemon that starts a machine: the second time it has been started already."""


def compare(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In the folder, where the project is found too."""
    return coldseek("compare", *arguments, cwd=folder)


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().split()


# ---- runs that fail -------------------------------------------------------------------------------------


def test_runs_that_all_fail_but_the_first_are_no_times(tmp_path: Path) -> None:
    done = compare(tmp_path, "--runs", 1, "-o", "out", "--", "sh", "-c", ONCE)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(
        "FAILED: all 2 untraced runs ended with exit status 1, the first run with 0"
    )
    assert "It wrote: error: it runs already" in done.stdout
    assert "times as long cold" not in done.stdout
    assert "FAILED: exit status 1, the first run's was 0: error: it runs already" in done.stderr
    traces = tmp_path / "out/cold.trace.parquet", tmp_path / "out/warm.trace.parquet"
    assert load(traces[0]).meta.measured.first_exit_status == 0
    again = compare(tmp_path, "--format", "json", *traces)
    assert again.returncode == 1
    told = json.loads(again.stdout)
    assert told["failed"] and told["ratio"] is None and told["cold"]["wall_s"] == []
    assert "it runs already" in told["warm"]["runs"][0]["stderr"]
    assert coldseek("report", traces[1]).stdout.startswith("FAILED: ")


def test_a_run_that_is_killed_is_said_with_its_signal(tmp_path: Path) -> None:
    script = "test -e started && kill -SEGV $$; touch started"
    done = compare(tmp_path, "--runs", 1, "--", "sh", "-c", script)
    assert done.returncode == 1
    assert "FAILED: exit status 139 (killed by SIGSEGV), the first run's was 0" in done.stderr
    shown = " ".join(done.stdout.split())
    assert "ended with exit status 139 (killed by SIGSEGV), the first run with 0" in shown


def test_what_a_run_left_behind_is_undone_by_the_command_after(tmp_path: Path) -> None:
    done = compare(
        tmp_path, "--runs", 2, "--before", "sh -c 'echo before >> log'",
        "--after", "sh -c 'rm started; echo after >> log'", "--", "sh", "-c", ONCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout + done.stderr
    assert log(tmp_path) == ["before", "run", "after"] * 7


def test_a_command_that_always_ends_so_has_not_failed(tmp_path: Path) -> None:
    done = compare(tmp_path, "--runs", 1, "--", "sh", "-c", "echo leaks >&2; exit 3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["Every run ended with exit status 3.", "It wrote: leaks"]
    assert "times as long cold" in done.stdout


def test_a_command_around_the_runs_that_fails_ends_it_and_keeps_what_there_is(tmp_path: Path) -> None:
    count = "sh -c 'echo >> n; test $(wc -l < n) -lt 5 || { echo too many >&2; exit 9; }'"
    done = compare(tmp_path, "--runs", 3, "-o", "out", "--after", count, "--", "true")
    assert done.returncode == 125
    failure, kept = done.stderr.splitlines()[-2:]
    assert failure.startswith("coldseek: --after sh -c ")
    assert failure.endswith("ended with exit status 9: too many")
    assert kept == "coldseek: kept: out/cold.trace.parquet and warm.trace.parquet"
    measured = load(tmp_path / "out/cold.trace.parquet").meta.measured
    assert (len(measured.cold), len(measured.warm)) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--after", "'x"], 2, "--after 'x: No closing quotation"),
        (["--before", "coldseek-no-such-command"], 125, "--before: coldseek-no-such-command"),
    ],
)
def test_bad_commands_around_are_one_line(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    done = compare(tmp_path, *arguments, "--", "touch", "ran")
    (line,) = done.stderr.splitlines()
    assert done.returncode == code and words in line
    assert not (tmp_path / "ran").exists()


SERVER = """
import os, socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind("\\0" + sys.argv[1])
listening.listen()
if os.fork(): os._exit(0)
os.setsid()
time.sleep(300)
"""


@pytest.mark.parametrize("tracer", ["ptrace", "auto", "strace"])
def test_a_server_that_goes_into_the_background_can_be_started_each_time(
    tracer: str, tmp_path: Path
) -> None:
    """Were one left running, the next would find its address taken."""
    if tracer == "strace":
        need_tool("strace")
    name = f"coldseek-test-{os.urandom(8).hex()}"  # unlike a port it is ours alone
    server = [sys.executable, "-S", "-c", SERVER, name]
    done = compare(tmp_path, "--tracer", tracer, "--runs", 2, "--", *server)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr + done.stdout and "Every run" not in done.stdout
    assert done.stderr.count("ended what the command left running: python") == 1
    with socket.socket(socket.AF_UNIX) as free:
        free.bind(f"\0{name}")


# ---- one signal -----------------------------------------------------------------------------------------


def begin(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start coldseek in a session of its own: no signal reaches what it runs but through it."""
    return subprocess.Popen(
        [sys.executable, "-m", "profiler", *map(str, arguments)], cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
    )  # fmt: skip


def end(ours: subprocess.Popen[str], number: int, when: Callable[[], bool]) -> tuple[int, list[str]]:
    """Send it one signal as soon as that holds; its exit status, and its words."""
    try:
        assert until(lambda: when() or ours.poll() is not None) and ours.poll() is None
        ours.send_signal(number)
        _, words = ours.communicate(timeout=PATIENCE_S)
    finally:
        ours.kill()
    return ours.returncode, words.splitlines()


def sleeps_from(number: int) -> list[str]:
    """A program that notes each start of it, and never ends from the given one on."""
    return ["sh", "-c", f"echo $$ >> log; if test $(wc -l < log) -ge {number}; then exec sleep 900; fi"]


def none_runs(folder: Path) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in log(folder))


def started(folder: Path, number: int) -> bool:
    """Whether it was started so often, and the last one sleeps."""
    if not (folder / "log").exists() or len(log(folder)) < number:
        return False
    try:
        return Path(f"/proc/{log(folder)[-1]}/comm").read_text() == "sleep\n"
    except FileNotFoundError:
        return False


def under_way(ours: subprocess.Popen[str], folder: Path, number: int) -> bool:
    """The same, and coldseek has got as far as to answer signals for the program, SIGQUIT too: before that
    nothing of this run is kept."""
    return started(folder, number) and catches(ours.pid, signal.SIGQUIT)


KEPT = {
    1: "nothing was saved: no run had been recorded yet",
    2: "kept: out/cold.trace.parquet",
    3: "kept: out/cold.trace.parquet and warm.trace.parquet",
    4: "kept: out/cold.trace.parquet and warm.trace.parquet",
    5: "kept: out/cold.trace.parquet and warm.trace.parquet",
}
"""Run of the program -> what is there then. The first one is untold, two are traced, the others untraced."""


@pytest.mark.parametrize(
    ("number", "sent", "tracer"),
    [
        *((number, signal.SIGINT, "ptrace") for number in KEPT),
        *((number, signal.SIGTERM, "auto") for number in KEPT),
        (1, signal.SIGTERM, "strace"), (2, signal.SIGINT, "strace"), (4, signal.SIGHUP, "ptrace"),
    ],
)  # fmt: skip
def test_one_signal_ends_it_in_any_run(
    number: int, sent: signal.Signals, tracer: str, tmp_path: Path
) -> None:
    if tracer == "strace":
        need_tool("strace")
    ours = begin(
        tmp_path, "compare", "--tracer", tracer, "--runs", 2, "-o", "out",
        "--after", "sh -c 'echo >> after'", "--", *sleeps_from(number),
    )  # fmt: skip
    status, words = end(ours, sent, lambda: under_way(ours, tmp_path, number))
    assert status == 128 + sent, words
    assert words[-1].endswith(f"; {KEPT[number]}"), words
    assert ("Ctrl-C" if sent == signal.SIGINT else sent.name) in words[-1]
    assert len(log(tmp_path)) == number and none_runs(tmp_path), "it went on"
    assert len((tmp_path / "after").read_text().splitlines()) == number  # the last run is undone, too
    for name in KEPT[number].partition("out/")[2].split(" and "):
        if name:
            meta = load(tmp_path / "out" / name).meta
            state = name.partition(".")[0]
            assert bool(meta.partial) == (number == {"cold": 2, "warm": 3}[state])
            assert bool(meta.measured.cold) == (number == 5)


def test_without_a_folder_it_is_said_that_nothing_was_saved(tmp_path: Path) -> None:
    ours = begin(tmp_path, "compare", "--runs", 1, "--", *sleeps_from(4))
    status, words = end(ours, signal.SIGTERM, lambda: under_way(ours, tmp_path, 4))
    assert status == 143
    assert words[-1] == "coldseek: ended by SIGTERM; nothing was saved; -o DIR keeps what is recorded"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log"]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_ctrl_c_on_a_terminal_ends_it_too(number: int, tmp_path: Path) -> None:
    """There it reaches the program by itself."""
    child, terminal = pty.fork()
    if child == 0:
        words = ["compare", "--tracer", "ptrace", "-o", "out", "--", *sleeps_from(number)]
        os.chdir(tmp_path)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "profiler", *words],
            os.environ | {"PYTHONPATH": str(ROOT)},
        )
    try:
        assert until(lambda: started(tmp_path, number) and catches(child, signal.SIGQUIT))
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # EIO: the terminal is closed
            while os.read(terminal, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.close(terminal)
    assert len(log(tmp_path)) == number and none_runs(tmp_path)


@pytest.mark.parametrize("deaf", ["INT", "INT TERM"])
@pytest.mark.parametrize("number", [1, 4])
def test_one_signal_is_enough_for_a_program_that_heeds_none(number: int, deaf: str, tmp_path: Path) -> None:
    script = f"trap '' {deaf}; echo $$ >> log\nif test $(wc -l < log) -ge {number}; then exec sleep 900; fi"
    ours = begin(tmp_path, "compare", "--tracer", "ptrace", "--", "sh", "-c", script)
    status, words = end(ours, signal.SIGINT, lambda: under_way(ours, tmp_path, number))
    assert status == 130, words
    assert len(log(tmp_path)) == number and none_runs(tmp_path)


@pytest.mark.parametrize("option", ["--before", "--after"])
@pytest.mark.parametrize("number", [1, 4])
def test_one_signal_ends_a_command_around_a_run(number: int, option: str, tmp_path: Path) -> None:
    command = sleeps_from(number)[-1]
    ours = begin(tmp_path, "compare", "--tracer", "ptrace", option, f"sh -c '{command}'", "--", "true")
    status, words = end(ours, signal.SIGINT, lambda: started(tmp_path, number))
    assert status == 130, words
    assert until(lambda: none_runs(tmp_path))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_while_drawing_ends_open_and_the_traces_are_there(
    sent: signal.Signals, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    need_tool("qemu-img")
    ours = begin(tmp_path, "open", image, "--runs", 1, "-o", "out")
    status, words = end(ours, sent, (tmp_path / "out/report.txt").exists)
    assert status == 128 + sent, words
    assert words[-1].endswith("; kept: out/cold.trace.parquet and warm.trace.parquet")
    assert load(tmp_path / "out/warm.trace.parquet").meta.measured.warm


def test_record_warm_goes_no_further_than_an_interrupted_first_run(tmp_path: Path) -> None:
    ours = begin(
        tmp_path, "record", "--cache", "warm", "--tracer", "ptrace", "-o", "t.trace.parquet", "--",
        *sleeps_from(1),
    )  # fmt: skip
    status, words = end(ours, signal.SIGINT, lambda: under_way(ours, tmp_path, 1))
    assert status == 130
    assert words[-1].endswith("interrupted by Ctrl-C, in the first run; nothing was saved")
    assert len(log(tmp_path)) == 1 and not (tmp_path / "t.trace.parquet").exists()
