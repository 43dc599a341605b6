"""What a daemon starts for its client is recorded with it: `record --with`, without stopping anything.

The daemon is one of ours (tests/programs/fakedaemon.c), that says what a perfect tracer records.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE_S, coldseek, need_root, need_tracer
from expected_reads import build
from small_programs import lives, until

from profiler.files.traces import load
from profiler.trace import Trace

pytestmark = pytest.mark.alone

READS = 23  # of the daemon's child for each client
Reads = Counter[tuple[str, int, int]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """On a disk, for O_DIRECT, and open to nobody, whom the daemon's children become."""
    need_root()
    need_tracer("kernel")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build("fakedaemon", folder)


@dataclass
class Daemon:
    """A running fakedaemon: where it listens, what it reads, where it says what."""

    process: subprocess.Popen[str]
    client: list[str]
    a: Path
    b: Path
    expect: Path

    def expected(self) -> Reads:
        """What it has said since the last call."""
        lines = self.expect.read_text().splitlines()
        self.expect.write_text("")
        words = (line.rsplit(None, 2) for line in lines)
        return Counter((path, int(offset), int(size)) for path, offset, size in words)

    def seen(self, trace: Trace) -> Reads:
        """What was recorded of its two files, whatever they are called there. A child that has ended after a
        millisecond, and its mount namespace with it, may be gone before it is looked at: its file has no
        name then, but its number."""
        by_inode = {file.stat().st_ino: str(file) for file in (self.a, self.b)}
        reads = trace.reads()
        inodes = trace.files["inode"].reindex(reads["file"]).tolist()
        found: Reads = Counter()
        for path, inode, offset, size in zip(
            reads["path"], inodes, reads["offset"], reads["size"], strict=True
        ):
            name = os.fsdecode(path)
            if inode in by_inode and name.startswith("(inode "):
                name = by_inode[inode]
            if name.endswith(("/a.bin", "/b.bin")):
                found[name, int(offset), int(size)] += 1
        return found

    def named(self, trace: Trace) -> int:
        """How many of the reads that were recorded have the names of its files."""
        return int(trace.reads()["path"].isin([os.fsencode(self.a), os.fsencode(self.b)]).sum())


@pytest.fixture
def serve(program: Path) -> Iterator[Callable[[str], Daemon]]:
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(dir=program.parent) as name:
        os.chmod(name, 0o777)
        folder = Path(name)

        def begin(how: str = "serve") -> Daemon:
            a, b, socket = folder / "a.bin", folder / "b.bin", folder / "s"
            for path in (a, b):
                with open(path, "wb") as file:
                    file.write(os.urandom(1 << 20))
                    os.fsync(file.fileno())
            expect = folder / "expect.txt"
            expect.touch()
            expect.chmod(0o666)
            process = subprocess.Popen(
                [program, how, socket, a, b], stdout=subprocess.PIPE, text=True,
                env={**os.environ, "EXPECT": str(expect)},
            )  # fmt: skip
            running.append(process)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            return Daemon(process, [str(program), "client", str(socket)], a, b, expect)

        yield begin
        for process in running:
            process.kill()
            process.wait()


def record(daemon: Daemon, trace: Path, *command: str, targets: tuple[str, ...] = ()) -> str:
    """What the program said, recorded with the daemon."""
    given = [word for each in targets or (f"pid:{daemon.process.pid}",) for word in ("--with", each)]
    done = coldseek("record", "--tracer", "kernel", *given, "-o", trace, "--", *(command or daemon.client))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_daemon_does_what_it_says(serve: Callable[[str], Daemon]) -> None:
    """Untraced: else no test here would mean anything."""
    daemon = serve("serve")
    done = subprocess.run(daemon.client, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    status, child, tracer, other = map(int, done.stdout.split())
    expected = daemon.expected()
    assert (status, tracer, other) == (0, 0, 0) and child != daemon.process.pid
    assert expected.total() == len(expected) == READS
    assert {path for path, _, _ in expected} == {str(daemon.a), str(daemon.b)}


@pytest.mark.parametrize("cache", ["cold", "warm"])
@pytest.mark.parametrize("how", ["serve", "prefork"])
def test_every_read_of_a_daemons_child_is_there(
    serve: Callable[[str], Daemon], tmp_path: Path, how: str, cache: str
) -> None:
    """In a mount namespace of its own, of another user, in the page cache or not, and past it."""
    daemon, trace = serve(how), tmp_path / "t.trace.parquet"
    for _ in range(4):  # see `Daemon.seen`
        for path in (daemon.a, daemon.b):
            descriptor = os.open(path, os.O_RDONLY)
            advice = os.POSIX_FADV_DONTNEED if cache == "cold" else os.POSIX_FADV_WILLNEED
            os.posix_fadvise(descriptor, 0, 0, advice)
            os.close(descriptor)
        status, child, tracer, other = map(int, record(daemon, trace).split())
        assert (status, tracer, other) == (0, 0, 0), "the daemon or its child was traced"
        found, expected = load(trace), daemon.expected()
        assert expected.total() == READS
        assert daemon.seen(found) == expected
        if daemon.named(found) == READS:
            break
    assert daemon.named(found) == READS
    reads = found.reads()
    mine = reads["path"].isin([os.fsencode(daemon.a), os.fsencode(daemon.b)])
    assert set(reads[mine]["pid"]) == {child}
    assert lives(daemon.process.pid) and found.meta.lost_events == 0


def test_the_daemon_is_as_before(serve: Callable[[str], Daemon], tmp_path: Path) -> None:
    daemon = serve("serve")
    for number in range(3):
        record(daemon, tmp_path / f"{number}.trace.parquet")
        done = subprocess.run(daemon.client, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert done.stdout.split()[2:] == ["0", "0"]
    assert daemon.process.poll() is None


def test_clients_at_once(serve: Callable[[str], Daemon], tmp_path: Path) -> None:
    daemon, trace = serve("serve"), tmp_path / "t.trace.parquet"
    script = '"$@" & "$@" & "$@" & wait'
    record(daemon, trace, "sh", "-c", script, "sh", *daemon.client)
    expected = daemon.expected()
    assert expected.total() == 3 * READS
    assert daemon.seen(load(trace)) == expected


def test_what_nobody_asked_for_is_not_there(serve: Callable[[str], Daemon], tmp_path: Path) -> None:
    """A stranger reads the same files all the time; it is neither the command's nor the daemon's."""
    daemon, trace, told = serve("serve"), tmp_path / "t.trace.parquet", tmp_path / "told"
    script = (
        f"while True:\n    for path in {str(daemon.a)!r}, {str(daemon.b)!r}: open(path, 'rb').read(777)\n"
        f"    open({str(told)!r}, 'ab').write(b'.')"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", script]) as stranger:
        try:
            assert until(told.exists)
            before = told.stat().st_size
            record(daemon, trace)
            assert told.stat().st_size > before
        finally:
            stranger.kill()
    assert daemon.seen(load(trace)) == daemon.expected()


def test_without_the_daemon_its_reads_are_not_there(serve: Callable[[str], Daemon], tmp_path: Path) -> None:
    daemon, trace = serve("serve"), tmp_path / "t.trace.parquet"
    record(daemon, trace, targets=("none",))
    assert daemon.expected().total() == READS
    assert not daemon.seen(load(trace))


def test_the_user_or_all_are_targets_too(serve: Callable[[str], Daemon], tmp_path: Path) -> None:
    daemon = serve("serve")
    for target in ("all", "user:root"):  # the child begins as root's
        trace = tmp_path / "t.trace.parquet"
        record(daemon, trace, targets=(target,))
        assert daemon.seen(load(trace)) == daemon.expected(), target
