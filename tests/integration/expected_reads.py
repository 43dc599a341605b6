"""Programs in C that write down what a perfect tracer records of them, and what a tracer did record.

Each is run in a directory of its own, and appends a line `PATH OFFSET SIZE` to the file that $EXPECT names
for every read that it makes: see tests/programs/own.h.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from conftest import PATIENCE_S, ROOT, need_tool

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.trace import Trace

PROGRAMS = ROOT / "tests" / "programs"

Reads = Counter[tuple[str, int | None, int]]


@dataclass(frozen=True)
class Observed:
    """What a program said that it read, and what was recorded of it."""

    expected: Reads
    recorded: Reads
    trace: Trace

    @property
    def missing(self) -> Reads:
        return self.expected - self.recorded

    @property
    def extra(self) -> Reads:
        return self.recorded - self.expected


def build(name: str, directory: Path, *options: str) -> Path:
    """The program made of tests/programs/NAME.c, in `directory`."""
    program = directory / name
    source = PROGRAMS / f"{name}.c"
    command = [need_tool("gcc"), "-O1", "-w", "-pthread", *options, "-o", program, source]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    return program


def observe(program: Path, tracer_name: str, directory: Path, *arguments: str) -> Observed:
    """Run `program` in `directory` under a tracer that works here."""
    expect = directory / "expect.txt"
    before = {name: os.environ.get(name) for name in ("EXPECT", "OWNDIR")}
    os.environ.update(EXPECT=str(expect), OWNDIR=str(directory))
    cwd = os.getcwd()
    os.chdir(directory)
    try:
        chosen, _ = tracer.choose(tracer_name)
        trace = chosen.record(Recording([str(program), *arguments]))
    finally:
        os.chdir(cwd)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    expected: Reads = Counter()
    for line in expect.read_text().splitlines() if expect.exists() else ():
        path, offset, size = line.rsplit(None, 2)
        expected[path, int(offset), int(size)] += 1
    paths = {path for path, _, _ in expected}
    reads = trace.reads()
    rows = zip(reads["path"], reads["offset"], reads["size"], strict=True)
    named = ((os.fsdecode(path).removesuffix(" (deleted)"), offset, size) for path, offset, size in rows)
    unknown = reads["offset"].isna()
    recorded = Counter(
        (path, None if missing else int(offset), int(size))
        for (path, offset, size), missing in zip(named, unknown, strict=True)
        if path in paths
    )
    return Observed(expected, recorded, trace)


def leaves(observed: Observed) -> str:
    """What does not agree, for the message of a test."""
    return f"missing {sorted(observed.missing, key=str)}, extra {sorted(observed.extra, key=str)}"
