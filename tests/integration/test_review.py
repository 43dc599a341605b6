"""What goes wrong only in odd surroundings: no way on, no way out, nothing to stand on."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import PATIENCE_S, ROOT, need
from small_programs import no_hang, python, reads_of, until

from profiler.capture.calls import handlers
from profiler.capture.calls.event_log import Recorder
from profiler.capture.ptrace.tracer import Ptrace, probe
from profiler.capture.recording import Recording
from profiler.capture.tracer import NAMES
from profiler.cli.output import Progress
from profiler.files.traces import load
from profiler.machine import procfs
from profiler.machine.page_cache import cache, residency
from profiler.machine.processes.interrupts import Interrupts
from profiler.report import text
from profiler.report.comparison import compare_summary
from profiler.studies.cold_warm import study
from profiler.studies.record import record
from profiler.trace import Meta, Trace, validate


def coldseek(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "profiler", *arguments]


pytestmark = pytest.mark.usefixtures(no_hang.__name__)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


# -- nothing is left running, and nothing waits for ever
# --------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 5])
def test_a_failure_of_the_tracer_ends_the_program_and_is_told(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setitem(handlers.HANDLERS, "lseek", fails)
    script = (
        f"import os, threading, time\n"
        f"for _ in range({threads}): threading.Thread(target=time.sleep, args=(300,)).start()\n"
        f"time.sleep(0.2); os.lseek(os.open('/etc/passwd', 0), 5, 0)\n"
    )
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        Ptrace().record(Recording(python(script)))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_processes_that_fork_on_and_on_outlive_their_recording(tmp_path: Path) -> None:
    """Three chains of them at once: each is born as it is let go, sooner or later."""
    script = (
        "import os, signal, sys, time\n"
        "for number in (2, 15): signal.signal(number, signal.SIG_IGN)\n"
        "os.mkdir(sys.argv[1]); end = time.time() + 600\n"
        "for chain in range(3):\n"
        "    if os.fork() == 0: break\n"
        "else: os._exit(0)\n"
        "while time.time() < end and not os.path.exists(sys.argv[1] + '/enough'):\n"
        "    if os.fork(): os._exit(0)\n"
        "open(f'{sys.argv[1]}/done{chain}', 'w').close()\n"
    )
    ready, trace = tmp_path / "ready", tmp_path / "t.trace.parquet"
    with open(tmp_path / "stderr", "wb") as words:
        run = subprocess.Popen(
            coldseek("record", "-o", trace, "--", *python(script), ready),
            stdin=subprocess.DEVNULL, stderr=words, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
    try:
        assert until(lambda: b"has ended" in (tmp_path / "stderr").read_bytes())
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE_S) == 0
    finally:
        run.kill()
        (ready / "enough").touch()
    assert load(trace).meta.partial == ""
    assert until(lambda: len(list(ready.glob("done*"))) == 3)


def test_a_child_that_is_killed_as_it_is_born_does_not_stop_its_parent() -> None:
    tracer = Ptrace()
    adopt = tracer.program.adopt

    def late(child: int, parent: int, flags: int, now: int) -> None:
        tracer.program.newborn.add(child)
        os.kill(child, signal.SIGKILL)
        adopt(child, parent, flags, now)

    tracer.program.adopt = late  # type: ignore[method-assign]
    found = tracer.record(Recording(python("import os\nif os.fork(): os._exit(os.wait()[1])")))
    assert found.meta.exit_status == signal.SIGKILL


def test_a_child_whose_maker_was_killed_before_it_could_tell_of_it_goes_on() -> None:
    """It holds the pipe that its grandparent reads to the end: as long as it is held, everybody waits."""
    tracer = Ptrace()
    stopped, fork = tracer._stopped, 1

    def killed(tid: int, event: int, number: int, now: int) -> None:
        if event == fork and tid != tracer.main:
            os.kill(tid, signal.SIGKILL)
            raise ProcessLookupError
        stopped(tid, event, number, now)

    tracer._stopped = killed  # type: ignore[method-assign]
    script = (
        "import os\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.fork(); os._exit(0)\n"
        "os.close(write)\n"
        "os._exit(os.wait()[1] + len(os.read(read, 1)))\n"
    )
    assert tracer.record(Recording(python(script))).meta.exit_status == signal.SIGKILL


def test_clone_with_shared_descriptors_and_sigchld_shares_them(tmp_path: Path) -> None:
    """The kernel calls that a fork: only SIGCHLD at the end counts for it."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(100))
    two.write_bytes(bytes(100))
    share = 0x400  # CLONE_FILES
    script = (
        f"import ctypes, os, signal\n"
        f"libc = ctypes.CDLL(None)\n"
        f"fd = os.open({str(one)!r}, 0); os.read(fd, 1)\n"
        f"number = {{'x86_64': 56}}.get(os.uname().machine, 220)\n"
        f"if libc.syscall(number, {share} | signal.SIGCHLD, 0, 0, 0, 0) == 0:\n"
        f"    os.close(fd); assert os.open({str(two)!r}, 0) == fd; os.read(fd, 2); os._exit(0)\n"
        f"assert os.wait()[1] == 0\n"
        f"os.read(fd, 3)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    assert found.meta.exit_status == 0
    assert reads_of(found, one) == [(0, 1)]
    assert reads_of(found, two) == [(0, 2), (2, 3)]


# -- nothing to stand on
# ----------------------------------------------------------------------------------------


def test_a_working_directory_that_is_gone_loses_no_trace(tmp_path: Path) -> None:
    script = (
        f"import os, sys\n"
        f"sys.path[:] = [{str(ROOT)!r}, *filter(None, sys.path)]\n"
        f"os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        f"from profiler.cli import main\n"
        f"main()\n"
    )
    for state in ("keep", "cold"):
        trace = tmp_path / f"{state}.trace.parquet"
        done = subprocess.run(
            [sys.executable, "-c", script, "record", "--tracer", "ptrace", "--cache", state, "-o", trace,
             "--", "cat", "/etc/passwd"],
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert load(trace).meta.cwd == ""
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "fadvise      works" in done.stdout


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_closed_standard_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    trace = tmp_path / "t.trace.parquet"

    def close() -> None:
        for stream in closed:
            os.close(stream)

    done = subprocess.run(
        coldseek("record", "-o", trace, "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, preexec_fn=close, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == (1 if 1 in closed else 0)  # cat needs its stdout
    assert load(trace).meta.tracer in NAMES
    done = subprocess.run(
        coldseek("compare", "--runs", "1", "-o", tmp_path, "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, preexec_fn=close, timeout=PATIENCE_S,
        stdout=None if 1 in closed else subprocess.DEVNULL,
    )  # fmt: skip
    assert load(tmp_path / "warm.trace.parquet").meta.exit_status == 0


# -- odd files
# --------------------------------------------------------------------------------------------------


def test_memory_files_are_no_files_on_a_device(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "fd = os.memfd_create('x'); os.write(fd, bytes(1000000)); os.lseek(fd, 0, 0); os.read(fd, 1000000)\n"
        "os.pread(fd, 1000, 0)\n"
    )
    found = Ptrace().record(Recording(python(script)))
    assert found.files["path"].map(lambda path: path.startswith(b"/memfd:")).sum() == 1
    assert not found.reads()["path"].map(lambda path: path.startswith(b"/memfd:")).any()
    real = tmp_path / "memfd:y (deleted)"
    real.write_bytes(bytes(10))
    assert procfs.describe(b"/memfd:y (deleted)", os.stat(real)).kind == "regular"


def test_inode_numbers_of_64_bits() -> None:
    """FUSE and network file systems hash or pass on numbers of any size."""
    for inode in (2**63 - 1, 2**63, 2**64 - 1):
        status = os.stat_result((0o100644, inode, 1, 1, 0, 0, 10, 0, 0, 0), {"st_mtime_ns": 0})
        recorder = Recorder()
        recorder.file(inode, procfs.describe(b"/a", status))
        found = recorder.trace(Meta())
        validate(found)
        assert found.files["inode"][0] is pd.NA if inode >= 2**63 else found.files["inode"][0] == inode


# -- keys typed on a terminal
# -----------------------------------------------------------------------------------


def typed(key: bytes, script: str, folder: Path, *options: str, streams: str = "") -> tuple[Trace, str]:
    """Record a program on a terminal of its own and press a key when it has made a file "ready".

    Gives the trace, and what the program wrote into a file "out". streams: a redirection, as to a shell.
    """
    trace = folder / "t.trace.parquet"
    program = shlex.join(
        str(word) for word in coldseek("record", "-q", "-o", trace, *options, "--", *python(script))
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve("/bin/sh", ["sh", "-c", f"exec {program} {streams}"], ENVIRONMENT)
    try:
        while not (folder / "ready").exists():
            time.sleep(0.01)
        os.write(terminal, key)
        with contextlib.suppress(OSError):  # EIO: the terminal is closed
            while os.read(terminal, 4096):
                pass
        os.waitpid(child, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.close(terminal)
    return load(trace), (folder / "out").read_text()


COUNTS = """
import os, signal, time
def count(number, frame):
    with open('out', 'a') as out: out.write(signal.Signals(number).name + ' ')
for number in (signal.SIGINT, signal.SIGQUIT): signal.signal(number, count)
open('ready', 'w').close()
end = time.time() + 600
while not os.path.exists('out') and time.time() < end: time.sleep(0.05)
time.sleep(0.5)  # for one that comes a second time
"""


@pytest.mark.parametrize("tracer", ["ptrace", "strace"])
@pytest.mark.parametrize("streams", ["", "</dev/null >/dev/null 2>&1"])
def test_ctrl_c_on_a_terminal_reaches_the_program_once(tracer: str, streams: str, tmp_path: Path) -> None:
    found, out = typed(b"\x03", COUNTS, tmp_path, "--tracer", tracer, streams=streams)
    assert out == "SIGINT "
    assert found.meta.exit_status == 0 and "Ctrl-C" in found.meta.partial


@pytest.mark.parametrize("tracer", ["ptrace", "strace"])
def test_ctrl_backslash_is_for_the_program_too(tracer: str, tmp_path: Path) -> None:
    found, out = typed(b"\x1c", COUNTS, tmp_path, "--tracer", tracer)
    assert out == "SIGQUIT "
    assert found.meta.exit_status == 0 and found.meta.complete


def test_a_program_of_another_user_cannot_be_signalled_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError

    with Interrupts(1, lambda: None) as interrupts:
        monkeypatch.setattr(os, "kill", refuses)
        interrupts._handle(signal.SIGTERM, None)
    assert interrupts.partial == "ended by SIGTERM"


def test_sigterm_ends_background_processes_at_once() -> None:
    killed = []
    with Interrupts(2**22 + 1, lambda: killed.append(1)) as interrupts:
        interrupts.main_ended(3)
        interrupts._handle(signal.SIGTERM, None)
    assert killed == [1]


# -- what was not measured is not claimed
# --------------------------------------------------------------------


def nothing_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user whose program reads nothing but files of the system."""
    monkeypatch.setattr(residency, "look", lambda path, descriptor: None)
    monkeypatch.setattr(cache, "can_drop_all", lambda: False)


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_a_state_of_the_cache_that_nobody_could_look_at_is_not_claimed(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_to_be_seen(monkeypatch)
    said: list[str] = []
    found = record(python("import json"), "ptrace", state, say=said.append)
    assert (found.meta.cache, found.meta.cache_asked) == ("unknown", state)
    assert (found.meta.resident_before_bytes, found.meta.resident_checked_bytes) == (None, None)
    assert found.meta.notes[-1].startswith(f"NOT PROVED {state.upper()}: no file ")
    assert found.meta.notes[-1].endswith("with sudo: root may look at all") == (os.geteuid() != 0)
    assert said[-1] == found.meta.notes[-1]


def test_a_comparison_of_what_nobody_could_look_at_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_to_be_seen(monkeypatch)
    made = compare_summary(*study(["cat", "/etc/passwd"], 2, "ptrace"))
    assert made.is_pair and len(made.first.runs) == len(made.second.runs) == 2
    assert all(run.resident_before_bytes is None for side in (made.first, made.second) for run in side.runs)
    words = text.compare(made).plain
    assert words.startswith("NOT PROVED COLD")
    assert "0 B of 0 B" not in words and "not measured" not in words


@pytest.fixture
def past_the_cache(disk_directory: Path) -> list[str]:
    """A program that reads with O_DIRECT."""
    file = disk_directory / "file"
    file.write_bytes(os.urandom(1 << 20))
    command = ["dd", f"if={file}", "of=/dev/null", "bs=256K", "iflag=direct", "status=none"]
    need(subprocess.run(command).returncode == 0, "needs a disk that can be read with O_DIRECT")
    return command


def test_reads_past_the_cache_are_never_warm_and_that_is_said(past_the_cache: list[str]) -> None:
    said: list[str] = []
    found = record(past_the_cache, "ptrace", "warm", say=said.append)
    words = "with O_DIRECT, past the page cache: a warm start does not help these"
    assert found.meta.notes[-1] == said[-1]
    assert said[-1].startswith("4 of ") and said[-1].endswith(words)
    cold, warm = study(past_the_cache, 1, "ptrace")
    assert warm.meta.notes[-1].startswith("NOT WARM: ")
    assert warm.meta.notes[-1].endswith("; reads with O_DIRECT always do")
    assert not any(words in note for note in cold.meta.notes)


def test_files_that_could_not_be_looked_at_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The image was, the libraries were not: the start is cold as far as that goes."""
    mine = tmp_path / "mine"
    mine.write_bytes(bytes(10_000_000))
    look = residency.look
    monkeypatch.setattr(cache, "can_drop_all", lambda: False)
    monkeypatch.setattr(
        residency,
        "look",
        lambda path, descriptor: look(path, descriptor) if path.endswith(b"mine") else None,
    )
    found = record(["cat", str(mine)], "ptrace", "cold")
    assert found.meta.cache == "cold"
    assert "could not be looked at" in found.meta.notes[-1]
    mine.write_bytes(b"little")
    found = record(["cat", str(mine)], "ptrace", "cold")
    assert found.meta.cache == "unknown"
    assert found.meta.notes[-1].startswith("NOT PROVED COLD")


def test_children_can_be_waited_for_where_they_were_ignored(tmp_path: Path) -> None:
    """Some supervisors ignore SIGCHLD, exec passes that on, and the kernel then forgets children at once."""
    done = subprocess.run(
        coldseek("compare", "--runs", "1", "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_tracer_is_tried_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert probe().works


def test_no_line_of_a_traced_run_stands_over_the_next_one() -> None:
    progress = Progress()
    progress.started(Recorder())
    progress.say("traced run, warm")
    assert progress._recorder is None


def test_on_a_terminal_a_line_tells_which_run_of_how_many_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as quiet:
        quiet.begins("run 4 of 9, untraced, cold")
    assert capsys.readouterr().err == ""
    progress = Progress()
    progress._on = True
    progress.begins("run 4 of 9, untraced, cold")
    progress.say("untraced run 1 of 6: cold, 0.044 s")
    assert capsys.readouterr().err == (
        "\r\x1b[Krun 4 of 9, untraced, cold ...\r\x1b[Kcoldseek: untraced run 1 of 6: cold, 0.044 s\n"
    )
