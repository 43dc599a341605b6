"""What grows in memory and then on disk reads as if it had grown in one place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profiler.capture.calls import spill
from profiler.capture.calls.spill import Spill


@given(
    st.integers(0, 40),
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=5)),
            st.tuples(st.integers(0, 200), st.integers(0, 60)),
        ),
        max_size=30,
    ),
)
@example(0, [bytes(9), b"\x01", (7, bytes(3))])  # from the file into what is in memory
def test_reads_as_written(limit: int, steps: list[bytes | tuple[int, bytes] | tuple[int, int]]) -> None:
    held, expected = Spill(limit), bytearray()
    for step in steps:
        if isinstance(step, bytes):
            held.append(step)
            expected += step
        elif isinstance(step[1], bytes):
            start, data = step[0], step[1]
            if start + len(data) <= len(expected):
                held.write(start, data)
                expected[start : start + len(data)] = data
        else:
            assert held.read(step[0], step[1]) == expected[step[0] : step[0] + step[1]]
        assert len(held) == len(expected)
    assert held.view(np.uint8).tobytes() == expected
    assert held.read(0, len(expected)) == expected
    held.close()
    assert len(held) == 0


@pytest.mark.parametrize(("named", "folder"), [(None, "/var/tmp"), ("/dev/shm", "/dev/shm")])
def test_large_temporary_files_are_not_put_into_memory(
    named: str | None, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TMPDIR does not say otherwise."""
    monkeypatch.setattr(spill.tempfile, "tempdir", None)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    if named is not None:
        monkeypatch.setenv("TMPDIR", named)
    assert spill.folder() == folder
