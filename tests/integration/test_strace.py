"""The strace tracer with real programs: counts against an independent strace, manners, and no orphans."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, need_root, need_tool
from small_programs import catches, lives, until

from profiler.capture.recording import Recording
from profiler.capture.strace import tracer
from profiler.capture.strace.logs import reading
from profiler.errors import CannotRunError, ColdseekError, CommandNotFoundError
from profiler.trace import Trace
from profiler.validity import validate

DRIVER = """
import json, sys
from profiler.capture.recording import Recording
from profiler.capture.strace import tracer
trace = tracer.make().record(Recording(sys.argv[1:]))
meta = trace.meta
reads = int((trace.reads()["path"] == b"/etc/passwd").sum())
print(json.dumps({"partial": meta.partial, "status": meta.exit_status, "reads": reads}), flush=True)
"""
BUSY = """
import itertools, os, time
name = "main" if os.fork() else "child"
fd = os.open("/etc/passwd", os.O_RDONLY)
for number in itertools.count():
    os.pread(fd, 64, 0)
    time.sleep(0.01)
    if number == 20:
        new = f"FOLDER/{name}.{os.getpid()}"  # there may be two of a name
        with open(new, "w") as told: told.write(str(os.getpid()))
        os.rename(new, f"FOLDER/{name}")
"""
"""Two processes that read on and on, and say who they are when they have read 21 times."""
STUBBORN = (
    "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid() if os.fork() else 0;"
    + BUSY
)


@pytest.fixture(autouse=True)
def _strace() -> None:
    need_tool("strace")


def record(*command: str | Path) -> Trace:
    trace = tracer.make().record(Recording([str(word) for word in command]))
    validate(trace)
    return trace


def count_by_grep(command: list[str | Path], path: Path, log: Path) -> int:
    """How often a log of a plain `strace -f -y` shows bytes read from the file."""
    calls = "trace=read,pread64,readv,preadv,preadv2"
    subprocess.run(
        ["strace", "-f", "-y", "-e", calls, "-o", log, *command], check=True, stdout=subprocess.DEVNULL
    )
    name, count, waiting = re.escape(str(path)), 0, {}
    for line in log.read_text(errors="replace").splitlines():
        task = line.split()[0]
        mine = re.match(rf"\d+ +p?read\w*\(\d+<{name}>", line) is not None
        if "<unfinished" in line:
            waiting[task] = mine
        else:
            if "resumed>" in line:
                mine = waiting.pop(task, False)
            count += mine and re.search(r"\) += [1-9]\d*$", line) is not None
    return count


def reads_of(trace: Trace, path: Path) -> int:
    return int((trace.reads()["path"] == os.fsencode(path)).sum())


def test_probe_tries_it() -> None:
    found = tracer.probe()
    assert found.works
    assert "strace" in found.why


def test_probe_says_what_to_do_without_strace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    found = tracer.probe()
    assert not found.works
    assert "apt install strace" in found.remedy


def test_qemu_img_check_has_as_many_reads_as_an_independent_strace(
    small_image: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [need_tool("qemu-img"), "check", small_image]
    expected = count_by_grep(command, small_image, tmp_path / "log")
    trace = record(*command)
    assert expected > 32
    assert reads_of(trace, small_image) == expected
    assert trace.meta.exit_status == 0
    assert trace.meta.complete
    facts = trace.files[trace.files["path"] == os.fsencode(small_image)].iloc[0]
    status = small_image.stat()
    assert (facts["inode"], facts["size"], facts["mtime_ns"]) == (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
    )
    assert facts["device"] == f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"


def test_offsets_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / 'odd, "name" > = 3\n\N{LATIN SMALL LETTER A WITH DIAERESIS}'
    path.write_bytes(bytes(9000))
    code = (
        "import os, sys; fd = os.open(sys.argv[1], 0); os.read(fd, 10); os.lseek(fd, 100, 0);"
        "os.readv(fd, [bytearray(7)] * 50);"
        "os.pread(fd, 10, 8000); os.preadv(fd, [bytearray(20)] * 3, 5); os.read(fd, 5)"
    )
    trace = record(sys.executable, "-S", "-c", code, path)
    mine = trace.reads()[trace.reads()["path"] == os.fsencode(path)]
    assert mine["offset"].tolist() == [0, 100, 8000, 5, 450]
    assert mine["size"].tolist() == [10, 350, 10, 60, 5]
    assert mine["requested"].tolist() == [10, 350, 10, 60, 5]
    assert mine["duration_ns"].notna().all()


def test_the_trace_equals_that_of_the_same_log_imported(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["wc", "-l", "/etc/passwd", "/etc/hostname"]
    subprocess.run(
        ["strace", "-f", "-s", "0", "-y", "-ttt", "-T", "-o", log, *command],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    imported, traced = reading.parse(log).reads(), record(*command).reads()
    columns = ["op", "offset", "size", "path"]
    assert imported[columns].astype(str).equals(traced[columns].astype(str))


def test_streams_and_status_are_the_programs(tmp_path: Path) -> None:
    script = "import sys; print(sys.stdin.read().upper()); print('err', file=sys.stderr); sys.exit(7)"
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, sys.executable, "-c", script],
        input="text",
        capture_output=True,
        text=True,
        check=True,
    )
    assert driver.stdout.startswith("TEXT\n")
    assert driver.stderr == "err\n"
    assert '"partial": "", "status": 7' in driver.stdout


def test_death_by_a_signal() -> None:
    trace = record("sh", "-c", "kill -9 $$")
    assert trace.meta.exit_status == 137
    assert trace.meta.partial == ""


def test_what_cannot_be_run(tmp_path: Path) -> None:
    script, no_program = tmp_path / "script", tmp_path / "no-program"
    script.write_text("#!/nonexistent/interpreter\n")
    no_program.write_text("abc")
    script.chmod(0o755)
    no_program.chmod(0o755)
    for command in ("/nonexistent/program", "no-such-program-anywhere"):
        with pytest.raises(CommandNotFoundError):
            record(command)
    (tmp_path / "plain").write_text("")
    for path in (tmp_path, tmp_path / "plain", script, no_program):
        with pytest.raises(CannotRunError):
            record(path)


def drive(program: str, mark: str, folder: Path) -> tuple[subprocess.Popen[str], int, int]:
    """A process like coldseek that traces the program, BUSY or one made of it, in a session of its own.

    It is under way on return. Gives it, and the numbers of the program's two processes.
    """
    script = program.replace("FOLDER", str(folder)) + f"# {mark}\n"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, sys.executable, "-S", "-c", script],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    told = folder / "main", folder / "child"
    assert until(lambda: all(path.exists() for path in told)), "nothing was traced"
    assert until(lambda: catches(driver.pid, signal.SIGTERM))
    main, child = (int(path.read_text()) for path in told)
    return driver, main, child


def answer(driver: subprocess.Popen[str]) -> dict[str, Any]:
    """What a DRIVER says of its trace in the end; the reads are those of /etc/passwd."""
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


def left_over(mark: str) -> list[str]:
    """Processes whose command line holds `mark`, other than this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


def wait_until_gone(mark: str) -> list[str]:
    until(lambda: not left_over(mark))
    return left_over(mark)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_the_program_then_what_it_left_and_keeps_the_trace(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    """The program itself is asked to end; its child, which was not asked, is ended some seconds later."""
    mark = f"mark{os.getpid()}x{int(number)}"
    driver, _, _ = drive(BUSY, mark, tmp_path)
    driver.send_signal(number)
    told = answer(driver)
    assert (told["partial"], told["status"]) == (f"ended by {number.name}", status)
    assert told["reads"] >= 2 * 21
    assert not wait_until_gone(mark)


def test_ctrl_c_ends_the_program_and_another_what_it_left(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}x{int(signal.SIGINT)}"
    driver, main, child = drive(BUSY, mark, tmp_path)
    driver.send_signal(signal.SIGINT)
    assert until(lambda: not lives(main))
    assert lives(child)  # as it has not had it
    # The next is for those that are left, as soon as the end of the first is known.
    for _ in range(20):
        driver.send_signal(signal.SIGINT)
        if until(lambda: not lives(child), 5):
            break
    told = answer(driver)
    assert told["partial"] in (
        "ended by Ctrl-C while background processes of the program still ran",
        "ended by a second Ctrl-C",  # the end of the program was not known yet
    )
    assert told["status"] == 130
    assert told["reads"] >= 2 * 21
    assert not wait_until_gone(mark)


def test_a_stubborn_program_is_killed(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}stubborn"
    driver, _, _ = drive(STUBBORN, mark, tmp_path)
    driver.send_signal(signal.SIGTERM)
    told = answer(driver)
    assert (told["partial"], told["status"]) == ("ended by SIGTERM", 137)
    assert not wait_until_gone(mark)


@pytest.mark.usefixtures("own_temporary")
def test_nothing_is_left_when_coldseek_is_killed(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}killed"
    driver, _, _ = drive(STUBBORN, mark, tmp_path)
    driver.kill()
    driver.wait(timeout=PATIENCE_S)
    assert not wait_until_gone(mark)


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        monkeypatch.setattr("tempfile.tempdir", str(small))
        code = "import os\nfd = os.open('/etc/passwd', 0)\nfor _ in range(2000): os.pread(fd, 1, 0)"
        trace = record(sys.executable, "-S", "-c", code)
    finally:
        subprocess.run(["umount", small], check=True)
    assert "no space left" in trace.meta.partial
    assert 0 < len(trace.reads()) < 2000


def test_what_strace_says_for_itself_is_told_of_a_silent_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "strace"
    fake.write_text("#!/bin/sh\necho 'strace: attach: Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ColdseekError, match=r"\(attach: Operation not permitted\).*--tracer ptrace"):
        tracer.make().record(Recording(["true"], silent=True))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "kind"), [("no-such-program", CommandNotFoundError), ("/", CannotRunError)]
)
def test_a_silent_run_that_cannot_start_says_why(name: str, kind: type[ColdseekError]) -> None:
    with pytest.raises(kind):
        tracer.make().record(Recording([name], silent=True))
