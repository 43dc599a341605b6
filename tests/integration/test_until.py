"""Starts that never end: ready is found on time, and what then runs is left running, or ended."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, coldseek, need_root, need_tool, need_tracer
from small_programs import lives, python, until

from profiler.capture import tracer
from profiler.files.traces import load
from profiler.machine.finish.conditions import parse
from profiler.machine.finish.finish import Finish

pytestmark = pytest.mark.alone

STARTS = 200
ON_TIME_S = 0.010
SILENT = ("sh", "-c", 'exec "$@" > /dev/null 2>&1', "sh")
"""In front of a server that goes on: whoever reads what it writes would wait for its end."""


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of tests/programs/ready.c: FILE PORT MILLISECONDS."""
    made = tmp_path_factory.mktemp("ready") / "ready"
    source = ROOT / "tests/programs/ready.c"
    subprocess.run([need_tool("gcc"), "-O1", "-o", made, source], check=True)
    return str(made)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Path]:
    """Where the server says when it was ready and which process it is; it is ended with the test."""
    file = tmp_path / "told"
    yield file
    if file.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid_in(file), signal.SIGKILL)


def pid_in(told: Path) -> int:
    return int(told.read_text().split()[1])


def record(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """coldseek record, its output in files: a strace that it leaves running holds its stderr."""
    command = [sys.executable, "-m", "profiler", "record", *map(str, words)]
    with open(folder / "stdout", "w+") as stdout, open(folder / "stderr", "w+") as stderr:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, timeout=PATIENCE_S,
        )  # fmt: skip
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, stdout.read(), stderr.read())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def watched(finish: Finish, command: list[str]) -> int:
    """Run a command under a finish until it is over, then kill it; the exit status, if it had one."""
    finish.prepare()
    streams = finish.streams
    process = subprocess.Popen(command, stdout=streams.get(1), stderr=streams.get(2))
    try:
        finish.begin(process.pid, lambda: None)
        end = time.monotonic() + PATIENCE_S
        while not finish.wait(0.005) and time.monotonic() < end:
            if process.poll() is not None:
                finish.command_ended(process.returncode)
                finish.all_ended()
        return process.returncode or 0
    finally:
        process.kill()
        process.wait()
        finish.close()


# ---- on time ---------------------------------------------------------------------------------------------


def late_s() -> float:
    """How late a process that sleeps 2 ms wakes up here and now, at the worst of some times."""
    worst = 0.0
    for _ in range(10):
        begun = time.monotonic()
        time.sleep(0.002)
        worst = max(worst, time.monotonic() - begun - 0.002)
    return worst


@pytest.mark.full
def test_ready_is_found_on_time_in_many_starts(server: str, told: Path) -> None:
    """Each start says itself when it listened: between two looks at the clock, and a machine that others
    share may halt it there. What the machine itself is late counts as the machine's."""
    errors, late = [], []
    port = free_port()
    for _ in range(STARTS):
        told.unlink(missing_ok=True)
        finish = Finish([parse(f"tcp:127.0.0.1:{port}"), parse(f"file:{told}")], timeout=PATIENCE_S)
        late.append(late_s())
        watched(finish, [server, str(told), str(port), "5"])
        listening, _, before = (int(word) for word in told.read_text().split())
        assert finish.reason == "ready" and finish.ready_ns is not None
        assert finish._met[0] > before, "ready before it was"
        errors.append((finish._met[0] - listening) / 1e9)
    assert statistics.median(errors) < ON_TIME_S + statistics.median(late)
    on_time = sum(error < ON_TIME_S + max(late) for error in errors)
    assert on_time >= 0.9 * STARTS, sorted(errors)[-20:]


@pytest.mark.full
def test_no_process_is_left_and_none_is_killed_that_should_live(
    name: str, server: str, told: Path, tmp_path: Path
) -> None:
    port = free_port()
    bystander = subprocess.Popen(
        [server, tmp_path / "other", str(free_port()), "0"], stdout=subprocess.DEVNULL
    )
    try:
        for number in range(5):
            stop = ["--stop"] if number % 2 == 0 else []
            told.unlink(missing_ok=True)
            done = record(
                tmp_path, "--tracer", name, "--until", f"tcp:127.0.0.1:{port}", "--until", f"file:{told}",
                *stop, "-o", tmp_path / "a.trace.parquet", "--", *SILENT, server, told, port, 20,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert "ready after" in done.stderr
            if stop:
                assert not lives(pid_in(told)) and "left running" not in done.stderr
            else:
                assert lives(pid_in(told)) and f"left running: ready ({pid_in(told)})" in done.stderr
                os.kill(pid_in(told), signal.SIGTERM)
                assert until(lambda: not lives(pid_in(told)))
            meta = load(tmp_path / "a.trace.parquet").meta
            assert meta.ready_s is not None and meta.ready_s >= 0.02
            assert (meta.partial, meta.exit_status) == ("", None) and meta.wall_s == meta.ready_s
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_nothing_after_ready_is_in_the_trace(name: str, tmp_path: Path) -> None:
    data, flag = tmp_path / "data", tmp_path / "flag"
    data.write_bytes(bytes(1000))
    script = python(
        f"import os, signal, time\n"
        f"def last(*_): os.pread(f, 7, 0); os._exit(0)\n"
        f"f = os.open({str(data)!r}, 0); signal.signal(signal.SIGTERM, last)\n"
        f"os.pread(f, 11, 0); open({str(flag)!r}, 'w').close(); time.sleep({PATIENCE_S})"
    )
    trace = tmp_path / "a.trace.parquet"
    done = coldseek(
        "record", "--tracer", name, "--until", f"file:{flag}", "--stop", "-o", trace, "--", *script
    )
    assert done.returncode == 0, done.stderr
    reads = load(trace).reads()
    assert [int(size) for size in reads[reads["path"] == os.fsencode(data)]["size"]] == [11]
    assert not any(b"/net/" in path or path == os.fsencode(flag) for path in reads["path"])


# ---- the conditions --------------------------------------------------------------------------------------


def ready_by(*conditions: str, script: str, timeout: float = PATIENCE_S) -> Finish:
    finish = Finish([parse(one) for one in conditions], timeout=timeout)
    watched(finish, python(script))
    return finish


def test_a_pattern_that_takes_years_keeps_nothing_from_going_on(told: Path) -> None:
    script = "print('a' * 200 + 'b', flush=True); import time; time.sleep(3); print('Ready', flush=True)"
    condition = "output:^(a+)+$|Ready"
    done = record(
        told.parent, "--until", condition, "--timeout", PATIENCE_S, "--", sys.executable, "-c", script
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a" * 200 + "b\nReady\n"


def test_end_and_exit() -> None:
    assert ready_by("exit", script="pass").reason == "ready"
    assert ready_by("exit", "end", script="import sys; sys.exit(3)").reason == "ready"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize("host", ["", "loopback"])
def test_tcp(family: str, host: str) -> None:
    address = {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}[family]
    port = free_port()
    with contextlib.suppress(OSError), socket.socket(getattr(socket, family)) as probe:
        probe.bind((address, 0))
        script = (
            f"import socket, time; s = socket.socket(socket.{family}); "
            f"s.bind(({address if host else ''!r}, {port})); s.listen(); time.sleep({PATIENCE_S})"
        )
        assert ready_by(f"tcp:[{address}]:{port}", script=script).reason == "ready"
        assert ready_by(f"tcp:*:{port}", script=script).reason == "ready"


def test_tcp_that_is_bound_and_does_not_listen_is_not_ready() -> None:
    port = free_port()
    script = (
        f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {port})); time.sleep({PATIENCE_S})"
    )
    found = ready_by(f"tcp:127.0.0.1:{port}", script=script, timeout=0.5)
    assert found.reason == "timeout" and f"tcp:127.0.0.1:{port}" in found.why


def test_unix(tmp_path: Path) -> None:
    for name, given in ((f"{tmp_path}/s", f"{tmp_path}/s"), ("\0coldseek-test", "@coldseek-test")):
        script = (
            f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({name!r}); s.listen(); "
            f"s.settimeout(0.3)\n"
            f"try: s.accept(); print('somebody came')\n"
            f"except TimeoutError: time.sleep({PATIENCE_S})"
        )
        assert ready_by(f"unix:{given}", script=script).reason == "ready"


def test_file(tmp_path: Path) -> None:
    made, there = tmp_path / "made", tmp_path / "there"
    there.write_text("ready\n")
    wait = f"import time; time.sleep({PATIENCE_S})"
    assert ready_by(f"file:{made}", script=f"open({str(made)!r}, 'w'); {wait}").reason == "ready"
    assert ready_by(f"file:{there}", script=wait, timeout=0.3).reason == "timeout"
    assert ready_by(f"file:{there}~ready", script=wait, timeout=0.3).reason == "timeout"
    assert (
        ready_by(f"file:{there}", script=f"open({str(there)!r}, 'a').write('x'); {wait}").reason == "ready"
    )


@pytest.mark.parametrize("mode", ["a", "w"])
def test_a_line_of_a_file(mode: str, tmp_path: Path) -> None:
    """Appended, written anew, and without its end."""
    log = tmp_path / "log"
    log.write_text("login: \n" * 3)
    script = (
        f"import time; f = open({str(log)!r}, {mode!r}); f.write('x' * 100000 + '\\nhost log'); f.flush()\n"
        f"f.write('in: '); f.flush(); time.sleep({PATIENCE_S})"
    )
    assert ready_by(f"file:{log}~login: $", script=script).reason == "ready"


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    script = f"import time; time.sleep({PATIENCE_S})"
    assert ready_by(f"file:{tmp_path}/pipe~x", script=script, timeout=0.3).reason == "timeout"


def test_http() -> None:
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503 if len(asked) < 3 else 302 if self.path == "/a" else 404)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        script = f"import time; time.sleep({PATIENCE_S})"
        assert ready_by(f"{url}/a", script=script).reason == "ready"
        assert len(asked) == 3 and set(asked) == {"/a"}, "a redirect is not followed"
        assert ready_by(f"{url}/b", script=script, timeout=0.5).reason == "timeout"
    finally:
        server.shutdown()


def test_all_conditions_have_to_hold_each_once(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    script = (
        f"import os, time; open({str(first)!r}, 'w').close(); time.sleep(0.3); os.unlink({str(first)!r})\n"
        f"time.sleep(0.1); open({str(second)!r}, 'w').close(); time.sleep({PATIENCE_S})"
    )
    found = ready_by(f"file:{first}", f"file:{second}", script=script)
    assert found.reason == "ready" and found.ready_ns == found._met[1] > found._met[0] + 200_000_000


# ---- what the program writes -----------------------------------------------------------------------------


def test_what_is_written_goes_where_it_went(name: str, tmp_path: Path) -> None:
    """Every byte, stdout and stderr apart, also after coldseek has finished."""
    script = (
        "import os, time; os.write(1, bytes(range(256)) * 500); os.write(2, b'go\\xff on\\n')\n"
        "time.sleep(0.3)\n"
        "os.write(1, b'\\0last'); os.write(2, b'end')"
    )
    out, err = tmp_path / "out", tmp_path / "err"
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        status = subprocess.run(
            [
                sys.executable, "-m", "profiler", "record", "-q", "--tracer", name, "--until", r"output:^go",
                "-o", tmp_path / "a.trace.parquet", "--", *python(script),
            ],
            stdout=stdout, stderr=stderr, timeout=PATIENCE_S, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).returncode  # fmt: skip
    assert status == 0
    assert until(lambda: out.read_bytes() == bytes(range(256)) * 500 + b"\0last")
    assert until(lambda: err.read_bytes().endswith(b"end") and b"go\xff on\n" in err.read_bytes())


def test_a_terminal_stays_one_of_the_same_size(tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "print(*(os.isatty(n) for n in (0, 1, 2)), *os.get_terminal_size(1), flush=True)\n"
        "print('ready', flush=True); time.sleep(0.2); print('later', flush=True)"
    )
    command = [
        sys.executable, "-m", "profiler", "record", "-q", "--tracer", "ptrace", "--until", "output:^ready",
        "-o", str(tmp_path / "a.trace.parquet"), "--", *python(script),
    ]  # fmt: skip
    need_tracer("ptrace")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.system("stty rows 31 cols 77")
        status = subprocess.run(command).returncode
        os.read(0, 1)  # as a shell would: a terminal is gone with the leader of its session
        os._exit(status)
    written = b""
    with contextlib.suppress(OSError):
        while b"later" not in written and (piece := os.read(terminal, 4096)):
            written += piece
    os.write(terminal, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, written
    os.close(terminal)
    assert b"True True True 77 31\r\nready\r\n" in written and b"later" in written


def test_a_reader_that_goes_away_is_the_programs_to_know(tmp_path: Path) -> None:
    need_tracer("ptrace")
    script = "import os\nwhile True: os.write(1, b'ready\\n' * 1000)"
    words = [
        sys.executable, "-m", "profiler", "record", "-q", "--tracer", "ptrace", "--until", "output:never",
        "-o", str(tmp_path / "a.trace.parquet"), "--", *python(script),
    ]  # fmt: skip
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 1, "python's exit status after BrokenPipeError"


# ---- over without being ready ----------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [[], ["--stop"]])
def test_a_timeout(name: str, stop: list[str], server: str, told: Path, tmp_path: Path) -> None:
    trace = tmp_path / "a.trace.parquet"
    done = record(
        tmp_path, "--tracer", name, "--until", "tcp:127.0.0.1:1", "--timeout", 1, *stop, "-o", trace, "--",
        *SILENT, server, told, 0, 0,
    )  # fmt: skip
    assert done.returncode == 124, done.stderr
    if stop:  # on a slow machine it came before the server
        assert not told.exists() or not lives(pid_in(told))
    else:
        assert until(told.exists) and lives(pid_in(told))
    meta = load(trace).meta
    assert meta.ready_s is None and "not ready within 1 s (--timeout)" in meta.partial and not meta.complete


def test_a_time_to_run(name: str, server: str, told: Path, tmp_path: Path) -> None:
    trace = tmp_path / "a.trace.parquet"
    done = record(tmp_path, "--tracer", name, "--for", 0.7, "-o", trace, "--", *SILENT, server, told, 0, 0)
    assert done.returncode == 0, done.stderr
    assert until(told.exists) and lives(pid_in(told))
    meta = load(trace).meta
    assert meta.ready_s is None and meta.partial == "" and meta.exit_status is None
    assert meta.wall_s is not None and meta.wall_s > 0.4


def test_a_program_that_fails_before_it_is_ready(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "a.trace.parquet"
    done = coldseek(
        "record", "--tracer", name, "--until", "tcp:127.0.0.1:1", "-o", trace, "--", "sh", "-c", "exit 3"
    )
    assert done.returncode == 3 and "ended before it was ready" in done.stderr
    assert any("ended before it was ready" in note for note in load(trace).meta.notes)


def test_what_a_command_has_told_others_to_do_is_waited_for(name: str, tmp_path: Path) -> None:
    flag, go = tmp_path / "flag", tmp_path / "go"
    other = subprocess.Popen(
        ["/bin/sh", "-c", f"until test -e {go}; do sleep 0.05; done; sleep 0.3; : > {flag}"]
    )
    try:
        done = coldseek(
            "record", "--tracer", name, "--until", f"file:{flag}", "-o", tmp_path / "a.trace.parquet", "--",
            "sh", "-c", f": > {go}",
        )  # fmt: skip
        assert done.returncode == 0 and "ready after" in done.stderr
    finally:
        other.wait()


def test_options_that_make_no_sense() -> None:
    for words in (["--stop"], ["--until", "tcp:x"], ["--until", "output:("], ["--for", "0"]):
        done = coldseek("record", *words, "--", "true")
        assert done.returncode == 2, words


# ---- cold against warm -----------------------------------------------------------------------------------


def test_a_comparison_is_timed_until_ready(server: str, told: Path, tmp_path: Path) -> None:
    need_root()
    port = free_port()
    done = coldseek(
        "compare", "--runs", 2, "--format", "json", "-o", tmp_path / "kept",
        "--until", f"tcp:127.0.0.1:{port}", "--timeout", 120, "--", server, told, port, 300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for side in ("cold", "warm"):
        assert len(found[side]["wall_s"]) == 2 and min(found[side]["wall_s"]) >= 0.3
        assert found[side]["report"]["trace"]["ready_s"] >= 0.3
    assert not lives(pid_in(told))


@pytest.mark.full
def test_runs_that_are_not_ready_in_time_have_failed(server: str, told: Path, tmp_path: Path) -> None:
    port, once = free_port(), tmp_path / "once"
    script = f"test -e {once} && exec sleep {int(PATIENCE_S)}; : > {once}; exec {server} {told} {port} 0"
    done = coldseek(
        "compare", "--tracer", need_tracer("ptrace"), "--runs", 1, "--until", f"tcp:127.0.0.1:{port}",
        "--timeout", 5, "--", "sh", "-c", script,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "FAILED: all 2 untraced runs ended with exit status 124" in done.stdout
