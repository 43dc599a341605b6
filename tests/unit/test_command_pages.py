"""What the commands that run something print, of made results: the pages of `record`, `attach`, `prefetch`,
`open`, `calibrate`, `replay` and `doctor`. COLDSEEK_GOLDEN=1 writes them anew; test_golden_commands compares
them with what real runs print."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_pages import fits
from made import MIB, trace
from report_cases import RUNS, check
from test_report_text import golden

from profiler.analysis.replayed import Expected, Replayed
from profiler.capture import tracer
from profiler.cli.commands import attach, open_image
from profiler.cli.commands.compare import write_page
from profiler.cli.commands.machine import calibrate
from profiler.cli.commands.machine.doctor import answers
from profiler.cli.commands.remedies import prefetch
from profiler.cli.output import say, sum_up
from profiler.devices.fitting.fit import Fitted
from profiler.devices.flash import Flash
from profiler.facts.replays import Played, Replay
from profiler.machine.page_cache.prefetch import Changed, Prefetched
from profiler.machine.probe import Probe
from profiler.plan import KnownFile, Plan
from profiler.report import text
from profiler.report.text.calibration import calibration
from profiler.units import device_name

ALL_WORKS = {
    "tracers": {
        "kernel": "sees reads, page cache misses and device requests, and hardly slows down",
        "ptrace": "sees every read call with offset and size, needs no privileges",
        "strace": "strace 6.1 works with -f, --seccomp-bpf, --decode-pids=comm",
    },
    "watching": {
        "others": "what daemons start for a command is seen (--with, attach), and nothing is stopped",
    },
    "page cache": {
        "drop_caches": "/proc/sys/vm/drop_caches may be written: cold starts are cold with names and inodes "
        "too",
        "fadvise": "a written file of 1 MiB was evicted, and that was checked",
        "cachestat": "tells 1 MiB of 1 MiB cached",
        "mincore": "tells 1 MiB of 1 MiB cached",
    },
}


def record() -> None:
    say(tracer.choose("ptrace")[1])
    lost = trace(
        [(0, 0, 3000), (1, 0, 3584)], lost_events=23, partial="ended by SIGTERM",
        notes=("INCOMPLETE: the buffer was full; more memory",),
    )  # fmt: skip
    sum_up(lost, "cat.trace.parquet")


def attached() -> None:
    say(attach.begins(["pid:1234"]))
    sum_up(trace([(0, 0, 3000), (1, 0, 3584)]), "daemon.trace.parquet")


def prefetched() -> None:
    files = []
    for name in ("data", "more"):
        Path(name).write_bytes(b"x")
        facts = os.stat(name)
        known = device_name(facts.st_dev), facts.st_ino, facts.st_size, facts.st_mtime_ns
        files.append(KnownFile(os.fsencode(name), "regular", *known))
    plan = Plan(tuple(files), ((0, 0, 2 * MIB, 0), (0, 8 * MIB, 65536, 1), (1, 0, 4096, 2)))
    prefetch.show(plan)
    denied = Changed(b"/dev/sda", "cannot be read (Permission denied)")
    got = Prefetched(2 * MIB + 65536 + 4096, 2 * MIB, (denied,))
    for line in prefetch.done(plan, got, 0.0573, of_trace=True):
        say(line)


def opened() -> None:
    used = {"user_s": 0.4, "system_s": 0.2}
    runs = {name: [run | used for run in runs] for name, runs in RUNS.items()}
    facts = {"measured": runs, "unseen": ("readahead",), "wall_s": 2.4}
    cold, warm = check(cache="cold", **facts), check(cache="warm", **facts)
    Path("out").mkdir()
    comparison, page = open_image.report_of(cold, warm, "out")
    open_image.tell(
        page, "out", lambda: write_page(comparison, (cold, warm), "out"), sorted(open_image.PLOTS)
    )


def calibrated() -> None:
    kib = 1024
    sizes = {4 * kib << number: 60.0 * 1.3**number for number in range(9)}
    flash = Flash(tuple((float(size), us) for size, us in sizes.items()), 1300.0, channels=3.41)
    found = Fitted(
        flash, 0.87, 1.2, sizes, dict.fromkeys(sizes, 100), 63.0, 100,
        {1: 15_432.0, 2: 31_000.0, 4: 52_000.0, 8: 81_000.0, 16: 99_000.0, 32: 101_000.0},
        {MIB << 2 * number: 0.06 for number in range(4)}, 1152.0, 1302.0, 5, 4.7,
        ("the kernel calls it rotational, yet its latency does not depend on distance: taken as flash",
         "a virtual disk and a new file: its host may still have it in memory, so that older files may be "
         "slower. --existing measures old ones."),
        ((0, 0), (10_000, 109)),
    )  # fmt: skip
    where = "a new file of 256 MiB on vda (256 GiB, virtual), ext4, Linux 6.18.44; 5 rounds in 3.28 s"
    print(calibration(found, where).plain)
    say(calibrate.use_of("mine.toml"))


PLAYED = Replay(
    "/data", "directory", "device", False, "fio-3.33", 133, 19_332_096,
    tuple(Played(wall_s, wall_s - 0.004, 133, 19_332_096) for wall_s in (0.0291, 0.0224, 0.0318)), (0, 0, 0),
    scratch_bytes=19_332_096, extents=108,
)  # fmt: skip


def replayed() -> None:
    print(text.replay(Replayed(PLAYED, (Expected("mine", 0.0273, 0.0232, 0.0335),), 121)).plain)


def replayed_calls() -> None:
    calls = dataclasses.replace(
        PLAYED, layer="syscall", pauses=True, kind="block device", place="/dev/vdb", folded=2,
        resident_before_bytes=(0, 4096, 0),
    )  # fmt: skip
    print(text.replay(Replayed(calls)).plain)


def examined() -> None:
    probes = [(title, [(name, Probe(True, why)) for name, why in found.items()])
              for title, found in ALL_WORKS.items()]  # fmt: skip
    print(text.doctor(probes, answers(True, True, True)).plain)


PAGES: dict[str, Callable[[], None]] = {
    "record": record, "attach": attached, "prefetch": prefetched, "open": opened, "calibrate": calibrated,
    "doctor": examined, "replay": replayed, "replay_calls": replayed_calls,
}  # fmt: skip
BELOW = {"open": 7}
"""Lines below the screen: where the figures lie, each as it is drawn."""


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_made_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(tracer, "probe", lambda name: Probe(True, ALL_WORKS["tracers"][name]))
    monkeypatch.setattr(tracer, "make_tracer", lambda *_: None)
    PAGES[name]()
    got = capsys.readouterr()
    shown = got.out.splitlines()
    assert fits(shown[: len(shown) - BELOW.get(name, 0)]) and fits(shown, 99)
    golden(f"command_{name}.txt", f"{got.out}--- stderr\n{got.err}")
