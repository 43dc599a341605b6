"""Under sudo: the program is the user's who called it, and so is what coldseek writes."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import need_root, need_tool

from profiler.capture import runs
from profiler.capture.strace import StraceTracer
from profiler.errors import ColdseekError
from profiler.owner import Owner, invoker, make_folder
from profiler.trace import Trace, replacing, save

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
    trace = StraceTracer(sudo).record(["/usr/bin/env", "python3", "-I", "-c", TELL])
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


def test_a_file_put_in_place_of_ours_is_not_given_away(sudo: Owner, tmp_path: Path) -> None:
    """In a folder of another's the name may be exchanged while coldseek writes."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    with replacing(tmp_path / "new") as temporary:
        os.unlink(temporary)
        os.link(secret, temporary)
    assert secret.stat().st_uid == 0


def test_folders_that_are_made_are_the_users(sudo: Owner, tmp_path: Path) -> None:
    make_folder(str(tmp_path / "a" / "b"), sudo)
    assert {(tmp_path / name).stat().st_uid for name in ("a", "a/b")} == {sudo.uid}
    assert tmp_path.stat().st_uid == 0


def test_the_command_line_gives_what_it_writes(sudo: Owner, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    command = ["compare", "--runs", "1", "-o", str(folder), "--", "true"]
    done = subprocess.run([sys.executable, "-m", "profiler", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [folder.parent, folder, *folder.iterdir()]
    assert len(made) == 4
    assert {path.stat().st_uid for path in made} == {sudo.uid}
