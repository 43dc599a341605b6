"""What may be told of the page cache as root of a user namespace, who need not be root of the machine.

mincore(2) answers "all of it" to whoever may not know: a file that is not cached at all tells the two apart.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import need, need_root

from profiler.machine import user_namespace
from profiler.machine.page_cache import cache
from profiler.machine.page_cache import residency as looking
from profiler.machine.page_cache.cache import evict, make_cold
from profiler.machine.page_cache.probes import probes, tells_of_others
from profiler.machine.page_cache.residency import residency

pytestmark = pytest.mark.alone

NOBODY = 65534
_NEW_USER, _SET_DUMPABLE = 0x10000000, 4  # linux/sched.h, linux/prctl.h
SIZE = 1 << 20

MAPS = {"root": f"0 {NOBODY} 1", "nobody": f"{NOBODY} {NOBODY} 1", "no map": ""}
"""How nobody is called in the namespace that nobody makes."""


def in_namespace(ids: str, work: Callable[[], object]) -> Any:
    """What `work` gives where nobody has made a user namespace with this map of users, through JSON."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        said: object = "no answer"
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            libc = ctypes.CDLL(None, use_errno=True)
            libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # else what is in /proc of this process is root's
            if libc.unshare(_NEW_USER) != 0:
                said = f"refused: {os.strerror(ctypes.get_errno())}"
            else:
                if ids:
                    Path("/proc/self/uid_map").write_text(ids)
                said = work()
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writes, json.dumps(said).encode())
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        said = json.load(answer)
    os.waitpid(pid, 0)
    need(not str(said).startswith("refused"), f"user namespaces: {said}")
    return said


@pytest.fixture
def files(disk_directory: Path) -> Iterator[tuple[bytes, bytes]]:
    """A file of root's that others may read and that is not cached, and one of nobody's that is."""
    need_root()
    disk_directory.chmod(0o755)
    place = os.open(disk_directory, os.O_PATH)  # where it lies others may not go
    for name in ("root's", "nobody's"):
        path = disk_directory / name
        path.write_bytes(os.urandom(SIZE))
        path.chmod(0o644)
        assert evict([os.fsencode(path)]).resident_bytes == 0
    os.chown(disk_directory / "nobody's", NOBODY, NOBODY)
    (disk_directory / "nobody's").read_bytes()
    here = f"/proc/self/fd/{place}"
    yield os.fsencode(f"{here}/root's"), os.fsencode(f"{here}/nobody's")
    os.close(place)


@pytest.mark.parametrize("ids", MAPS)
def test_nothing_is_told_of_files_of_which_the_kernel_does_not_tell(
    ids: str, files: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By mincore alone, too, which lies."""
    monkeypatch.setattr(looking, "cachestat", lambda descriptor: None)

    def look() -> list[object]:
        found = residency(files)
        return [found.resident_bytes, found.files, [os.fsdecode(path) for path in found.unchecked]]

    assert in_namespace(MAPS[ids], look) == [SIZE, 1, [os.fsdecode(files[0])]]


@pytest.mark.parametrize("ids", MAPS)
def test_what_is_said_to_work_agrees_with_what_then_happens(ids: str, files: tuple[bytes, bytes]) -> None:
    """Whether it is said that starts that read files of others can be proved cold; and whether one is."""

    def ask() -> list[object]:
        proof = make_cold([files[0]], [])
        said = dict(probes())
        return [
            tells_of_others(), proof.proved, proof.why, said["mincore"].why, said["drop_caches"].remedy,
            cache.can_drop_all(),
        ]  # fmt: skip

    others, proved, why, mincore, drop, able = in_namespace(MAPS[ids], ask)
    assert (others, proved, able) == (False, False, False)
    assert mincore.endswith("of files you own or may write only")
    as_root = ids == "root"
    assert ("outside of this user namespace" in why) == as_root and ("sudo" in why) == (not as_root)
    assert ("outside of this user namespace" in drop) == as_root


def test_here_everybody_is_known() -> None:
    need(Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"], "a user namespace")
    assert user_namespace.is_whole()
    with open("/proc/self/exe", "rb") as program, open("/etc/passwd", "rb") as other:
        if os.geteuid() == 0:
            assert user_namespace.is_own(program.fileno()) and user_namespace.is_own(other.fileno())
        else:
            assert not user_namespace.is_own(other.fileno())
