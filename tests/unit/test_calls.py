"""What each system call means, on calls made by hand."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from profiler.capture.calls.call import Call, Identity, Iocb
from profiler.capture.calls.descriptors import Descriptors
from profiler.capture.calls.event_log import Recorder
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.calls.meaning import Calls
from profiler.trace import FileFacts


class Kernel:
    """Answers what a tracer would look up, from plain dictionaries."""

    def __init__(self) -> None:
        self.names: dict[int, tuple[bytes, str]] = {}
        self.positions: dict[int, int] = {}
        self.values: dict[int, int] = {}
        self.vector = 0
        self.submitted: list[Iocb] = []
        self.ended: list[tuple[int, int]] = []
        self.shared: list[set[tuple[int, int]]] = []  # descriptors of tasks that are one open file
        self.passed: list[int] = []

    def identify(self, call: Call, descriptor: int) -> Identity:
        path, kind = self.names.get(descriptor, (b"/another", "regular"))
        return Identity(path, FileFacts(path, kind=kind), self.positions.get(descriptor))

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        return {(task, descriptor), (other, other_descriptor)} in self.shared

    def received(self, call: Call) -> list[int]:
        return self.passed

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        return self.vector

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        return None

    def value_at(self, call: Call, argument: int) -> int | None:
        return self.values.get(argument) if call.args[argument] else None

    def iocbs(self, call: Call) -> list[Iocb]:
        return self.submitted

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        return self.ended


class Machine:
    """A program whose calls are typed in one by one."""

    def __init__(self, **names: str) -> None:
        self.kernel = Kernel()
        self.recorder = Recorder()
        self.calls = Calls(self.recorder, Descriptors(), self.kernel)
        self.time = 0

    def name(self, descriptor: int, path: str, kind: str = "regular", position: int | None = None) -> None:
        self.kernel.names[descriptor] = (path.encode(), kind)
        if position is not None:
            self.kernel.positions[descriptor] = position

    def __call__(self, name: str, *args: int, result: int, pid: int = 1, tid: int = 1) -> None:
        self.time += 10
        padded = [*args, *[0] * (6 - len(args))]
        self.calls.finish(Call(self.time, 5, pid, tid, name, padded, result))

    def open(self, descriptor: int, path: str, flags: int = 0, kind: str = "regular") -> None:
        self.name(descriptor, path, kind)
        self("openat", -100, 0, flags, result=descriptor)

    def events(self) -> pd.DataFrame:
        from profiler.trace import Meta

        return self.recorder.trace(Meta()).events

    def rows(self, *ops: str) -> list[tuple[object, ...]]:
        events = self.events()
        chosen = events[events["op"].isin(ops)] if ops else events
        return [
            (op, file, None if offset is pd.NA else offset, requested, None if size is pd.NA else size)
            for op, file, offset, requested, size in chosen[
                ["op", "file", "offset", "requested", "size"]
            ].itertuples(index=False)
        ]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_reads_at_the_position_and_at_an_offset(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("read", 3, 0, 100, result=60)
    machine("pread64", 3, 0, 10, 4096, result=10)
    machine("read", 3, 0, 100, result=100)
    machine("lseek", 3, 8, 0, result=8)
    machine("read", 3, 0, 5, result=0)
    assert machine.rows("read", "pread64") == [
        ("read", 0, 0, 100, 60),
        ("pread64", 0, 4096, 10, 10),
        ("read", 0, 60, 100, 100),
        ("read", 0, 8, 5, 0),
    ]


def test_a_failed_read_moves_nothing_and_says_its_error(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("read", 3, 0, 100, result=-5)
    machine("read", 3, 0, 100, result=7)
    events = machine.events()
    assert list(events["errno"]) == [0, 5, 0]
    assert list(events["offset"])[1:] == [0, 0]
    assert events["size"].isna().tolist() == [True, True, False]


def test_calls_that_the_kernel_restarts_are_no_events(machine: Machine) -> None:
    machine.open(3, "/a")
    for error in (-512, -513, -514, -516):
        machine("read", 3, 0, 100, result=error)
    assert machine.rows("read") == []


def test_a_bad_descriptor_makes_no_file(machine: Machine) -> None:
    machine("read", 77, 0, 100, result=-9)
    machine("close", 77, result=-9)
    assert machine.recorder.files == []


def test_vectors(machine: Machine) -> None:
    machine.open(3, "/a")
    machine.kernel.vector = 300
    machine("preadv", 3, 1, 2, 1000, result=200)
    machine("preadv2", 3, 1, 2, -1, result=300)
    machine("readv", 3, 1, 2, result=10)
    assert machine.rows("preadv", "preadv2", "readv") == [
        ("preadv", 0, 1000, 300, 200),
        ("preadv2", 0, 0, 300, 300),
        ("readv", 0, 300, 300, 10),
    ]


def test_two_descriptors_of_one_open_and_two_opens_of_one_file(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("dup", 3, result=4)
    machine("dup3", 3, 5, os.O_CLOEXEC, result=5)
    machine("fcntl", 3, 0, 9, result=9)
    machine.open(6, "/a")
    for descriptor in (3, 4, 5, 9, 6):
        machine("read", descriptor, 0, 10, result=10)
    assert [row[2] for row in machine.rows("read")] == [0, 10, 20, 30, 0]
    assert machine.events()["handle"].tolist()[-5:] == [0, 0, 0, 0, 1]
    machine.calls.descriptors.exec(1)
    assert machine.calls.descriptors.get(1, 5) is None
    assert machine.calls.descriptors.get(1, 4) is not None


def test_a_descriptor_is_used_again_for_another_file(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("close", 3, result=0)
    machine.open(3, "/b")
    machine("read", 3, 0, 10, result=10)
    assert machine.rows("read") == [("read", 1, 0, 10, 10)]


def test_close_range(machine: Machine) -> None:
    for descriptor in (3, 4, 5):
        machine.open(descriptor, f"/{descriptor}")
    machine("close_range", 4, -1, 0, result=0)
    descriptors = machine.calls.descriptors
    assert [descriptors.get(1, number) is not None for number in (3, 4, 5)] == [True, False, False]
    machine("close_range", 3, 3, 4, result=0)  # only marks
    assert descriptors.get(1, 3) is not None
    descriptors.exec(1)
    assert descriptors.get(1, 3) is None


def test_an_inherited_descriptor_starts_where_the_kernel_says(machine: Machine) -> None:
    machine.name(0, "/input", position=150)  # asked after the read of 50 that moved it
    machine("read", 0, 0, 100, result=50)
    machine("read", 0, 0, 100, result=20)
    assert [row[2] for row in machine.rows("read")] == [100, 150]


def test_pipes_and_the_like_are_no_files(machine: Machine) -> None:
    machine.name(7, "pipe:[1]", "pipe")
    machine("read", 7, 0, 8, result=8)
    machine("write", 7, 0, 8, result=8)
    machine.open(8, "/folder", kind="directory")
    assert machine.rows() == []


def test_an_unknown_file_that_can_seek_is_a_regular_one(machine: Machine) -> None:
    machine.name(5, "(descriptor 5)", "unknown")
    machine("read", 5, 0, 100, result=100)
    assert machine.recorder.files[0].kind == "unknown"
    machine("lseek", 5, 4096, 0, result=4096)
    machine("read", 5, 0, 100, result=100)
    assert machine.recorder.files[0].kind == "regular"
    assert [row[2] for row in machine.rows("read")] == [None, 4096]


@pytest.mark.parametrize("call", ["sendfile", "splice", "copy_file_range"])
def test_transfers_with_and_without_offsets_of_their_own(machine: Machine, call: str) -> None:
    machine.open(3, "/from")
    machine.open(4, "/to")
    pointer = {"sendfile": 2, "splice": 1, "copy_file_range": 1}[call]

    def transfer(own: int) -> None:
        if call == "sendfile":
            machine("sendfile", 4, 3, own, 500, result=400)
        else:
            machine(call, 3, own, 4, 0, 500, result=400)

    transfer(0)
    machine.kernel.values[pointer] = 9400  # as it stands after the call
    transfer(1)
    transfer(0)
    reads = [row for row in machine.rows(call) if row[1] == 0]
    assert [row[2:] for row in reads] == [(0, 500, 400), (9000, 500, 400), (400, 500, 400)]
    target = "copy_file_range_to" if call == "copy_file_range" else "write"
    assert [row[2] for row in machine.rows(target)] == [0, 400, 800]


def test_appending_makes_the_position_unknown(machine: Machine) -> None:
    machine.open(3, "/log", os.O_APPEND | os.O_RDWR)
    machine("write", 3, 0, 4, result=4)
    machine("read", 3, 0, 4, result=4)
    assert [row[2] for row in machine.rows("write", "read")] == [None, None]


def test_mappings_of_files_are_recorded_and_their_faults_declared_unseen(machine: Machine) -> None:
    machine.open(3, "/lib")
    machine("mmap", 0, 8192, 1, 2, 3, 4096, result=0x7F0000000000)
    machine("mmap", 0, 8192, 1, 0x22, -1, 0, result=0x7F0000000000)
    machine("mmap", 0, 4096, 5, 2, 3, 12288, result=0x7F0000000000)
    assert machine.rows("mmap") == [("mmap", 0, 4096, 8192, None)]
    assert machine.rows("mmap_exec") == [("mmap_exec", 0, 12288, 4096, None)]
    assert "mmap" in machine.recorder.unseen


def test_advice_and_direct_reads(machine: Machine) -> None:
    machine.open(3, "/a", os.O_DIRECT)
    machine("fadvise64", 3, 0, 4096, 1, result=0)
    machine("fcntl", 3, 4, 0, result=0)  # F_SETFL without O_DIRECT
    machine("pread64", 3, 0, 10, 0, result=10)
    machine("readahead", 3, 0, 4096, result=0)
    assert [row[0] for row in machine.rows()] == ["open", "fadvise_random", "pread64", "readahead"]
    assert machine.events()["direct"].tolist() == [True, True, False, False]


def test_asynchronous_reads_are_matched_with_their_results(machine: Machine) -> None:
    machine.open(3, "/a")
    machine.kernel.submitted = [
        Iocb(100, 0, 3, 4096, 0),
        Iocb(200, 7, 3, 8192, 65536),
        Iocb(300, 2, 3, 0, 0),
    ]
    machine("io_submit", 1, 3, 0, result=3)
    assert machine.calls.pending == 2  # the third is an fsync
    machine.kernel.ended = [(200, 8192)]
    machine("io_getevents", 1, 1, 8, 0, result=1)
    assert machine.rows("aio_pread", "aio_preadv") == [
        ("aio_pread", 0, 0, 4096, None),
        ("aio_preadv", 0, 65536, 8192, 8192),
    ]
    assert machine.calls.pending == 1
    assert (machine.recorder.reads, machine.recorder.read_bytes) == (1, 8192)


def test_only_as_many_as_the_kernel_took_are_submitted(machine: Machine) -> None:
    machine.open(3, "/a")
    machine.kernel.submitted = [Iocb(100, 0, 3, 4096, 0), Iocb(200, 0, 3, 4096, 4096)]
    machine("io_submit", 1, 2, 0, result=1)
    assert len(machine.rows("aio_pread")) == 1


def test_absurd_numbers_from_a_program_stay_in_bounds(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("pread64", 3, 0, -1, -4096, result=-22)
    machine("read", 3, 0, 2**63 - 1, result=-14)
    events = machine.events()
    assert events["requested"].max() == 2**63 - 1
    assert events["offset"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize("result", [2**63 - 1, 2**62 + 1, -4096, -(2**31), -(2**63)])
def test_absurd_results_in_the_memory_of_a_program_are_unknown(machine: Machine, result: int) -> None:
    machine.open(3, "/a")
    machine.kernel.submitted = [Iocb(100, 0, 3, 4096, 0)]
    machine("io_submit", 1, 1, 0, result=1)
    machine.kernel.ended = [(100, result)]
    machine("io_getevents", 1, 1, 8, 0, result=1)
    events = machine.events()
    assert events["size"].isna().all() and (events["errno"] == 0).all()
    assert machine.recorder.reads == 0


def test_a_passed_descriptor_shares_its_open_where_the_kernel_says_so(
    machine: Machine,
) -> None:
    machine.open(3, "/a")
    machine("read", 3, 0, 100, result=100)
    machine.name(7, "/a", position=100)
    machine.kernel.passed, machine.kernel.shared = [7], [{(2, 7), (1, 3)}]
    machine("recvmsg", 5, 0, 0, result=1, pid=2, tid=2)
    machine("read", 7, 0, 50, result=50, pid=2, tid=2)
    machine("read", 3, 0, 10, result=10)
    assert [row[2] for row in machine.rows("read")] == [0, 100, 150]


def test_a_passed_descriptor_stands_where_the_kernel_says(machine: Machine) -> None:
    machine.open(3, "/a")
    machine("read", 3, 0, 100, result=100)
    machine.name(7, "/a", position=500)
    machine.kernel.passed = [7]
    machine("recvmsg", 5, 0, 0, result=1, pid=2, tid=2)
    machine("read", 7, 0, 50, result=50, pid=2, tid=2)
    machine("read", 3, 0, 10, result=10)
    assert [row[2] for row in machine.rows("read")] == [0, 500, 100]


def test_failed_opens_are_recorded_without_a_file(machine: Machine) -> None:
    machine("openat", -100, 0, 0, result=-2)
    machine("creat", 0, 0, result=-13)
    events = machine.events()
    assert events["errno"].tolist() == [2, 13]
    assert events["file"].tolist() == [-1, -1]


def test_every_handler_has_a_name_that_an_architecture_knows() -> None:
    from profiler.capture.ptrace.abi import native

    known = {name for abi in native() for name in abi.numbers}
    assert set(HANDLERS) <= known
