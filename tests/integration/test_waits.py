"""A command that waits for a socket: the process behind it is named, with the option that watches it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import need
from small_programs import until

from profiler.capture.watch.whom.waits import Waits

SERVER = """
import socket, sys
place = sys.argv[1]
there = socket.socket(socket.AF_UNIX if place else socket.AF_INET)
there.bind(place or ("127.0.0.1", 0))
there.listen()
print(there.getsockname() if place else there.getsockname()[1], flush=True)
kept = []
while True: kept.append(there.accept()[0])
"""
WAYS = {
    "read": "here.recv(1)",
    "poll": "import select; p = select.poll(); p.register(here, 1); p.poll()",
    "select": "import select; select.select([here], [], [])",
    "epoll": "import select; p = select.epoll(); p.register(here, 1); p.poll()",
    "threads": "import threading\n"
    "threading.Thread(target=threading.Event().wait, daemon=True).start(); here.recv(1)",
    "child": "import os; os.fork() == 0 and here.recv(1); os.wait()",
}
CLIENT = """
import socket, sys
place = sys.argv[1]
here = socket.socket(socket.AF_INET if place.isdigit() else socket.AF_UNIX)
here.connect(("127.0.0.1", int(place)) if place.isdigit() else place)
print(flush=True)
"""


@contextlib.contextmanager
def program(text: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running program and its first line."""
    command = [sys.executable, "-c", text, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(pid), 9)
            process.kill()


@pytest.fixture(autouse=True)
def may_look() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            words = Path(f"/proc/{process.pid}/syscall").read_text().split()
            need(words, "needs /proc/PID/syscall")
        except OSError as error:
            pytest.skip(f"/proc/PID/syscall: {error.strerror}")  # not built into each kernel
        finally:
            process.kill()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_who_is_waited_for_is_named(way: str, kind: str, tmp_path: Path) -> None:
    place = str(tmp_path / "socket") if kind == "unix" else ""
    with program(SERVER, place) as (server, told), program(CLIENT + WAYS[way], place or told) as (client, _):
        with Waits(client.pid) as waits:
            found = until(lambda: waits.told(), 20)
        said = waits.told()
    assert found, "nothing was said"
    where = place or f"127.0.0.1:{told}"
    assert f"s for {where}, behind which is python" in said
    assert said.endswith(f"(pid {server.pid}): --with pid:{server.pid} watches it too")
    assert said.startswith("of ") and said.isprintable()


def test_what_is_watched_anyway_is_not_said(tmp_path: Path) -> None:
    place = str(tmp_path / "socket")
    with (
        program(SERVER, place) as (server, _),
        program(CLIENT + WAYS["read"], place) as (client, _),
    ):
        with Waits(client.pid, known={server.pid}) as waits:
            assert until(lambda: waits._waited, 20)
            time.sleep(0.3)
        assert waits.told() == ""


@pytest.mark.parametrize(
    "text",
    [
        "import time; print(flush=True); time.sleep(100)",
        "print(flush=True)\nwhile True: pass",
        "print(flush=True); input()",
    ],
)
def test_other_waiting_is_not_taken_for_it(text: str) -> None:
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w"), program(text) as (client, _), Waits(client.pid) as waits:
        time.sleep(0.5)
    assert waits.told() == ""


def test_a_connection_within_the_command_is_its_own_affair() -> None:
    text = "import socket, os; a, b = socket.socketpair(); print(flush=True); os.fork(); a.recv(1)"
    with program(text) as (client, _), Waits(client.pid) as waits:
        time.sleep(0.5)
    assert waits.told() == ""


def test_a_command_that_has_ended_or_ends_meanwhile() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        with Waits(process.pid) as waits:
            time.sleep(0.2)
    assert waits.told() == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "waits"]


def test_it_costs_next_to_nothing(tmp_path: Path) -> None:
    """Counted, not timed: a look at a command of one thread that waits opens a handful of files."""
    opened: list[str] = []
    counting = False
    sys.addaudithook(lambda event, _: opened.append(event) if counting else None)
    place = str(tmp_path / "socket")
    with program(SERVER, place), program(CLIENT + WAYS["read"], place) as (client, _):
        waits = Waits(client.pid)
        assert until(waits._look, 20)
        lookups = waits._lookups
        counting = True
        assert waits._look()
        counting = False
        assert waits._lookups == lookups
        assert len([event for event in opened if event in ("open", "os.listdir", "os.scandir")]) < 8


def test_a_server_that_takes_the_connection_later_is_found(tmp_path: Path) -> None:
    place = str(tmp_path / "socket")
    late = SERVER.replace("kept = []", "import time; time.sleep(1); kept = []")
    with program(late, place) as (server, _), program(CLIENT + WAYS["read"], place) as (client, _):
        with Waits(client.pid) as waits:
            assert until(waits.told, 30)
        assert f"(pid {server.pid})" in waits.told()


def test_a_command_within_commands(tmp_path: Path) -> None:
    place = str(tmp_path / "socket")
    line = [
        "timeout",
        "100",
        "sh",
        "-c",
        '"$@"; true',
        "sh",
        sys.executable,
        "-c",
        CLIENT + WAYS["poll"],
        place,
    ]
    with program(SERVER, place) as (server, _), subprocess.Popen(line, stdout=subprocess.PIPE) as outer:
        try:
            with Waits(outer.pid) as waits:
                assert until(waits.told, 30)
            assert f"(pid {server.pid})" in waits.told()
        finally:
            outer.terminate()  # timeout passes it on
