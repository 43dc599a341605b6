"""Starts that a daemon makes for its client: ready long after the client has ended, and left as they are."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE_S, coldseek, need_root, need_tracer
from small_programs import lives, python, reads_of, until

from profiler.capture.watch import choose
from profiler.errors import UsageError
from profiler.files.traces import load

pytestmark = pytest.mark.alone

SIZE = 1 << 20
READS = [(number * 8192, 1000 + number) for number in range(5)]
DAEMON = f"""
import os, signal, socket, sys, time
where, data, begun, flag = sys.argv[1:]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
server = socket.socket(socket.AF_UNIX)
server.bind(where)
server.listen()
def tell(path):
    with open(path + ".new", "w") as file: file.write(str(os.getpid()))
    os.rename(path + ".new", path)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    if os.fork():
        client.close()
        continue
    server.close()
    word = client.recv(100)
    tell(begun)
    client.sendall(b"it comes")
    client.recv(1)  # the client has ended
    time.sleep(0.3)
    descriptor = os.open(data, os.O_RDONLY)
    for offset, size in {READS}: os.pread(descriptor, size, offset)
    if word == b"start": tell(flag)
    time.sleep({2 * PATIENCE_S})
    os._exit(0)
"""
CLIENT = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
server.sendall(sys.argv[2].encode())
print(server.recv(100).decode())
"""


@dataclass
class Daemon:
    """begun, flag: files in which its latest child tells its number, as it begins and when it is ready; the
    latter only if it was asked to start, and not to hang. data: what the child reads."""

    pid: int
    socket: Path
    data: Path
    begun: Path
    flag: Path

    def client(self, word: str = "start") -> list[str]:
        return [*python(CLIENT), str(self.socket), word]

    @property
    def options(self) -> list[str]:
        return ["--with", f"pid:{self.pid}", "--until", f"file:{self.flag}"]

    @property
    def child(self) -> int:
        assert until(self.begun.exists)
        return int(self.begun.read_text())


@pytest.fixture
def daemon(disk_directory: Path) -> Iterator[Daemon]:
    need_root()
    need_tracer("kernel")
    socket, data, begun, flag = (disk_directory / name for name in ("s", "data", "begun", "flag"))
    data.write_bytes(os.urandom(SIZE))
    with subprocess.Popen(
        [sys.executable, "-S", "-c", DAEMON, socket, data, begun, flag], stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield Daemon(process.pid, socket, data, begun, flag)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with its children


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """Where a command tells which process it leaves running; that is ended with the test."""
    file = tmp_path / "left"
    yield file
    if file.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def leaving(left: Path, command: list[str]) -> list[str]:
    """A command that leaves a process of its own running."""
    script = f'sleep {2 * PATIENCE_S} > /dev/null 2>&1 & echo $! > "$0"; "$@"'
    return ["sh", "-c", script, str(left), *command]


def test_ready_is_what_a_daemons_child_says_after_the_command_has_ended(
    daemon: Daemon, tmp_path: Path
) -> None:
    trace = tmp_path / "t.trace.parquet"
    done = coldseek("record", *daemon.options, "-o", trace, "--", *daemon.client())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "it comes\n" and "ready after" in done.stderr
    found = load(trace)
    assert reads_of(found, daemon.data) == READS
    meta = found.meta
    assert meta.ready_s is not None and meta.ready_s >= 0.3
    assert (meta.wall_s, meta.exit_status, meta.partial) == (meta.ready_s, 0, "")
    assert meta.targets == (f"pid:{daemon.pid}",)
    child = daemon.child
    assert lives(daemon.pid) and lives(child)
    reads = found.reads()
    assert set(reads["pid"][reads["path"] == os.fsencode(daemon.data)]) == {child}
    done = subprocess.run(daemon.client(), capture_output=True, timeout=PATIENCE_S)
    assert done.stdout == b"it comes\n", "the daemon is not as before"


def test_what_is_not_ready_in_time_goes_on(daemon: Daemon, left: Path, tmp_path: Path) -> None:
    trace = tmp_path / "t.trace.parquet"
    command = leaving(left, daemon.client("hang"))
    done = coldseek("record", *daemon.options, "--timeout", 2, "-o", trace, "--", *command)
    assert done.returncode == 124, done.stderr
    assert "not ready within 2 s (--timeout)" in done.stderr
    meta = load(trace).meta
    assert meta.ready_s is None and "not ready within 2 s" in meta.partial
    assert lives(daemon.pid) and lives(daemon.child)
    assert until(left.exists) and lives(int(left.read_text()))


@pytest.mark.parametrize("word", ["start", "hang"])
def test_stop_ends_what_the_command_has_started_and_nothing_of_the_daemons(
    word: str, daemon: Daemon, left: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "t.trace.parquet"
    options = [*daemon.options, "--stop", *(["--timeout", "2"] if word == "hang" else [])]
    done = coldseek("record", *options, "-o", trace, "--", *leaving(left, daemon.client(word)))
    assert done.returncode == {"start": 0, "hang": 124}[word], done.stderr
    assert "left running" not in done.stderr
    if left.exists():  # always but where the timeout came before
        assert not lives(int(left.read_text()))
    assert lives(daemon.pid)
    if word == "start":
        assert left.exists() and lives(daemon.child)
        assert reads_of(load(trace), daemon.data) == READS


def test_a_comparison_of_what_a_daemon_starts(daemon: Daemon, tmp_path: Path) -> None:
    after = f"sh -c 'kill $(cat {daemon.begun}); rm -f {daemon.begun} {daemon.flag}'"
    done = coldseek(
        "compare", *daemon.options, "--timeout", PATIENCE_S, "--runs", 1, "--evict", "files",
        "--after", after, "-o", tmp_path / "out", "--format", "json", "--", *daemon.client(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout)
    for name in ("cold", "warm"):
        assert len(words[name]["wall_s"]) == 1 and min(words[name]["wall_s"]) >= 0.3
        found = load(tmp_path / "out" / f"{name}.trace.parquet")
        assert reads_of(found, daemon.data) == READS
        assert found.meta.ready_s is not None and found.meta.ready_s >= 0.3
        # the file is the daemon's alone: the command does not name it, nor open it
        assert found.meta.cache == name and (found.meta.resident_checked_bytes or 0) >= SIZE
    assert lives(daemon.pid)


def test_none_is_nobody_and_leaves_no_room_for_others() -> None:
    assert choose.chosen(["true"], ["none", "none"])[1] == ()
    with pytest.raises(UsageError, match="leaves no room"):
        choose.chosen(["true"], ["none", "all"])
