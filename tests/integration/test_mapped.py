"""Mapped reads under ptrace, against what the programs themselves see in their page tables."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import pytest
from conftest import need, need_root, need_tracer
from small_programs import python
from test_cache import as_nobody, public_directory

from profiler.analysis.simulation.page_cache import simulate
from profiler.capture.kernel.tracer import Kernel
from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.machine.page_cache.cache import evict
from profiler.trace import Trace

__all__ = ["public_directory"]

PR_SET_DUMPABLE = 4  # linux/prctl.h
PAGE, PAGES = 4096, 300  # too few for a huge page

HEAD = f"""
import ctypes, mmap, os, struct, sys, threading
fd = os.open({{path!r}}, os.O_RDWR)
def map(first=0, count={PAGES}):
    return mmap.mmap(fd, count * {PAGE}, mmap.MAP_PRIVATE, 3, offset=first * {PAGE})
def tell(held, first=0):
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    with open("/proc/self/pagemap", "rb") as table:
        table.seek(address // {PAGE} * 8)
        numbers = struct.unpack("<%dQ" % (len(held) // {PAGE}), table.read(len(held) // {PAGE} * 8))
    there = [first + page for page, number in enumerate(numbers) if number >> 62]
    os.write(1, (repr(there) + "\\n").encode())
"""
WAYS = {
    "exit": "held = map(); held[5 * 4096]; held[200 * 4096]; held[250 * 4096] = 1; tell(held)",
    "part": "held = map(30, 100); held[9 * 4096]; held[99 * 4096] = 1; tell(held, 30)",
    "unmapped": "held = map(); held[5 * 4096]; held[299 * 4096]; tell(held)\n"
    "held = None; import gc; gc.collect()",
    "thread": "held = map()\n"
    "def work():\n    held[70 * 4096]; tell(held); os._exit(0)\n"
    "threading.Thread(target=work).start(); threading.Event().wait()",
    "fork": "held = map(); held[9 * 4096] = 1\n"
    "if os.fork() == 0:\n    held[150 * 4096]; tell(held); os._exit(0)\n"
    "os.wait(); held[280 * 4096]; tell(held)",
    "exec": "held = map(); held[99 * 4096]; tell(held); os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "vfork": "held = map(); held[99 * 4096]; tell(held)\n"
    "os.posix_spawn('/bin/sh', ['sh', '-c', ':'], {}); os.wait()",
}


@pytest.fixture
def data(disk_directory: Path) -> Path:
    path = disk_directory / "data"
    path.write_bytes(b"x" * PAGES * PAGE)
    return path


def present(found: Trace, path: Path) -> list[set[int]]:
    """Pages of the file that each task had, in the order of the looks."""
    number = found.files.index[found.files["path"] == os.fsencode(path)][0]
    rows = found.events[(found.events["op"] == "present") & (found.events["file"] == number)]
    assert (rows["layer"] == "syscall").all()
    ends = rows["time_ns"] + rows["duration_ns"]
    assert (ends <= round((found.meta.wall_s or 0) * 1e9)).all()
    looks: dict[tuple[int, int], set[int]] = {}
    for tid, end, offset, size in zip(rows["tid"], ends, rows["offset"], rows["size"], strict=True):
        pages = set(range(offset // PAGE, (offset + size) // PAGE))
        looks.setdefault((end, tid), set()).update(pages)
    return [looks[key] for key in sorted(looks)]


@pytest.mark.parametrize("tracer", [Ptrace, Kernel])
@pytest.mark.parametrize("way", WAYS)
def test_the_pages_that_a_program_had_are_recorded(
    way: str, tracer: type[Ptrace | Kernel], data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    need_tracer(tracer.name)
    found = tracer().record(Recording(python(HEAD.format(path=str(data)) + WAYS[way])))
    told = [set(json.loads(line)) for line in capfd.readouterr().out.splitlines()]
    assert found.meta.exit_status == 0
    assert told
    assert present(found, data) == told
    assert found.meta.unseen == (("readahead",) if tracer is Ptrace else ())
    assert found.saw("cache") == (tracer is Kernel)


def test_a_start_that_was_killed_leaves_mapped_reads_unseen(data: Path) -> None:
    need_tracer("ptrace")
    killed = "held = map(); held[5 * 4096]; tell(held); os.kill(os.getpid(), 9)"
    found = Ptrace().record(Recording(python(HEAD.format(path=str(data)) + killed), silent=True))
    assert found.meta.exit_status == 137
    number = found.files.index[found.files["path"] == os.fsencode(data)][0]
    seen = ((found.events["op"] == "present") & (found.events["file"] == number)).any()
    assert seen or "mmap" in found.meta.unseen  # the kernel may stop what is killed once more, or not


def test_the_program_and_its_libraries_are_projected() -> None:
    need_tracer("ptrace")
    found = Ptrace().record(Recording(python("pass"), silent=True))
    assert "exec" in set(found.events["op"])
    asked = simulate(found)
    program = os.path.realpath(sys.executable)
    number = found.files.index[found.files["path"] == os.fsencode(program)][0]
    rows = found.events[(found.events["op"] == "present") & (found.events["file"] == number)]
    had = {page for at, size in zip(rows["offset"], rows["size"], strict=True)
           for page in range(at // PAGE, (at + size) // PAGE)}  # fmt: skip
    mine = asked[asked["file"] == number]
    fetched = {page for at, size in zip(mine["offset"], mine["size"], strict=True)
               for page in range(at // PAGE, (at + size) // PAGE)}  # fmt: skip
    assert had <= fetched


def test_after_a_cold_start_next_to_nothing_but_what_was_touched_is_there(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    need_tracer("ptrace")
    need(evict([os.fsencode(data)]).resident_bytes == 0, "a file system that drops pages")
    script = HEAD.format(path=str(data)) + "held = map(); held[150 * 4096]; tell(held)"
    found = Ptrace().record(Recording(python(script)))
    (told,) = [set(json.loads(line)) for line in capfd.readouterr().out.splitlines()]
    assert present(found, data) == [told]
    assert len(told) <= 16
    assert 150 in told


def test_without_root_it_is_the_same(public_directory: Path) -> None:
    need_root()
    need_tracer("ptrace")  # loads all that it needs, which nobody may not be allowed to read
    path = public_directory / "data"
    path.write_bytes(b"x" * PAGES * PAGE)
    os.chmod(path, 0o666)
    programs = [sys.executable, "/usr/bin/python3"]
    usable = json.loads(as_nobody(lambda: json.dumps([one for one in programs if os.access(one, os.X_OK)])))
    need(usable, "a python that nobody may run")
    script = HEAD.format(path=str(path)) + WAYS["unmapped"]

    def trace() -> str:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or nobody may trace what it starts
        os.chdir("/")
        out = public_directory / "out"
        with open(out, "wb") as told:
            os.dup2(told.fileno(), 1)
        found = Ptrace().record(Recording([usable[0], "-S", "-c", script]))
        pages = [sorted(one) for one in present(found, path)]
        return json.dumps([pages, [json.loads(out.read_text())], list(found.meta.unseen)])

    answer = as_nobody(trace)
    assert answer.startswith("["), answer
    had, told, unseen = json.loads(answer)
    assert had == told
    assert unseen == ["readahead"]
