"""What each command that reads traces prints of made ones, at 80 columns. COLDSEEK_GOLDEN=1 writes it
anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import ROOT, coldseek

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from report_cases import check, image

from profiler.trace import save

DATA = ROOT / "tests" / "data"
LINES, COLUMNS = 24, 80

COMMANDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "report": ("report", "check.trace.parquet"),
    "full": ("report", "check.trace.parquet", "--full"),
    "project": ("project", "check.trace.parquet"),
    "copies": ("project", "check.trace.parquet", "--copies", "4", "--device", "hdd-7200"),
    "compare": ("compare", "check.trace.parquet", "warm.trace.parquet"),
    "advise": ("advise", "image.trace.parquet"),
    "plot": ("plot", "check.trace.parquet"),
    "import": ("import", "strace", "seed.strace"),
    "devices": ("devices",),
}
LONG = {"full", "project", "compare", "advise", "devices"}
"""Pages that have more lines than a terminal: what they list has no end that fits."""

LOG = "\n".join(
    ['100 openat(AT_FDCWD, "disk0.qcow2", O_RDONLY) = 3']
    + [f'100 pread64(3, "..."..., 4096, {143360 + number * 8388608}) = 4096' for number in range(40)]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("golden")
    save(check(), str(place / "check.trace.parquet"))
    save(check(cache="warm", wall_s=3.0), str(place / "warm.trace.parquet"))
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
