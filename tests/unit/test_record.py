"""Which files a cold start is about: those whose pages the program needs, and no whole disk."""

from __future__ import annotations

import dataclasses

import pandas as pd
from made import trace

from profiler.capture.record import data_files
from profiler.capture.recorder import FileFacts
from profiler.trace import Trace


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
