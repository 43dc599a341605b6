"""Machines without /dev/null or /proc, as in a chroot, and where others' processes are hidden: every command
works, or says in one line what to do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need, need_root, need_tool

from profiler.files.traces import save
from profiler.trace import Trace

pytestmark = pytest.mark.alone

NO_NULL = "mount -t tmpfs tmpfs /dev"
FILE_FOR_NULL = f"{NO_NULL}; : > /dev/null"
NO_PROC = "mount -t tmpfs tmpfs /proc"
HIDDEN = "mount -t proc -o hidepid=2 proc /proc"

RUNS = ("record -q -- true", "record -q --tracer kernel -- true", "record -q --tracer strace -- true",
        "compare --runs 1 -- true", "open --runs 1 disk0.raw", "attach 1 -q --for 0.1")  # fmt: skip
READS = ("report t.trace.parquet", "plot t.trace.parquet -o out.png",
         "import strace log -o out.trace.parquet", "project t.trace.parquet", "devices")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("missing")
    save(Trace(), made / "t.trace.parquet")
    (made / "log").write_text(
        '1 1.0 openat(AT_FDCWD, "/f", O_RDONLY) = 3</f> <0.1>\n1 2.0 +++ exited with 0 +++\n'
    )
    with open(made / "disk0.raw", "wb") as image:
        image.truncate(1 << 20)
    return made


def inside(prepared: str, words: str, folder: Path, user: str = "") -> subprocess.CompletedProcess[str]:
    """Run coldseek where a file system has been mounted over another."""
    need_root()
    need_tool("unshare")
    command = shlex.join([sys.executable, "-m", "profiler", *shlex.split(words)])
    script = f"({prepared}) || exit 77; exec {user} {command}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    need(done.returncode != 77, "may not mount here")
    return done


def one_line(done: subprocess.CompletedProcess[str], remedy: str) -> None:
    assert done.returncode == 125, done.stderr
    assert re.fullmatch(rf"coldseek: [^\n]*{remedy}[^\n]*\n", done.stderr), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [RUNS[0], RUNS[3], READS[0], "doctor", "prefetch t.trace.parquet"])
def test_without_dev_null_it_is_said_how_to_make_it(words: str, folder: Path) -> None:
    one_line(inside(NO_NULL, words, folder), "mknod -m 666 /dev/null c 1 3")


def test_a_file_in_place_of_dev_null_is_none(folder: Path) -> None:
    """Root's redirections make one, and what a program writes would fill it."""
    one_line(inside(FILE_FOR_NULL, RUNS[0], folder), "it is no device")


@pytest.mark.parametrize("words", [*RUNS, "calibrate . --for 1", "prefetch t.trace.parquet"])
def test_without_proc_it_is_said_how_to_mount_it(words: str, folder: Path) -> None:
    one_line(inside(NO_PROC, words, folder), "mount -t proc proc /proc")


@pytest.mark.parametrize("words", READS)
def test_what_needs_no_proc_works_without_it(words: str, folder: Path) -> None:
    done = inside(NO_PROC, words, folder)
    assert done.returncode == 0, done.stderr


def test_doctor_names_the_remedy(folder: Path) -> None:
    done = inside(NO_PROC, "doctor", folder)
    assert done.returncode == 1 and done.stderr == ""
    assert "mount -t proc proc /proc" in done.stdout


@pytest.mark.parametrize("words", [RUNS[0], RUNS[3], *READS])
def test_where_the_processes_of_others_are_hidden_a_user_lacks_nothing(
    words: str, folder: Path, tmp_path: Path
) -> None:
    need_tool("setpriv")
    for name in ("t.trace.parquet", "log"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tmp_path.chmod(0o777)
    # the interpreter may lie where the user cannot read
    user = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    done = inside(
        HIDDEN, words, tmp_path, f"{user} --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
