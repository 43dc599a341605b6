"""The system call filter, run by a small interpreter of classic BPF."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.calls import CALLS
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.ptrace import abi as abis
from profiler.capture.ptrace.seccomp import Instruction, program
from profiler.capture.ptrace.stops import OUR_FILTER

ALLOW, TRACE = 0x7FFF0000, 0x7FF00000 | OUR_FILTER
KNOWN = abis.native()
CODE = program([(one, HANDLERS) for one in KNOWN])


def run(code: list[Instruction], number: int, audit: int, *args: int) -> int:
    """What the filter returns for one call."""
    unsigned = [value & (2**64 - 1) for value in (*args, *[0] * (6 - len(args)))]
    data = struct.pack("<IIQ6Q", number, audit, 0, *unsigned)
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            return operand
        elif operation == 0x05:
            at += operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }[operation]
            at += if_true if holds else if_false


@pytest.mark.parametrize("abi", KNOWN, ids=lambda abi: hex(abi.audit))
def test_wanted_calls_stop_and_others_run(abi: abis.Abi) -> None:
    wanted = {abi.numbers[name] for name in HANDLERS if name in abi.numbers}
    conditional = {abi.numbers[row.name] for row in CALLS if row.when and row.name in abi.numbers}
    for number in range(500):
        if number not in conditional:
            assert run(CODE, number, abi.audit) == (TRACE if number in wanted else ALLOW), number


@pytest.mark.parametrize("abi", KNOWN, ids=lambda abi: hex(abi.audit))
def test_only_mappings_of_files_and_commands_on_descriptors_stop(abi: abis.Abi) -> None:
    mmap = abi.numbers.get("mmap2") or abi.numbers["mmap"]
    assert run(CODE, mmap, abi.audit, 0, 4096, 1, 0x02, 3, 0) == TRACE
    assert run(CODE, mmap, abi.audit, 0, 4096, 1, 0x22, -1, 0) == ALLOW
    fcntl = abi.numbers["fcntl"]
    for command in (0, 2, 4, 1030):
        assert run(CODE, fcntl, abi.audit, 3, command) == TRACE
    for command in (1, 3, 5, 6, 7, 1031, 1024):
        assert run(CODE, fcntl, abi.audit, 3, command) == ALLOW


@pytest.mark.parametrize("abi", KNOWN, ids=lambda abi: hex(abi.audit))
def test_of_madvise_only_advice_on_read_ahead_stops(abi: abis.Abi) -> None:
    code = program([(abi, ("madvise",))])
    number = abi.numbers["madvise"]
    for advice in range(4):
        assert run(code, number, abi.audit, 0, 4096, advice) == TRACE
    for advice in (4, 8, 9, 14, 15, 16, 20, 22, 100, 2**32 - 1):
        assert run(code, number, abi.audit, 0, 4096, advice) == ALLOW


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_it_ends_on_any_call_and_stops_what_nobody_can_decode(number: int, audit: int) -> None:
    result = run(CODE, number, audit)
    assert result in (ALLOW, TRACE)
    if audit not in {abi.audit for abi in KNOWN} or (audit == abis.AUDIT_X86_64 and number >= 0x40000000):
        assert result == TRACE


def test_jumps_fit_into_a_byte() -> None:
    assert all(0 <= code[1] <= 255 and 0 <= code[2] <= 255 for code in CODE)
    assert len(CODE) < 4096
