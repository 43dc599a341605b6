"""fio's list of reads: what it holds is what was recorded, and nothing that fio would take otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.iolog import BEGIN_US, HEADER, MOST_BYTES, iolog

NAMES = ["f0", "f1", "f2"]
READS = st.lists(
    st.tuples(
        st.integers(0, 10**15), st.integers(0, 2), st.integers(0, 2**63 - 1), st.integers(1, MOST_BYTES)
    )
).map(sorted)


@given(READS)
def test_reads_come_back_as_they_were_given(reads: list[tuple[int, int, int, int]]) -> None:
    lines = "".join(iolog(NAMES, reads)).splitlines()
    assert lines[0] == HEADER and max(map(len, lines)) < 4096
    words = [line.split() for line in lines[1:]]
    known: set[str] = set()
    opened: set[str] = set()
    back = []
    for time, name, action, *place in words:
        assert int(time) > 0  # after a first time of 0 the next gap is lost
        if action == "add":
            known.add(name)
        elif action == "open":
            assert name in known
            opened.add(name)
        else:
            assert action == "read" and name in opened
            back.append((int(time) - BEGIN_US, NAMES.index(name), *map(int, place)))
    assert back == reads


@pytest.mark.parametrize("name", ["", "a b", "a\n1 b write 0 4096", "\u00e4", "a\t", "x" * 256])
def test_a_name_that_fio_would_misread_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        list(iolog([name], []))


@pytest.mark.parametrize(
    "read", [(0, 0, -1, 1), (0, 0, 0, 0), (0, 0, 0, 2**32), (0, -1, 0, 1), (-1, 0, 0, 1)]
)
def test_a_read_out_of_bounds_is_refused(read: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no read"):
        list(iolog(["f0"], [read]))


def test_time_never_goes_back() -> None:
    with pytest.raises(ValueError, match="no read"):
        list(iolog(["f0"], [(5, 0, 0, 1), (4, 0, 0, 1)]))
