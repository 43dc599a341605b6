"""What the commands do where nothing was named: the first words, the newest trace, names of pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT

from profiler.cli import completion, traces
from profiler.errors import UsageError
from profiler.report import figures

COLDSEEK = [sys.executable, "-m", "profiler"]
NOBODY = 65534


def coldseek(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COLDSEEK, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "LANG": "C.UTF-8"} | environ,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two traces, b newer than a."""
    (tmp_path / "log").write_text('1 0.1 openat(AT_FDCWD, "/a", 0) = 3</a>\n1 0.2 read(3</a>, "", 9) = 9\n')
    done = coldseek("import", "strace", "log", "-o", "a.trace.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "a.trace.parquet", tmp_path / "b.trace.parquet")
    os.utime(tmp_path / "a.trace.parquet", (1, 1))
    return tmp_path


def test_coldseek_alone_says_in_five_lines_what_to_type(tmp_path: Path) -> None:
    done = coldseek(cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 5)
    assert max(map(len, lines)) <= 80
    shown = coldseek("--help", cwd=tmp_path).stdout
    assert {found for found in re.findall(r"coldseek (\w+)", done.stdout) if found not in shown} == {"says"}


def test_the_newest_trace_is_taken_and_told(folder: Path) -> None:
    for words in (("report",), ("project",), ("report", "--full"), ("report", "--format", "json")):
        done = coldseek(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "coldseek: b.trace.parquet, the newest trace here\n"
    assert json.loads(done.stdout)["totals"]["reads"] == 1
    assert coldseek("report", "a.trace.parquet", cwd=folder).stderr == ""


def test_a_locale_without_unicode_gets_none(folder: Path) -> None:
    there = dict.fromkeys(("LC_ALL", "LC_CTYPE"), "")
    assert coldseek("report", cwd=folder, LANG="C", **there).stdout.isascii()
    assert coldseek("report", cwd=folder, LANG="C.UTF-8", TERM="dumb", **there).stdout.isascii()


def test_a_plot_gets_a_name_that_no_file_has(folder: Path) -> None:
    for name in ("b-offsets.png", "b-offsets-2.png"):
        done = coldseek("plot", cwd=folder)
        assert done.returncode == 0 and done.stderr.endswith(f"coldseek: plot: {name}\n")
        assert (folder / name).stat().st_size
    assert coldseek("plot", "a.trace.parquet", "--kind", "gaps", cwd=folder).stderr == (
        "coldseek: plot: a-gaps.png\n"
    )


def test_what_acts_on_a_trace_wants_its_name(folder: Path) -> None:
    done = coldseek("advise", "--verify", "--yes", cwd=folder)
    assert done.returncode == 2 and "name the trace" in done.stderr
    if os.geteuid() == 0:
        done = coldseek("prefetch", "--dry-run", cwd=folder)
        assert done.returncode == 2 and "name the trace" in done.stderr


def test_without_a_trace_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    done = coldseek("report", cwd=tmp_path)
    assert done.returncode == 2 and "coldseek record -- COMMAND" in done.stderr


def test_only_the_caller_s_own_files_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "link.trace.parquet").symlink_to("b.trace.parquet")
    (folder / "folder.trace.parquet").mkdir()
    assert traces.traces_here() == ["b.trace.parquet", "a.trace.parquet"]
    if os.geteuid() == 0:
        os.chown("b.trace.parquet", NOBODY, NOBODY)
        assert traces.traces_here() == ["a.trace.parquet"]
        monkeypatch.setenv("SUDO_UID", str(NOBODY))
        monkeypatch.setenv("SUDO_GID", str(NOBODY))
        assert traces.traces_here() == ["b.trace.parquet", "a.trace.parquet"]
        os.chown("a.trace.parquet", 4242, 4242)
        os.chown("b.trace.parquet", 4242, 4242)
        with pytest.raises(UsageError):
            traces.named_or_newest("")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("coldseek record --cache ", {"keep", "cold", "warm"}),
        ("coldseek record --with u", {"unit:", "user:"}),
        ("coldseek record --with user:roo", {"user:root"}),
        ("coldseek plot --kind ga", {"gaps"}),
        ("coldseek report --format ", {"text", "json", "html", "markdown"}),
        ("coldseek project --device sata", {"sata-ssd"}),
        ("coldseek report a", {"a.trace.parquet"}),
        ("coldseek advise ", {"a.trace.parquet", "b.trace.parquet"}),
        ("coldseek open --by ", {"info", "check", "map", "read", "vm"}),
    ],
)
def test_values_are_completed(typed: str, offered: set[str], folder: Path) -> None:
    done = coldseek(
        cwd=folder, _COLDSEEK_COMPLETE="complete_bash", COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split(" ")) - 1),
    )  # fmt: skip
    assert set(done.stdout.split()) == offered


def test_the_kinds_that_are_offered_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    done = coldseek(
        cwd=ROOT, _COLDSEEK_COMPLETE="complete_bash", COMP_WORDS="coldseek plot --kind ", COMP_CWORD="3"
    )
    assert set(done.stdout.split()) == set(figures.KINDS)


def test_names_that_are_hostile_are_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a\x1b[2J.trace.parquet", "a\n.trace.parquet", "ab.trace.parquet"):
        (tmp_path / name).write_bytes(b"")
    assert completion.traces("a") == ["ab.trace.parquet"]


def test_a_killed_program_is_named_by_its_signal(tmp_path: Path) -> None:
    done = coldseek("record", "--tracer", "ptrace", "--", "sh", "-c", "kill -SEGV $$", cwd=tmp_path)
    assert done.returncode == 139
    assert "exit status 139 (killed by SIGSEGV)" in coldseek("report", "--full", cwd=tmp_path).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_doctor_says_what_a_user_can_prove(tmp_path: Path) -> None:
    """And so it is: a start that reads files of others is not proved cold, one of own files is."""
    tmp_path.chmod(0o777)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # where the interpreter lies
    environ = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*user, *COLDSEEK, *words], cwd=tmp_path, capture_output=True, text=True, env=environ,
            timeout=PATIENCE_S,
        )  # fmt: skip

    told = run("doctor").stdout
    done = run("record", "--cache", "cold", "--", "cat", "/etc/passwd")
    proved = "NOT PROVED COLD" not in done.stderr
    assert ("in part: " in told) == (not proved), (told, done.stderr)
