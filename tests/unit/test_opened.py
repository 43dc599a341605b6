"""Several files that are read as one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profiler.calibration.opened import Opened


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=20), st.data())
def test_each_offset_lies_in_one_file(sizes: list[int], data: st.DataObject) -> None:
    begins = [0, *np.cumsum(sizes[:-1]).tolist()]
    files = Opened(tuple(range(100, 100 + len(sizes))), tuple(begins))
    offset = data.draw(st.integers(0, sum(sizes) - 1))
    descriptor, place = files.at(offset)
    assert begins[descriptor - 100] + place == offset
    assert 0 <= place < sizes[descriptor - 100]
    descriptors, places = files.all_at(np.array([offset, 0]))
    assert (descriptors.tolist(), places.tolist()) == ([descriptor, 100], [place, 0])
