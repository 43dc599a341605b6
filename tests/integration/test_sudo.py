"""Under sudo: the program is the user's who called it, and so is what coldseek writes."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need, need_root, need_tool, need_tracer

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.capture.strace.tracer import StraceTracer
from profiler.errors import ColdseekError
from profiler.files import writing
from profiler.files.owner import Owner, invoker, make_folder
from profiler.files.traces import load, save
from profiler.files.writing import replacing
from profiler.machine.processes import timed as runs
from profiler.studies.record import record
from profiler.trace import Trace

NOBODY = pwd.getpwnam("nobody")
TELL = """
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
ids = [status[name].split() for name in ("Uid", "Gid")]
words = [sorted(os.getgroups()), os.environ["HOME"], os.environ["USER"], os.environ["LOGNAME"]]
rights = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
sys.stdout.write(json.dumps([ids, *words, rights]))
"""


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> Owner:
    """As if `nobody` had called sudo."""
    need_root()
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(NOBODY.pw_gid))
    found = invoker()
    assert found is not None
    return found


def in_a_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child that did this."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def expected(owner: Owner) -> list[object]:
    uid, gid = [[str(number)] * 4 for number in (owner.uid, owner.gid)]
    return [[uid, gid], sorted(owner.groups), owner.home, owner.name, owner.name, [0, 0, 0, 0]]


def test_an_untraced_program_is_the_users(sudo: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"]
    assert runs.run(["/usr/bin/env", "python3", "-I", "-c", TELL], owner=sudo).exit_status == 0
    assert json.loads(capfd.readouterr().out) == expected(sudo)
    assert (os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"]) == before


def test_all_its_groups_come_along(sudo: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    more = sorted({*sudo.groups, grp.getgrnam("games").gr_gid})
    owner = Owner(sudo.uid, sudo.gid, sudo.name, sudo.home, tuple(more))
    assert runs.run(["id", "-G"], owner=owner).exit_status == 0
    assert sorted(map(int, capfd.readouterr().out.split())) == more


def test_without_an_owner_the_program_stays_roots(sudo: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    assert runs.run(["id", "-u"]).exit_status == 0
    assert capfd.readouterr().out == "0\n"


def test_a_program_that_the_user_may_not_run(sudo: Owner, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert runs.run([str(program)]).exit_status == 0
    with pytest.raises(ColdseekError):
        runs.run([str(program)], owner=sudo)
    assert os.getresuid() == (0, 0, 0)


def test_a_forked_child_can_become_the_user(sudo: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        sudo.become()
        os.execvp("python3", ["python3", "-I", "-c", TELL])

    assert in_a_child(work) == 0
    assert json.loads(capfd.readouterr().out) == expected(sudo)


def test_there_is_no_way_back(sudo: Owner) -> None:
    def work() -> None:
        sudo.become()
        os.setuid(0)

    assert in_a_child(work) == 1


def test_a_program_under_strace_is_the_users(sudo: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    need_tool("strace")
    trace = StraceTracer(sudo).record(Recording(["/usr/bin/env", "python3", "-I", "-c", TELL]))
    assert trace.meta.exit_status == 0
    assert json.loads(capfd.readouterr().out) == expected(sudo)
    assert not trace.reads().empty


@pytest.mark.parametrize("folder", ["tmp_path", "/tmp"])
def test_a_saved_trace_is_the_users(
    sudo: Owner, folder: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In /tmp, too, where root may not write to a file that it has given away."""
    place = tmp_path if folder == "tmp_path" else Path(folder)
    path = place / f"coldseek-test-{os.getpid()}.trace.parquet"
    request.addfinalizer(lambda: path.unlink(missing_ok=True))
    for _ in range(2):  # anew, and in place of the one that is there
        save(Trace(), path)
        assert (path.stat().st_uid, path.stat().st_gid) == (sudo.uid, sudo.gid)


def test_a_file_put_in_place_of_ours_is_not_given_away(
    sudo: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of another's the name may be exchanged while coldseek writes, if the file has one."""
    monkeypatch.setattr(writing, "_unnamed", lambda _: os.open("/nowhere", os.O_RDONLY))
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    with replacing(tmp_path / "new"):
        (temporary,) = tmp_path.glob(".coldseek-*")
        os.unlink(temporary)
        os.link(secret, temporary)
    assert secret.stat().st_uid == 0


def test_folders_that_are_made_are_the_users(sudo: Owner, tmp_path: Path) -> None:
    make_folder(str(tmp_path / "a" / "b"), sudo)
    assert {(tmp_path / name).stat().st_uid for name in ("a", "a/b")} == {sudo.uid}
    assert tmp_path.stat().st_uid == 0


def coldseek(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profiler", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a tracer that works here."""
    return need_tracer(request.param)


def test_under_every_tracer_the_program_is_the_users(sudo: Owner, name: str, tmp_path: Path) -> None:
    path = tmp_path / "id.trace.parquet"
    done = coldseek(
        "record", "--tracer", name, "-o", path, "--", "/usr/bin/env", "python3", "-I", "-c", TELL
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected(sudo)
    assert f"tracer {name}: as asked; the program runs as user {sudo.name}\n" in done.stderr
    assert (path.stat().st_uid, path.stat().st_gid) == (sudo.uid, sudo.gid)
    assert not load(path).reads().empty


def test_as_root_the_program_is_roots_and_the_trace_is_not(sudo: Owner, name: str, tmp_path: Path) -> None:
    path = tmp_path / "id.trace.parquet"
    done = coldseek("record", "--as-root", "--tracer", name, "-o", path, "--", "id", "-u")
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert "runs as user" not in done.stderr
    assert path.stat().st_uid == sudo.uid


@pytest.mark.parametrize("as_root", [False, True])
def test_all_runs_of_a_comparison_are_the_same_users(sudo: Owner, as_root: bool) -> None:
    """The one that finds the files, the two traced ones, and the two that are timed."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are root's alone
        os.chmod(folder, 0o777)
        script = f"touch {folder}/$$"
        done = coldseek("compare", "--runs", "1", *["--as-root"] * as_root, "--", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        assert [path.stat().st_uid for path in Path(folder).iterdir()] == [0 if as_root else sudo.uid] * 5


def test_a_library_call_keeps_the_rights_of_its_caller(
    sudo: Owner, capfd: pytest.CaptureFixture[str]
) -> None:
    assert record(["id", "-u"], "ptrace").meta.exit_status == 0
    assert record(["id", "-u"], "ptrace", owner=sudo).meta.exit_status == 0
    assert capfd.readouterr().out.split() == ["0", str(sudo.uid)]


@pytest.mark.parametrize("name", ["kernel", "ptrace"])
def test_a_traced_program_that_the_user_may_not_run(sudo: Owner, name: str, tmp_path: Path) -> None:
    """strace says it in its own words."""
    need(tracer.probe(name).works, f"needs tracer {name}")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    with pytest.raises(ColdseekError, match=rf"as user {sudo.name}: Permission denied.*--as-root"):
        record([str(program)], name, owner=sudo)
    assert record([str(program)], name).meta.exit_status == 0


@pytest.mark.parametrize("name", ["kernel", "ptrace", ""])
def test_who_cannot_become_the_user_is_told_of_the_way_out(name: str, sudo: Owner) -> None:
    """As in a container that maps no such user."""
    nobody = Owner(sudo.uid, sudo.gid, "ann", "/", (2**32 - 1,))  # a number that no group can have
    need(not name or tracer.probe(name).works, f"needs tracer {name}")
    with pytest.raises(ColdseekError, match=r"cannot run as user ann: .*; use --as-root"):
        record(["true"], name, owner=nobody) if name else runs.run(["true"], owner=nobody)
    assert os.getresuid() == (0, 0, 0)


def test_an_image_that_the_user_may_not_read(sudo: Owner, tmp_path: Path) -> None:
    need_tool("qemu-img")
    image = tmp_path / "image"
    image.write_bytes(bytes(65536))
    image.chmod(0o600)
    done = coldseek("open", "--runs", "1", "-o", tmp_path / "out", image)
    assert done.returncode == 125
    assert "Permission denied" in done.stderr
    assert "--as-root" in done.stderr


def test_the_command_line_gives_what_it_writes(sudo: Owner, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    command = ["compare", "--runs", "1", "-o", str(folder), "--", "true"]
    done = subprocess.run([sys.executable, "-m", "profiler", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [folder.parent, folder, *folder.iterdir()]
    assert len(made) == 5
    assert {path.stat().st_uid for path in made} == {sudo.uid}
