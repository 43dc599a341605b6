"""The page cache, against independent witnesses: fincore(1), and what was just written, read or dropped."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import need, need_root, need_tool

from profiler.errors import ColdseekError
from profiler.machine.page_cache import cache
from profiler.machine.page_cache import probes as probing
from profiler.machine.page_cache import residency as looking
from profiler.machine.page_cache.cache import evict, make_cold
from profiler.machine.page_cache.probes import probes
from profiler.machine.page_cache.residency import Residency, is_blind, is_warm, residency

pytestmark = pytest.mark.alone

PAGE = mmap.PAGESIZE
NOBODY = 65534


@pytest.fixture(params=["cachestat", "mincore"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to look, each by itself."""
    found = dict(probes())[request.param]
    if request.param == "cachestat":
        need(found.works, f"cachestat: {found.why}")
    else:
        monkeypatch.setattr(looking, "cachestat", lambda descriptor: None)
    return str(request.param)


def written(path: Path, size: int) -> bytes:
    """A file of that size on the disk, all of it in the page cache too."""
    with open(path, "wb") as target:
        target.write(os.urandom(size))
        os.fsync(target.fileno())
    return os.fsencode(path)


def read_page(path: bytes, page: int) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no readahead
    os.pread(descriptor, 1, page * PAGE)
    os.close(descriptor)


def test_what_was_written_is_cached_until_it_is_evicted(disk_directory: Path, way: str) -> None:
    size = 10 * PAGE + 17
    path = written(disk_directory / "file", size)
    assert residency([path]) == Residency(size, size, 1, (), residency([path]).present)
    assert evict([path]) == Residency(0, size, 1)
    read_page(path, 3)
    assert residency([path]).resident_bytes == PAGE
    read_page(path, 10)
    assert residency([path]).resident_bytes == PAGE + PAGE  # the last page counts as far as it is there
    read_page(path, 10)
    assert residency([path]).present[0].path == path


def test_fincore_says_the_same(disk_directory: Path, way: str) -> None:
    fincore = need_tool("fincore")
    path = written(disk_directory / "file", 300 * PAGE)
    evict([path])
    for page in (0, 7, 8, 250):
        read_page(path, page)
    told = subprocess.run(
        [fincore, "--bytes", "--noheadings", "--output", "RES", path], capture_output=True, check=True
    )
    assert residency([path]).resident_bytes == int(told.stdout) == 4 * PAGE


def test_a_file_is_counted_once_under_all_its_names(disk_directory: Path, way: str) -> None:
    path = written(disk_directory / "file", PAGE)
    os.link(path, path + b".hard")
    os.symlink(path, path + b".soft")
    assert residency([path, path, path + b".hard", path + b".soft"]).files == 1


def test_odd_things_are_left_out_and_never_block(tmp_path: Path, way: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    os.symlink("loop", tmp_path / "loop")
    names = [os.fsencode(tmp_path / name) for name in ("fifo", "empty", "none", "empty/below", "a\udcff\n")]
    odd = [*names, os.fsencode(tmp_path), b"/dev/null", b"/dev/tty", b"", b"a\0b", b"/proc/self/mem"]
    found = residency([*odd, os.fsencode(tmp_path / "loop")])
    assert (found.resident_bytes, found.checked_bytes) == (0, 0)
    assert found.unchecked == (os.fsencode(tmp_path / "loop"),)


def test_a_huge_sparse_file_is_looked_at_quickly(disk_directory: Path, way: str) -> None:
    path = disk_directory / "sparse"
    with open(path, "wb") as target:
        target.truncate(2**43)
        for offset in (0, 2**40, 2**43 - PAGE):
            os.pwrite(target.fileno(), b"x" * PAGE, offset)
        os.fsync(target.fileno())
    found = residency([os.fsencode(path)])
    assert (found.resident_bytes, found.checked_bytes) == (3 * PAGE, 3 * PAGE)
    evict([os.fsencode(path)])
    assert residency([os.fsencode(path)]) == Residency(0, 3 * PAGE, 1)


def test_a_file_of_holes_alone(disk_directory: Path, way: str) -> None:
    path = disk_directory / "holes"
    with open(path, "wb") as target:
        target.truncate(2**33)
    assert residency([os.fsencode(path)]) == Residency(0, 0, 1)


def test_a_hole_that_was_read_is_never_more_than_all(disk_directory: Path) -> None:
    """It is cached as zeros: cachestat counts it, mincore is not asked about holes."""
    path = disk_directory / "holes"
    with open(path, "wb") as target:
        target.truncate(8 * PAGE)
        os.pwrite(target.fileno(), b"x" * PAGE, 0)
        os.fsync(target.fileno())
    evict([os.fsencode(path)])
    assert path.read_bytes().count(b"x") == PAGE
    found = residency([os.fsencode(path)])
    assert (found.resident_bytes, found.checked_bytes) in ((8 * PAGE, 8 * PAGE), (PAGE, PAGE))


def test_room_reserved_behind_the_end_is_no_data(disk_directory: Path, way: str) -> None:
    fallocate = need_tool("fallocate")
    path = written(disk_directory / "file", PAGE)
    os.truncate(path, 2 * PAGE)
    reserve = [fallocate, "--keep-size", "--offset", str(2 * PAGE), "--length", str(64 * PAGE), path]
    subprocess.run(reserve, check=True)
    assert os.stat(path).st_blocks * 512 > 2 * PAGE
    assert residency([path]).checked_bytes == 2 * PAGE


def test_files_that_could_not_be_looked_at_count_without_holes(disk_directory: Path) -> None:
    path = written(disk_directory / "file", 64 * PAGE)
    os.truncate(path, 2**33)
    assert is_blind(Residency(0, 63 * PAGE, 1, (path,)))
    assert not is_blind(Residency(0, 65 * PAGE, 1, (path,)))
    os.truncate(path, 0)
    os.truncate(path, 64 * PAGE)  # no blocks: a hole, or a file system that does not count them
    assert is_blind(Residency(0, 63 * PAGE, 1, (path,)))


@pytest.mark.parametrize("blocks", [0, 1])
def test_blocks_are_not_asked_where_there_are_no_holes(
    disk_directory: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """Compressed files have too few of them, those in an inode or of some network none."""
    path = written(disk_directory / "file", 64 * PAGE)
    evict([path])
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        facts = real(descriptor)
        return os.stat_result(facts, {"st_blocks": blocks})

    monkeypatch.setattr(os, "fstat", fstat)
    assert residency([path]).checked_bytes == 64 * PAGE


def test_dirty_pages_are_written_back_before_they_are_dropped(disk_directory: Path) -> None:
    path = disk_directory / "file"
    path.write_bytes(b"x" * 100 * PAGE)
    found = residency([os.fsencode(path)])
    assert found.present[0].dirty in (None, 100 * PAGE)
    assert evict([os.fsencode(path)]).resident_bytes == 0
    assert path.read_bytes() == b"x" * 100 * PAGE


def as_nobody(action: Callable[[], str]) -> str:
    """What `action` returns in a forked child that is nobody."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(write_end, action().encode())
        except BaseException as error:
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that everybody may look into, and where nobody may make files."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_mincore_is_not_believed_about_other_peoples_files(
    public_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setattr(looking, "cachestat", lambda descriptor: None)
    path = written(public_directory / "file", 4 * PAGE)
    evict([path])
    # The kernel tells those who may not know that every page is there.
    os.chmod(path, 0o644)
    assert as_nobody(lambda: repr(residency([path]))) == repr(Residency(0, 0, 0, (path,)))
    os.chmod(path, 0o666)
    assert as_nobody(lambda: repr(residency([path]))) == repr(Residency(0, 4 * PAGE, 1))


def test_a_file_that_may_not_be_read_is_named(public_directory: Path) -> None:
    need_root()
    path = written(public_directory / "file", PAGE)
    os.chmod(path, 0o600)
    assert as_nobody(lambda: repr(residency([path]).unchecked)) == repr((path,))


def test_without_root_a_start_is_made_cold_by_fadvise(public_directory: Path) -> None:
    need_root()
    path = written(public_directory / "file", 50 * PAGE)
    os.chown(path, NOBODY, NOBODY)

    def story() -> str:
        made = make_cold([path], must=[path])
        return f"{made.method} {made.cold} {made.residency.resident_bytes} {made.why}"

    told = as_nobody(story)
    assert told.startswith("fadvise True 0 nothing of 1 file cached")
    assert "only root" in told


def test_without_root_a_file_that_cannot_be_looked_at_is_not_called_cold(public_directory: Path) -> None:
    need_root()
    path = written(public_directory / "file", PAGE)
    os.chmod(path, 0)
    told = as_nobody(lambda: f"{make_cold([path], must=[path]).cold} {make_cold([path]).why}")
    assert told == "False no file could be looked at; run coldseek with sudo: root may look at all"


def test_root_makes_a_start_cold_with_everything_it_needs(disk_directory: Path) -> None:
    need_root()
    paths = [written(disk_directory / name, 64 * PAGE) for name in ("image", "other")]
    made = make_cold(paths, must=paths[:1])
    assert made.method == "drop_caches"
    assert made.cold, made.why
    assert made.residency == Residency(0, 128 * PAGE, 2)
    assert made.why == "nothing of 2 files cached"


def test_a_program_that_runs_keeps_its_pages_and_that_is_said(disk_directory: Path) -> None:
    path = written(disk_directory / "image", 64 * PAGE)
    with open(path, "rb") as source, mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as held:
        assert sum(held[::PAGE]) >= 0  # touch every page
        made = make_cold([path])
        assert made.residency.resident_bytes == 64 * PAGE
        assert made.cold
        assert "mapped by running programs" in made.why
        strict = make_cold([path], must=[path])
        assert not strict.cold
        assert f"256 KiB of {os.fsdecode(path)} could not be dropped" in strict.why
    assert make_cold([path], must=[path]).cold


def test_what_is_only_in_memory_is_never_a_cold_image() -> None:
    need(os.access("/dev/shm", os.W_OK), "needs /dev/shm")
    path = Path(f"/dev/shm/coldseek-test-{os.urandom(8).hex()}")
    try:
        path.write_bytes(b"x" * PAGE)
        assert make_cold([os.fsencode(path)]).cold  # it needs no device in any start
        assert not make_cold([os.fsencode(path)], must=[os.fsencode(path)]).cold
    finally:
        path.unlink()


def test_nothing_looked_at_is_not_called_cold() -> None:
    made = make_cold([])
    assert not made.cold
    assert made.why == "no file could be looked at"


def test_hostile_names_are_shown_on_one_line(disk_directory: Path) -> None:
    path = written(disk_directory / "a\x1b[31m\n\udcff", PAGE)
    with open(path, "rb") as source, mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as held:
        assert held[0] >= 0
        why = make_cold([path], must=[path]).why
    assert "a\\x1b[31m\\x0a\\xff" in why
    assert why.isprintable()


def test_warm_means_nearly_all_that_is_needed() -> None:
    found = Residency(96, 1000, 1)
    assert is_warm(found, 100)
    assert not is_warm(found, 200)
    assert is_warm(Residency(0, 0, 0), 0)


def test_block_devices_are_looked_at_by_their_size(disk_directory: Path, way: str) -> None:
    need_root()
    losetup = need_tool("losetup")
    image = disk_directory / "image"
    image.write_bytes(os.urandom(256 * PAGE))
    made = subprocess.run([losetup, "--find", "--show", image], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no loop devices in this container: {made.stderr.strip()}")  # in CI too
    device = os.fsencode(made.stdout.strip())
    try:
        with open(
            device, "rb"
        ):  # the kernel forgets a device's pages when the last who has it open closes it
            evict([device])
            assert residency([device]) == Residency(0, 256 * PAGE, 1)
            read_page(device, 100)
            assert 0 < residency([device]).resident_bytes <= 256 * PAGE
    finally:
        subprocess.run([losetup, "--detach", device], check=True)


def test_probes_try_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict(probes())
    assert list(found) == ["drop_caches", "fadvise", "cachestat", "mincore"]
    assert found["fadvise"].works
    assert found["mincore"].works
    assert found["drop_caches"].works == os.access("/proc/sys/vm/drop_caches", os.W_OK)
    assert all(probe.works or probe.remedy for probe in found.values())
    assert all("\n" not in probe.why + probe.remedy for probe in found.values())
    monkeypatch.setattr(probing, "cachestat", lambda descriptor: None)
    assert not dict(probes())["cachestat"].works


def test_probes_drop_nothing_of_others(disk_directory: Path) -> None:
    path = written(disk_directory / "file", 8 * PAGE)
    probes()
    assert residency([path]).resident_bytes == 8 * PAGE


def test_dropping_where_it_is_not_allowed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "DROP_CACHES", "/proc/sys/vm/none")
    assert not cache.can_drop_all()
    with pytest.raises(ColdseekError, match="run as root") as caught:
        cache.drop_all()
    assert "\n" not in str(caught.value)


def test_a_proof_can_be_of_some_of_the_files(tmp_path: Path) -> None:
    """By whatever name: a run is proved for what it read, which is known afterwards only."""
    one, two = written(tmp_path / "one", 4 * PAGE), written(tmp_path / "two", 2 * PAGE)
    os.link(one, tmp_path / "other name")
    other = os.fsencode(tmp_path / "other name")
    found = residency([one, two])
    part = found.of([other, os.fsencode(tmp_path / "never looked at")])
    assert (part.files, part.checked_bytes) == (1, 4 * PAGE)
    assert part.of([two]).known == (None, None)
    assert found.lacks([other, two, tmp_path.__fspath__().encode()]) == [os.fsencode(tmp_path)]
    proof = make_cold([one, two], must=[two], whole=False)
    assert proof.of([]).residency.files == 1  # what must be cold always counts
    assert proof.of([other]).residency.files == 2
