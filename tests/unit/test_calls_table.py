"""The table of calls, and each of its readers against it."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from profiler.calls import BY_NAME, CALLS, KINDS, READ_OPS, WRITE_OPS, Row
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.ptrace import abi as abis


def test_every_row_is_sound() -> None:
    assert len(BY_NAME) == len(CALLS)
    for row in CALLS:
        assert all(argument.kind in KINDS for argument in row.arguments), row.name
        named = {argument.name for argument in row.arguments}
        asked = {row.count, row.vector, row.when.argument if row.when else ""}
        for move in row.moves:
            asked |= {move.descriptor, move.offset, move.pointer}
            assert move.op in (WRITE_OPS if move.writes else READ_OPS)
        assert asked - {""} <= named, row.name
        assert not row.moves or bool(row.count) != bool(row.vector), row.name
    assert not set(READ_OPS) & set(WRITE_OPS)
    assert set(HANDLERS) <= set(BY_NAME)


def laid_out(row: Row, values: list[int], word: int, chance: int) -> bytes:
    """Registers as a program fills them: the upper halves of ints hold anything on 64-bit machines."""
    raw = b""
    for argument, value in zip(row.arguments, values, strict=True):
        if word == 4:
            parts = [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF][: KINDS[argument.kind][1]]
            if argument.kind == "pages":
                parts = [value >> 12]
        else:
            low = value & (2**64 - 1)
            if argument.kind in ("int", "uint"):
                low = value & 0xFFFFFFFF | chance << 32
            parts = [low, chance][: KINDS[argument.kind][0]]
        raw += b"".join(struct.pack("<Q", part) for part in parts)
    return raw.ljust(48, b"\0")


@given(st.data(), st.sampled_from(CALLS), st.sampled_from([4, 8]), st.integers(0, 2**32 - 1))
def test_arguments_come_out_of_registers_as_they_went_in(
    data: st.DataObject, row: Row, word: int, chance: int
) -> None:
    bounds = {
        "int": (-(2**31), 2**31 - 1), "uint": (0, 2**32 - 1), "loff": (-(2**63), 2**63 - 1),
        "split": (-(2**63), 2**63 - 1), "pages": (0, 2**31),
    }  # fmt: skip
    words = (0, 2**32 - 1) if word == 4 else (-(2**63), 2**63 - 1)
    values = [data.draw(st.integers(*bounds.get(argument.kind, words))) for argument in row.arguments]
    values = [
        value & -4096 if argument.kind == "pages" and word == 4 else value
        for value, argument in zip(values, row.arguments, strict=True)
    ]
    raw = laid_out(row, values, word, chance)
    if len(raw) > 48:
        return  # fadvise64_64 is a call of 32-bit machines only
    assert list(abis._decode(row, word)(raw, 0)) == values
