"""Set-up and scripts: everything runs from the root, twice without harm, and says clearly what it lacks."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PATIENCE_S, ROOT, need, need_tool

SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)
names = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)


def call(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=PATIENCE_S,
    )


def module(script: Path) -> ModuleType:
    """A script as a module, to call its functions."""
    loader = SourceFileLoader(script.name.replace("-", "_"), str(script))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    loader.exec_module(made)
    return made


# ---- all scripts -----------------------------------------------------------------------------------------


@names
def test_a_script_runs_by_its_own_run_bit_and_under_the_projects_python(script: Path) -> None:
    assert script.suffix == ""
    assert script.read_text().startswith("#!/usr/bin/env python3\n")
    if script.name == "setup":
        return  # takes no options; see below
    for command in ([script], [sys.executable, script]):
        told = call(*command, "--help")
        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith("usage:")


@names
def test_a_script_finds_the_project_under_the_systems_python(script: Path) -> None:
    """As on a user's machine: python3 in PATH is one that knows nothing of coldseek."""
    need(Path("/usr/bin/python3").exists(), "needs the system's python3")
    if script.name == "setup":
        return  # would install what is missing; see below
    told = call("/usr/bin/python3", script, "--help")
    assert told.returncode == 0, told.stderr


def test_make_lists_its_targets() -> None:
    need_tool("make")
    told = call("make")
    listed = re.findall(r"^make ([\w-]+) +\S", told.stdout, re.MULTILINE)
    assert listed == re.findall(r"^([\w-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"help", "setup", "demo", "test", "test-full", "check", "bench", "clean"} <= set(listed)
    assert call("make", "help").stdout == told.stdout


def test_what_ci_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make (\S+)$", script.read_text(), re.MULTILINE) == ["check", "test", "test-full"]
    assert call("bash", "-n", script).returncode == 0


def test_the_pinned_versions_hold_no_addresses_and_everything_that_is_needed() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    pinned = {normal(pin.partition("==")[0]) for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"], *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]  # fmt: skip
    assert {normal(re.split(r"[<>=!~\[ ;]", name)[0]) for name in wanted} <= pinned


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ---- setup -----------------------------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/setup with a checkout and a PATH of its own."""
    made = module(ROOT / "scripts" / "setup")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", str(binaries))
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path, "VENV": venv, "PYTHON": venv / "bin" / "python", "STAMP": venv / "stamp",
        "TOOLS": {"coldseek-no-such-tool": "some-package"},
    }.items():  # fmt: skip
        monkeypatch.setattr(made, name, value)
    monkeypatch.setattr(made, "works", lambda python: True)
    return made


def tool(directory: Path, name: str, text: str) -> None:
    path = directory / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fake_apt(directory: Path, fails: str) -> Path:
    """An apt-get that writes down how it is called, and fails on calls for which `fails` is true."""
    calls = directory / "calls"
    tool(directory, "env", 'shift; exec "$@"')  # DEBIAN_FRONTEND=...
    tool(directory, "apt-get", f'echo "$@" >> {calls}\n{fails}')
    return calls


def test_without_apt_one_line_says_what_to_install(
    setup: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.install_packages(["qemu-utils", "strace"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "qemu-utils strace" in told


def test_without_root_and_sudo_one_line_says_what_to_install(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_apt(tmp_path, "true")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    setup.install_packages(["qemu-utils", "strace"])
    assert not calls.exists()
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "apt-get install qemu-utils strace" in told


def test_apt_is_asked_once_without_recommended_packages(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_apt(tmp_path, "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    setup.install_packages(["strace"])
    assert calls.read_text() == "-qq -y --no-install-recommends install strace\n"


def test_the_lists_are_renewed_only_if_a_package_is_not_found(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_apt(tmp_path, "test -e updated || { test $2 = update && : > updated; }")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    setup.install_packages(["strace"])
    assert [line.split()[-1] for line in calls.read_text().splitlines()] == ["strace", "update", "strace"]
    assert "failed" not in capsys.readouterr().err


def test_sudo_is_used_where_it_asks_nothing(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_apt(tmp_path, "true")
    tool(
        tmp_path,
        "sudo",
        f'echo sudo "$@" >> {calls}\ntest "$1" = -n && shift\ntest "$1" = true || exec "$@"',
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    setup.install_packages(["strace"])
    assert calls.read_text().splitlines()[-1] == "-qq -y --no-install-recommends install strace"
    assert calls.read_text().startswith("sudo -n true\nsudo -n env DEBIAN_FRONTEND=noninteractive apt-get")


def test_what_is_there_is_not_installed_again(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_apt(tmp_path, "true")
    tool(tmp_path, "coldseek-no-such-tool", "true")
    ready = tmp_path / ".venv" / "bin" / "coldseek"
    ready.parent.mkdir(parents=True)
    ready.touch()
    (tmp_path / ".venv" / "stamp").write_text(setup.fingerprint())
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be run"))
    monkeypatch.chdir(tmp_path)
    assert setup.main() == 0
    assert not calls.exists()


def test_other_requirements_or_another_place_call_for_a_new_installation(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = setup.fingerprint()
    monkeypatch.setattr(setup, "ROOT", tmp_path / "bin" / "..")
    assert setup.fingerprint() != before
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    with open(tmp_path / "constraints.txt", "a") as pins:
        pins.write("more==1\n")
    assert setup.fingerprint() != before


def test_a_setup_that_is_complete_is_quiet_and_changes_nothing(tmp_path: Path) -> None:
    """In a checkout of its own: that of the tests may have been changed since it was set up."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    script = module(tmp_path / "scripts" / "setup")
    for name in script.TOOLS:
        need_tool(name)
    script.PYTHON.parent.mkdir(parents=True)
    script.PYTHON.with_name("coldseek").touch()
    script.PYTHON.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    script.PYTHON.chmod(0o755)
    script.STAMP.write_text(script.fingerprint())

    def files() -> list[tuple[Path, int]]:
        return sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))

    before = files()
    for command in ([], [sys.executable], ["/usr/bin/python3"]):
        told = call(*command, tmp_path / "scripts" / "setup")
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert files() == before


# ---- make-image ------------------------------------------------------------------------------------------


def test_an_image_is_made_once(tmp_path: Path) -> None:
    need_tool("qemu-img")
    script, image = ROOT / "scripts" / "make-image", tmp_path / "new" / "a b.qcow2"
    assert call(script, image, "--size", "64M").returncode == 0
    made = image.stat()
    assert call(script, image, "--size", "64M").stderr == ""
    assert image.stat().st_mtime_ns == made.st_mtime_ns
    assert call(script, image, "--size", "128M").returncode == 0
    assert image.stat().st_ino != made.st_ino
    told = call("qemu-img", "info", image).stdout
    assert "virtual size: 128 MiB" in told
    assert "cluster_size: 4096" in told
    assert [path.name for path in image.parent.iterdir()] == ["a b.qcow2"]


def test_two_at_once_make_an_image_once_and_what_was_left_is_removed(tmp_path: Path) -> None:
    need_tool("qemu-img")
    (tmp_path / ".make-image-of-one-that-was-killed").mkdir()
    command = [sys.executable, ROOT / "scripts" / "make-image", tmp_path / "image", "--size", "1G"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate(timeout=PATIENCE_S)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert "".join(told).count("building") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/x", "--size", "much"], "no size"),
        (["{tmp}/x", "--size", "0"], "no size"),
        (["{tmp}/x", "--size", "9999999T"], "could not make"),
        (["/proc/x"], "/proc"),
    ],
)
def test_an_image_that_cannot_be_made_is_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    need_tool("qemu-img")
    told = call(ROOT / "scripts" / "make-image", *[part.format(tmp=tmp_path) for part in arguments])
    assert told.returncode == 1
    assert words in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.iterdir())


def test_an_image_without_qemu_img_is_one_line(tmp_path: Path) -> None:
    told = call(sys.executable, ROOT / "scripts" / "make-image", tmp_path / "x", PATH=str(tmp_path))
    assert told.returncode == 1
    assert "install qemu-utils" in told.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


# ---- make-log --------------------------------------------------------------------------------------------


def test_a_log_is_the_same_every_time_and_all_of_it_can_be_read(tmp_path: Path) -> None:
    from profiler.capture.strace.logs.reading import parse

    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        assert call(ROOT / "scripts" / "make-log", "5000", path).returncode == 0
    text = paths[0].read_bytes()
    assert text == paths[1].read_bytes()
    assert text.count(b"\n") == 5000
    trace = parse(str(paths[0]))
    image = trace.reads()["path"] == b"/images/disk0.qcow2"
    whole = re.findall(rb"(?:pread64\(7<[^>]*>, |pread64 resumed>)\"\"\.\.\., 4096, \d+\) = 4096", text)
    assert image.sum() == len(whole)
    assert not any("line" in note for note in trace.meta.notes), trace.meta.notes


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    told = call(ROOT / "scripts" / "make-log", "10", tmp_path / "no" / "x")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
