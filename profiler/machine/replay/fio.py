"""The command fio: reads made again from an iolog, and what they took."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator

from profiler.errors import ColdseekError
from profiler.facts.replays import Played
from profiler.units import show_path

_SPARE_DESCRIPTORS = 64
_OUTPUT = "result.json"
LOG = "reads.iolog"


def find() -> str:
    """The path of fio. Raises ColdseekError, which names the package, where there is none."""
    path = shutil.which("fio")
    if path is None:
        raise ColdseekError(
            "fio is not installed, and it makes the reads; install the package fio, as in: apt install fio"
        )
    return path


def version(path: str) -> str:
    """What fio says of itself; "": nothing."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def most_files() -> int:
    """So many files fio may have open here."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE_DESCRIPTORS


def play(path: str, folder: str, direct: bool, pauses: bool) -> Played:
    """Make the reads of the iolog LOG in `folder`, one after another, and nothing but reads.

    direct: past the page cache. pauses: none sooner after the one before it than the log says.

    fio runs as a thread of one process of this session, with its output open in `folder`: so the guard of
    the folder ends it where this process is killed. Raises ColdseekError where it fails.
    """
    command = [
        path, "--readonly", "--output-format=json", "--name=replay", "--thread", f"--read_iolog={LOG}",
        "--ioengine=psync", "--iodepth=1", f"--direct={int(direct)}", "--invalidate=0",
        "--allow_file_create=0", f"--replay_no_stall={int(not pauses)}",
    ]  # fmt: skip
    output = os.path.join(folder, _OUTPUT)
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(output, flags, 0o600), "r+b", buffering=0) as file, _many_files():
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, check=False
        )
        file.seek(0)
        told = file.read()
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip() or told.decode(errors="replace").strip()
        last = words.splitlines()[-1] if words else f"exit status {done.returncode}"
        raise ColdseekError(f"fio could not make the reads: {show_path(last)}; name another place with --on")
    try:
        job = json.loads(told[told.index(b"{") :])["jobs"][0]["read"]  # notes of fio's may come before it
        nanoseconds = job["lat_ns"]["mean"] * job["total_ios"]
        return Played(job["runtime"] / 1e3, nanoseconds / 1e9, job["total_ios"], job["io_bytes"])
    except (ValueError, LookupError, TypeError) as error:
        raise ColdseekError("fio said nothing that can be understood; use fio 3.31 or newer") from error


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """What starts in here may have as many files open as the hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
