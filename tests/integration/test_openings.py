"""Files that others open, named without stopping anybody: threads, chroots, mount namespaces, overlays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import need, need_root, need_tool
from small_programs import until

from profiler.capture.calls.event_log import Recorder
from profiler.capture.watch.names import fanotify
from profiler.capture.watch.names.mounts import kernel_device
from profiler.capture.watch.names.openings import Openings
from profiler.trace import FileFacts

THREADS = """
import os, sys, threading
def work(name):
    open(name).close()
    os.write(1, f"{threading.get_native_id()} {name}\\n".encode())  # in one piece
threads = [threading.Thread(target=work, args=(name,)) for name in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

CHROOT = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/")
print(os.getpid(), flush=True)
input()
os.close(os.open("/sub/data", os.O_RDONLY))
print(flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _can() -> None:
    need_root()
    why = fanotify.fault()
    need(not why, why)


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs that take lines and give some; they are ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: object) -> subprocess.Popen[str]:
        words = [str(word) for word in command]
        made = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(made)
        return made

    yield start
    for made in started:
        made.stdin.close()  # type: ignore[union-attr]
        made.wait()
        made.stdout.close()  # type: ignore[union-attr]


def say(program: subprocess.Popen[str]) -> str:
    """The program goes on, until it has written its next line: that."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("\n")
    program.stdin.flush()
    return program.stdout.readline()


def named(recorder: Recorder, path: bytes) -> list[tuple[int, FileFacts]]:
    return [(number, facts) for number, facts in enumerate(recorder.files) if facts.path == path]


def place(path: Path) -> tuple[int, int]:
    """As the kernel's events would have it, on file systems where it is what stat(2) tells."""
    status = os.stat(path)
    return kernel_device(os.major(status.st_dev), os.minor(status.st_dev)), status.st_ino


def test_opens_of_threads(disk_directory: Path) -> None:
    names = [disk_directory / f"file {number}" for number in range(23)]
    for name in names:
        name.write_text("x")
    recorder = Recorder()
    with Openings(recorder) as openings:
        done = subprocess.run(
            [sys.executable, "-c", THREADS, *names], capture_output=True, text=True, check=True
        )
    told = {
        (int(row["tid"]), recorder.files[row["file"]].path) for row in openings.rows() if row["file"] >= 0
    }
    wanted = {tuple(line.split(" ", 1)) for line in done.stdout.splitlines()}
    assert {(int(tid), os.fsencode(name)) for tid, name in wanted} <= told
    inodes = openings.inodes()
    for name in names:
        ((number, facts),) = named(recorder, os.fsencode(name))
        assert facts.kind == "regular"
        assert facts.host_path == b""
        assert [file for _, file in inodes[place(name)]] == [number]
    assert openings.notes() == []


def test_a_program_that_is_executed_is_told_apart() -> None:
    true = os.path.realpath(need_tool("true"))
    recorder = Recorder()
    with Openings(recorder) as openings:
        made = subprocess.Popen([true])
        made.wait()
    rows = openings.rows()
    rows = rows[rows["tid"] == made.pid]
    assert [recorder.files[row["file"]].path for row in rows if row["exec"]][:1] == [os.fsencode(true)]
    assert (np.diff(rows["time_ns"]) >= 0).all()


def test_our_own_opens_do_not_count(
    disk_directory: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    """Neither those of any thread of ours, nor of who is to be skipped; those of others do."""
    ours, skipped, last = (disk_directory / name for name in ("ours", "skipped", "last"))
    for path in (ours, skipped, last):
        path.write_text("x")
    opens = "import sys\nfor line in sys.stdin: open(sys.argv[1]).close(); print(flush=True)"
    spared, other = (program(sys.executable, "-S", "-c", opens, path) for path in (skipped, last))
    for one in (spared, other):
        say(one)  # python has opened what it needs
    recorder = Recorder()
    with Openings(recorder, {spared.pid}) as openings:
        ours.read_text()
        read, told_of = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: (ours.read_text(), read.set(), told_of.wait()), daemon=True)
        thread.start()
        read.wait()
        say(spared)
        say(other)  # told after all that
        openings.stop()
        told_of.set()  # one that has ended before its opens are told of is not known to be ours
        thread.join()
    told = [
        facts.path for facts in recorder.files if os.path.dirname(facts.path) == os.fsencode(disk_directory)
    ]
    assert told == [os.fsencode(last)]
    rows = openings.rows()
    assert other.pid in rows["tid"] and not {os.getpid(), spared.pid} & set(rows["tid"].tolist())


def test_a_file_in_a_chroot_has_the_name_that_it_has_there(
    disk_directory: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    (disk_directory / "sub").mkdir()
    data = disk_directory / "sub" / "data"
    data.write_text("x")
    recorder = Recorder()
    with Openings(recorder) as openings:
        made = program(sys.executable, "-c", CHROOT, disk_directory)
        assert made.stdout is not None
        assert int(made.stdout.readline()) == made.pid
        say(made)
        assert until(lambda: named(recorder, b"/sub/data"))
    ((number, facts),) = named(recorder, b"/sub/data")
    assert facts.host_path == os.fsencode(data)
    assert [file for _, file in openings.inodes()[place(data)]] == [number]


PRIVATE = r"""
set -e
mount -t tmpfs none "$1/private"
mount --bind "$1/shared" "$1/bound"
echo x > "$1/private/before"
echo ready; read line
cat "$1/private/before" "$1/bound/data" > /dev/null
mkdir "$1/private/later"
mount -t tmpfs none "$1/private/later"
echo mounted
while read line; do echo x > "$1/private/later/file"; echo done; done
"""


def test_what_is_mounted_in_another_namespace(
    disk_directory: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    for name in ("private", "shared", "bound"):
        (disk_directory / name).mkdir()
    (disk_directory / "shared" / "data").write_text("x")
    top = os.fsencode(disk_directory)
    recorder = Recorder()
    with Openings(recorder) as openings:
        made = program(need_tool("unshare"), "-m", "sh", "-c", PRIVATE, "sh", disk_directory)
        assert made.stdout is not None
        made.stdout.readline()
        openings.follow([made.pid])
        say(made)
        assert until(lambda: named(recorder, top + b"/private/before"))
        assert until(lambda: named(recorder, top + b"/bound/data"))
        # nobody waits until what was mounted a moment ago is marked
        assert until(lambda: say(made) and named(recorder, top + b"/private/later/file"))
        openings.follow([])
    ((_, private),) = named(recorder, top + b"/private/before")
    ((number, bound),) = named(recorder, top + b"/bound/data")
    assert (private.filesystem, private.host_path) == ("tmpfs", b"")
    assert bound.host_path == top + b"/shared/data"
    assert [file for _, file in openings.inodes()[place(disk_directory / "shared" / "data")]] == [number]


OVERLAY = r"""
set -e
cd "$1"
mount -t tmpfs none tmp
mkdir tmp/upper tmp/work
mount -t overlay overlay -o "lowerdir=link:lower b,upperdir=tmp/upper,workdir=tmp/work" merged || exit 77
echo upper > merged/upper
stat -c '%Hd:%Ld %i' tmp/upper/upper; read line
cat merged/one merged/two merged/upper > /dev/null
echo read; read line
echo more >> merged/two
stat -c '%Hd:%Ld %i' tmp/upper/two; read line
umount merged
umount tmp
echo let go; read line
"""


def test_files_of_an_overlay_are_those_of_its_layers(
    disk_directory: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    for name in ("lower a", "lower b", "tmp", "merged"):
        (disk_directory / name).mkdir()
    (disk_directory / "link").symlink_to("lower a")
    one, two = disk_directory / "lower a" / "one", disk_directory / "lower b" / "two"
    one.write_text("one")
    (disk_directory / "lower b" / "one").write_text("hidden")
    two.write_text("two")
    top = os.fsencode(disk_directory / "merged")
    recorder = Recorder()
    with Openings(recorder) as openings:
        script = OVERLAY.replace("lowerdir=", "lowerdir=$1/").replace(":lower", ":$1/lower")
        script = script.replace("dir=tmp", "dir=$1/tmp")
        made = program(need_tool("unshare"), "-m", "sh", "-c", script, "sh", disk_directory)
        assert made.stdout is not None
        line = made.stdout.readline()
        need(line, "this kernel has no overlayfs")
        upper = in_kernel(line)
        openings.follow([made.pid])
        say(made)
        assert until(lambda: named(recorder, top + b"/two"))
        copied = in_kernel(say(made))
        assert until(lambda: copied in openings.inodes())
        assert say(made) == "let go\n"
        openings.follow([])
    inodes = openings.inodes()
    for name, where, host in (
        (b"/one", place(one), os.fsencode(one)),
        (b"/two", place(two), os.fsencode(two)),
        (b"/two", copied, os.fsencode(two)),
        (b"/upper", upper, b""),
    ):
        assert len(named(recorder, top + name)) == 1, named(recorder, top + name)
        ((number, facts),) = named(recorder, top + name)
        assert number in [file for _, file in inodes[where]]
        assert (facts.host_path, facts.filesystem) == (host, "overlay")
    assert place(disk_directory / "lower b" / "one") not in inodes


def in_kernel(line: str) -> tuple[int, int]:
    device, _, inode = line.partition(" ")
    major, _, minor = device.partition(":")
    return kernel_device(int(major), int(minor)), int(inode)


FLOOD = """
import os, sys
for number in range(int(sys.argv[2])):
    os.close(os.open(f"{sys.argv[1]}/{number}", os.O_RDWR | os.O_CREAT))
"""


def test_a_flood_is_told_of_in_full(disk_directory: Path) -> None:
    count = 20_000
    before = sorted(os.listdir("/proc/self/fd"))
    recorder = Recorder()
    with Openings(recorder) as openings:
        subprocess.run([sys.executable, "-c", FLOOD, disk_directory, str(count)], check=True)
    wanted = {os.fsencode(disk_directory / str(number)) for number in range(count)}
    missing = wanted - {facts.path for facts in recorder.files}
    assert not missing or openings.notes()
    assert len(missing) <= openings.failed or openings.lost
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_files_that_are_gone_cost_no_others(disk_directory: Path) -> None:
    script = 'for i in $(seq 500); do echo x > "$1/$i"; rm "$1/$i"; done; echo y > "$1/last"'
    recorder = Recorder()
    with Openings(recorder) as openings:
        subprocess.run(["sh", "-c", script, "sh", disk_directory], check=True)
    gone = [
        facts.path for facts in recorder.files if facts.path.startswith(os.fsencode(disk_directory) + b"/")
    ]
    assert len(gone) == 501
    assert os.fsencode(disk_directory / "last") in gone
    assert openings.failure == ""
