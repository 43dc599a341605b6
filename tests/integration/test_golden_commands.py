"""What each command prints, at 80 columns.

Those that read traces do so of made ones; COLDSEEK_GOLDEN=1 writes that anew. Of those that run something
numbers vary from run to run, and words do not: their pages are made by tests/unit/test_command_pages.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, coldseek, need, need_root, need_tool

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from golden_pages import COLUMNS, LINES, Page
from made import MIB, trace
from report_cases import check, image, run

from profiler.files.traces import save

DATA = ROOT / "tests" / "data"

COMMANDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "report": ("report", "check.trace.parquet"),
    "full": ("report", "check.trace.parquet", "--full"),
    "project": ("project", "check.trace.parquet"),
    "copies": ("project", "check.trace.parquet", "--copies", "4", "--device", "hdd-7200"),
    "compare": ("compare", "check.trace.parquet", "warm.trace.parquet"),
    "compare_many": ("compare", "many.trace.parquet", "many-warm.trace.parquet"),
    "advise": ("advise", "image.trace.parquet"),
    "plot": ("plot", "check.trace.parquet"),
    "export": ("export", "check.trace.parquet", "--to", "folded", "-o", "start.folded"),
    "export_help": ("export", "--help"),
    "replay_help": ("replay", "--help"),
    "import": ("import", "strace", "seed.strace"),
    "devices": ("devices",),
}
LONG = {"full", "project", "compare", "compare_many", "replay_help", "advise", "devices"}
"""Pages that have more lines than a terminal: what they list has no end that fits."""

MANY = {
    "cold": [run(wall, 0, 41 * MIB) for wall in (1.23, 1.2, 1.26, 1.21, 1.79, 1.24, 1.22, 1.25)],
    "warm": [run(wall, 41 * MIB, 0) for wall in (1.2, 1.19, 1.24, 1.22, 1.21, 1.25, 1.18, 1.23)],
}
"""Starts in which the disk makes little difference, and one was disturbed."""

LOG = "\n".join(
    ['100 openat(AT_FDCWD, "disk0.qcow2", O_RDONLY) = 3']
    + [f'100 pread64(3, "..."..., 4096, {143360 + number * 8388608}) = 4096' for number in range(40)]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("golden")
    save(check(), str(place / "check.trace.parquet"))
    save(check(cache="warm", wall_s=3.0), str(place / "warm.trace.parquet"))
    for name, cache in (("many", "cold"), ("many-warm", "warm")):
        save(check(cache=cache, measured=MANY), str(place / f"{name}.trace.parquet"))
    save(image(), str(place / "image.trace.parquet"))
    (place / "seed.strace").write_text(LOG + "\n")
    return place


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_print_what_they_printed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"LINES": str(LINES), "LC_ALL": "C.UTF-8", "TERM": "xterm"}.items():
        monkeypatch.setenv(variable, value)
    done = coldseek(*COMMANDS[name], cwd=folder)
    assert done.returncode == 0, done.stderr
    got = f"{done.stdout}--- stderr\n{done.stderr}"
    assert all(len(line) <= COLUMNS for line in done.stdout.splitlines())  # messages are for scripts, too
    assert "\x1b" not in got
    assert name in LONG or len(done.stdout.splitlines()) <= LINES
    golden = DATA / f"command_{name}.txt"
    if os.environ.get("COLDSEEK_GOLDEN"):
        golden.write_text(got)
    assert got == golden.read_text()


# ---- real runs -------------------------------------------------------------------------------------------

OPEN = Page(
    alike={r"at least #": "#", r"; (start #|# if in one piece)": ""},  # as they have room
    # the verdict, the files that cost most, the picture; and how the time is shared out
    other=r"(?!(time\b  |costs|cold waits|not seen|more|trace|report|plot)|  (hdd|sata|nvme)|---|\Z)",
    optional=r"time|not seen",
)
CALIBRATE = Page(
    alike={r" on .*, Linux .*;": " on DISK;", r"(flash|disk): .*;": "DEVICE;"},
    other=r"  #|  *#",
    optional=r"note|handed over|page cache|pauses",
)

REPLAY = Page(
    alike={
        r"on  /.*, # of scratch files .*": "on FOLDER",
        r"^  (mine|sata-ssd)\b.*": "DEVICE",
        r"fio-#": "FIO",
    }
)


def compared(
    name: str, page: Page, done: subprocess.CompletedProcess[str], stderr: str | None = None
) -> None:
    """Fails where a row of what was printed is not that of the golden page, whatever its numbers are."""
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= COLUMNS for line in done.stdout.splitlines())
    got = f"{done.stdout}--- stderr\n{done.stderr if stderr is None else stderr}"
    assert page.differences(got, (DATA / f"command_{name}.txt").read_text()) == []


def test_record_says_what_it_said(tmp_path: Path) -> None:
    done = coldseek(
        "record", "--tracer", "ptrace", "-o", "cat.trace.parquet", "--", "cat", "/dev/null", cwd=tmp_path
    )
    compared("record", Page(optional=r"coldseek: (INCOMPLETE|PARTIAL)"), done)


def test_attach_says_what_it_said(tmp_path: Path) -> None:
    need_root()
    with subprocess.Popen(["sleep", "infinity"]) as other:
        try:
            words = (f"pid:{other.pid}", "--for", 1, "-o", "daemon.trace.parquet")
            compared("attach", Page(), coldseek("attach", *words, cwd=tmp_path))
        finally:
            other.kill()


def test_prefetch_says_what_it_said(disk_directory: Path) -> None:
    (disk_directory / "data").write_bytes(bytes(100_000))
    made = coldseek("record", "--tracer", "ptrace", "-o", "a", "--", "cat", "data", cwd=disk_directory)
    assert made.returncode == 0
    done, shown = (coldseek("prefetch", "a", *words, cwd=disk_directory) for words in ((), ("--dry-run",)))
    page = Page(other=r" *#  #  ", optional=r"coldseek: (left out|/dev/)")
    assert re.search(r"^ +[\d.]+ KiB +\d+  /.*/data$", shown.stdout, re.MULTILINE)
    shown.stdout, pays = re.split(
        r"^(?=Does not pay|projected)", shown.stdout, maxsplit=1, flags=re.MULTILINE
    )
    assert re.search(r"^projected +waits +cold +plan \+ start +beside$", pays, re.MULTILINE)
    compared("prefetch", page, shown, done.stderr)


def test_replay_says_what_it_said(disk_directory: Path) -> None:
    need_tool("fio")
    save(trace([(0, 0, 65536), (0, 131072, 4096)], wall_s=1.0), disk_directory / "a.trace.parquet")
    done = coldseek(
        "replay", "a.trace.parquet", "--on", disk_directory, "--device", "sata-ssd", "--runs", 3,
        cwd=disk_directory,
    )  # fmt: skip
    compared("replay", REPLAY, done)


def test_open_prints_what_it_printed(disk_directory: Path) -> None:
    image = disk_directory / "disk0.qcow2"
    subprocess.run([need_tool("qemu-img"), "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    words = ("disk0.qcow2", "--tracer", "ptrace", "--evict", "files", "--runs", 1, "-o", "out")
    done = coldseek("open", *words, cwd=disk_directory)
    screen, _, places = done.stdout.partition("\n\n")
    assert len(screen.splitlines()) <= LINES
    trace, report, *plots = places.splitlines()
    done.stdout = "\n".join([screen, "", trace, report, *sorted(plots), ""])
    compared("open", OPEN, done, "")


def test_calibrate_prints_what_it_printed(disk_directory: Path) -> None:
    done = coldseek("calibrate", ".", "--for", 1, "-o", "mine.toml", cwd=disk_directory)
    assert len(done.stdout.splitlines()) <= LINES
    compared("calibrate", CALIBRATE, done)


def test_doctor_prints_what_it_printed(tmp_path: Path) -> None:
    need_root()
    done = coldseek("doctor", cwd=tmp_path)
    need("DOES NOT WORK" not in done.stdout, "what does not work here has other words")
    compared("doctor", Page(alike={r"works with .*": "works with ITS OPTIONS"}), done)


def test_a_changed_word_is_seen_and_a_number_is_not() -> None:
    """Else the tests above would not mean anything."""
    golden = (DATA / "command_calibrate.txt").read_text()
    assert CALIBRATE.differences(golden.replace("60 us", "1.23 ms").replace("3.41", "2"), golden) == []
    for one, other in (("page cache", "cache"), ("in a row", "In a row"), ("saved", "kept"), ("times", "x")):
        assert CALIBRATE.differences(golden.replace(one, other), golden)
    assert CALIBRATE.differences(golden + "one line more\n", golden) == ["+ one line more"]
    assert CALIBRATE.differences(golden.replace("in a row", "note"), golden)
