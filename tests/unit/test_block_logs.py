"""Logs of block layers, by blkparse, biosnoop, perf script, trace-cmd and the kernel itself: each on a real,
an empty and a hostile log. The real ones are of one program that reads a loop device, 37 requests each."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from made import with_meta
from matplotlib.text import Text
from mutate_logs import assert_reported

from profiler.analysis.simulation.projection import project, requests
from profiler.capture.block_logs.formats import FORMATS, format_of
from profiler.capture.block_logs.reading import parse
from profiler.cli.commands.remedies.prefetch import prefetch
from profiler.devices import find
from profiler.errors import ColdseekError, UsageError
from profiler.files.traces import load, save
from profiler.report import text as report_text
from profiler.report.figures import KINDS, draw
from profiler.report.figures.cost import cost_table
from profiler.report.figures.gaps import gaps_table
from profiler.report.figures.offsets import offsets_table
from profiler.report.summarise import summarise
from profiler.trace import Trace
from profiler.units import show_plural
from profiler.validity import validate

FOLDER = Path(__file__).resolve().parent.parent / "data" / "block_logs"
LOGS = {
    "blkparse.log": "blktrace",
    "perf.log": "perf",
    "trace.log": "ftrace",
    "trace-cmd.log": "ftrace",
    "biosnoop": "biosnoop",
    "biosnoop -Q": "biosnoop",
    "biosnoop of libbpf": "biosnoop",
}


def content(name: str) -> bytes:
    return (FOLDER / name).read_bytes() if name.endswith(".log") else biosnoop(name)


def biosnoop(name: str) -> bytes:
    """The requests of blkparse.log as biosnoop prints them (bcc: tools/biosnoop.py and
    libbpf-tools/biosnoop.c): it needs a kernel with kprobes, and cannot be run everywhere."""
    trace = parse("blktrace", FOLDER / "blkparse.log")
    rows = trace.events[["time_ns", "duration_ns", "offset", "size"]].astype("int64")
    ends = (rows["time_ns"] + rows["duration_ns"]).to_numpy()
    queue, libbpf = name.endswith("-Q"), name.endswith("libbpf")
    wide = 4 if libbpf else 1
    lines = [
        f"{'TIME(s)':<11} {'COMM':<14} {'PID':<6} {'DISK':<7} {'T':<{wide}} {'SECTOR':<10} "
        f"{'BYTES':<7} "
        f"{'QUE(ms) ' if queue else ''}LAT(ms)"
    ]
    for number in np.argsort(ends, kind="stable").tolist():
        _, took, offset, size = rows.iloc[number].tolist()
        when, letters = (ends[number] - ends.min()) / 1e9, "RA" if libbpf else "R"
        queued = f"{0.01:7.2f} " if queue else ""
        lines.append(
            f"{when:<11.6f} {'my reader 2':<14.14} {6301:<6} {'loop0':<7} {letters:<{wide}} "
            f"{offset // 512:<10} {size:<7}{queued}{took / 1e6:7.3f}"
        )
    return "\n".join(lines).encode() + b"\n"


def parsed(kind: str, log: bytes, folder: Path) -> Trace:
    (folder / "log").write_bytes(log)
    trace = parse(kind, folder / "log")
    validate(trace)
    return trace


# -- real logs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGS)
def test_all_tools_saw_the_same_requests(name: str, tmp_path: Path) -> None:
    trace = parsed(LOGS[name], content(name), tmp_path)
    events = trace.events
    assert (events["layer"] == "device").all() and not len(trace.reads())
    assert len(events) == 37 and events["size"].sum() == 2028 * 1024
    assert (events["duration_ns"] >= 0).all() and trace.meta.complete and trace.meta.device_only
    theirs = parsed("blktrace", content("blkparse.log"), tmp_path).events
    mine, others = ({*zip(of["offset"], of["size"], strict=True)} for of in (events, theirs))
    # read-ahead of three threads that read at once differs from run to run
    assert len(mine & others) >= 30
    (path,) = trace.files["path"]
    assert path == (b"/dev/loop0" if LOGS[name] == "biosnoop" else b"(disk 7:0)")
    assert (trace.files["kind"] == "block").all()


@pytest.mark.parametrize("name", LOGS)
def test_what_they_say_is_kept_and_reported(name: str, tmp_path: Path) -> None:
    trace = parsed(LOGS[name], content(name), tmp_path)
    save(trace, tmp_path / "trace")
    assert_reported(load(tmp_path / "trace"))
    words = report_text.report(summarise(trace), 80).plain
    first = " ".join(words.split("\n")[:2])
    assert first.startswith(
        "The log is of the device layer only, without calls and files: 37 requests, 1.98 MiB"
    )
    whose = {"blkparse.log": "names the log does not tell", "biosnoop": "my reader 2 (37)"}
    assert whose.get(name, "reader") in first


def test_totals_are_those_of_blkparse(tmp_path: Path) -> None:
    log = content("blkparse.log").decode()
    total = log[log.index("Total") :]
    completed, size = map(int, re.findall(r"Reads Completed: +(\d+), +(\d+)KiB", total)[0])
    written = int(re.findall(r"Writes Dispatches: +(\d+)|Write Dispatches: +(\d+)", total)[0][1])
    events = parsed("blktrace", log.encode(), tmp_path).events
    # a flush has no sectors, and blkparse counts it as a read: it is no write
    flushes = len(re.findall(r"  C  ?F?N 0 \[0\]", log))
    assert (len(events), int(events["size"].sum())) == (completed - flushes, size * 1024)
    notes = parsed("blktrace", log.encode(), tmp_path).meta.notes
    assert notes == (f"left out, as a cold start is what is read: {written} write, 20 KiB",)


def test_a_log_that_is_not_as_its_summary_says_is_not_complete(tmp_path: Path) -> None:
    lines = content("blkparse.log").split(b"\n")
    (row,) = [n for n, line in enumerate(lines) if re.search(rb" C +RA 256 ", line)]
    trace = parsed("blktrace", b"\n".join([*lines[:row], *lines[row + 1 :]]), tmp_path)
    assert any(
        note.startswith("INCOMPLETE: the log's own summary has 38 reads") for note in trace.meta.notes
    )
    assert any("of 1 request the log has no end" in note for note in trace.meta.notes)
    assert trace.events["duration_ns"].isna().sum() == 1 and len(trace.events) == 37


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_told_by_its_lines(name: str) -> None:
    assert format_of(content(name)) == LOGS[name]


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("kind", FORMATS)
def test_another_tools_log_is_named_with_its_command(kind: str, name: str, tmp_path: Path) -> None:
    if LOGS[name] == kind:
        return
    with pytest.raises(ColdseekError, match=f"use: coldseek import {LOGS[name]} "):
        parsed(kind, content(name), tmp_path)


def test_a_packed_log_and_one_of_another_system(tmp_path: Path) -> None:
    log = content("perf.log")
    for packed in (gzip.compress(log), log.replace(b"\n", b"\r\n"), log.decode().encode("utf-16")):
        assert len(parsed("perf", packed, tmp_path).events) == 37


# -- what is made of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGS)
def test_projections_take_requests_as_they_are(name: str, tmp_path: Path) -> None:
    trace = parsed(LOGS[name], content(name), tmp_path)
    cold = requests(trace)
    assert cold.requests["device_offset"].tolist() == trace.events["offset"].tolist()
    assert cold.requests["size"].tolist() == trace.events["size"].tolist()
    result = project(cold, find("iops-120"))
    assert (result.requests, result.bytes) == (37, 2028 * 1024)
    assert result.missing == ("what was in memory before the log begins",)
    assert result.metadata_requests is None and result.metadata_source == "among"
    assert 0 < result.seconds <= result.busy_s + 1e-9
    assert project(cold, find("iops-120"), copies=3).requests == 3 * 37


def line(time: str, event: str, tid: int = 7, name: str = "a") -> str:
    return f"{name} {tid} [000] {time}: block:{event}\n"


def test_requests_that_overlap_do_not_wait_for_each_other(tmp_path: Path) -> None:
    apart = "".join(
        line(f"1.{n}00000", f"block_rq_issue: 8,0 R 4096 () {n * 8000} + 8 [a]")
        + line(f"1.{n}50000", f"block_rq_complete: 8,0 R () {n * 8000} + 8 [0]")
        for n in range(4)
    )
    together = "".join(
        line(f"1.{part}{n}0000", f"block_rq_{event}: 8,0 R {size}() {n * 8000} + 8 [a]")
        for part, event, size in ((0, "issue", "4096 "), (5, "complete", ""))
        for n in range(4)
    )
    groups = [
        requests(parsed("perf", log.encode(), tmp_path)).requests["group"] for log in (apart, together)
    ]
    assert groups[0].nunique() == 4 and groups[1].nunique() == 1


def test_numbers_that_no_task_can_have(tmp_path: Path) -> None:
    log = "".join(
        f"a-{tid} ({process}) [000] d..1. 1.00{n}: block_rq_issue: 8,0 R 4096 () {n} + 8 [a]\n"
        for n, (tid, process) in enumerate([(7, 2**31), (8, 0), (9, 4), (2**31, 4)])
    )
    trace = parsed("ftrace", log.encode(), tmp_path)
    assert trace.events["pid"].tolist() == [7, 8, 4] and "1 line could not be read" in trace.meta.notes[0]


def test_who_asked_is_not_who_issued(tmp_path: Path) -> None:
    log = (
        line("1.000000", "block_bio_queue: 8,0 RA 800 + 16 [a]", 7, "qemu img")
        + line("1.000100", "block_split: 8,0 RA 800 / 808 [a]", 7, "qemu img")
        + line("1.000200", "block_rq_issue: 8,0 RA 4096 () 800 + 8 [k]", 9, "kworker/0:1H")
        + line("1.000300", "block_rq_issue: 8,0 RA 4096 () 808 + 8 [k]", 7, "qemu img")
        + line("1.000400", "block_rq_complete: 8,0 RA () 800 + 8 [0]", 0, "swapper/0")
        + line("1.000500", "block_rq_complete: 8,0 RA () 808 + 8 [0]", 0, "swapper/0")
    )
    trace = parsed("perf", log.encode(), tmp_path)
    assert trace.events["pid"].tolist() == [7, 7] and trace.events["tid"].tolist() == [9, 7]
    assert trace.events["op"].tolist() == ["kernel_request", "request"]
    (reader,) = summarise(trace).readers
    assert (reader.name, reader.reads, reader.bytes) == (b"qemu img", 2, 8192)


def test_of_those_who_are_named_alone(tmp_path: Path) -> None:
    log = "".join(
        line(f"1.00{n}", f"block_rq_issue: 8,0 R 4096 () {n * 80} + 8 [a]", tid, name)
        for n, (tid, name) in enumerate([(7, "qemu img"), (8, "fio"), (7, "qemu img"), (9, "fio")])
    )
    (tmp_path / "log").write_text(log)
    for of, count in ((["qemu img"], 2), (["fio"], 2), (["9"], 1), (["7", "8"], 3)):
        trace = parse("perf", tmp_path / "log", of)
        assert len(trace.events) == count and trace.meta.targets == tuple(of)
        assert f"others asked for them: {show_plural(4 - count, 'request')}" in trace.meta.notes[-1]
    with pytest.raises(ColdseekError, match="no request of python; there are those of qemu img, fio"):
        parse("perf", tmp_path / "log", ["python"])


def test_a_request_that_goes_back_into_the_queue_counts_once(tmp_path: Path) -> None:
    log = (
        line("1.0", "block_rq_issue: 8,0 R 4096 () 800 + 8 [a]").replace("1.0:", "1.000:")
        + line("1.001", "block_rq_issue: 8,0 R 4096 () 800 + 8 [a]")
        + line("1.003", "block_rq_complete: 8,0 R () 800 + 8 [0]")
    )
    trace = parsed("perf", log.encode(), tmp_path)
    assert trace.events["duration_ns"].tolist() == [2_000_000]
    assert trace.meta.notes == ("1 request went back into the queue; counted when issued again",)


def test_a_device_without_requests_gives_what_was_asked_of_it(tmp_path: Path) -> None:
    """As of a disk that stands on others: blktrace has its bios, and their ends."""
    log = (
        "253,0 0 1 0.000000000 7 Q R 800 + 8 [a]\n253,0 0 2 0.000500000 0 C R 800 + 8 [0]\n"
        "253,0 0 3 0.001000000 7 Q W 900 + 8 [a]\n"
    )
    trace = parsed("blktrace", log.encode(), tmp_path)
    assert trace.events["duration_ns"].tolist() == [500_000] and trace.meta.notes[0].endswith(
        "1 write, 4 KiB"
    )


def test_what_the_page_cache_took_in_is_told(tmp_path: Path) -> None:
    log = line("1.000", "block_rq_issue: 8,0 R 4096 () 800 + 8 [a]") + (
        "a 7 [000] 1.001: filemap:mm_filemap_add_to_page_cache: dev 8:1 ino 3f pfn=0x1 ofs=4096 order=2\n"
        "a 7 [000] 1.002: filemap:mm_filemap_add_to_page_cache: dev 8:1 ino 40 page=0x5 pfn=1 ofs=4096\n"
    )
    notes = parsed("perf", log.encode(), tmp_path).meta.notes
    assert any(note.startswith("5 pages of 2 files came into the page cache") for note in notes)


def test_lost_events_are_told(tmp_path: Path) -> None:
    log = content("trace.log")
    head = b"# entries-in-buffer/entries-written: 120/420   #P:2\n"
    assert parsed("ftrace", head + log.split(b"\n", 4)[4], tmp_path).meta.lost_events == 300
    assert parsed("ftrace", log + b"CPU:1 [LOST 23 EVENTS]\n", tmp_path).meta.lost_events == 23
    many = b"CPU:1 [LOST 999999999999999999 EVENTS]\n" * 30
    assert parsed("ftrace", log + many, tmp_path).meta.lost_events > 10**18
    skips = content("blkparse.log").replace(b"Skips: 0 forward (0 ", b"Skips: 2 forward (77 ")
    assert parsed("blktrace", skips, tmp_path).meta.lost_events == 77


def test_fio_is_given_no_file_as_large_as_a_disk(tmp_path: Path) -> None:
    from profiler.report.export import export

    trace = with_meta(parsed("perf", content("perf.log"), tmp_path), cache="unknown")
    for kind in ("fio", "fio-job"):
        with (tmp_path / "out").open("wb") as file, pytest.raises(ColdseekError, match="replay --on DEVICE"):
            export(trace, kind, file)


def test_figures_show_the_requests(tmp_path: Path) -> None:
    trace = parsed("perf", content("perf.log"), tmp_path)
    assert len(offsets_table(trace, 0)) == 37 and int(gaps_table(trace, 0)["count"].sum()) == 36
    table = cost_table(trace, [find("iops-120")])
    assert len(table) == 37
    assert table["iops-120"].iloc[-1] == pytest.approx(project(trace, find("iops-120")).seconds)
    for kind in KINDS:
        words = [text.get_text() for text in draw([trace], kind).findobj(Text)]
        assert not any(wrong in " ".join(words) for wrong in ("no reads", "simulated", "slowed down"))


# -- what is refused ---------------------------------------------------------------------------------------

REFUSED = {
    "biosnoop.bt": b"Attaching 4 probes...\nTIME(ms)     DISK    COMM             PID    LAT(ms)\n"
    b"611          nvme0n1 bash             4179       10\n",
    "biolatency": b"Tracing block device I/O... Hit Ctrl-C to end.\n"
    b"     usecs               : count     distribution\n         0 -> 1          : 0        |      |\n",
    "what blktrace itself writes": b"\x07tae" + b"\0" * 60,
    "what perf record writes": b"PERFILE2" + b"\0" * 100,
    "what trace-cmd record writes": b"\x17\x08\x44tracing6\0",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", FORMATS)
def test_what_has_no_sectors_is_refused_with_what_does(kind: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ColdseekError, match=what) as failed:
        parsed(kind, REFUSED[what], tmp_path)
    assert any(
        tool in str(failed.value) for tool in ("biosnoop-bpfcc", "blkparse", "perf script", "trace-cmd")
    )
    assert "\n" not in str(failed.value)


def test_nothing_is_prefetched_of_files_that_nobody_knows(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    save(parsed("blktrace", content("blkparse.log"), tmp_path), where)
    with pytest.raises(UsageError, match="knows no files; record the start"):
        prefetch([str(where)], save=str(tmp_path / "plan"))
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "log", [b"", b"\n", b"\0" * 9000, b"a b c\n", b"x" * 100_000, b"open(3) = 4\n" * 50, b"\x1b[31m\n"]
)
def test_what_holds_nothing_is_refused_in_a_line(kind: str, log: bytes, tmp_path: Path) -> None:
    with pytest.raises(ColdseekError) as failed:
        parsed(kind, log, tmp_path)
    assert str(failed.value).isprintable() and FORMATS[kind].command in str(failed.value)


def test_a_log_of_other_events_says_which_are_needed(tmp_path: Path) -> None:
    log = b"a 7 [000] 1.000: block:block_rq_complete: 8,0 R () 800 + 8 [0]\n"
    with pytest.raises(ColdseekError, match=r"no event of a request issued .* -e block:block_rq_issue"):
        parsed("perf", log, tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_directories_devices_and_nothing(kind: str, tmp_path: Path) -> None:
    for name in (tmp_path, "/dev/zero", tmp_path / "none", "a\0b"):
        with pytest.raises(ColdseekError) as failed:
            parse(kind, name)
        assert str(failed.value).isprintable()
