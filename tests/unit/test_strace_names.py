"""Who is who in a log of strace: names of -Y, parents of clone, programs of execve."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import comms, reading
from profiler.trace import Trace

LOG = b"""\
10<strace> 1795375217.000000 execve("/usr/bin/qemu-system-x86_64", [...], 0x7ff /* 3 vars */) = 0 <0.000010>
10<qemu-system-x86> 1795375217.000100 openat(AT_FDCWD, "/vm/a.qcow2", O_RDONLY|O_CLOEXEC) = 7 <0.000010>
10<qemu-system-x86> 1795375217.000200 clone(flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 11<CPU 0/KVM> <0.1>
11<qemu-system-x86> 1795375217.000300 pread64(7, ""..., 4096, 0) = 4096 <0.000010>
11<CPU 0/KVM> 1795375217.000400 pread64(7, ""..., 4096, 4096) = 4096 <0.000010>
10<qemu-system-x86> 1795375217.000500 clone(child_stack=NULL, flags=SIGCHLD) = 12 <0.000010>
12<qemu-system-x86> 1795375217.000600 execve("/bin/cat", [...], 0x7ff /* 3 vars */) = 0 <0.000010>
12<qemu-system-x86> 1795375217.000700 openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3 <0.000010>
12<qemu-system-x86> 1795375217.000800 read(3, ""..., 10) = 10 <0.000010>
12<qemu-system-x86> 1795375217.000900 +++ exited with 0 +++
11<CPU 0/KVM> 1795375217.001000 +++ exited with 0 +++
10<qemu-system-x86> 1795375217.001100 exit_group(0) = ?
10<qemu-system-x86> 1795375217.001200 +++ exited with 0 +++
"""


def read(text: bytes, fast: bool = True, by: int = 0) -> Trace:
    if not by:
        return reading.read([io.BytesIO(text)], Log(fast=fast))
    log = Log(fast=fast)
    for at in range(0, len(text), by):
        log.feed(text[at : at + by])
        log.flush()
    log.finish()
    return log.trace()


def rows(trace: Trace) -> list[tuple[Any, ...]]:
    names = ["tid", "pid", "parent", "name", "program"]
    return list(trace.tasks[names].itertuples(index=False, name=None))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("by", [0, 60, 10_000])
def test_a_log_with_names_tells_who_is_who(fast: bool, by: int) -> None:
    trace = read(LOG, fast, by)
    qemu, cat = b"/usr/bin/qemu-system-x86_64", b"/bin/cat"
    assert rows(trace) == [
        (10, 10, -1, b"qemu-system-x86", qemu),
        (11, 10, 10, b"CPU 0/KVM", qemu),
        (12, 12, 10, b"qemu-system-x86", qemu),
        (12, 12, 10, b"cat", cat),
    ]
    assert trace.tasks["end_ns"].tolist() == [1_200_000, 1_000_000, 600_000, 900_000]
    assert trace.tasks["start_ns"].tolist()[1:] == [200_000, 500_000, 600_000]
    assert len(trace.reads()) == 3 and not any("could not be read" in note for note in trace.meta.notes)


def test_names_change_nothing_else() -> None:
    plain = b"\n".join(line.partition(b"<")[0] + line.partition(b">")[2] for line in LOG.split(b"\n"))
    with_names, without = read(LOG), read(plain)
    assert with_names.meta == without.meta
    assert with_names.events.equals(without.events) and with_names.files.equals(without.files)
    assert [row[:3] for row in rows(with_names)] == [row[:3] for row in rows(without)]


def test_brackets_and_escapes() -> None:
    block = b"[pid    12<a b>] read(\n13<x\\76\\33> read(\n14 read(\n[pid 12<c>] x\n"
    block += b"13 1.0 <... read resumed>\n"
    assert comms.has_names(block)
    assert comms.taken(block) == (
        b"[pid    12] read(\n13 read(\n14 read(\n[pid 12] x\n13 1.0 <... read resumed>\n",
        {12: b"c", 13: b"x>\x1b"},
    )
    assert not comms.has_names(b"12 read(3<a>, ) = 3 <0.1>\n")


names = st.binary(max_size=8).filter(lambda name: not set(name) & set(b"<>\n\\"))
lines = st.lists(st.tuples(st.integers(1, 60), names, st.booleans()), max_size=80)


@given(lines)
def test_few_names_and_many_are_taken_off_alike(made: list[tuple[int, bytes, bool]]) -> None:
    heads = [(b"[pid %d", b"] ") if bracket else (b"%d", b" ") for _, _, bracket in made]
    block = b"".join(
        head % task + b"<" + name + b">" + end + b"read(3<x>, 4) = 4\n"
        for (task, name, _), (head, end) in zip(made, heads, strict=True)
    )
    plain = b"".join(
        head % task + end + b"read(3<x>, 4) = 4\n"
        for (task, _, _), (head, end) in zip(made, heads, strict=True)
    )
    assert comms.taken(block) == (plain, {task: name for task, name, _ in made})
