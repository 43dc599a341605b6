"""Programs that know what they read, under the tracers that see every call: right file, offset and size."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_root, need_tool, need_tracer
from expected_reads import build, leaves, observe
from test_cache import as_nobody

from profiler.report import text
from profiler.report.summarise import summarise
from profiler.trace import Trace

PR_SET_DUMPABLE = 4  # linux/prctl.h

CASES = {
    "staleclone": ("thread", "fail"),
    "upper": ("all",),
    "scm": ("",),
    "hugeoff": ("",),
    "aio64": ("",),
    "untraced": ("",),
    "uring_link": (
        "link",
        "samekey",
        "openread",
        "readv",
        "readvfixed",
        "multishot",
        "splice",
        "direct",
        "cqskip",
    ),
    "dumpable": ("",),
    "hidden": ("",),
    "leader": ("",),
    "passed": ("",),
    "preadv2": ("",),
}


@pytest.fixture(params=("ptrace", "kernel"))
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


EACH = [(program, variant) for program, variants in CASES.items() for variant in variants]


@pytest.mark.parametrize(("program", "variant"), EACH)
def test_what_a_program_read_is_what_was_recorded(
    name: str,
    program: str,
    variant: str,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    built = build(program, tmp_path_factory.mktemp("built"))
    run = tmp_path_factory.mktemp("run")
    observed = observe(built, name, run, *variant.split())
    said = capfd.readouterr().out
    assert "FAIL" not in said, said  # the program's own checks
    assert observed.trace.meta.exit_status == 0
    assert observed.expected or variant == "multishot", "the program read nothing"
    assert observed.recorded == observed.expected, leaves(observed)


def test_what_proc_does_not_show_is_hidden_too() -> None:
    """Where it is mounted with hidepid, a process that hides is as good as not there."""
    need_root()
    need_tracer("ptrace")
    need_tool("unshare")
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__]
    script = 'mount -t proc -o hidepid=ptraceable proc /proc || exit 0; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *tests, "-k", "hides_from_its_user"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("how", ["asked", "unreadable"])
def test_what_hides_from_its_user_is_counted_and_said_first(how: str) -> None:
    """A program that is not dumpable hides its descriptors and its memory; only root may look.

    It has asked for that, or may be executed, but not read by its user.
    """
    need_root()
    need_tracer("ptrace")
    libc = ctypes.CDLL(None)
    text.report(summarise(Trace()), 80)  # nobody may not read our modules
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        directory = Path(name)
        built = build("hidden", directory)
        built.chmod(0o755 if how == "asked" else 0o711)
        directory.chmod(0o777)

        def told() -> str:
            libc.prctl(PR_SET_DUMPABLE, 1)  # a process that has changed its user is not
            trace = observe(built, "ptrace", directory, *([] if how == "asked" else ["unreadable"])).trace
            reads = trace.reads()
            hidden = reads[[path.startswith(b"(descriptor") for path in reads["path"]]]
            offsets = hidden["offset"].astype(object).where(hidden["offset"].notna(), None)
            rows = list(zip(hidden["file"].tolist(), offsets.tolist(), hidden["size"].tolist(), strict=True))
            return json.dumps([text.report(summarise(trace), 80).plain, trace.meta.unseen, rows])

        report, unseen, rows = json.loads(as_nobody(told))
    first = " ".join(report.split("\n\n")[0].split())
    assert first.startswith("INCOMPLETE: ")
    assert "descriptors could not be looked at" in first
    assert f"of {len(rows)} reads the file is not known" in first
    assert "descriptors" in unseen
    rows = rows[-7:]  # of a program that cannot be read the loader's were before these
    f, g = rows[0][0], rows[-1][0]
    assert f != g
    assert rows == [
        [f, 0, 10],
        [f, 10, 10],
        [f, 20, 10],
        [f, 30, 10],
        [f, None, 30],
        [f, 40, 10],
        [g, 0, 10],
    ]
