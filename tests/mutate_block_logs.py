"""Logs of block layers, and what a hostile hand could make of them: for the tests and `scripts/fuzz-logs`.

A case is a log of one tool, made of lines that each may be true or taken from tests/data/block_logs, changed
as `mutate_logs` changes those of strace, and read as a log of each tool.
"""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from pathlib import Path

import mutate_logs
from mutate_logs import Case, Number

from profiler.analysis.simulation.projection import project, requests
from profiler.capture.block_logs.formats import FORMATS, kind_of
from profiler.capture.block_logs.reading import parse
from profiler.devices import find
from profiler.errors import ColdseekError
from profiler.files.traces import load, save
from profiler.report import json as report_json
from profiler.report import text as report_text
from profiler.report.summarise import summarise
from profiler.trace import Trace
from profiler.validity import validate

FOLDER = Path(__file__).resolve().parent / "data" / "block_logs"
NAMES = tuple(sorted(path.name for path in FOLDER.iterdir()))

UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that a name is shown without: controls, surrogates, ends of lines."""

_NUMBERS = (
    b"0", b"-1", b"1", b"7", b"8", b"255", b"2048", b"8388607", b"8388608", b"8388609", b"2147483647",
    b"2147483648", b"4294967295", b"18014398509481983", b"18014398509481984", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"9" * 40, b"9" * 5000, b"",
)  # fmt: skip
_LETTERS = (b"R", b"R", b"RA", b"RM", b"RSM", b"W", b"WS", b"FWFS", b"D", b"N", b"FF", b"ZR", b"", b"X" * 40)
_COMMS = (
    b"a",
    b"qemu img",
    b"kworker/0:1H",
    b"a-7",
    b"[x]",
    b"a] 7 [000] 1.0:",
    b"\x1b[31m",
    b"\xff",
    b"n" * 70,
)
_EVENTS = (
    b"block_bio_queue: %v %l %s + %n [%c]", b"block_rq_issue: %v %l 4096 () %s + %n be,0,4 [%c]",
    b"block_rq_complete: %v %l () %s + %n be,0,4 [0]", b"block_rq_issue: %v %l %n (28 00 00) %s + %n [%c]",
    b"block_bio_remap: %v %l %s + %n <- (8,1) %n", b"block_split: %v %l %s / %s [%c]",
    b"mm_filemap_add_to_page_cache: dev 254:0 ino %n pfn=0x1 ofs=%n order=%n", b"block_plug: [%c]",
)  # fmt: skip
_PERF = b"%16c %7d [000] %t: %e"
_LINES: dict[str, tuple[bytes, ...]] = {
    "blktrace": (
        b"  %v    0  %n  %t  %d  %a  %l %s + %n [%c]", b"  %v    0  %n  %t  %d  C  %l %s + %n [0]",
        b"  %v    0  %n  %t  %d  X  %l %s / %s [%c]", b"  %v 1 0 %t %d m N %c", b"Total (start):",
        b" Reads Completed:  %n,  %nKiB\t Writes Completed:  %n,  %nKiB", b"Skips: %n forward (%n -   0.0%)",
    ),
    "biosnoop": (
        b"TIME(s)     COMM           PID    DISK    T SECTOR     BYTES   LAT(ms)",
        b"%t    %c   %d   vda     %l %s    %n   %n.50",
        b"%t %c %d vda %l %s %n 0.01 %n.00", b"Possibly lost %n samples",
    ),
    "perf": (b"%c  %d [000] %t: block:%e", b"%c %d/%d %t: 1 block:%e", b"\tffffffff81 blk (k)", b""),
    "ftrace": (
        b"%c-%d [000] d..1. %t: %e", b"%c-%d   (%d) [001] %t: %e", b"imp: %c-%d [000] %t: %e",
        b"CPU:1 [LOST %n EVENTS]", b"# entries-in-buffer/entries-written: %n/%n   #P:2",
    ),
}  # fmt: skip


def usual() -> Case:
    """One as a tool writes it, to load all that reading it takes."""
    return {"log": (FOLDER / "perf.log").read_bytes()}


def generated(number: Number) -> bytes:
    """A log of one tool, of lines that each may be true."""
    lines = _LINES[(*_LINES,)[number(len(_LINES))]]
    time_us, made = number(86_400), []

    def word(kind: bytes) -> bytes:
        if kind == b"t":
            return b"%d.%06d" % divmod(time_us, 10**6)
        if kind == b"v":
            return (b"8,0", b"254,0", b"254,16", b"9999999,9")[number(4) if number(9) == 0 else 0]
        if kind == b"l":
            return _LETTERS[number(len(_LETTERS) if number(4) == 0 else 3)]
        if kind == b"c":
            return _COMMS[number(len(_COMMS) if number(3) == 0 else 3)]
        if kind == b"a":
            return (b"Q", b"D", b"C", b"A", b"M", b"R")[number(6) if number(3) == 0 else number(3)]
        if kind == b"e":
            return filled(_EVENTS[number(len(_EVENTS) if number(4) == 0 else 3)])
        if number(12) == 0:
            return _NUMBERS[number(len(_NUMBERS))]
        return b"%d" % ((8 * number(200)) if kind == b"s" else 8 * (1 + number(4)))

    def filled(line: bytes) -> bytes:
        parts = line.split(b"%")
        return parts[0] + b"".join(word(part[:1]) + part[1:] for part in parts[1:])

    for _ in range(1 + number(120)):
        time_us += (0, 1, 50, 40_000)[number(4)]
        made += [filled(lines[number(len(lines)) if number(3) == 0 else 0])] * (1, 1, 1, 9)[number(4)]
    return b"\n".join(made) + b"\n"


def mutated(number: Number) -> Case:
    """A log with up to a dozen changes."""
    log = generated(number) if number(3) else (FOLDER / NAMES[number(len(NAMES))]).read_bytes()
    for _ in range(number(12)):
        log = mutate_logs.changed(log, number)
    log = log[:60_000]
    return {"log": mutate_logs.packed(log, number) if number(8) == 0 else log}


def check(case: Case, thorough: bool = False) -> Trace | None:
    """What any log has to be: refused in one line, or a sound trace, and a report of what it holds."""
    found: Trace | None = None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        Path(path).write_bytes(case["log"])
        assert kind_of(path) in ("strace", *FORMATS)
        for kind in FORMATS:
            try:
                trace = parse(kind, path)
            except ColdseekError as error:
                assert is_shown(str(error), 2000), "one line, whatever the log holds"
                continue
            assert_sound(trace)
            found = trace
            if thorough:
                save(trace, os.path.join(folder, "trace"))
                again = load(os.path.join(folder, "trace"))
                mutate_logs.assert_alike(again, trace)
                assert_reported(trace)
    return found


def is_shown(words: str, most: int) -> bool:
    """Whether it is a line that no terminal takes for a command."""
    return len(words) < most and not any(unicodedata.category(one) in UNSAFE for one in words)


def assert_sound(trace: Trace) -> None:
    validate(trace)
    assert trace.meta.device_only and (trace.events["layer"] == "device").all()
    assert (trace.files["kind"] == "block").all() and trace.meta.lost_events >= 0
    for words in (*trace.meta.notes, trace.meta.partial):
        assert is_shown(words, 3000)


def assert_reported(trace: Trace) -> None:
    """The report and the projection count what the trace holds."""
    events, summary = trace.events, summarise(trace)
    words = report_text.report(summary, 80).plain
    assert "\x1b" not in words and "device layer only" in words
    found = json.loads(report_json.dumps(report_json.report(summary)))
    assert found["device"]["requests"] == len(events) or not len(events)
    assert found["device"]["bytes"] in (sum(events["size"].tolist()), None)
    assert sum(one["reads"] for one in found["read_by"]) == len(events)
    projected = project(requests(trace), find("iops-120"))
    assert (projected.requests, projected.bytes) == (len(events), sum(events["size"].tolist()))
