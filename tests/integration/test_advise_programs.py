"""`coldseek advise` of starts that read no disk image."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, need_tool

from profiler.files.traces import save
from profiler.studies.record import record

pytestmark = pytest.mark.alone

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def repository(place: Path) -> list[str]:
    """The words of a `git log` of a small repository."""
    folder = str(place / "repository")
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
    for words in (
        ["init", "-q", folder],
        ["-C", folder, *who, "commit", "-q", "--allow-empty", "-m", "first"],
        ["-C", folder, *who, "commit", "-q", "--allow-empty", "-m", "second"],
        ["-C", folder, "gc", "-q"],
    ):
        subprocess.run(["git", *words], check=True, env={**os.environ, **alone}, capture_output=True)
    return ["git", "-C", folder, "--no-pager", "log", "--oneline"]


def command(name: str, place: Path) -> list[str]:
    program = need_tool(name)
    if name == "git":
        return repository(place)
    return [program, "-e", "1"] if name == "node" else [program, "-c", "import json, asyncio"]


def advise(trace: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", str(trace), *arguments, "--format", "json"],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("git", ("git", "program")),
        ("python3", ("the standard library", "Python modules")),
        ("node", ("node", "program")),
    ],
)
def test_a_program_is_told_what_it_waits_for_and_what_would_help(
    name: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    found = record(command(name, tmp_path), "ptrace", "cold")
    assert found.meta.exit_status == 0
    if found.meta.resident_before_bytes is None:
        pytest.skip("how cold it was is not known")
    trace = tmp_path / "cold.trace.parquet"
    save(found, trace)
    made = advise(trace)
    assert made["image"] is None and made["notes"] is not None
    assert expected in {(one["name"], one["kind"]) for one in made["contributors"]}, made["contributors"]
    assert 1 <= len(made["contributors"]) <= 3
    options = {one["option"]: one for one in made["options"]}
    assert {"in-order", "device"} <= set(options)
    # of a small start all that is prefetched is asked for at once anyway
    assert "prefetch" in set(options) | set(made["no_gain"])
    assert any("read-ahead" in one for one in (*options, *made["no_gain"]))
    # what can be done here by what it saves, then what has to be bought
    saves = [option["saves"] for name, option in options.items() if name != "device"]
    assert saves == sorted(saves, reverse=True)
    assert made["options"][-1]["option"] == "device"
    kinds = {one["kind"] for one in made["findings"]}
    assert "contributors" in kinds


def test_a_prefetch_is_verified_by_real_cold_runs(tmp_path: Path) -> None:
    words = command("git", tmp_path)
    found = record(words, "ptrace", "cold")
    trace = tmp_path / "cold.trace.parquet"
    save(found, trace)
    before = sorted(os.listdir(tmp_path))
    made = advise(trace, "--verify", "--yes", "--runs", "2", "--device", "hdd-7200", "--tracer", "ptrace")
    results = {one["option"]: one for one in made["verified"]["results"]}
    assert set(results) == {"now", "prefetch"}
    for one in results.values():
        assert one["failed"] is None and len(one["cold_s"]) == len(one["warm_s"]) == 2
        assert one["copy_bytes"] is None
    assert results["now"]["gain"] == 0 and results["prefetch"]["gain"] < 1
    assert "helped" in made["verified"]["helped"]
    assert sorted(os.listdir(tmp_path)) == before


def test_a_run_that_is_killed_is_said_with_its_signal(tmp_path: Path) -> None:
    flag, trace = tmp_path / "flag", tmp_path / "cold.trace.parquet"
    save(record(["sh", "-c", f"test -e {flag} && kill -SEGV $$; exit 0"], "ptrace"), trace)
    flag.touch()
    made = advise(trace, "--verify", "--yes", "--runs", "1", "--device", "hdd-7200", "--tracer", "ptrace")
    for one in made["verified"]["results"]:
        assert one["failed"] == "the command ended with exit status 139 (killed by SIGSEGV), recorded was 0"


def test_what_is_verified_is_the_program_that_was_recorded(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    trace = tmp_path / "cold.trace.parquet"
    save(record([str(program)], "ptrace"), trace)
    program.write_text("#!/bin/sh\necho another; exit 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", str(trace), "--verify", "--yes", "--device", "nvme"],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 125 and "program" in done.stderr and "record it again" in done.stderr
    assert done.stdout == ""


def test_a_machine_of_an_unknown_image_is_not_run_again(tmp_path: Path) -> None:
    """It could write to its disks."""
    machine = tmp_path / "qemu-system-x86_64"
    machine.write_text("#!/bin/sh\nexit 0\n")
    machine.chmod(0o755)
    trace = tmp_path / "cold.trace.parquet"
    save(record([str(machine)], "ptrace"), trace)
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", str(trace), "--verify", "--yes", "--device", "nvme"],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 125 and "--image" in done.stderr


def test_a_start_that_may_never_end_is_not_run_again(tmp_path: Path) -> None:
    found = record(["sh", "-c", "exit 0"], "ptrace")
    trace = tmp_path / "cold.trace.parquet"
    save(dataclasses.replace(found, meta=dataclasses.replace(found.meta, ready_s=0.5)), trace)
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", str(trace), "--verify", "--yes", "--device", "nvme"],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 125 and "may never end" in done.stderr
