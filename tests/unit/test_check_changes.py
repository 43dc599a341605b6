"""What makes the difference between two starts: files and structures, new, gone, grown, shrunk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from profiler.analysis.check.changes import GONE, GREW, NEW, SHRANK, Change, changes

BASE = {
    (b"/usr/bin/app", ""): (10, 400_000),
    (b"/usr/lib/dist/numpy/a.py", ""): (2, 8192),
    (b"./conf", ""): (1, 4096),
}


def test_a_new_package_is_one_line() -> None:
    now = BASE | {(b"/usr/lib/dist/pandas/core/%d.py" % n, ""): (1, 4096) for n in range(180)}
    now |= {(b"/usr/lib/dist/pandas/__init__.py", ""): (32, 8192)}
    (one,) = changes(BASE, now)
    assert one == Change(NEW, b"/usr/lib/dist/pandas", "", 181, 212, 180 * 4096 + 8192)
    (back,) = changes(now, BASE)
    assert back == Change(GONE, one.path, "", 181, -212, -one.bytes)


def test_few_new_files_beside_known_ones_are_named() -> None:
    now = BASE | {(b"/usr/lib/dist/numpy/b.py", ""): (1, 1), (b"./conf2", ""): (3, 3)}
    assert [one.path for one in changes(BASE, now)] == [b"./conf2", b"/usr/lib/dist/numpy/b.py"]


def test_many_new_files_beside_known_ones_are_told_by_their_folder() -> None:
    now = BASE | {(b"/usr/lib/dist/numpy/n%d.py" % n, ""): (1, 1) for n in range(3)}
    (one,) = changes(BASE, now)
    assert (one.path, one.files, one.requests) == (b"/usr/lib/dist/numpy", 3, 3)


def test_names_below_the_commands_folder_stay_so() -> None:
    now = BASE | {(b"./new/%d/conf" % n, ""): (1, 1) for n in range(3)}
    assert [one.path for one in changes(BASE, now)] == [b"./new"]


def test_a_structure_of_an_image_grows_by_itself() -> None:
    before = {(b"./disk.qcow2", "L2 table"): (100, 409_600), (b"./disk.qcow2", "data cluster"): (50, 50)}
    now = {
        (b"./disk.qcow2", "L2 table"): (300, 1_228_800), (b"./disk.qcow2", "data cluster"): (20, 20),
        (b"./disk.qcow2", "refcount block"): (5, 5),
    }  # fmt: skip
    found = [(one.kind, one.structure, one.requests) for one in changes(before, now)]
    assert found == [(GREW, "L2 table", 200), (SHRANK, "data cluster", -30), (GREW, "refcount block", 5)]


def test_one_request_more_is_how_files_are_split() -> None:
    assert changes(BASE, BASE | {(b"/usr/bin/app", ""): (11, 400_000)}) == ()


def test_a_file_that_few_runs_read_is_neither_new_nor_gone() -> None:
    assert changes(BASE, BASE | {(b"/tmp/x81a", ""): (0, 0)}) == ()
    assert changes(BASE | {(b"/tmp/x81a", ""): (0, 0)}, BASE) == ()


counts = st.dictionaries(
    st.tuples(
        st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=4).map(tuple),
        st.sampled_from(["", "L2"]),
    ),
    st.tuples(st.integers(0, 50), st.integers(0, 10**6)),
    max_size=12,
)


@given(counts, counts)
def test_whole_files_add_up(before: dict, now: dict) -> None:  # type: ignore[type-arg]
    """What is new or gone has exactly the requests of those files, each once."""
    tables = [{(b"/" + b"/".join(path), kind): value for (path, kind), value in some.items()}
              for some in (before, now)]  # fmt: skip
    found = changes(*tables)
    for kind, mine, others, sign in ((NEW, tables[1], tables[0], 1), (GONE, tables[0], tables[1], -1)):
        paths = {path for path, _ in mine} - {path for path, _ in others}
        wanted = sum(value[0] for (path, _), value in mine.items() if path in paths)
        assert sign * sum(one.requests for one in found if one.kind == kind) == wanted
    assert changes(tables[0], tables[0]) == ()
