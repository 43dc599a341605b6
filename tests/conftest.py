"""What many tests need: leave to run, disk images, and a directory that is on a real disk.

A test asks for what it cannot do without: `need_root()`, `need_tool("strace")`, `need(condition, "why")`.
Where that is missing the test is skipped with the reason on a user's machine, and fails in CI (CI=true), so
that CI cannot turn green by leaving things out. Use: `from conftest import need_root`.

No test depends on how fast the machine is or what else it does: tests wait for a condition
(`small_programs.until`), for as long as `PATIENCE_S` where it never comes, and compare counts. What is to be
quick is measured by scripts/bench. A test that hangs is ended by pytest, which shows where
(faulthandler_timeout in pyproject.toml). What takes minutes is marked `full`, for `make test-full`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
PATIENCE_S = float(os.environ.get("COLDSEEK_PATIENCE_S", "300"))
"""How long to wait for what comes at once on an idle machine, before it is taken that it never comes; an
emulated one is asked for more."""

# No example has to be made or tried in some time, and a test finds the same on every machine.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def _be_like_everywhere() -> None:
    """Whatever shell, terminal, language, nohup or sudo the tests were started with."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE"):
        os.environ.pop(name, None)
    for name in ("SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"):
        os.environ.pop(name, None)  # `sudo make test` is for root, not for who called it
    os.environ.update(COLUMNS="80", LC_ALL="C.UTF-8")
    os.umask(0o022)
    with contextlib.suppress(ValueError):  # not the main thread
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            if signal.getsignal(number) == signal.SIG_IGN:
                # A job in the background ignores some of them, and so would all that the tests start.
                # A handler of ours keeps pytest from them, too, and is no part of what exec passes on.
                signal.signal(number, lambda *_: None)
        # whoever ends the tests, such as timeout(1), ends what they have started: each in its own way
        us = os.getpid()
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: _end_tests(us))


def _end_tests(us: int) -> None:
    if os.getpid() == us:
        raise KeyboardInterrupt("SIGTERM")
    os._exit(128 + signal.SIGTERM)  # a copy of us that a test has made


_be_like_everywhere()

_MARK, _LEAVE_S = "COLDSEEK_TESTS", 10.0
os.environ.setdefault(_MARK, str(os.getpid()))  # the workers of pytest-xdist have that of who starts them


def _left() -> dict[int, str]:
    """The processes that the tests have started and that live, with the test that did."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            if f"{_MARK}={os.getpid()}".encode() in words and int(name) != os.getpid():
                named = dict(word.partition(b"=")[::2] for word in words)
                found[int(name)] = os.fsdecode(named.get(b"PYTEST_CURRENT_TEST", b"no test"))
    return found


@pytest.hookimpl(trylast=True)  # after the workers have ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What tests have left running is ended and named, and they have failed: it keeps a machine busy for
    others, or has their turn."""
    if os.environ[_MARK] != str(os.getpid()):
        return
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # it goes when we do, not before
    end = time.monotonic() + _LEAVE_S
    while (left := _left()) and time.monotonic() < end:
        time.sleep(0.1)
    for pid, test in left.items():
        print(f"\nprocess {pid} was left running by {test}", file=sys.stderr)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if left and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def need(condition: object, reason: str) -> None:
    """Go on only if `condition` holds; `reason` says what is missing."""
    if not condition:
        if IN_CI:
            pytest.fail(f"needed here and missing: {reason}", pytrace=False)
        pytest.skip(reason)


def need_root() -> None:
    """Go on only as root."""
    need(os.geteuid() == 0, "needs root")


def need_tool(name: str) -> str:
    """Go on only if the program `name` is installed; its path."""
    # Debian keeps some administrators' programs out of a user's PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    need(found, f"needs {name}")
    assert found is not None
    return found


def run_patiently(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command that may make a LUKS image. Before it writes the header, qemu-img measures how many
    rounds of the hash the processor does in a second, and gives up where the clock shows no time for the
    first 32,768: up to five times in six on a fast processor. So it is tried more than once."""
    for _ in range(200):  # one that fails takes some 20 ms
        done = subprocess.run([*map(str, command)], capture_output=True, check=False, **options)
        if b"Unable to get accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return done


def need_tracer(name: str) -> str:
    """Go on only if the tracer of this name works here; its name."""
    from profiler.capture import tracer

    found = tracer.probe(name)
    need(found.works, f"tracer {name}: {found.why}")
    return name


_STARTS = (
    (subprocess.Popen, "__init__"),
    *((os, name) for name in ("fork", "forkpty", "posix_spawn", "system")),
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[object]:
    """A unit test starts no process, nor do its fixtures: what does lies in tests/integration."""
    with pytest.MonkeyPatch.context() as patch:
        if item.path.parent.name == "unit":
            for owner, name in _STARTS:
                patch.setattr(owner, name, _refused)
        return (yield)


def _refused(*_: object, **__: object) -> None:
    pytest.fail("a unit test starts a process: it belongs into tests/integration")


@pytest.fixture(scope="session")
def cache_directory() -> Path:
    """A directory of the user's that outlives the tests, outside the checkout and on a real disk."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = Path(base) / "coldseek-tests"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@pytest.fixture
def disk_directory(cache_directory: Path) -> Iterator[Path]:
    """An empty directory on a disk: pytest's own tmp_path is often in memory, and nothing there is cold."""
    with tempfile.TemporaryDirectory(dir=cache_directory) as name:
        yield Path(name)


@pytest.fixture
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory for the temporary files of programs that the test starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture(scope="session")
def seed_image(cache_directory: Path) -> Path:
    """The image of the case: 16 GiB, 4 KiB clusters, preallocated; 41 MB on disk. Not to be changed."""
    return _image(cache_directory / "disk0.qcow2", "16G")


@pytest.fixture(scope="session")
def small_image(cache_directory: Path) -> Path:
    """The same layout with 256 MiB: 32 reference count blocks, read in no time. Not to be changed."""
    return _image(cache_directory / "small.qcow2", "256M")


def _image(path: Path, size: str) -> Path:
    need_tool("qemu-img")
    subprocess.run([sys.executable, ROOT / "scripts" / "make-image", path, "--size", size], check=True)
    return path


def coldseek(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as its user would, with 80 columns and nothing to read."""
    command = [sys.executable, "-m", "profiler", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=cwd or ROOT, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="backslashreplace", timeout=PATIENCE_S,
    )  # fmt: skip
