"""coldseek attach: a process that runs already is observed, and left as it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, need, need_root
from small_programs import until

from profiler.capture import tracer
from profiler.files.traces import load
from profiler.trace import Trace

pytestmark = pytest.mark.alone

READER = """
import json, os, sys, threading, time
image, log = sys.argv[1:]
early = os.open(image, os.O_RDONLY)
os.read(early, 100)
done = []
def read(descriptor, size):
    offset = os.lseek(descriptor, 0, os.SEEK_CUR)
    done.append([time.monotonic_ns(), offset, len(os.read(descriptor, size))])
def work():
    for turn in range(10**9):
        if os.path.exists(log + ".stop"): break
        read(early, 11)
        done.append([time.monotonic_ns(), turn * 4096, len(os.pread(early, 10, turn * 4096))])
        later = os.open(image, os.O_RDONLY)
        read(later, 7); os.lseek(later, 5000 + turn, os.SEEK_SET); read(later, 13)
        with open(log + ".turns", "a") as turns: turns.write(".")
        time.sleep(0.1)
        if turn % 5: os.close(later)
thread = threading.Thread(target=work)
thread.start()
print("ready", flush=True)
thread.join()
json.dump(done, open(log, "w"))
"""


@pytest.fixture
def kernel() -> None:
    need_root()
    found = tracer.probe("kernel")
    need(found.works, f"tracer kernel: {found.why}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "image").write_bytes(os.urandom(1 << 20))
    command = [sys.executable, "-c", READER, str(tmp_path / "image"), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stdout.readline() == "ready\n"
        yield running
        running.kill()


def attach(pid: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "profiler", "attach", str(pid), *options]


def stop(reader: subprocess.Popen[str], folder: Path) -> list[list[int]]:
    """End the program; what it has read by its own account: time, offset, size."""
    (folder / "log.stop").touch()
    assert reader.wait(PATIENCE_S) == 0
    found: list[list[int]] = json.loads((folder / "log").read_text())
    return found


def turns(folder: Path) -> int:
    """How often the program has gone round."""
    path = folder / "log.turns"
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def observing(pid: int, where: Path) -> Iterator[subprocess.Popen[str]]:
    """An attach that has begun, and is not told when to end."""
    with subprocess.Popen(attach(pid, "-o", str(where)), stderr=subprocess.PIPE, text=True) as observer:
        assert observer.stderr is not None and "observing" in observer.stderr.readline()
        yield observer
        observer.kill()


def reads_of(found: Trace, path: Path) -> list[list[int]]:
    reads = found.reads()
    mine = reads[reads["path"] == os.fsencode(path)]
    return [[int(row.offset), int(row.size)] for row in mine.itertuples()]


def missing(found: Trace) -> int:
    """Reads of descriptors that came and went between two looks, by the note on them: a machine is busy."""
    counts = [re.match(r"([\d,]+) reads? of descriptors that", note) for note in found.meta.notes]
    return sum(int(count[1].replace(",", "")) for count in counts if count)


@pytest.mark.usefixtures("kernel")
def test_every_read_of_the_time_is_there_or_counted(reader: subprocess.Popen[str], tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    with observing(reader.pid, where) as observer:
        now = turns(tmp_path)
        assert until(lambda: turns(tmp_path) > now + 20)
        observer.send_signal(signal.SIGINT)
        assert observer.wait(PATIENCE_S) == 0
    assert reader.poll() is None
    found = load(where)
    got = reads_of(found, tmp_path / "image")
    own = [[offset, size] for _, offset, size in stop(reader, tmp_path)]
    assert len(got) > 40
    begins = own.index(got[0])
    window = own[begins : len(own) - own[::-1].index(got[-1])]
    rest = iter(window)
    assert all(read in rest for read in got)  # in this order; what is missing between them was counted
    assert len(window) - len(got) <= missing(found)
    # half of them are of a descriptor that was there before, and each fifth of the others stays open
    assert len(got) > 0.5 * len(window)
    assert found.meta.command[0] == sys.executable
    assert "early" in found.meta.unseen
    assert found.meta.lost_events == 0


@pytest.mark.usefixtures("kernel")
def test_it_ends_by_itself_when_the_time_is_over(reader: subprocess.Popen[str], tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    done = subprocess.run(attach(reader.pid, "--for", "0.5", "-q", "-o", str(where)), timeout=PATIENCE_S)
    assert done.returncode == 0
    assert reader.poll() is None
    assert load(where).meta.command[0] == sys.executable


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_observation_not_the_program(
    number: int, reader: subprocess.Popen[str], tmp_path: Path
) -> None:
    where = tmp_path / "t.trace.parquet"
    with observing(reader.pid, where) as observer:
        now = turns(tmp_path)
        assert until(lambda: turns(tmp_path) > now + 3)
        observer.send_signal(number)
        assert observer.wait(PATIENCE_S) == 0
    assert reader.poll() is None
    assert len(reads_of(load(where), tmp_path / "image")) > 3
    stop(reader, tmp_path)


@pytest.mark.usefixtures("kernel")
def test_the_end_of_the_program_ends_it(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    with subprocess.Popen(["sleep", "600"]) as program, observing(program.pid, where) as observer:
        program.terminate()
        program.wait()
        assert observer.wait(PATIENCE_S) == 0
    assert "ran to its end" in load(where).meta.notes[0]


@pytest.mark.usefixtures("kernel")
def test_no_such_process_is_said_in_one_line(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    done = subprocess.run(attach(2**22 + 1, "-q", "-o", str(where)), capture_output=True, text=True)
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1 and "no process" in done.stderr
    assert not where.exists()
