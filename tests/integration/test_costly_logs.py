"""Logs made to cost much: of some MB each, they are read in the time and memory of any other of their size.

What took minutes or gigabytes before takes seconds and megabytes; a process that has all the more of both
ends where it does not. And names of what is no file.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from profiler.files.traces import load
from profiler.trace import Trace

CPU_S = 240  # of a processor: other processes do not count


MEMORY = 2 << 30


def imported(folder: Path, *logs: str | Path) -> tuple[subprocess.CompletedProcess[str], Trace | None]:
    """What `coldseek import strace` says, in a process that can take so much, and the trace."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "profiler", "import", "strace", *map(str, logs), "-o", "trace"]
    quiet = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        command,
        cwd=folder,
        env=quiet,
        capture_output=True,
        text=True,
        preexec_fn=bounded,
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode in (0, 125), ran.stderr[-2000:]
    assert "Traceback" not in ran.stderr
    return ran, load(folder / "trace") if ran.returncode == 0 else None


def _lines(count: int, *lines: str) -> str:
    return "".join((line + "\n").replace("%n", str(n)) for n in range(count) for line in lines)


OPENS = "".join(f'1 openat(AT_FDCWD, "/d/{n}", O_RDONLY) = {n + 3}\n' for n in range(10_000))


CLOSE_ALL = "2%n close_range(3, 4294967295, 0) = 0"


DEEP = "/deep" * 800


LOGS = {
    "clones": OPENS + _lines(10_000, "1 clone(child_stack=NULL, flags=SIGCHLD) = 2%n"),
    "a chain of clones": OPENS
    + "".join(
        f"{n} clone(child_stack=NULL, flags=SIGCHLD) = {n + 1}\n{n + 1} close({n + 3}) = 0\n"
        for n in range(1, 10_000)
    ),
    "all closed by each": OPENS
    + _lines(10_000, "1 clone(child_stack=NULL, flags=SIGCHLD) = 2%n", CLOSE_ALL),
    "calls under way": _lines(20_000, '3%n openat(AT_FDCWD, "/d/%n",  <unfinished ...>')
    + _lines(20_000, "1 unshare(CLONE_FILES) = 0", "2%n close(3) = 0"),
    "clones under way": _lines(20_000, "3%n clone(child_stack=NULL,  <unfinished ...>")
    + _lines(20_000, "3%n <... clone resumed>flags=SIGCHLD) = -1 EAGAIN (x)", "2%n close(3) = 0"),
    "meanings relied on": OPENS
    + _lines(10_000, '1 pread64(%n, "", 1, 1) = 1')
    + _lines(30_000, '1 pread64(7, "", 1, %n) = 1', "1 dup(8) = 9", "1 close(9) = 0"),
    "names of what is open": OPENS.replace("1 openat", "2 openat")
    + _lines(20_000, '1 pread64(%n</d/7>, "", 1, 1) = 1', '1 pread64(%n</d/8>, "", 1, 1) = 1'),
    "ever deeper": '1 chdir("/") = 0\n' + _lines(20_000, '1 chdir("deeper") = 0', '1 open("a%n", 0) = 3'),
    "a long directory": f'1 open("{DEEP * 20}", 0) = 3\n' + _lines(50_000, '1 openat(3, "a%n", 0) = 4'),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_a_log_costs_what_its_lines_cost(name: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOGS[name])
    _, trace = imported(tmp_path, "log")
    assert trace is not None and not any("could not be read" in note for note in trace.meta.notes)


def test_a_line_of_a_gigabyte(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('pread64(3</d/a>, "", 1, 1) = 1\n')
    with log.open("r+b") as file:
        file.truncate(1 << 30)
    ran, trace = imported(tmp_path, "log")
    assert trace is not None and len(trace.reads()) == 1
    assert trace.meta.partial == "the log ends in a line without end"
    assert "line 2" in ran.stderr


@pytest.mark.parametrize("what", ["/dev/zero", "/dev/full", "socket", "link to /dev/zero"])
def test_devices_and_sockets_are_not_opened(what: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    if what == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.symlink_to(what.removeprefix("link to "))
    ran, _ = imported(tmp_path, what if what.startswith("/") else path)
    assert ran.stderr.count("\n") == 1
    assert "is neither a file nor a pipe; name a log that strace -o has written" in ran.stderr


def test_a_pipe_without_a_writer_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    ran, _ = imported(tmp_path, "log")
    assert ran.stderr.count("\n") == 1 and "log is empty; record a log with" in ran.stderr
