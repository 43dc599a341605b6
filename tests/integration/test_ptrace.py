"""What makes ptrace hard: other modes, threads that exec, stops, signals, rings in memory. And fio's own
totals."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import PATIENCE_S, ROOT, need, need_root, need_tool
from small_programs import (
    READS_OF_32_BIT,
    catches,
    interrupt_twice,
    program_of_32_bit,
    python,
    reads_of,
    stopped_and_continued,
    until,
)

from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.files.traces import load
from profiler.machine import procfs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(bytes(range(256)) * 256)
    return tmp_path / "data"


def test_a_32_bit_program_is_decoded_too(tmp_path: Path) -> None:
    program, data = program_of_32_bit(tmp_path)
    found = Ptrace().record(Recording([program]))
    assert reads_of(found, data) == READS_OF_32_BIT
    assert found.meta.exit_status == 3
    assert "abi" not in found.meta.unseen


def test_exec_in_a_thread_takes_over_the_process(data: Path) -> None:
    then = f"import os; fd = os.open({str(data)!r}, 0); os.read(fd, 7); os.read(3, 11)"
    script = (
        f"import os, sys, threading, time\n"
        f"fd = os.open({str(data)!r}, 0); assert fd == 3; os.set_inheritable(fd, True); os.read(fd, 100)\n"
        f"closed = os.open({str(data)!r}, 0)\n"
        f"again = [sys.executable, '-S', '-c', {then!r}]\n"
        f"threading.Thread(target=lambda: os.execv(sys.executable, again)).start()\n"
        f"time.sleep(600)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    assert found.meta.exit_status == 0
    # descriptor 3 is inherited with its position, 4 was closed by exec and is used again
    assert reads_of(found, data) == [(0, 100), (0, 7), (100, 11)]
    reads = found.reads()
    assert reads["pid"].nunique() == 1


def test_stop_and_continue(data: Path) -> None:
    found = Ptrace().record(Recording(stopped_and_continued(data)))
    assert found.meta.exit_status == 0  # it was really stopped, until SIGCONT came
    assert reads_of(found, data) == [(0, 10), (10, 20)]


def test_a_program_that_is_killed_leaves_a_whole_trace(data: Path) -> None:
    script = f"import os, signal; fd = os.open({str(data)!r}, 0); os.read(fd, 10); os.kill(os.getpid(), 9)"
    found = Ptrace().record(Recording(python(script)))
    assert found.meta.exit_status == 137
    assert found.meta.complete
    assert reads_of(found, data) == [(0, 10)]


def test_a_background_process_is_followed_to_its_end(data: Path) -> None:
    script = (
        f"import os, time\n"
        f"fd = os.open({str(data)!r}, 0); os.read(fd, 10)\n"
        f"if os.fork() == 0:\n    os.setsid(); time.sleep(0.3); os.read(fd, 30); os._exit(5)\n"
        f"os._exit(4)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    assert found.meta.exit_status == 4
    assert reads_of(found, data) == [(0, 10), (10, 30)]


def test_many_short_threads_and_processes(data: Path) -> None:
    script = (
        f"import os, threading\n"
        f"fd = os.open({str(data)!r}, 0)\n"
        f"for n in range(30):\n"
        f"    ts = [threading.Thread(target=os.pread, args=(fd, 1, n * 10 + i)) for i in range(3)]\n"
        f"    [t.start() for t in ts]; [t.join() for t in ts]\n"
        f"    if os.fork() == 0:\n        os.pread(fd, 2, n); os._exit(0)\n"
        f"    os.wait()\n"
    )
    found = Ptrace().record(Recording(python(script)))
    reads = reads_of(found, data)
    assert sorted(reads) == sorted(
        [(n * 10 + i, 1) for n in range(30) for i in range(3)] + [(n, 2) for n in range(30)]
    )
    assert found.meta.complete


def test_vfork_children_have_descriptors_of_their_own(data: Path) -> None:
    script = (
        f"import os, subprocess\n"
        f"fd = os.open({str(data)!r}, 0); os.read(fd, 3)\n"
        f"subprocess.run(['/bin/sh', '-c', 'exec 9<{data}; cat <&9 >/dev/null'])\n"
        f"os.read(fd, 4)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    reads = reads_of(found, data)
    assert reads[0] == (0, 3)
    assert (3, 4) in reads
    assert sum(size for _, size in reads) == 65536 + 7


def test_direct_reads_are_marked(disk_directory: Path) -> None:
    file = disk_directory / "direct"
    file.write_bytes(bytes(65536))
    script = (
        f"import mmap, os\n"
        f"fd = os.open({str(file)!r}, os.O_RDONLY | os.O_DIRECT); buffer = mmap.mmap(-1, 8192)\n"
        f"os.preadv(fd, [buffer], 4096)\n"
        f"plain = os.open({str(file)!r}, 0); os.pread(plain, 10, 0)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    reads = found.reads()
    reads = reads[reads["path"] == os.fsencode(file.resolve())]
    assert list(reads["direct"]) == [True, False]
    assert list(reads["offset"]) == [4096, 0]
    assert list(reads["requested"]) == [8192, 10]


def test_memory_files_are_no_files_on_a_device(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "fd = os.memfd_create('x'); os.write(fd, bytes(1000000)); os.lseek(fd, 0, 0); os.read(fd, 1000000)\n"
        "os.pread(fd, 1000, 0)\n"
    )
    trace = Ptrace().record(Recording(python(script)))
    assert trace.files["path"].map(lambda path: path.startswith(b"/memfd:")).sum() == 1
    assert not trace.reads()["path"].map(lambda path: path.startswith(b"/memfd:")).any()
    real = tmp_path / "memfd:y (deleted)"
    real.write_bytes(bytes(10))
    assert procfs.describe(b"/memfd:y (deleted)", os.stat(real)).kind == "regular"


def test_writes_and_appends_move_the_position(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 100)
    script = (
        f"import os\n"
        f"fd = os.open({str(file)!r}, os.O_RDWR); os.write(fd, b'12345'); os.read(fd, 10)\n"
        f"end = os.open({str(file)!r}, os.O_RDWR | os.O_APPEND); os.write(end, b'tail')\n"
        f"os.lseek(end, 0, 0); os.read(end, 6)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    assert reads_of(found, file) == [(5, 10), (0, 6)]
    writes = found.writes()
    mine = writes[writes["path"] == os.fsencode(file.resolve())]
    assert list(mine["size"]) == [5, 4]
    assert mine["offset"].iloc[0] == 0
    assert mine["offset"].iloc[1] is pd.NA  # the kernel put it at the end, wherever that was


def test_a_set_user_id_program_without_root_is_noted(tmp_path: Path) -> None:
    need_root()
    program = tmp_path / "suid-cat"
    shutil.copy("/bin/cat", program)
    program.chmod(0o4755)
    (tmp_path / "open").write_bytes(b"hello")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)

    def as_nobody() -> dict[str, object]:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: having been root forbids being traced
        found = Ptrace().record(Recording([str(program), str(tmp_path / "open")], silent=True))
        return {"notes": found.meta.notes, "status": found.meta.exit_status, "reads": len(found.reads())}

    Ptrace().record(Recording(["true"], silent=True))  # loads all modules while they may be read
    result = in_child(as_nobody)
    assert result["status"] == 0
    assert any("set-user-ID" in note for note in result["notes"])


def in_child(work: Callable[[], dict[str, object]]) -> dict:  # type: ignore[type-arg]
    """The result of `work`, done in a forked child that may give up its privileges."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as source:
        text = source.read()
    os.waitpid(child, 0)
    assert text, "the child failed; its traceback is above"
    return json.loads(text)


# -- interrupted, killed, never hung or orphaned
# ----------------------------------------------------------------


def alive(mark: str) -> list[int]:
    """The processes that have `mark` among their arguments."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                state = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if mark.encode() in words and state != "Z":
                found.append(int(name))
    return found


class Running:
    """`coldseek record` of a program that says when it is ready and then goes on for ten minutes."""

    def __init__(self, folder: Path, tracer: str, setup: str = "") -> None:
        self.trace = folder / "run.trace.parquet"
        self.mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
        ready, data = folder / "ready", folder / "data"
        data.write_bytes(bytes(4096))
        script = (
            f"import os, signal, sys, time\n{setup}\nfd = os.open({str(data)!r}, 0); os.read(fd, 17)\n"
            f"open({str(ready)!r}, 'w').close()\nend = time.time() + 600\n"
            f"while time.time() < end: time.sleep(0.05)\n"
        )
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "profiler", "record", "--tracer", tracer, "-o", self.trace, "--",
             sys.executable, "-S", "-c", script, self.mark],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        assert until(ready.exists) and until(lambda: catches(self.process.pid, signal.SIGTERM))

    def others(self) -> list[int]:
        return [pid for pid in alive(self.mark) if pid != self.process.pid]

    def end(self) -> str:
        """Wait for coldseek; what it said."""
        _, words = self.process.communicate(timeout=PATIENCE_S)
        return words.decode()


@pytest.fixture(params=["ptrace", "strace"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, own_temporary: None
) -> Iterator[Callable[..., Running]]:
    if request.param == "strace":
        need_tool("strace")
    made: list[Running] = []

    def start(setup: str = "") -> Running:
        made.append(Running(tmp_path, request.param, setup))
        return made[-1]

    yield start
    for one in made:
        for pid in [one.process.pid, *one.others()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_ctrl_c_ends_the_program_and_keeps_the_trace(run: Callable[..., Running]) -> None:
    # at once: without a terminal coldseek passes it on too, and a Python that is ending would die of that
    one = run("signal.signal(signal.SIGINT, lambda *_: os._exit(5))")
    os.killpg(one.process.pid, signal.SIGINT)  # what a terminal does
    words = one.end()
    assert one.process.returncode == 5
    assert "PARTIAL" in words
    found = load(one.trace)
    assert found.meta.partial
    assert not found.meta.complete
    assert (0, 17) in reads_of(found, one.data)
    assert not one.others()


def test_a_second_ctrl_c_ends_a_program_that_ignores_it(run: Callable[..., Running]) -> None:
    one = run("signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert interrupt_twice(one.process.pid, lambda: not one.others())
    words = one.end()
    assert "PARTIAL" in words
    assert (0, 17) in reads_of(load(one.trace), one.data)
    assert not one.others()


def test_a_killed_coldseek_leaves_no_process_behind(run: Callable[..., Running]) -> None:
    one = run()
    assert one.others()
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    assert until(lambda: not one.others())


# -- asynchronous reads, against what fio itself counts
# ---------------------------------------------------------

ENGINES = {
    "psync": "--ioengine=psync",
    "pvsync2": "--ioengine=pvsync2",
    "vsync": "--ioengine=vsync",
    "splice": "--ioengine=splice",
    "posixaio": "--ioengine=posixaio --iodepth=4",
    "libaio": "--ioengine=libaio --iodepth=8",
    "libaio-direct": "--ioengine=libaio --iodepth=8 --direct=1",
    "io_uring": "--ioengine=io_uring --iodepth=8",
    "io_uring-fixed": "--ioengine=io_uring --iodepth=8 --direct=1 --registerfiles=1 --fixedbufs=1",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_as_many_bytes_as_fio_counts(engine: str, disk_directory: Path) -> None:
    fio = need_tool("fio")
    report = disk_directory / "fio.json"
    command = [
        fio, "--name=job", f"--directory={disk_directory}", "--rw=randread", "--bs=4k", "--size=2m",
        "--output-format=json", f"--output={report}", *ENGINES[engine].split(),
    ]  # fmt: skip
    found = Ptrace().record(Recording(command, silent=True))
    need(found.meta.exit_status == 0, f"fio's engine {engine} does not work here")
    job = json.loads(report.read_text())["jobs"][0]["read"]
    reads = found.reads()
    mine = reads[reads["path"] == os.fsencode((disk_directory / "job.0.0").resolve())]
    assert len(mine) == job["total_ios"] == 512
    assert mine["size"].sum() == job["io_bytes"]
    assert mine["offset"].nunique() == 512
    assert bool(mine["direct"].all()) == ("--direct=1" in command)
    assert not {"io_uring", "completions"} & set(found.meta.unseen)


def test_a_polled_ring_is_declared_unseen(disk_directory: Path) -> None:
    fio = need_tool("fio")
    command = [
        fio, "--name=job", f"--directory={disk_directory}", "--rw=randread", "--bs=4k", "--size=256k",
        "--ioengine=io_uring", "--sqthread_poll=1",
    ]  # fmt: skip
    found = Ptrace().record(Recording(command, silent=True))
    need(found.meta.exit_status == 0, "io_uring with SQPOLL does not work here")
    assert "sqpoll" in found.meta.unseen
