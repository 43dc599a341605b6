"""Untraced runs: times, exit statuses and device reads against programs whose behaviour is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, need, need_root, need_tool
from small_programs import catches, interrupt_twice, lives, until

from profiler.errors import CannotRunError, CommandNotFoundError
from profiler.facts.runs import Measured, Run, to_json
from profiler.machine.finish.conditions import parse
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache.cache import can_drop_all, evict
from profiler.machine.page_cache.residency import Residency
from profiler.machine.processes import timed as runs
from profiler.machine.processes.timed import Pairs, pairs, run
from profiler.studies.around import Around

pytestmark = pytest.mark.alone

SIZE = 3 * 2**20


def written(path: Path, size: int = SIZE) -> bytes:
    with open(path, "wb") as target:
        target.write(os.urandom(size))
        os.fsync(target.fileno())
    return os.fsencode(path)


def on_a_device(directory: Path) -> bool:
    """Whether the kernel counts what is read there: it does for block devices, not for every network."""
    number = os.stat(directory).st_dev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").exists()


def test_time_and_exit_status() -> None:
    began = time.perf_counter()
    result = run(["sh", "-c", "sleep 0.2; exit 7"])
    assert result.exit_status == 7
    assert 0.2 <= result.wall_s <= time.perf_counter() - began
    assert result.user_s + result.system_s < result.wall_s
    assert (result.resident_before_bytes, result.resident_checked_bytes) == (None, None)


def test_death_by_a_signal_counts_as_in_a_shell() -> None:
    assert run(["sh", "-c", "kill -SEGV $$"]).exit_status == 128 + signal.SIGSEGV


def test_only_the_program_is_timed() -> None:
    """And no start of a Python, nor the half of one: on an idle machine it is a tenth."""
    true = need_tool("true")
    assert until(lambda: run([true]).wall_s < run([sys.executable, "-c", ""]).wall_s / 2)


def test_cpu_time_is_the_programs_and_its_childrens() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    result = run(["sh", "-c", '"$0" -c "$1" & wait', sys.executable, burn])
    assert result.user_s + result.system_s >= 0.2


def test_what_a_cold_cat_reads_from_the_device_is_the_file(disk_directory: Path) -> None:
    need(on_a_device(disk_directory), f"{disk_directory} is on no block device")
    cat = need_tool("cat")
    path = written(disk_directory / "file")
    run([cat, path.decode()], output=False)  # cat itself is cached from now on
    evict([path])
    cold = run([cat, path.decode()], output=False)
    warm = run([cat, path.decode()], output=False)
    assert cold.device_read_bytes == pytest.approx(SIZE, abs=64 * 1024)  # the file's extents have to be read
    assert warm.device_read_bytes == 0


def test_reads_of_its_children_count_too(disk_directory: Path) -> None:
    need(on_a_device(disk_directory), f"{disk_directory} is on no block device")
    path = written(disk_directory / "file")
    command = ["sh", "-c", 'cat "$1" & wait', "sh", path.decode()]
    run(command, output=False)
    evict([path])
    assert run(command, output=False).device_read_bytes >= SIZE


@pytest.mark.parametrize("ends", ["before it is ready", "after it is ready"])
def test_reads_of_a_start_that_is_ready_count_whoever_still_runs(ends: str, disk_directory: Path) -> None:
    """The command that read may have ended and left a daemon, or end just when all is added up."""
    need(on_a_device(disk_directory), f"{disk_directory} is on no block device")
    path = written(disk_directory / "file").decode()
    ready, told = disk_directory / "ready", disk_directory / "told"
    work = f"cat {path} > {told}.copy; echo $$ > {told}; mv {told} {ready}; exec sleep {int(PATIENCE_S)}"
    script = work if ends == "after it is ready" else f"({work}) &"
    run(["sh", "-c", "cat /dev/null; mv --version; sleep 0"], output=False)  # cached from now on
    evict([os.fsencode(path)])
    finish = Finish([parse(f"file:{ready}")])
    with Around().untraced(finish) as started:

        def running() -> list[int]:
            if ends == "after it is ready":
                pid = int(ready.read_text())
                os.kill(pid, signal.SIGKILL)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return list(started())

        found = run(["sh", "-c", script], output=False, stdin=False, finish=finish, running=running)
    finish.close()
    assert SIZE <= found.device_read_bytes < 3 * SIZE // 2


def test_the_program_keeps_our_streams_unless_it_shall_not(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["sh", "-c", "echo out; echo err >&2"]
    run(command)
    assert capfd.readouterr() == ("out\n", "err\n")
    run(command, output=False)
    assert capfd.readouterr() == ("", "")
    assert run(["sh", "-c", 'test -n "$(cat)"'], stdin=False).exit_status == 1


def test_the_command_is_no_shell_text(capfd: pytest.CaptureFixture[str]) -> None:
    run(["printf", "%s|", "$HOME", "a b", "`id`", ";", "*"])
    assert capfd.readouterr().out == "$HOME|a b|`id`|;|*|"


def test_arguments_may_be_any_bytes() -> None:
    assert run(["sh", "-c", 'test "$1" = "$(printf \'\\377\')"', "sh", "\udcff"]).exit_status == 0


def test_the_program_has_the_usual_signals() -> None:
    """Python ignores SIGPIPE (13) and SIGXFSZ (25) for itself: bits 12 and 24 of proc(5)'s SigIgn."""
    ignored = 'test $((0x$(sed -n "s/^SigIgn:\\t//p" /proc/self/status) & 0x1001000)) = 0'
    assert run(["sh", "-c", ignored]).exit_status == 0


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("coldseek-no-such-command", CommandNotFoundError),
        ("/no/such/path", CommandNotFoundError),
        ("{tmp}", CannotRunError),
        ("{tmp}/plain", CannotRunError),
        ("{tmp}/plain/below", CommandNotFoundError),
        ("{tmp}/noise", CannotRunError),
        ("{tmp}/orphan", CannotRunError),
    ],
)
def test_what_cannot_be_started_is_one_clear_line(name: str, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("hello")
    (tmp_path / "noise").write_bytes(os.urandom(100))
    (tmp_path / "orphan").write_text("#!/no/such/interpreter\n")
    for script in ("noise", "orphan"):
        (tmp_path / script).chmod(0o755)
    command = name.format(tmp=tmp_path)
    with pytest.raises(error) as caught:
        run([command])
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- pairs -----------------------------------------------------------------------------------------------


def test_cold_and_warm_take_turns_and_are_proved(disk_directory: Path) -> None:
    cat = need_tool("cat")
    path = written(disk_directory / "file")
    seen: list[str] = []
    result = pairs([cat, path.decode()], [path], 3, lambda kind, _: seen.append(kind), must=[path])
    assert seen == ["cold", "warm"] * 3
    assert result.stopped is None
    assert result.all_cold, [proof.why for proof in result.coldness]
    assert {one.resident_before_bytes for one in result.cold} == {0}
    assert {one.resident_before_bytes for one in result.warm} == {SIZE}
    assert {one.resident_checked_bytes for one in (*result.cold, *result.warm)} == {SIZE}
    if on_a_device(disk_directory):
        assert result.all_warm
        assert all(one.device_read_bytes >= SIZE for one in result.cold)
    measured = json.loads(json.dumps(to_json(Measured(result.cold, result.warm))))
    assert list(measured) == ["cold", "warm"]
    assert set(measured["cold"][0]) >= {
        "wall_s", "exit_status", "resident_before_bytes", "resident_checked_bytes", "device_read_bytes"
    }  # fmt: skip


def test_the_seed_image_is_slow_to_open_cold_and_fast_warm(seed_image: Path) -> None:
    need_root()
    need(can_drop_all(), "needs a writable drop_caches")
    image = os.fsencode(seed_image)
    result = pairs(["qemu-img", "check", str(seed_image)], [image], 1, must=[image])
    assert result.all_cold
    assert result.cold[0].device_read_bytes > 40e6
    assert result.cold[0].exit_status == result.warm[0].exit_status == 0
    assert result.warm[0].device_read_bytes < 1e6


def test_a_program_that_was_never_warm_is_not_called_warm() -> None:
    reads_all = Run(1, 0, 0, 0, 1000)
    assert not Pairs((reads_all,), (reads_all,)).all_warm
    assert not Pairs().all_warm
    assert not Pairs().all_cold


def test_what_was_measured_is_kept_when_it_ends_early(
    disk_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(disk_directory / "file")
    real, done = runs.run, []

    def third_is_interrupted(*args: object, **options: object) -> Run:
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "run", third_is_interrupted)
    result = pairs(["true"], [path], 5)
    assert (len(result.cold), len(result.warm), str(result.stopped)) == (1, 1, "")


def test_a_command_that_vanishes_keeps_what_there_is(disk_directory: Path) -> None:
    path, program = written(disk_directory / "file"), disk_directory / "program"
    program.write_text('#!/bin/sh\ntest -e "$0.once" && rm "$0"\ntouch "$0.once"\n')
    program.chmod(0o755)
    result = pairs([str(program)], [path], 5)
    assert (len(result.cold), len(result.warm)) == (1, 1)
    assert "not found" in str(result.stopped)


def test_a_command_that_never_ran_is_an_error(disk_directory: Path) -> None:
    with pytest.raises(CommandNotFoundError):
        pairs(["coldseek-no-such-command"], [written(disk_directory / "file")], 2)


def test_the_residency_before_is_kept_with_the_run() -> None:
    result = run(["true"], before=Residency(5, 10, 1))
    assert (result.resident_before_bytes, result.resident_checked_bytes) == (5, 10)


# ---- interrupts ------------------------------------------------------------------------------------------


def start(program: str, tmp_path: Path, trap: str = ":") -> tuple[subprocess.Popen[str], int]:
    """A Python that runs a shell program with `run`, and the process id of that shell, its trap set."""
    told = tmp_path / "pid"
    shell = f"{trap}; echo $$ > {told}.new; mv {told}.new {told}; {program}"
    code = textwrap.dedent(f"""
        from profiler.machine.processes.timed import run
        try:
            print(run(["sh", "-c", {shell!r}]).exit_status)
        except KeyboardInterrupt as error:
            print("interrupted:", error)
    """)
    ours = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert until(told.exists) and until(lambda: catches(ours.pid, signal.SIGTERM))
    return ours, int(told.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_passed_on_and_nothing_is_left_running(number: int, tmp_path: Path) -> None:
    ours, program = start("exec sleep 600", tmp_path)
    os.kill(ours.pid, number)
    out, _ = ours.communicate(timeout=PATIENCE_S)
    assert out.startswith("interrupted:")
    assert not lives(program)


def test_a_program_that_heeds_no_interrupt_is_killed_in_the_end(tmp_path: Path) -> None:
    ours, program = start("while :; do sleep 0.1; done", tmp_path, "trap '' INT TERM")
    assert interrupt_twice(ours.pid, lambda: not lives(program))
    out, _ = ours.communicate(timeout=PATIENCE_S)
    assert out.startswith("interrupted:")
    assert not lives(program)


def test_a_program_that_answers_an_interrupt_may_finish(tmp_path: Path) -> None:
    trap = f"trap 'echo saved > {tmp_path}/saved; exit 3' INT"
    ours, program = start("while :; do sleep 0.1; done", tmp_path, trap)
    os.kill(ours.pid, signal.SIGINT)
    ours.communicate(timeout=PATIENCE_S)
    assert (tmp_path / "saved").read_text() == "saved\n"
    assert not lives(program)
