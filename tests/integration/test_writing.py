"""What coldseek writes, in folders whose owner changes the names meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_root

from profiler.errors import ColdseekError
from profiler.owner import invoker
from profiler.trace import Trace, save
from profiler.writing import replacing

SWAP = """
import os, sys, time
folder, victim = sys.argv[1:]
end = time.time() + 600
print(flush=True)
while time.time() < end:
    for name in os.listdir(folder):
        if name.startswith(".coldseek-"):
            try:
                os.unlink(f"{folder}/{name}")
                os.symlink(victim, f"{folder}/{name}")
            except OSError: pass
"""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    made = tmp_path / "victim"
    made.write_text("not yours")
    made.chmod(0o600)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def swapping(folder: Path, victim: Path) -> Iterator[None]:
    """The owner of the folder makes each temporary file a link to the victim as soon as it is there."""
    process = subprocess.Popen([sys.executable, "-S", "-c", SWAP, folder, victim], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    yield
    process.kill()
    process.communicate()


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> int:
    """As if a user had called sudo; the number of that user."""
    need_root()
    monkeypatch.setenv("SUDO_UID", "4242")
    monkeypatch.setenv("SUDO_GID", "4242")
    assert invoker() is not None
    return 4242


def untouched(victim: Path) -> bool:
    facts = victim.stat()
    return (victim.read_text(), facts.st_uid, facts.st_mode & 0o777) == ("not yours", os.getuid(), 0o600)


def test_no_exchange_of_names_changes_another_file(
    swapping: None, sudo: int, folder: Path, victim: Path
) -> None:
    trace, picture, caught = folder / "out.trace.parquet", folder / "out.svg", 0
    for number in range(200):
        with contextlib.suppress(ColdseekError):  # it was gone when it was to take its name
            save(Trace(), trace)
        with contextlib.suppress(ColdseekError), replacing(picture) as file:
            for _ in range(20):
                file.write(b"x" * 1000)
                file.flush()
        assert untouched(victim), number
        caught += picture.is_symlink() or trace.is_symlink()
        for written in (trace, picture):
            written.unlink(missing_ok=True)
    assert caught, "the names were never exchanged in time: the test shows nothing"


def test_a_link_at_a_default_name_is_replaced_and_not_followed(folder: Path, victim: Path) -> None:
    (folder / "true.trace.parquet").symlink_to(victim)
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "record", "--tracer", "ptrace", "--", "true"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert untouched(victim)
    assert not (folder / "true.trace.parquet").is_symlink()


def test_what_a_link_names_keeps_its_owner_and_mode(sudo: int, folder: Path, victim: Path) -> None:
    link = folder / "link.trace.parquet"
    link.symlink_to(victim)
    save(Trace(), link)
    facts = victim.stat()
    assert link.is_symlink() and victim.read_bytes()[:4] == b"PAR1"
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (os.getuid(), os.getgid(), 0o600)


def test_a_new_file_is_the_users(sudo: int, folder: Path) -> None:
    save(Trace(), folder / "new.trace.parquet")
    assert (folder / "new.trace.parquet").stat().st_uid == sudo
