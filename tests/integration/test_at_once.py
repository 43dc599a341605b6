"""`compare --copies N`: N starts at once, by what the programs note themselves, and none of them stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, ROOT, coldseek
from small_programs import behind, catches, lives, until

from profiler.files.traces import load

pytestmark = pytest.mark.alone

COPIES, TRACED = 3, 3  # the first copy is run so often before several are: to find its files, cold and warm
SIZE = 1 << 20

PROGRAM = """
import os, sys, time
began = time.monotonic()
number, data = sys.argv[1:3]
with open(data, "rb") as source: size = len(source.read())
log = f"log{number}"
rounds = open(log).read().count("\\n") if os.path.exists(log) else 0
rounds -= 3 if number == "1" else 0
if rounds >= 0:  # wait for all others of the round: alone this would not end
    open(f"here-{rounds}-{number}", "x").close()
    while not all(os.path.exists(f"here-{rounds}-{other}") for other in (1, 2, 3)): time.sleep(0.01)
time.sleep(0.1 * int(number))
with open(log, "a") as target: target.write(f"{began} {time.monotonic()} {size}\\n")
"""
STAMP = "import sys, time; open(sys.argv[1], 'a').write(f'{time.monotonic()}\\n')"


def compare(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return coldseek("compare", "--tracer", "ptrace", "--evict", "files", *arguments, cwd=folder)


def numbers(path: Path) -> list[list[float]]:
    return [[float(word) for word in line.split()] for line in path.read_text().splitlines()]


# ---- what is measured -----------------------------------------------------------------------------------


def test_copies_run_at_once_and_their_times_are_those_that_they_note(disk_directory: Path) -> None:
    for number in (1, 2, 3):
        (disk_directory / f"data{number}").write_bytes(os.urandom(SIZE))
    python = [sys.executable, "-S", "-c"]
    stamp = f'{sys.executable} -S -c "{STAMP}"'
    done = compare(
        disk_directory, "--copies", COPIES, "--runs", 2, "--format", "json", "-o", "out",
        "--before", f"{stamp} before", "--after", f"{stamp} after", "--", *python, PROGRAM, "{n}", "data{n}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["copies"] == [COPIES, COPIES]
    logs = [numbers(disk_directory / f"log{number}") for number in (1, 2, 3)]
    logs[0] = logs[0][TRACED:]
    before, after = (
        [row[0] for row in numbers(disk_directory / name)][TRACED:] for name in ("before", "after")
    )
    assert [len(log) for log in logs] == [4, 4, 4] and len(before) == len(after) == 4  # no {n}: once for all
    runs = [run for pair in zip(found["cold"]["runs"], found["warm"]["runs"], strict=True) for run in pair]
    for number, run in enumerate(runs):
        rows = [log[number] for log in logs]
        assert before[number] <= min(row[0] for row in rows)
        assert (
            max(row[1] for row in rows) <= after[number] <= (before[number + 1] if number < 3 else after[3])
        )
        for row, copy in zip(rows, run["copies"], strict=True):
            assert row[2] == SIZE and not copy["failed"]
            assert row[1] - row[0] <= copy["wall_s"] <= after[number] - before[number]
        assert run["wall_s"] == max(copy["wall_s"] for copy in run["copies"])
        assert run["resident_checked_bytes"] >= COPIES * SIZE  # each one's own file was looked at
    for side in ("cold", "warm"):
        walls = [[copy["wall_s"] for copy in run["copies"]] for run in found[side]["runs"]]
        assert found[side]["median_s"] == pytest.approx(sum(map(max, walls)) / 2)
        assert found[side]["mean_s"] == pytest.approx(sum(map(sum, walls)) / 2 / COPIES)
    for one in found["cold"]["report"]["projections"]:
        assert one["copies"] == COPIES and one["mean_s"] <= one["seconds"]
        assert one["sharing"]["own"] == [str((disk_directory / "data1").resolve())]
        assert one["sharing"]["own_bytes"] >= SIZE and one["sharing"]["shared_files"] >= 1
    meta = load(disk_directory / "out/cold.trace.parquet").meta
    assert meta.copies.count == COPIES and meta.command[-2:] == ("1", "data1")
    told = coldseek("report", "--full", disk_directory / "out/cold.trace.parquet").stdout
    assert "3 starts at once" in told and "own: data1 (1 MiB)" in told
    shared = coldseek("project", disk_directory / "out/cold.trace.parquet", "--copies", 3, "--own", "none")
    assert "own: nothing" in shared.stdout


def test_copies_of_one_file_share_it(disk_directory: Path) -> None:
    (disk_directory / "disk.qcow2").write_bytes(os.urandom(SIZE))
    done = compare(disk_directory, "--copies", 2, "--runs", 1, "--format", "json", "--", "cat", "disk.qcow2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cold"]["report"]["projections"][0]["sharing"]["own"] == []


@pytest.mark.full
def test_each_is_timed_until_it_is_ready_and_ended_then(tmp_path: Path) -> None:
    script = "echo $$ >> pids; sleep 0.$1; touch ready$1; exec sleep 900"
    done = compare(
        tmp_path, "--copies", 3, "--runs", 1, "--format", "json", "--until", "file:ready{n}",
        "--timeout", 250, "--before", "rm -f ready{n}", "--after", "sh -c 'echo {n} >> after'",
        "--", "sh", "-c", script, "sh", "{n}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for side in ("cold", "warm"):
        (run,) = json.loads(done.stdout)[side]["runs"]
        assert [copy["exit_status"] for copy in run["copies"]] == [0, 0, 0]
        assert all(copy["wall_s"] >= number / 10 for number, copy in enumerate(run["copies"], 1))
    assert (tmp_path / "after").read_text().split() == ["1"] * TRACED + ["1", "2", "3"] * 2
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == TRACED + 2 * 3 and not any(lives(int(pid)) for pid in pids)
    assert done.stderr.count("ended what the command left running") == 1


@pytest.mark.full
def test_a_server_that_each_leaves_behind_is_ended(tmp_path: Path) -> None:
    script = "(setsid sleep 900 & echo $! >> left)"
    done = compare(tmp_path, "--copies", 2, "--runs", 1, "--", "sh", "-c", script, "{n}")
    assert done.returncode == 0, done.stderr
    left = (tmp_path / "left").read_text().split()
    assert len(left) == TRACED + 2 * 2 and not any(lives(int(pid)) for pid in left)


# ---- what goes wrong --------------------------------------------------------------------------------------


def test_a_round_in_which_one_fails_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    script = "echo >> log$1; if test $1 = 2; then echo 'no disk' >&2; exit 3; fi; sleep 0.3; echo >> done$1"
    done = compare(
        tmp_path, "--copies", 3, "--runs", 1, "--format", "json", "--", "sh", "-c", script, "sh", "{n}"
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    for side in ("cold", "warm"):
        (run,) = found[side]["runs"]
        assert run["failed"] and found[side]["median_s"] is None and found[side]["mean_s"] is None
        assert [copy["exit_status"] for copy in run["copies"]] == [0, 3, 0]
        assert run["stderr"] == "copy 2: no disk"
    assert "FAILED: exit status 3" in done.stderr and "no disk" in done.stderr
    assert [len((tmp_path / f"done{number}").read_text()) for number in (1, 3)] == [TRACED + 2, 2]


@pytest.mark.full
def test_a_copy_that_is_not_ready_in_time_has_failed(tmp_path: Path) -> None:
    script = "echo $$ >> pids; test $1 = 2 || touch ready$1; exec sleep 900"
    done = compare(
        tmp_path, "--copies", 2, "--runs", 1, "--format", "json", "--until", "file:ready{n}", "--timeout", 8,
        "--before", "rm -f ready{n}", "--", "sh", "-c", script, "sh", "{n}",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["cold"]["runs"][0]["copies"][1]["exit_status"] == 124
    assert not any(lives(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_copy_that_cannot_be_started_is_said_before_any_is(tmp_path: Path) -> None:
    program = tmp_path / "start1"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    done = compare(tmp_path, "--copies", 2, "--", "./start{n}")
    assert done.returncode == 127 and "./start2" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()


def test_a_copy_that_vanishes_ends_the_others(tmp_path: Path) -> None:
    for number in (1, 2):
        program = tmp_path / f"start{number}"
        last = "rm start2" if number == 2 else "test -e start2 || exec sleep 900"
        program.write_text(f"#!/bin/sh\necho $$ >> pids\n{last}\n")
        program.chmod(0o755)
    done = compare(tmp_path, "--copies", 2, "--runs", 3, "-o", "out", "--", "./start{n}")
    assert done.returncode in (125, 127) and "start2" in done.stderr
    assert "kept: out/cold.trace.parquet" in done.stderr
    assert not any(lives(int(pid)) for pid in (tmp_path / "pids").read_text().split())


@pytest.mark.parametrize("words", [["--own", "x", "--", "true"], ["--copies", 0, "--", "true"]])
def test_words_that_make_no_sense(words: list[Any], tmp_path: Path) -> None:
    assert compare(tmp_path, *words).returncode == 2


# ---- nothing is left --------------------------------------------------------------------------------------

SLEEPS = (
    "echo $$ >> pids$1; if test $1 != 1 -o $(wc -l < pids1) -gt 3; then %s; "
    "(setsid sleep 900 & echo $! >> pids$1); exec sleep 900; fi"
)
"""A program that does not end once several run, nor does what it starts."""


def sleeping(folder: Path) -> list[int]:
    """The processes of the first round, once all of it is there."""
    logs = [folder / f"pids{number}" for number in (1, 2, 3)]
    pids = [int(word) for log in logs if log.exists() for word in log.read_text().split()]
    return pids[TRACED:] if len(pids) == TRACED + 2 * COPIES else []


def begun(folder: Path, *more: object, deaf: str = ":") -> subprocess.Popen[str]:
    words = ["compare", "--tracer", "ptrace", "--copies", COPIES, "-o", "out", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "profiler", *map(str, words), "--", "sh", "-c", SLEEPS % deaf, "sh", "{n}"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "deaf"), [(signal.SIGINT, ":"), (signal.SIGTERM, ":"), (signal.SIGINT, "trap '' INT TERM")]
)
@pytest.mark.full
def test_one_signal_ends_all_copies(sent: signal.Signals, deaf: str, tmp_path: Path) -> None:
    ours = begun(tmp_path, "--after", "sh -c 'echo {n} >> after'", deaf=deaf)
    try:
        assert until(lambda: sleeping(tmp_path) and catches(ours.pid, signal.SIGQUIT))
        ours.send_signal(sent)
        _, words = ours.communicate(timeout=PATIENCE_S)
    finally:
        ours.kill()
    assert ours.returncode == 128 + sent, words
    assert "kept: out/cold.trace.parquet and warm.trace.parquet" in words.splitlines()[-1]
    assert not any(lives(pid) for pid in sleeping(tmp_path))
    assert (tmp_path / "after").read_text().split() == ["1"] * TRACED + ["1", "2", "3"]


@pytest.mark.parametrize("who", ["front", "worker", "copy"])
def test_after_a_kill_none_is_left(who: str, tmp_path: Path) -> None:
    ours = begun(tmp_path)
    try:
        assert until(lambda: sleeping(tmp_path))
        worker = behind(ours.pid)
        below = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        cares = [int(pid) for pid in below]
        assert len(cares) >= COPIES
        os.kill({"front": ours.pid, "worker": worker, "copy": cares[0]}[who], signal.SIGKILL)
        ours.communicate(timeout=PATIENCE_S)
        assert until(lambda: not any(lives(pid) for pid in (*sleeping(tmp_path), *cares)))
    finally:
        ours.kill()
