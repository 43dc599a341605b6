"""What is free, by the files of the kernel: made up here, in a folder."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from profiler.files.free_memory import available_bytes, within_free_memory

GIB, KIB = 2**30, 2**10
V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 20 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def made(top: Path, files: dict[str, object]) -> str:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(str(text))
    return str(top)


def meminfo(free: int) -> dict[str, object]:
    return {
        "proc/meminfo": f"MemTotal:       99999999 kB\nMemAvailable:   {free // KIB} kB\nBuffers: 1 kB\n"
    }


def group(folder: str, limit: object, used: int, cached: int = 0) -> dict[str, object]:
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 0\n",
    }


def test_here_something_is_free() -> None:
    found = available_bytes()
    assert found is not None and found > 0


def test_nothing_can_be_read_and_nothing_is_known(tmp_path: Path) -> None:
    assert available_bytes(str(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "MemAvailable: x kB\n", "MemAvailable: 9\n", "\xff\0", "9" * 999])
def test_a_bad_file_counts_as_unknown(tmp_path: Path, text: str) -> None:
    assert available_bytes(made(tmp_path, {"proc/meminfo": text})) is None


def test_the_machine_alone(tmp_path: Path) -> None:
    assert available_bytes(made(tmp_path, meminfo(4 * GIB))) == 4 * GIB


def test_the_own_group_and_all_around_it_bound(tmp_path: Path) -> None:
    top = "sys/fs/cgroup"
    files = meminfo(64 * GIB) | {
        "proc/self/mountinfo": V2,
        "proc/self/cgroup": "0::/a.slice/b.scope\n",
        **group(f"{top}/a.slice/b.scope", "max", 3 * GIB),
        **group(f"{top}/a.slice", 8 * GIB, 5 * GIB),
    }
    assert available_bytes(made(tmp_path, files)) == 3 * GIB
    made(tmp_path, group(f"{top}/a.slice/b.scope", 2 * GIB, GIB))
    assert available_bytes(str(tmp_path)) == GIB
    made(tmp_path, {f"{top}/a.slice/b.scope/memory.high": GIB + 7})
    assert available_bytes(str(tmp_path)) == 7
    made(tmp_path, {f"{top}/a.slice/b.scope/memory.high": "what?"})
    assert available_bytes(str(tmp_path)) == GIB


def test_cached_files_do_not_count_as_used(tmp_path: Path) -> None:
    files = meminfo(64 * GIB) | {
        "proc/self/mountinfo": V2,
        "proc/self/cgroup": "0::/\n",
        **group("sys/fs/cgroup", 4 * GIB, 4 * GIB, cached=3 * GIB),
    }
    assert available_bytes(made(tmp_path, files)) == 3 * GIB


def test_a_full_group_leaves_nothing_and_not_less(tmp_path: Path) -> None:
    files = meminfo(64 * GIB) | {
        "proc/self/mountinfo": V2,
        "proc/self/cgroup": "0::/\n",
        **group("sys/fs/cgroup", GIB, 2 * GIB),
    }
    assert available_bytes(made(tmp_path, files)) == 0


@pytest.mark.parametrize(
    ("root", "own"), [("/", "/box"), ("/docker/1", "/docker/1"), ("/docker/1", "/else")]
)
def test_groups_of_version_1(tmp_path: Path, root: str, own: str) -> None:
    folder = "sys/fs/cgroup/memory" + (own if root == "/" else "")
    files = meminfo(64 * GIB) | {
        "proc/self/mountinfo": V2 + V1.format(root=root),
        "proc/self/cgroup": f"4:memory:{own}\n3:cpu:/\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 60 * GIB,
        f"{folder}/memory.limit_in_bytes": 6 * GIB,
        f"{folder}/memory.usage_in_bytes": 5 * GIB,
        f"{folder}/memory.stat": f"inactive_file 9\ntotal_inactive_file {GIB}\ntotal_active_file {GIB}\n",
    }
    assert available_bytes(made(tmp_path, files)) == 3 * GIB


@pytest.mark.parametrize("line", ["", "x", "1 2 3 - cgroup2", "1 2 3 4 5 - cgroup", " - ", "- - - - - - -"])
def test_mounts_that_make_no_sense_are_passed_over(tmp_path: Path, line: str) -> None:
    files = meminfo(GIB) | {"proc/self/mountinfo": line, "proc/self/cgroup": "0::/../..\n::\nx\n"}
    assert available_bytes(made(tmp_path, files)) == GIB


def test_the_limit_of_the_address_space_bounds(tmp_path: Path) -> None:
    former = resource.getrlimit(resource.RLIMIT_AS)
    page = os.sysconf("SC_PAGE_SIZE")
    top = made(tmp_path, meminfo(2**50) | {"proc/self/statm": "1000 1 1 1 0 1 0\n"})
    try:
        resource.setrlimit(resource.RLIMIT_AS, (2**45, former[1]))
        assert available_bytes(top) == 2**45 - 1000 * page
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)
    assert available_bytes(top) == 2**50


def test_no_more_than_is_free_can_be_had() -> None:
    former = resource.getrlimit(resource.RLIMIT_AS)
    free = available_bytes()
    assert free is not None
    with within_free_memory(), within_free_memory():
        assert resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        with pytest.raises(MemoryError):
            bytearray(2 * free)  # of which Linux would hand out the addresses
    assert resource.getrlimit(resource.RLIMIT_AS) == former
