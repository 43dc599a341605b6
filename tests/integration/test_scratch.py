"""A folder for a while: what is removed with it, and what is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from small_programs import no_hang, until

from profiler.machine.processes.scratch import Scratch

pytestmark = pytest.mark.usefixtures(no_hang.__name__)
HOLDS = "import time; held = open({file!r}); print('held', flush=True); time.sleep(600)"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that has such a folder in tmp_path, with a file in it, and says its name."""
    script = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from profiler.machine.processes.scratch import Scratch\n"
        f"made = Scratch({str(tmp_path)!r}, '.scratch-')\n"
        f"open(made.path + '/file', 'w').close()\n"
        f"print(made.path, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        yield running
        running.kill()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_after_a_kill_it_is_removed_and_nothing_that_a_link_in_it_names(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    made = Path(told(process))
    (made / "folder" / "below").mkdir(parents=True)
    (made / "folder" / "below" / "link").symlink_to(kept / "file")
    (made / "link").symlink_to(kept)
    process.kill()
    assert until(lambda: not made.exists())
    assert (kept / "file").read_text() == "kept"


def test_a_program_of_another_session_that_reads_in_it_goes_on(
    process: subprocess.Popen[str],
) -> None:
    made = Path(told(process))
    command = [sys.executable, "-c", HOLDS.format(file=str(made / "file"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as other:
        assert told(other) == "held"
        process.kill()
        assert until(lambda: not made.exists())
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        other.kill()


def test_another_folder_in_its_place_stays(tmp_path: Path) -> None:
    made = Scratch(str(tmp_path), ".scratch-")
    place = Path(made.path)
    place.rename(tmp_path / "moved")
    place.mkdir()
    (place / "file").write_text("not ours")
    made.close()
    assert (place / "file").read_text() == "not ours"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    made = Scratch(str(tmp_path), ".scratch-")
    place = Path(made.path)
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    made.close()
    assert place.is_symlink() and (tmp_path / "moved").is_dir()


def test_closed_it_is_gone(tmp_path: Path) -> None:
    made = Scratch(str(tmp_path), ".scratch-")
    assert Path(made.path).stat().st_mode & 0o777 == 0o700
    (Path(made.path) / "file").write_text("some")
    made.close()
    assert not list(tmp_path.iterdir())
