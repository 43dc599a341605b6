"""Who read: events and the tasks that they are of."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from made import trace

from profiler.analysis.reads.access import classify
from profiler.analysis.reads.readers import FileReader, Reader, by_file, label, names, readers, rows_of
from profiler.report import json as report_json
from profiler.report import text
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise
from profiler.trace import TASK_COLUMNS, Trace, table


def tasks(*rows: tuple[int, int, int | None, bytes]) -> pd.DataFrame:
    """(tid, pid, start, name)"""
    return table(TASK_COLUMNS, [
        {"tid": tid, "pid": pid, "parent": -1, "name": name, "program": b"/bin/" + name.lower(),
         "cgroup": b"", "container": "", "start_ns": start, "end_ns": None}
        for tid, pid, start, name in rows
    ])  # fmt: skip


def made(rows: list[tuple[int, int, int]], who: pd.DataFrame) -> Trace:
    """Reads (file, tid, pid) of 10 bytes, one every 1,000 ns, each of a place of its own."""
    plain = trace([(file, number * 10, 10) for number, (file, _, _) in enumerate(rows)])
    events = plain.events.assign(
        tid=np.array([tid for _, tid, _ in rows], np.int32),
        pid=np.array([pid for *_, pid in rows], np.int32),
    )
    return dataclasses.replace(plain, events=events, tasks=who)


QEMU = tasks((7, 7, 0, b"qemu"), (8, 7, 10, b"CPU 0/KVM"), (3, 3, None, b"libvirtd"))


def test_who_read_is_told_by_process_and_thread() -> None:
    seen = made([(0, 7, 7), (0, 8, 7), (0, 8, 7), (1, 3, 3), (1, 9, 9)], QEMU)
    found = readers(seen.tasks, classify(seen.reads()))
    assert found[0] == Reader(b"qemu", b"/bin/qemu", "", 1, (b"CPU 0/KVM",), 3, 30, 30)
    assert [(one.name, one.reads) for one in found[1:]] == [(b"libvirtd", 1), (b"", 1)]
    by = by_file(seen.tasks, seen.reads())
    assert by[0] == (FileReader(b"/bin/qemu", b"qemu", 7, 3, 30),)
    assert [one.pid for one in by[1]] == [3, 9]


def test_two_processes_of_one_program_are_one_reader() -> None:
    seen = made([(0, 1, 1), (0, 2, 2)], tasks((1, 1, 0, b"cat"), (2, 2, 0, b"cat")))
    assert [(one.processes, one.reads) for one in readers(seen.tasks, seen_reads(seen))] == [(2, 2)]


def seen_reads(seen: Trace) -> pd.DataFrame:
    return classify(seen.reads())


def test_a_number_that_comes_again_is_told_by_the_time() -> None:
    who = tasks((5, 5, 3000, b"new"), (5, 5, 100, b"old"), (6, 6, 0, b"other"))
    rows = rows_of(who, np.array([5, 5, 5, 5, 6, 4]), np.array([0, 100, 2999, 3000, 9, 9]))
    assert rows.tolist() == [1, 1, 1, 0, 2, -1]


def test_nobody_is_known_without_a_table() -> None:
    seen = made([(0, 1, 1)], QEMU.iloc[:0])
    assert rows_of(seen.tasks, np.array([1]), np.array([0])).tolist() == [-1]
    assert [(one.name, one.program) for one in readers(seen.tasks, seen_reads(seen))] == [(b"", b"")]
    assert (
        readers(seen.tasks, seen_reads(seen).iloc[:0]) == () and by_file(QEMU, seen.reads().iloc[:0]) == {}
    )


def test_labels() -> None:
    assert label(b"qemu", b"/bin/x", b"CPU 0/KVM") == b"qemu: CPU 0/KVM"
    assert label(b"qemu", b"", b"qemu") == label(b"", b"/usr/bin/qemu") == b"qemu"
    assert label(b"", b"") == b""


task_rows = st.lists(
    st.tuples(st.integers(0, 3), st.just(0), st.none() | st.integers(0, 9), st.just(b"x")), max_size=8
)


@given(task_rows, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10)), max_size=12))
def test_the_row_is_the_last_that_began_by_then(
    rows: list[tuple[int, int, int | None, bytes]], events: list[tuple[int, int]]
) -> None:
    found = rows_of(
        tasks(*rows),
        np.array([tid for tid, _ in events], np.int64),
        np.array([at for _, at in events], np.int64),
    ).tolist()
    for row, (tid, at) in zip(found, events, strict=True):
        starts = [-1 if start is None else start for one, _, start, _ in rows if one == tid]
        if not starts:
            assert row == -1
            continue
        begun = [start for start in starts if start <= at]
        assert rows[row][0] == tid
        start = rows[row][2]
        assert (-1 if start is None else start) == (max(begun) if begun else min(starts))


def test_the_report_says_who_read_if_there_is_a_choice() -> None:
    seen = made([(0, 7, 7), (0, 8, 7), (1, 3, 3)], QEMU)
    page = text.report(summarise(seen)).plain
    assert "read by     qemu (CPU 0/KVM) 2 reads, 20 B\n            libvirtd 1 read, 10 B\n" in page
    alone = made([(0, 1, 1)], tasks((1, 1, 0, b"cat")))
    assert "read by" not in text.report(summarise(alone)).plain


def test_the_json_has_all_of_it() -> None:
    found: Any = report_json.report(summarise(made([(0, 8, 7), (1, 3, 3)], QEMU)))
    assert found["files"][0]["read_by"] == [
        {"program": "/bin/qemu", "name": "qemu", "pid": 7, "reads": 1, "bytes": 10}
    ]
    assert found["read_by"][0]["threads"] == ["CPU 0/KVM"]
    assert [task["name"] for task in found["trace"]["tasks"]] == ["libvirtd", "qemu", "CPU 0/KVM"]
    assert found["trace"]["tasks"][0]["start_s"] is None and found["trace"]["tasks"][0]["parent"] is None


def test_a_file_of_a_container_is_shown_with_its_place_on_the_host() -> None:
    seen = made([(0, 1, 1)], QEMU)
    files = seen.files.assign(host_path=[b"/var/lib/layer/a\n", b"", b""])
    summary = summarise(dataclasses.replace(seen, files=files))
    assert "/a, on the host /var/lib/layer/a\\x0a" in text.report(summary).plain
    assert report_json.report(summary)["files"][0]["host_path"] == "/var/lib/layer/a\n"


def test_every_read_has_the_name_of_its_program() -> None:
    seen = made([(0, 7, 7), (0, 8, 7), (1, 3, 3), (1, 9, 9)], QEMU)
    assert names(seen.tasks, seen.reads()).tolist() == [b"qemu", b"qemu", b"libvirtd", b""]
    assert names(QEMU.iloc[:0], seen.reads()).tolist() == [b""] * 4
    boxes = seen.tasks.assign(container=["one", "one", ""])
    assert names(boxes, seen.reads()).tolist() == [b"qemu in one", b"qemu in one", b"libvirtd", b""]
    assert names(boxes, seen.reads().iloc[:2]).tolist() == [b"qemu", b"qemu"]


anybody = st.binary(max_size=15) | st.sampled_from(
    [b"\x1b[2J\n", b"\xff" * 15, b"x" * 255, b"a b c d e f g h"]
)


@settings(max_examples=20)
@given(st.lists(anybody, min_size=2, max_size=12), st.sampled_from([60, 80, 120]), st.booleans())
def test_who_read_fits_whatever_they_are_called(who: list[bytes], width: int, processes: bool) -> None:
    table = tasks(*[(tid, tid if processes else 1, 0, name) for tid, name in enumerate(who, 1)])
    table["container"] = "\x1b" * 40
    rows = [(0, tid, tid if processes else 1) for tid in range(1, len(who) + 1)]
    lines = text.report(summarise(made(rows, table)), width).plain.split("\n")
    assert max(map(len, lines)) <= min(width, 99)


def test_all_of_it_is_in_the_full_report() -> None:
    rows = [(number % 3, pid, pid) for number, pid in enumerate((7, 3, 1, 2, 4, 5, 6, 7))]
    who = tasks(*[(pid, pid, 0, b"program-%d\n" % pid) for pid in range(1, 8)])
    seen = made(rows, who)
    hosts = seen.files.assign(host_path=[b"/var/lib/layer/" + b"x" * 300, b"", b"/h\x1b"])
    notes = tuple(f"note {number}" for number in range(30))
    seen = dataclasses.replace(seen, files=hosts, meta=dataclasses.replace(seen.meta, notes=notes))
    summary = summarise(seen)
    for width in (80, 120):
        page = text.report(summary, width).plain
        assert max(map(len, page.split("\n"))) <= 99
        whole = page.replace("\n            ", "")
        assert "on the host /var/lib/layer/" + "x" * 300 in whole and "on the host /h\\x1b" in whole
        assert all(f"program-{pid}\\x0a" in page for pid in range(1, 8))
        assert "note 29" in page and "more note" not in page


def test_those_who_were_watched_are_named() -> None:
    def page(**meta: Any) -> str:
        return text.report(summarise(trace([(0, 0, 10)], **meta))).plain

    assert "\ncommand     docker run x\nwatched     pid:7\n" in page(
        command=("docker", "run", "x"), targets=("pid:7",)
    )
    alone = page(targets=("unit:nginx.service", "user:\x1b"))
    assert "\nwatched     unit:nginx.service, user:\\x1b\n" in alone and "\ncommand " not in alone
    assert "\ncommand     not known\n" in page()
    two = [trace([(0, 0, 10)], targets=(name,)) for name in ("unit:a", "unit:b")]
    shown = text.compare(compare_summary(*two)).plain
    assert "\nfirst       watched unit:a\nsecond      watched unit:b\n" in shown
    assert "\nwatched     unit:a\n" in text.compare(compare_summary(two[0], two[0])).plain
    found = report_json.report(summarise(two[0]))
    assert found["trace"]["targets"] == ["unit:a"] and found["trace"]["command"] == []
