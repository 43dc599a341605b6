"""Programs that know what they read, under the tracers that see every call: right file, offset and size."""

from __future__ import annotations

import pytest
from conftest import need
from expected_reads import build, leaves, observe

from profiler.capture import tracer

pytestmark = pytest.mark.alone

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
    "leader": ("",),
    "passed": ("",),
    "preadv2": ("",),
}


@pytest.fixture(params=("ptrace", "kernel"))
def name(request: pytest.FixtureRequest) -> str:
    found = tracer.probe(request.param)
    need(found.works, f"tracer {request.param}: {found.why}")
    return str(request.param)


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
