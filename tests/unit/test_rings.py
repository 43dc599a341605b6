"""Rings in a program's memory: what is read there, and which result belongs to which request."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from test_calls import Machine

from profiler.calls import URING_OPS
from profiler.capture.calls.call import Call
from profiler.capture.ptrace.rings.aio import AioRing
from profiler.capture.ptrace.rings.requests import Requests
from profiler.capture.ptrace.rings.uring import PARAMS_BYTES, Cqe, Sqe, Uring

READ, OPENAT, CLOSE, NOP = 22, 18, 19, 0
LINK, SKIP_SUCCESS = 4, 64
AT_POSITION = 2**64 - 1


def nothing(*_: int) -> None:
    return None


class Ring:
    """A ring into which requests are typed; every descriptor is known."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.open(3, "/a")
        self.machine.open(4, "/b")
        self.requests = Requests(self.machine.calls, nothing)

    def submit(self, *sqes: Sqe) -> None:
        self.machine.time += 10
        call = Call(self.machine.time, 5, 1, 1, "io_uring_enter", [0] * 6, len(sqes))
        self.requests.submit(call, list(sqes))

    def complete(self, *results: tuple[int, int]) -> None:
        for user_data, result in results:
            self.requests.complete(Cqe(user_data, result, False, False), self.machine.time + 7)

    def reads(self) -> list[tuple[object, ...]]:
        return [(file, offset, size) for _, file, offset, _, size in self.machine.rows("uring_read")]


def sqe(
    opcode: int, descriptor: int = 0, offset: int = 0, length: int = 0, key: int = 0, flags: int = 0
) -> Sqe:
    return Sqe(opcode, flags, descriptor, offset, 0, length, 0, key, 0)


def test_a_result_goes_to_the_request_with_its_key() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 0, 100, key=1), sqe(READ, 4, 50, 100, key=2))
    ring.complete((2, 60), (1, 100))
    assert sorted(ring.reads()) == [(0, 0, 100), (1, 50, 60)]
    assert ring.requests.finish() == 0


def test_the_result_of_a_close_is_not_taken_for_a_read_s() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 0, 100, flags=LINK), sqe(CLOSE, 4))
    ring.complete((0, 77), (0, 0))
    assert ring.reads() == [(0, 0, 77)]
    assert ring.machine.calls.descriptors.get(1, 4) is None


def test_of_several_reads_with_one_key_the_full_one_is_recognised() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 0, 100), sqe(READ, 4, 0, 200))
    ring.complete((0, 200), (0, 100))
    assert sorted(ring.reads()) == [(0, 0, 100), (1, 0, 200)]


def test_where_a_result_may_be_several_reads_its_size_is_not_known() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 0, 100), sqe(READ, 4, 0, 200))
    ring.complete((0, 60), (0, 150))
    assert sorted(ring.reads(), key=str) == [(0, 0, None), (1, 0, 150)]


def test_what_is_cancelled_was_not_read() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 0, 100, key=1, flags=LINK), sqe(READ, 3, 100, 100, key=2))
    ring.complete((1, -5), (2, -125))
    assert ring.reads() == [(0, 0, None)]


def test_reads_at_the_position_move_it_when_they_end() -> None:
    ring = Ring()
    for key in (1, 2):
        ring.submit(sqe(READ, 3, AT_POSITION, 100, key=key))
        ring.complete((key, 60))
    ring.machine("read", 3, 0, 10, result=10)
    assert ring.reads() == [(0, 0, 60), (0, 60, 60)]
    assert ring.machine.rows("read")[0][2] == 120


def test_of_two_at_once_only_the_kernel_knows_which_was_first() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, AT_POSITION, 100, key=1), sqe(READ, 3, AT_POSITION, 100, key=2))
    ring.complete((2, 60), (1, 60))
    ring.machine("read", 3, 0, 10, result=10)
    assert [offset for _, offset, _ in ring.reads()] == [None, None]
    assert ring.machine.rows("read")[0][2] is None


def test_links_at_the_position_are_one_after_another() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, AT_POSITION, 100, key=1, flags=LINK), sqe(READ, 3, AT_POSITION, 100, key=2))
    ring.complete((1, 100), (2, 30))
    assert ring.reads() == [(0, 0, 100), (0, 100, 30)]


def test_a_request_that_is_silent_when_it_succeeds_has_succeeded() -> None:
    ring = Ring()
    ring.submit(sqe(READ, 3, 500, 11, key=1, flags=SKIP_SUCCESS), sqe(READ, 3, 0, 5, key=2))
    assert ring.requests.finish() == 1
    assert sorted(ring.reads(), key=str) == [(0, 0, None), (0, 500, 11)]


def test_a_slot_holds_the_open_file_whatever_becomes_of_its_descriptor() -> None:
    ring = Ring()
    call = Call(1, 1, 1, 1, "io_uring_register", [0] * 6, 0)
    ring.requests.register(call, 0, (3, -1, 4))
    ring.machine("close", 3, result=0)
    ring.machine.open(3, "/c")
    ring.submit(sqe(READ, 0, 8, 100, key=1, flags=1), sqe(READ, 2, 9, 100, key=2, flags=1))
    ring.complete((1, 100), (2, 100))
    assert ring.reads() == [(0, 8, 100), (1, 9, 100)]
    ring.submit(sqe(READ, 1, 8, 100, key=3, flags=1))  # an empty slot
    ring.complete((3, -9))
    assert "io_uring" in ring.machine.recorder.unseen


def test_closing_a_slot_closes_no_descriptor() -> None:
    ring = Ring()
    ring.machine.open(0, "/c")
    ring.requests.register(Call(1, 1, 1, 1, "io_uring_register", [0] * 6, 0), 2, (3,))
    ring.submit(Sqe(CLOSE, 0, 0, 0, 0, 0, 0, 1, 3))
    ring.complete((1, 0))
    assert ring.machine.calls.descriptors.get(1, 0) is not None
    assert ring.requests.files == {}


def test_opcodes_that_are_not_known_are_remembered() -> None:
    ring = Ring()
    ring.submit(sqe(200), sqe(NOP), sqe(OPENAT))
    assert ring.requests.unknown_opcodes == {200}


def test_every_operation_of_the_table_is_one_that_moves_data() -> None:
    assert {READ} < set(URING_OPS)
    assert all(("read" in op) or ("write" in op) or ("splice" in op) for op in URING_OPS.values())


anything = st.binary(min_size=PARAMS_BYTES, max_size=PARAMS_BYTES)


@given(anything, st.binary(min_size=64, max_size=512), st.integers(0, 2**32 - 1))
def test_whatever_stands_in_memory_is_read_within_bounds(params: bytes, memory: bytes, count: int) -> None:
    most = 0

    def read(address: int, length: int) -> bytes | None:
        nonlocal most
        most += 1
        assert most < 200_000
        place = address % len(memory)
        return (memory * (length // len(memory) + 2))[place : place + length]

    ring = Uring.of(bytes(8) + params[8:] if params[0] & 1 else struct.pack("<2I", 64, 128) + params[8:])
    ring.map(0, 4096)
    ring.map(0x8000000, 8192)
    ring.map(0x10000000, 12288)
    found = ring.requests(read, count)
    assert found is None or len(found) <= ring.entries
    assert len(list(ring.results(read))) <= ring.completions
    assert list(ring.results(read)) == []  # each is taken once
    aio = AioRing(4096)
    assert len(list(aio.results(read))) <= 1 << 16


REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 70), st.integers(0, 255), st.integers(-3, 9), st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(-2, 9),
    ),
    max_size=20,
)  # fmt: skip
RESULTS = st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1)), max_size=20)


@given(REQUESTS, RESULTS)
def test_any_requests_and_results_leave_a_sound_trace(
    rows: list[tuple[int, ...]], results: list[tuple[int, int]]
) -> None:
    from profiler.trace import Meta
    from profiler.validity import validate

    ring = Ring()
    for descriptor in range(-3, 10):
        ring.machine.name(descriptor, f"/{descriptor}")
    ring.submit(*(
        Sqe(opcode, flags, descriptor, offset, 4096, length, 0, key, index)
        for opcode, flags, descriptor, offset, length, key, index in rows
    ))  # fmt: skip
    ring.complete(*results)
    ring.requests.finish()
    validate(ring.machine.recorder.trace(Meta()))
