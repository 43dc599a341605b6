"""Tasks of a traced program that come and go in odd ways, and a tracer that fails itself: nothing is left
running, nothing waits for ever, and what they read is theirs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE_S
from small_programs import ENVIRONMENT, command_of, no_hang, python, reads_of, until

from profiler.capture.calls import handlers
from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.files.traces import load

pytestmark = pytest.mark.usefixtures(no_hang.__name__)


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
    before = children()
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        Ptrace().record(Recording(python(script)))
    assert children() <= before


def children() -> set[str]:
    """The children of ours, dead or alive; other tests may have left helpers of Python."""
    ours = f"PPid:\t{os.getpid()}\n"
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if ours in Path(f"/proc/{name}/status").read_text():
                found.add(name)
    return found


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
            command_of("record", "-o", trace, "--", *python(script), ready),
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


def test_a_child_that_is_killed_as_it_is_born_does_not_stop_its_parent(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(100))
    tracer = Ptrace()
    adopt, killed = tracer.program.adopt, []

    def late(child: int, parent: int, flags: int, now: int) -> None:
        tracer.program.newborn.add(child)
        os.kill(child, signal.SIGKILL)
        killed.append(child)
        adopt(child, parent, flags, now)

    tracer.program.adopt = late  # type: ignore[method-assign]
    script = (
        f"import os\n"
        f"child = os.fork()\n"
        f"if child == 0: os.read(os.open({str(data)!r}, 0), 50)\n"
        f"else: status = os.wait(); os.read(os.open({str(data)!r}, 0), 7); os._exit(status != (child, 9))\n"
    )
    trace = tracer.record(Recording(python(script)))
    assert (trace.meta.exit_status, trace.meta.partial) == (0, "")
    assert reads_of(trace, data) == [(0, 7)]  # of the parent: the child never came to its own
    assert len(killed) == 1
    assert not tracer.program.tasks and not tracer.program.newborn


def test_a_child_whose_maker_was_killed_before_it_could_tell_of_it_goes_on() -> None:
    """It holds the pipe that its grandparent reads to the end: as long as it is held, everybody waits."""
    tracer = Ptrace()
    stopped, fork, killed = tracer._stopped, 1, []

    def stopped_or_killed(tid: int, event: int, number: int, now: int) -> None:
        if event == fork and tid != tracer.main:
            os.kill(tid, signal.SIGKILL)
            killed.append(tid)
            raise ProcessLookupError
        stopped(tid, event, number, now)

    tracer._stopped = stopped_or_killed  # type: ignore[method-assign]
    script = (
        "import os\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.fork(); os._exit(0)\n"
        "os.close(write)\n"
        "os._exit(os.wait()[1] + len(os.read(read, 1)))\n"
    )
    assert tracer.record(Recording(python(script))).meta.exit_status == signal.SIGKILL
    assert len(killed) == 1
    assert not tracer.program.tasks and not tracer.program.newborn


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
