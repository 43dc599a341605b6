"""Which files a cold start is about: those whose pages the program needs, and no whole disk."""

from __future__ import annotations

import dataclasses
import os
import sys

import pandas as pd
from made import below, trace

from profiler.capture.watch.whom.waits import Peer, Waits
from profiler.studies.record import data_files
from profiler.studies.unforeseen import unforeseen, unwatched
from profiler.trace import FileFacts, Trace


def seen(*events: tuple[str, str, str]) -> Trace:
    """A trace of events, each (layer, op, kind of the file), on a file of its own named as its number."""
    files = [FileFacts(b"%d" % number, "8:0", kind=kind) for number, (_, _, kind) in enumerate(events)]
    made = trace([(number, 0, 4096) for number in range(len(events))], files)
    columns = {
        name: pd.Series([event[place] for event in events], dtype="category")
        for place, name in enumerate(("layer", "op"))
    }
    return dataclasses.replace(made, events=made.events.assign(**columns))


def test_what_calls_name_counts_also_a_disk() -> None:
    found = seen(
        ("syscall", "pread64", "regular"), ("syscall", "open", "regular"), ("syscall", "read", "block"),
        ("syscall", "read", "pipe"), ("syscall", "open", "directory"),
    )  # fmt: skip
    assert data_files(found) == [b"0", b"1", b"2"]


def test_a_disk_that_only_served_it_is_left_alone() -> None:
    found = seen(
        ("device", "request", "block"), ("device", "kernel_request", "block"),
        ("cache", "miss", "block"), ("cache", "miss", "metadata"), ("cache", "miss", "unknown"),
    )  # fmt: skip
    assert data_files(found) == []


def test_executables_and_libraries_that_it_maps_count() -> None:
    assert data_files(seen(("cache", "miss", "regular"), ("cache", "fault", "regular"))) == [b"0", b"1"]


def test_events_of_no_file_are_no_file() -> None:
    made = seen(("syscall", "read", "regular"))
    assert data_files(dataclasses.replace(made, events=made.events.assign(file=-1))) == []


def test_what_nobody_looked_at_is_noted_and_no_proof_where_it_is_the_most() -> None:
    files = [FileFacts(b"%d" % number, "8:0", size=10_000, kind="regular") for number in range(3)]
    made = trace([(0, 0, 5000), (0, 0, 9000), (1, 0, 6000), (2, 0, 1000)], files)  # 10,000, 6,000 and 1,000
    every = [b"0", b"1", b"2"]
    assert unforeseen(made, every, [], "fadvise") == ("", "")
    note, fault = unforeseen(made, every, [b"1", b"2"], "fadvise")
    assert note.startswith("2 files of the 3 that were used, and 6.84 KiB of 16.6 KiB, were not looked at")
    assert "nor dropped" in note and not fault
    note, fault = unforeseen(made, every, [b"0"], "fadvise")
    assert fault.startswith("NOT PROVED COLD: 1 file of the 3")
    note, fault = unforeseen(made, every, [b"0"], "drop_caches")
    assert note.endswith("they were dropped with all the rest") and not fault


def test_what_others_read_has_to_be_seen_to_come_in() -> None:
    """Where a daemon does the work it runs already, and what it has mapped no one can drop."""
    client = os.fsencode(os.path.realpath(sys.executable))
    files = [FileFacts(name, "8:0", size=size, kind="regular") for name, size in
             ((client, 10**6), (b"/data", 10_000), (b"/more", 1000))]  # fmt: skip
    made = trace([(0, 0, 10**6), (1, 0, 10_000), (2, 0, 1000)], files, command=(sys.executable,))
    every = [client, b"/data", b"/more"]
    brought = below(made, [(50, "miss", 1, 0, 8000)])
    note, fault = unforeseen(brought, every, [b"/data"], "drop_caches", watched=True)
    assert (
        note.endswith("dropped with all the rest, and of these 7.81 KiB were seen to come in") and not fault
    )
    note, fault = unforeseen(made, every, [b"/data"], "drop_caches", watched=True)
    assert fault.startswith("NOT PROVED COLD: 1 file of the 3") and fault.endswith(
        "0 B were seen to come in"
    )
    assert not unforeseen(made, every, [b"/data"], "drop_caches")[1]  # the program itself started anew
    assert not unforeseen(made, every, [b"/more"], "drop_caches", watched=True)[1]  # the lesser part
    assert unforeseen(made, every, [b"/data"], "fadvise", watched=True)[1].startswith("NOT PROVED COLD")
    assert not unforeseen(made, every, [b"/data"], "fadvise")[1]


def test_a_start_that_another_process_did_is_not_proved_cold() -> None:
    waits = Waits(os.getpid())
    waits._waited, waits._ended = {Peer(23, "dockerd", "/run/docker.sock"): 1.0}, waits._began + 1.5
    left_out = "not watched: pid:23, who do the command's work"
    for note in (waits.told(), f"INCOMPLETE: {left_out}: no root", f"{left_out}, as asked"):
        assert unwatched(["another", note]).startswith("NOT PROVED COLD: another process did work")
    assert unwatched([]) == unwatched(["INCOMPLETE: the buffer was full"]) == ""
