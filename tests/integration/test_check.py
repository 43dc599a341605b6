"""coldseek check, by real runs: what changed, exit statuses, forms, the plugin for pytest, the action."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import PATIENCE_S, ROOT, need_root, need_tracer

from profiler.analysis.check.held import held
from profiler.analysis.check.quantities import measured, start_of
from profiler.devices import usual
from profiler.facts.starts import Start, dumps, loads
from profiler.studies.check import cold_runs

READ_ALL = ("sh", "-c", 'cat "$0"/*/*')
"""Reads the files of all folders in one; with that folder as the next word."""

pytestmark = pytest.mark.alone  # others read the same libraries, and a start is not cold
COULD_NOT_TELL = 3
NOBODY = 65534


@pytest.fixture
def folder(disk_directory: Path) -> Path:
    """A folder to start in, with forty files to read and none of coldseek's."""
    need_tracer("ptrace")
    add(disk_directory / "base" / "old", 40)
    return disk_directory


def add(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}").write_bytes(os.urandom(4096))
    os.sync()


def coldseek(
    folder: Path, *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profiler", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **(env or {})}
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def check(
    folder: Path, *options: object, command: Sequence[object] = (*READ_ALL, "base"), **how: Any
) -> Any:
    """Checks until it could tell: others on this machine may read the same libraries at any moment."""
    words = ("check", "--quiet", "--tracer", "ptrace", "--evict", "files", *options, "--", *command)
    for _ in range(20):
        done = coldseek(folder, *words, **how)
        if done.returncode != COULD_NOT_TELL:
            break
    return done


def test_a_start_is_within_its_own_baseline(folder: Path) -> None:
    done = check(folder, "--update", "--runs", 3)
    assert done.returncode == 0, done.stderr
    made = json.loads((folder / "coldseek-baseline.json").read_text())
    assert made["runs"] == 3 and made["machine"]["tracer"] == "ptrace"
    ours = [file for file in made["files"] if file["path"].startswith("./base/old/")]
    assert len(ours) == 40 and all(file["requests"] == 1 for file in ours)
    assert check(folder).returncode == 0


def test_more_files_are_a_regression_and_are_named(folder: Path) -> None:
    assert check(folder, "--update").returncode == 0
    add(folder / "base" / "pandas", 30)
    done = check(folder, "--format", "json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["schema"], found["state"]) == ("coldseek.check/1", "regressed")
    new = next(one for one in found["changes"] if one["path"] == "./base/pandas")
    assert (new["kind"], new["files"], new["requests"], new["bytes"]) == ("new", 30, 30, 30 * 4096)
    lines = {line["name"]: line for line in found["quantities"]}
    assert lines["files"]["now"] - lines["files"]["baseline"] == 30
    assert lines["unique_bytes"]["now"] - lines["unique_bytes"]["baseline"] == 30 * 4096
    assert check(folder, "--limit", "all=+500%").returncode == 0
    text = check(folder).stdout
    assert "30 requests, +120 KiB: ./base/pandas, 30 files, not in the baseline" in " ".join(text.split())
    assert check(folder, "--update").returncode == 0
    assert check(folder).returncode == 0


def test_each_form_and_the_summary_of_a_job(folder: Path) -> None:
    assert check(folder, "--update").returncode == 0
    add(folder / "base" / "more|`<b>\x1b[31m", 30)
    summary = folder / "summary.md"
    summary.write_text("before\n")
    done = check(folder, "--format", "junit", "-o", "check.xml", env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert done.returncode == 1, done.stderr
    suite = ElementTree.parse(folder / "check.xml").getroot()
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert "files" in failed and int(suite.get("failures", "0")) == len(failed)
    assert summary.read_text().startswith("before\n**REGRESSED")
    assert "\x1b" not in summary.read_text() and len(summary.read_bytes()) < 60_000
    shown = check(folder, "--format", "markdown")
    assert "| `files` |" in shown.stdout and "\x1b" not in shown.stdout


def test_what_cannot_be_told_is_no_verdict(folder: Path) -> None:
    assert check(folder, "--update", command=("true",)).returncode == 0
    done = check(folder, command=("false",))
    assert done.returncode == COULD_NOT_TELL
    assert "exit status 1" in done.stdout
    # every second run fails
    flip = "if [ -e flag ]; then rm flag; exit 1; else : > flag; fi"
    done = coldseek(
        folder, "check", "-q", "--tracer=ptrace", "--evict=files", "--update", "--baseline=flip.json",
        "--runs=10", "--", "sh", "-c", flip,
    )  # fmt: skip
    assert done.returncode in (0, COULD_NOT_TELL)
    assert not (done.returncode == COULD_NOT_TELL and (folder / "flip.json").exists())
    if done.returncode == 0:  # ten of the twenty runs ended as the first did
        assert "exit status 1" in done.stdout


def test_what_is_wrong_is_told_before_anything_runs(folder: Path) -> None:
    done = coldseek(folder, "check", "--", "touch", "ran")
    assert done.returncode == 2 and "--update" in done.stderr
    (folder / "coldseek-baseline.json").write_text("{}")
    assert coldseek(folder, "check", "--", "touch", "ran").returncode == 125
    done = coldseek(folder, "check", "--limit", "wall=+5%", "--", "touch", "ran")
    assert done.returncode == 2 and "seconds" in done.stderr
    done = coldseek(folder, "check", "--update", "--", "no-such-program")
    assert done.returncode == 127 and "it is replaced" in done.stderr
    assert not (folder / "ran").exists()


def test_a_most_needs_no_baseline(folder: Path) -> None:
    assert check(folder, "--limit", "requests=100000").returncode == 0
    assert check(folder, "--limit", "files=20").returncode == 1
    assert not (folder / "coldseek-baseline.json").exists()


def test_another_program_is_warned_of(folder: Path) -> None:
    script = folder / "start"
    script.write_text("#!/bin/sh\ncat base/*/*\n")
    script.chmod(0o755)
    assert check(folder, "--update", command=("./start",)).returncode == 0
    script.write_text("#!/bin/sh\n# a new version\ncat base/*/*\n")
    done = check(folder, command=("./start",))
    assert done.returncode == 0
    assert "start is another file" in " ".join(done.stdout.split())


def test_without_any_rights() -> None:
    """As nobody, by ptrace: no kernel tracer, no drop_caches."""
    need_root()
    need_tracer("ptrace")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        add(folder / "base" / "old", 40)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        before = as_nobody(folder)
        add(folder / "base" / "new", 30)
        now = as_nobody(folder)
    assert held(before, before, {}, wanted=3).state == "within"
    found = held(before, now, {}, wanted=3)
    assert found.state == "regressed"
    assert any(one.path == b"./base/new" and one.requests == 30 for one in found.changes)
    assert now.machine["tracer"] == "ptrace" and now.machine["evicted"] == "files"


def as_nobody(folder: Path) -> Start:
    """What three cold runs come to in a process without any rights, which has loaded all it needs."""
    models = usual()
    list(cold_runs(["true"], 1, "ptrace", evict="files"))

    def work() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if it had been nobody's from the start
        os.chdir(folder)
        for _ in range(20):
            runs = [run for run in cold_runs([*READ_ALL, "base"], 3, "ptrace") if not run.fault]
            if len(runs) == 3:
                break
        made = start_of(READ_ALL, [measured(run.trace, models) for run in runs])
        (folder / "made.json").write_text(dumps(made))

    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    return loads((folder / "made.json").read_bytes(), "made.json")


def test_the_kernel_tracer_repeats_exactly(folder: Path) -> None:
    need_root()
    need_tracer("kernel")
    words = ("check", "-q", "--tracer=kernel", "--evict=files", "--runs=3", "--format=json", "-o", "b.json")
    for _ in range(20):
        if (
            coldseek(
                folder, *words, "--limit=all=off", "--limit=requests=1e6", "--", *READ_ALL, "base"
            ).returncode
            == 0
        ):
            break
    found = json.loads((folder / "b.json").read_text())
    for line in found["quantities"]:
        if not line["name"].startswith("seconds"):
            assert len(set(line["runs"])) == 1, line


# ---- the plugin and the action ---------------------------------------------------------------------------

TEST = """\
import pytest

@pytest.mark.coldstart(limit={"requests": "+5%"}, runs=2, options=["--tracer=ptrace", "--evict=files"])
def test_start(coldstart):
    assert coldstart("sh", "-c", 'cat "$0"/*/*', "base")["schema"] == "coldseek.check/1"
"""


def run_pytest(folder: Path, *options: str) -> str:
    command = [
        sys.executable, "-m", "pytest", "-p", "profiler.pytest_plugin", "-c", os.devnull, "--rootdir=.",
        "-p", "no:cacheprovider", "-rs", *options, "test_start.py",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for _ in range(20):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if "COULD NOT TELL" not in done.stdout:
            break
    return done.stdout


def test_the_plugin(folder: Path) -> None:
    (folder / "test_start.py").write_text(TEST)
    assert "--coldstart-update" in run_pytest(folder)  # there is no baseline
    assert "1 passed" in run_pytest(folder, "--coldstart-update")
    assert (folder / "coldstarts" / "test_start.test_start.json").exists()
    assert "1 passed" in run_pytest(folder)
    add(folder / "base" / "new", 30)
    told = run_pytest(folder)
    assert "1 failed" in told and "./base/new, 30 file(s), new" in told


def test_the_action(folder: Path) -> None:
    """Its inputs, as the runner passes them."""
    action = (ROOT / "action.yml").read_text()
    passed = set(re.findall(r"^ +(COLDSEEK_\w+): \$\{\{ inputs\.", action, re.MULTILINE))
    script = (ROOT / "scripts" / "action").read_text()
    named = {"COLDSEEK_COMMAND", "COLDSEEK_LIMITS", "COLDSEEK_OPTIONS", "COLDSEEK_ON_UNKNOWN"}
    assert passed == named | {"COLDSEEK_BASELINE", "COLDSEEK_RUNS"} and all(name in script for name in named)
    inside = action.partition("\nruns:")[2]
    assert not re.search(r"run:.*\$\{\{", inside)  # no input is part of a shell's script
    assert check(folder, "--update").returncode == 0
    output = folder / "output"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GITHUB_OUTPUT": str(output), "COLDSEEK_BASELINE": "",
        "COLDSEEK_COMMAND": "sh -c 'cat \"$0\"/*/*' base",
        "COLDSEEK_LIMITS": "requests=+5%\n\n seconds=off\n",
        "COLDSEEK_OPTIONS": "--tracer=ptrace\n--evict=files", "COLDSEEK_RUNS": "2",
    }  # fmt: skip

    def act(**inputs: str) -> int:
        for _ in range(20):
            status = subprocess.run(
                [sys.executable, ROOT / "scripts" / "action"], cwd=folder, env=environment | inputs,
                capture_output=True, timeout=PATIENCE_S, check=False,
            ).returncode  # fmt: skip
            if status != COULD_NOT_TELL:
                break
        return status

    assert act() == 0
    add(folder / "base" / "new", 30)
    assert act() == 1
    assert act(COLDSEEK_COMMAND="false", COLDSEEK_ON_UNKNOWN="pass") == 0
    assert act(COLDSEEK_COMMAND="'") == 2
    states = output.read_text().split()
    assert {"state=within", "state=regressed"} <= set(states)
    assert states[-2:] == ["state=unknown", "state=failed"]


def test_help_shows_how(tmp_path: Path) -> None:
    shown = coldseek(tmp_path, "check", "--help").stdout
    assert "--update" in shown and "Examples:" in shown
