"""Keys typed on a terminal while a program is traced: they are the program's to answer, and it has them
once."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import signal
from pathlib import Path

import pytest
from conftest import need_tracer
from small_programs import ENVIRONMENT, command_of, no_hang, python, until

from profiler.files.traces import load
from profiler.trace import Trace

pytestmark = pytest.mark.usefixtures(no_hang.__name__)


def typed(key: bytes, script: str, folder: Path, *options: str, streams: str = "") -> tuple[Trace, str]:
    """Record a program on a terminal of its own and press a key when it has made a file "ready".

    Gives the trace, and what the program wrote into a file "out". streams: a redirection, as to a shell.
    """
    trace = folder / "t.trace.parquet"
    program = shlex.join(command_of("record", "-q", "-o", trace, *options, "--", *python(script)))
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve("/bin/sh", ["sh", "-c", f"exec {program} {streams}"], ENVIRONMENT)
    try:
        assert until((folder / "ready").exists)
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
    need_tracer(tracer)
    trace, out = typed(b"\x03", COUNTS, tmp_path, "--tracer", tracer, streams=streams)
    assert out == "SIGINT "
    assert trace.meta.exit_status == 0 and "Ctrl-C" in trace.meta.partial


@pytest.mark.parametrize("tracer", ["ptrace", "strace"])
def test_ctrl_backslash_is_for_the_program_too(tracer: str, tmp_path: Path) -> None:
    need_tracer(tracer)
    trace, out = typed(b"\x1c", COUNTS, tmp_path, "--tracer", tracer)
    assert out == "SIGQUIT "
    assert trace.meta.exit_status == 0 and trace.meta.complete
