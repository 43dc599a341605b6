"""Who called sudo, as far as its words can be believed, and what is done in that user's name."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from profiler.files.owner import Owner, acting_as, give, invoker, make_folder

SOMEONE = pwd.getpwnam("nobody")
UNKNOWN = 3_999_999_999


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def called(uid: object, gid: object) -> Owner | None:
    return invoker({"SUDO_UID": str(uid), "SUDO_GID": str(gid)})


@pytest.mark.usefixtures("as_root")
def test_the_user_who_called_sudo() -> None:
    found = called(SOMEONE.pw_uid, SOMEONE.pw_gid)
    assert found is not None
    assert (found.uid, found.gid, found.name) == (SOMEONE.pw_uid, SOMEONE.pw_gid, "nobody")
    assert found.home == SOMEONE.pw_dir
    assert SOMEONE.pw_gid in found.groups


@pytest.mark.usefixtures("as_root")
def test_a_user_without_an_entry_goes_by_number() -> None:
    assert called(UNKNOWN, 77) == Owner(UNKNOWN, 77, str(UNKNOWN), "/", (77,))


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("uid", "gid"),
    [
        ("0", "0"), ("0", "1000"),  # root called it
        ("", "1000"), ("1000", ""), ("-1", "1000"), ("1000", "-1"),
        (" 1000", "1000"), ("1000\n", "1000"), ("+1000", "1000"), ("01000", "1000"), ("1_000", "1000"),
        ("0x3e8", "1000"), ("1e3", "1000"), ("١٠٠٠", "1000"), ("1000", "users"), ("1000 0", "1000"),
        (2**32 - 1, "1000"), ("1000", 2**32 - 1), (2**32 + 1000, "1000"), (2**64 + 1000, "1000"),
    ],
)  # fmt: skip
def test_anything_but_two_plain_numbers_is_nobody(uid: object, gid: object) -> None:
    assert called(uid, gid) is None


@pytest.mark.usefixtures("as_root")
def test_without_sudo_there_is_no_invoker() -> None:
    assert invoker({}) is None
    assert invoker({"SUDO_UID": "1000"}) is None


def test_for_another_user_than_root_the_variables_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert called(1001, 1001) is None


def test_the_environment_is_the_users_and_otherwise_unchanged() -> None:
    owner = Owner(1000, 1000, "ann", "/home/ann", (1000,))
    environ = {"HOME": "/root", "USER": "root", "PATH": "/bin", "SUDO_UID": "1000"}
    assert owner.environment(environ) == {
        "HOME": "/home/ann", "USER": "ann", "LOGNAME": "ann", "PATH": "/bin", "SUDO_UID": "1000",
    }  # fmt: skip
    assert environ["HOME"] == "/root"


def test_groups_and_user_are_changed_in_the_only_order_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: calls.append((name, value)))
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, "root's")
    Owner(1000, 100, "ann", "/home/ann", (100, 27)).become()
    assert calls == [("setgroups", (100, 27)), ("setgid", 100), ("setuid", 1000)]
    assert (os.environ["HOME"], os.environ["USER"], os.environ["LOGNAME"]) == ("/home/ann", "ann", "ann")


def test_nothing_is_done_for_nobody(tmp_path: Path) -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with acting_as(None):
        assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    give(str(tmp_path / "there is no such file"), None)


def test_folders_are_made_where_they_are_missing(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    make_folder(str(inner) + "/", None)
    make_folder(str(inner), None)
    assert inner.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(str(tmp_path / "file"), None)
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        make_folder(str(tmp_path / "file" / "inner"), None)


def test_a_folder_may_be_named_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder("a/../b", None)
    make_folder(".", None)
    assert (tmp_path / "b").is_dir()


def test_a_file_system_without_owners_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    give(str(tmp_path), Owner(1, 1, "ann", "/", (1,)))
