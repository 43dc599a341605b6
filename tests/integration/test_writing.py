"""What coldseek writes, in folders whose owner changes the names meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_root

from profiler.errors import ColdseekError
from profiler.files import writing
from profiler.files.owner import Owner, invoker, make_folder
from profiler.files.traces import save
from profiler.files.writing import replacing
from profiler.trace import Trace

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


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that has no files without a name."""

    def refuses(_place: int) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(writing, "_unnamed", refuses)


def untouched(victim: Path) -> bool:
    facts = victim.stat()
    return (victim.read_text(), facts.st_uid, facts.st_mode & 0o777) == ("not yours", os.getuid(), 0o600)


def test_no_exchange_of_names_changes_another_file(
    swapping: None, named: None, sudo: int, folder: Path, victim: Path
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


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_is_written_has_no_name(there: bool, folder: Path) -> None:
    """So nothing of it is left by a kill -9."""
    out = folder / "out"
    if there:
        out.write_text("former")
    before = os.listdir(folder)
    pid = os.fork()
    if pid == 0:
        with replacing(out) as file:
            file.write(b"new")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.listdir(folder) == before
    with replacing(out) as file:
        file.write(b"new")
        assert os.listdir(folder) == before
    assert os.listdir(folder) == ["out"] and out.read_text() == "new"
    assert out.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("there", [False, True])
def test_where_every_file_has_a_name_it_is_another_until_it_is_whole(
    there: bool, named: None, folder: Path
) -> None:
    out = folder / "out.svg"
    if there:
        out.write_text("former")
    with replacing(out) as file:
        file.write(b"new")
        assert len(list(folder.glob(".coldseek-*.svg"))) == 1
    assert os.listdir(folder) == ["out.svg"] and out.read_text() == "new"
    with pytest.raises(ZeroDivisionError), replacing(out):
        raise ZeroDivisionError
    assert os.listdir(folder) == ["out.svg"] and out.read_text() == "new"


# ---- folders that a user can exchange --------------------------------------------------------------------


@pytest.fixture
def users(sudo: int) -> Iterator[Path]:
    """A folder of the user who called sudo, where that user can reach it."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        own = Path(name) / "own"
        own.mkdir()
        os.chown(own, sudo, sudo)
        yield own


def both(users: Path, file: str) -> Path:
    """The name of a file in a folder of the user's that is a link to one of root's alone."""
    roots = users.parent / "roots"
    roots.mkdir()
    (users / "link").symlink_to(roots)
    return users / "link" / file


def test_a_folder_of_the_users_leads_root_nowhere_else(users: Path) -> None:
    out = both(users, "out.trace.parquet")
    with pytest.raises(ColdseekError, match="Permission denied"):
        save(Trace(), out)
    assert not any((users.parent / "roots").iterdir())


def test_a_file_that_is_a_link_of_the_users_leads_root_nowhere_else(users: Path) -> None:
    roots = users.parent / "roots"
    roots.mkdir()
    (users / "out").symlink_to(roots / "new")
    with pytest.raises(ColdseekError), replacing(users / "out"):
        pass
    assert not any(roots.iterdir())


def test_a_folder_above_that_is_exchanged_during_a_save_leads_nowhere_else(users: Path) -> None:
    """It is open by then."""
    (users / "a").mkdir()
    os.chown(users / "a", users.stat().st_uid, users.stat().st_gid)
    roots = users.parent / "roots"
    roots.mkdir()
    with replacing(users / "a" / "out") as file:
        file.write(b"new")
        (users / "a").rename(users / "b")
        (users / "a").symlink_to(roots)
    assert (users / "b" / "out").read_text() == "new" and not any(roots.iterdir())


def test_no_folder_is_made_where_the_user_may_not(users: Path) -> None:
    with pytest.raises(PermissionError):
        make_folder(str(both(users, "out")), invoker())
    assert not any((users.parent / "roots").iterdir())
    make_folder(str(users / "a" / "b"), invoker())
    assert (users / "a" / "b").stat().st_uid == users.stat().st_uid


def test_in_folders_of_roots_alone_root_writes_for_the_user(users: Path) -> None:
    roots = users.parent / "roots"
    roots.mkdir(mode=0o700)
    (roots / "link").symlink_to(roots)
    for out in (roots / "out", roots / "link" / "more"):
        save(Trace(), out)
        assert out.stat().st_uid == users.stat().st_uid
    assert os.getresuid() == (0, 0, 0)


def test_the_users_groups_count(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = users.parent / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4343)
    shared.chmod(0o770)
    with pytest.raises(ColdseekError), replacing(shared / "out"):
        pass
    monkeypatch.setenv("SUDO_GID", "4343")
    with replacing(shared / "out"):
        pass
    assert os.listdir(shared) == ["out"]


def test_only_what_is_made_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    need_root()

    def chown(file: int, *_: object, **__: object) -> None:
        given.append(os.readlink(f"/proc/self/fd/{file}"))

    monkeypatch.setattr(os, "chown", chown)
    (tmp_path / "old").mkdir()
    make_folder(str(tmp_path / "old" / "new" / "newer"), Owner(1, 1, "ann", "/", (1,)))
    assert given == [str(tmp_path / "old" / "new"), str(tmp_path / "old" / "new" / "newer")]
