"""Services as Debian has them: started under coldseek they go on when it ends, and answer."""

from __future__ import annotations

import glob
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE_S, need, need_root, need_tool, need_tracer
from small_programs import Recorded, until

from profiler.files.traces import load

pytestmark = pytest.mark.full


FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


@dataclass(frozen=True)
class Service:
    """start, ask, stop: commands. answer: to `ask`. mark: in a path that it reads as it starts. ready: what
    --until has to wait for."""

    start: Sequence[str]
    ask: Sequence[str]
    answer: bytes
    stop: Sequence[str]
    mark: bytes
    ready: str

    def answers(self) -> bool:
        done = run(self.ask)
        return done.returncode == 0 and done.stdout.strip() == self.answer


def run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, cwd="/var/tmp", check=False)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def nginx(folder: Path) -> Service:
    program, port = need_tool("nginx"), free_port()
    (folder / "page.txt").write_text("here I am")
    (folder / "nginx.conf").write_text(
        f"user root;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    start = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    ask = [sys.executable, "-S", "-c", FETCH, f"http://127.0.0.1:{port}/page.txt"]
    return Service(start, ask, b"here I am", [*start, "-s", "quit"], b"nginx.conf",
                   f"http://127.0.0.1:{port}/page.txt")  # fmt: skip


def redis(folder: Path) -> Service:
    server, port = need_tool("redis-server"), free_port()
    (folder / "redis.conf").write_text(f"port {port}\ndir {folder}\ndaemonize yes\nappendonly yes\n")
    client = [need_tool("redis-cli"), "-p", port]
    start = [server, str(folder / "redis.conf")]
    return Service(start, [*client, "echo", "here I am"], b"here I am", [*client, "shutdown"], b"redis.conf",
                   f"tcp:127.0.0.1:{port}")  # fmt: skip


def postgresql(folder: Path) -> Service:
    """As nobody: it refuses to run as root."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    need(found, "needs postgresql")
    nobody = [need_tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    control, port = [*nobody, f"{found[-1]}/pg_ctl", "-D", f"{folder}/data"], free_port()
    made = run([*control, "initdb", "-o", "-A trust -U me"])
    assert made.returncode == 0, made.stderr
    ask = [*nobody, need_tool("psql"), "-h", "127.0.0.1", "-p", port, "-U", "me", "postgres"]
    start = [*control, "-l", f"{folder}/log", "-o", f"-p {port} -k {folder} -h 127.0.0.1", "-w", "start"]
    stop = [*control, "-m", "fast", "-w", "stop"]
    return Service(start, [*ask, "-Atc", "select 6*7"], b"42", stop, b"postgresql.conf",
                   f"file:{folder}/log~ready to accept connections")  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture(params=[nginx, redis, postgresql], ids=lambda made: made.__name__)
def service(request: pytest.FixtureRequest, folder: Path) -> Iterator[Service]:
    need_root()
    made = request.param(folder)
    yield made
    run(made.stop)


@pytest.fixture(params=["kernel", "ptrace"])
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_outlives_its_recording(
    name: str, number: signal.Signals, service: Service, folder: Path
) -> None:
    recorded = Recorded(name, folder, *service.start)
    assert until(service.answers), recorded.words
    assert until(lambda: "still running" in recorded.words), recorded.words
    assert recorded.end(number) == 0, recorded.words
    for _ in range(20):
        assert service.answers(), recorded.words
    trace = load(recorded.trace)
    assert trace.meta.exit_status == 0 and trace.meta.partial == ""
    assert any(service.mark in path for path in trace.reads()["path"])
    stopped = run(service.stop)
    assert stopped.returncode == 0, stopped.stderr
    assert until(lambda: not service.answers())


def test_a_recording_ends_with_the_service_that_it_waits_for(
    name: str, service: Service, folder: Path
) -> None:
    recorded = Recorded(name, folder, *service.start)
    assert until(service.answers), recorded.words
    assert until(lambda: "still running" in recorded.words), recorded.words
    assert run(service.stop).returncode == 0
    assert recorded.process.wait(PATIENCE_S) == 0
    assert load(recorded.trace).meta.partial == "" and "left running" not in recorded.words


def test_a_service_answers_once_it_is_ready(name: str, service: Service, folder: Path) -> None:
    recorded = Recorded(name, folder, *service.start, options=["--until", service.ready, "--timeout", "280"])
    assert recorded.process.wait(PATIENCE_S) == 0, recorded.words
    assert service.answers(), recorded.words
    assert "ready after" in recorded.words and "left running" in recorded.words
    meta = load(recorded.trace).meta
    assert meta.ready_s is not None and meta.partial == ""
    assert run(service.stop).returncode == 0


def test_a_service_outlives_the_recording_of_what_asks_it(name: str, service: Service, folder: Path) -> None:
    subprocess.run(service.start, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)  # fmt: skip
    assert until(service.answers)
    recorded = Recorded(name, folder, *service.ask)
    assert recorded.process.wait(PATIENCE_S) == 0
    assert service.answers()
