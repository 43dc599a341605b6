"""The default report: one screen of 80x24. COLDSEEK_GOLDEN=1 writes the golden screens anew."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import MIB, trace
from report_cases import CASES, check, image, kernel
from rich.cells import cell_len
from test_report_text import Terminal, golden

from profiler.analysis.cost.costs import Cost
from profiler.analysis.cost.walltime import Answer, Waited, WallTime
from profiler.devices import presets
from profiler.devices.loading import find
from profiler.report import text
from profiler.report.summarise import summarise
from profiler.report.summary import Part, Summary
from profiler.report.text.screen import LINES
from profiler.report.verdict.sentences import first_line, second_line

DISK = Answer(1.32, 0.82, 0.5, 0.5 / 1.32, True, measured=True)
SOCKET = "/run/libvirt/libvirt-sock, which another process serves"
DAEMON = WallTime(5.39, 0.2, 0.036, 5.1, 0.054, (Waited(SOCKET, 5.0), Waited("a timer", 0.1)))


def answered(summary: Summary, answer: Answer | None, time: WallTime | None = None) -> Summary:
    return dataclasses.replace(summary, answer=answer, time=time)


SCREENS: dict[str, Summary] = {
    "seed": answered(summarise(CASES["seed"]()), None),
    "check": answered(
        summarise(check()), Answer(2.29, 1.2, 1.09, 1.09 / 2.29, True, True),
        WallTime(5.5, 2.4, 2.7, 0.3, 0.1, (Waited("a child", 0.3),)),
    ),
    "python": answered(summarise(CASES["python"]()), Answer(None, None, None, None, None)),
    "image": answered(
        summarise(image()), Answer(None, None, 1.1, 1.1 / 2.4, True), WallTime(2.4, 1.2, 1.1, None, 0.1)
    ),
    "daemon": answered(
        summarise(kernel(command=("virsh", "start", "vm"), image="", measured={})),
        Answer(5.39, 5.3, 0.036, 0.036 / 5.39, False, True), DAEMON,
    ),
    "hostile": answered(
        summarise(CASES["hostile"]()), Answer(1e9, 0.0, 1e-9, 0.0, False),
        WallTime(1e9, None, None, 1e9, 0.0, (Waited("\x1b[2J" * 90, 1e9),)),
    ),
    "empty": answered(summarise(trace()), None),
    "block": summarise(CASES["block"]()),
}  # fmt: skip


@pytest.mark.parametrize("case", SCREENS)
def test_golden_screens(case: str) -> None:
    golden(f"screen_{case}.txt", text.screen(SCREENS[case], trace="a.trace.parquet").plain + "\n")


def test_a_golden_screen_without_unicode() -> None:
    shown = text.screen(SCREENS["check"], text.Terminal(80, draws=False)).plain
    assert shown.isascii()
    golden("screen_ascii.txt", shown + "\n")


@pytest.mark.parametrize("case", SCREENS)
@pytest.mark.parametrize("width", [40, 80, 99, 1000])
@pytest.mark.parametrize("draws", [True, False])
def test_a_screen_is_no_more_than_a_screen(case: str, width: int, draws: bool) -> None:
    lines = text.screen(SCREENS[case], text.Terminal(width, draws, draws)).plain.split("\n")
    warned = [line for line in lines if line.startswith(("INCOMPLETE", "PARTIAL"))]
    assert max(map(len, lines)) <= min(width, 99)
    if width >= 80:
        assert len(lines) - len(warned) <= LINES + (case == "hostile")


def test_a_log_without_times_has_an_order() -> None:
    summary = dataclasses.replace(SCREENS["check"], meta=dataclasses.replace(check().meta, wall_s=None))
    assert "\n            first " in text.screen(summary).plain


def test_warnings_come_first() -> None:
    made = summarise(check(lost_events=3, notes=("NOT COLD: 3 KiB of /x",)))
    lines = text.screen(made).plain.split("\n")
    assert lines[0].startswith("INCOMPLETE: 3 events lost") and lines[1] == "NOT COLD: 3 KiB of /x"
    assert lines[2].startswith("Cold 2.29 s")


# ---- the first line ---------------------------------------------------------------------------------------


def said(answer: Answer | None, time: WallTime | None = None, **meta: Any) -> str:
    return first_line(answered(summarise(trace([(0, 0, 10)], **meta)), answer, time))


def test_the_disk() -> None:
    assert said(DISK) == "Cold 1.32 s, warm 0.82 s. The disk is 0.50 s of it (38%)."


def test_several_at_once_are_one_sentence() -> None:
    copies = {"count": 3, "own": []}
    assert said(DISK, copies=copies).startswith("3 starts at once, the slowest: cold 1.32 s, warm 0.82 s.")


def test_not_the_disk() -> None:
    answer = Answer(5.39, None, 0.036, 0.036 / 5.39, False, True)
    assert said(answer, DAEMON) == (
        "It is not the disk: 36 ms of 5.39 s; most of the time it waited for "
        "/run/libvirt/libvirt-sock, which another process serves."
    )
    busy = WallTime(5.39, 5.0, 0.036, 0.1, 0.254)
    assert said(answer, busy).endswith("36 ms of 5.39 s; most of the time it was running.")
    unknown = WallTime(5.39, None, 0.036, None, 5.354)
    assert said(answer, unknown).endswith("what it did most of the time is not known.")
    assert "(warm 5.3 s)" in said(dataclasses.replace(answer, warm_s=5.3), DAEMON)


def test_what_is_unseen_makes_it_at_least() -> None:
    traced = Answer(None, None, 0.5, 0.5 / 1.32, True)
    time = WallTime(1.32, 0.7, 0.5, 0.1, 0.02)
    assert said(traced, time, cache="cold") == "Cold 1.32 s while traced. The disk is 0.50 s of it (38%)."
    assert "The disk is at least 0.50 s of it" in said(traced, time, lost_events=1)
    assert "The disk is at least 0.50 s of it" in said(traced, time, unseen=("mmap",))
    not_it = dataclasses.replace(traced, disk_s=0.01, disk_share=0.01, is_disk=False)
    assert "It is not the disk" in said(not_it, time, cache="cold")
    assert "it is not the disk" not in said(not_it, time, partial="killed").lower()


def test_a_traced_start_is_called_cold_only_where_it_was_to_be() -> None:
    """Of what was cached already a start waits for no disk, which tells nothing of a cold one."""
    traced = Answer(None, None, 0.5, 0.5 / 1.32, True)
    time = WallTime(1.32, 0.7, 0.5, 0.1, 0.02)
    command: dict[str, Any] = {"command": ("node", "-e", "1")}
    kept = "With the cache as it was, it took 1.32 s while traced. The disk is 0.50 s of it (38%)."
    assert said(traced, time, cache="keep", **command) == kept
    assert said(traced, time, **command) == kept
    assert said(traced, time, cache_asked="cold", **command).startswith("Cold 1.32 s while traced.")
    assert said(traced, time, cache="warm", **command).startswith("Warm 1.32 s while traced. The disk")
    watched = said(traced, time, unseen=("early",), **command)
    assert watched.startswith("Watched for 1.32 s. The disk is at least 0.50 s of it")
    not_it = Answer(None, None, 0.01, 0.01 / 1.32, False)
    assert said(not_it, time, cache="warm", **command).startswith(
        "Warm, it is not the disk: 10 ms of 1.32 s"
    )
    assert said(not_it, time, cache="keep", **command) == (
        "With the cache as it was, it is not the disk: 10 ms of 1.32 s while traced; most of the time it "
        "was running."
    )
    measured = Answer(5.39, None, 0.036, 0.036 / 5.39, False, True)
    assert said(measured, DAEMON, cache="warm").startswith("It is not the disk: 36 ms of 5.39 s")


def test_what_is_not_known_is_said() -> None:
    assert said(None).startswith("How long it takes cold was not measured")
    assert first_line(answered(summarise(check()), None)) == (
        "Cold 2.29 s, warm 1.2 s. How much of it is the disk is not known."
    )
    assert said(Answer(2.0, None, None, None, None)).startswith("Cold 2 s, warm not measured.")
    assert said(Answer(None, 2.0, None, None, None)).startswith("Warm 2 s, cold not measured.")


def test_a_short_start_is_not_said_not_to_be_the_disk() -> None:
    short = Answer(0.054, 0.021, 0.033, 0.61, False, True)
    assert said(short) == ("Cold 54 ms, warm 21 ms. The disk is 33 ms of it (61%), too short to be noticed.")


seconds = st.none() | st.floats(0, 1e9)


@settings(max_examples=100, deadline=None)
@given(seconds, seconds, seconds, st.none() | st.booleans(), st.booleans(), st.floats(0, 1e9), seconds)
def test_any_answer_is_one_line(
    cold: float | None, warm: float | None, disk: float | None, is_disk: bool | None, measured: bool,
    wall: float, part: float | None,
) -> None:  # fmt: skip
    share = None if disk is None or not cold else min(disk / cold, 1.0)
    time = WallTime(wall, part, part, part, wall, (Waited("\x1b", part or 0.0),))
    line = first_line(answered(SCREENS["empty"], Answer(cold, warm, disk, share, is_disk, measured), time))
    assert line.endswith(".") and line.isprintable() and "None" not in line


# ---- what costs -------------------------------------------------------------------------------------------


def cost(
    path: bytes, how: str = "read", size: int = MIB, waited: float | None = None, file: int = 0
) -> Cost:
    return Cost(file, path, "", how, 7, size, waited, True)


def test_what_costs_most_is_named() -> None:
    rows = (cost(b"/bin/node", "mapped", 66 * MIB), cost(b"/etc/ssl/ca.crt", "read", MIB, file=1))
    made = dataclasses.replace(summarise(trace([(1, 0, 10)])), costs=rows)
    assert second_line(made) == "node is most of it (99%): 7 requests, 66 MiB of 67 MiB, mapped."
    rows = tuple(
        cost(b"/lib/%d" % number, size=(5 - 2 * (number > 0)) * MIB, file=number) for number in range(3)
    )
    made = dataclasses.replace(made, costs=rows)
    assert second_line(made) == "0 costs most (45%): 7 requests, 5 MiB of 11 MiB, read."
    rows = tuple(cost(b"/lib/%d" % number, file=number) for number in range(9))
    made = dataclasses.replace(made, costs=rows)
    assert second_line(made) == "None of 9 files stands out: 63 requests, 9 MiB in all, read."


def test_a_file_read_by_one_call_has_no_pattern() -> None:
    made = summarise(trace([(0, 0, 832), (1, 0, 400)], files=[b"/lib/libz.so", b"/etc/x"], command=("git",)))
    rows = (cost(b"/lib/libz.so", size=8192), cost(b"/etc/x", size=4096, file=1))
    assert second_line(dataclasses.replace(made, costs=rows)) == (
        "libz.so is most of it (67%): 7 requests, 8 KiB of 12 KiB, read."
    )


def test_a_healthy_image_is_told_from_its_program() -> None:
    meta: dict[str, Any] = {"image": "disk0.qcow2", "cwd": "/vm", "command": ("/usr/bin/qemu-img", "info")}
    made = summarise(trace([(0, 0, 65536), (0, 65536, 30000)], files=[b"/vm/disk0.qcow2", b"/b"], **meta))
    rows = (cost(b"/usr/bin/qemu-img", "mapped", 10 * MIB, file=1), cost(b"/vm/disk0.qcow2", size=95536))
    parts = (Part("program", 1, 7, 4 * MIB, None, 0.6), Part("library", 3, 9, 6 * MIB, None, 0.38))
    made = dataclasses.replace(made, costs=rows, parts=parts, focus=None)
    assert second_line(made) == (
        "disk0.qcow2: 2 reads, 93.3 KiB, healthy; the rest is qemu-img itself (10 MiB of program and "
        "libraries)."
    )


def test_costs_of_any_name_fit() -> None:
    names = [b"/" + b"x" * 500, b"/\x1b[2J\n\xff", "/\u202e\u4e2d\u6587".encode() * 20]
    rows = tuple(cost(name, size=2**62, waited=1e9, file=number) for number, name in enumerate(names))
    lines = text.screen(dataclasses.replace(SCREENS["check"], costs=rows)).plain.split("\n")
    (at,) = [number for number, line in enumerate(lines) if line.startswith("costs")]
    table = lines[at : at + 4]
    assert table[0].endswith("waited")
    assert max(map(cell_len, table)) <= 80 and all(line.endswith("h 47 min") for line in table[1:])
    assert max(map(len, lines)) <= 80 and not [line for line in lines if not line.isprintable()]


# ---- terminals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "draws"),
    [
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LANG": "C.utf8", "TERM": "xterm"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, True),
        ({}, False),
        ({"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_GB.UTF-8", "TERM": "dumb"}, False),
    ],
)
def test_pictures_only_where_they_show(environ: dict[str, str], draws: bool) -> None:
    assert text.terminal(io.StringIO(), 80, environ).draws == draws


def test_colours_only_where_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.terminal(Terminal(), 80).colours and not text.terminal(io.StringIO(), 80).colours
    monkeypatch.setenv("TERM", "dumb")
    assert not text.terminal(Terminal(), 80).colours
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not text.terminal(Terminal(), 80).colours


def test_what_an_encoding_lacks_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    text.write(text.screen(SCREENS["check"]), stream)
    stream.flush()
    assert b"\\u2588" in stream.buffer.getvalue()  # type: ignore[attr-defined]


# ---- the other commands -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Probe:
    works: bool
    why: str
    remedy: str = ""


def test_golden_doctor() -> None:
    root_only = Probe(
        False, "only root can read the kernel's trace events; use sudo", "take --tracer ptrace"
    )
    sections = [
        ("tracers", [("kernel", root_only), ("ptrace", Probe(True, "sees every read call"))]),
        ("page cache", [("mincore", Probe(True, "tells 1 MiB of 1 MiB cached; of files you own only"))]),
    ]
    answers = [("yes", "a start can be traced"), ("NO", "a start can be made and proved cold " + "x" * 99)]
    page = text.doctor(sections, answers).plain
    assert max(map(len, page.split("\n"))) <= 80
    golden("screen_doctor.txt", page + "\n")


def test_the_devices_fit_a_terminal() -> None:
    for width in (60, 80, 99):
        for page in (text.devices(presets(), width), text.sources(presets(), width)):
            lines = page.plain.split("\n")
            assert max(map(len, lines)) <= width
            assert sum(not line.startswith(" ") for line in lines) == len(presets())
    assert len(text.devices(presets(), 80).plain.split("\n")) == len(presets())
    assert "Barracuda" in text.sources([find("hdd-7200")], 80).plain
