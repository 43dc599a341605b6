"""Units and hooks that run a plan, as systemd and a shell take them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, need_tool

from profiler.report.units import drop_in, hook, service

UNITS = sorted((ROOT / "examples" / "boot").glob("*.service"))


def test_systemd_takes_the_service_and_orders_it(tmp_path: Path) -> None:
    """systemd itself says so: of a path with all that it would take for something else."""
    need_tool("systemd-analyze")
    plan = tmp_path / "a b%n'$HOME.plan"
    plan.write_text("#!/bin/sh\n")
    plan.chmod(0o755)
    (tmp_path / "other.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "pre.service").write_text(service(str(plan), "other.service"))
    (tmp_path / "other.service.d").mkdir()
    (tmp_path / "other.service.d" / "prefetch.conf").write_text(drop_in("pre.service", "other.service"))
    for name in ("pre.service", "other.service"):
        done = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True)
        complaints = [
            line for line in done.stderr.splitlines() if str(tmp_path) in line or "pre.service" in line
        ]
        assert done.returncode == 0 and not complaints, done.stderr


def test_the_hook_of_libvirt_runs_the_plan_before_a_guest_and_at_no_other_time(tmp_path: Path) -> None:
    plan, ran, script = tmp_path / "a 'b'.plan", tmp_path / "ran", tmp_path / "hook"
    plan.write_text(f"#!/bin/sh\necho $* >>{ran}\nexit 3\n")
    plan.chmod(0o755)
    script.write_text(hook(str(plan), "libvirt"))
    for operation in ("prepare begin", "start begin", "started begin", "release end"):
        done = subprocess.run(["sh", script, "guest", *operation.split(), "-"], input="<domain/>", text=True)
        assert done.returncode == 0  # a plan that fails is no reason not to start
    assert ran.read_text() == "--quiet\n"
    script.write_text(script.read_text().replace("GUEST=\n", "GUEST=other\n"))
    subprocess.run(["sh", script, "guest", "prepare", "begin", "-"], check=True)
    assert ran.read_text() == "--quiet\n"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_those_of_the_example(unit: Path, tmp_path: Path) -> None:
    need_tool("systemd-analyze")
    place = tmp_path / unit.name
    place.write_text(
        unit.read_text().replace("=coldseek ", "=/bin/true ")
    )  # it may not be installed for all
    done = subprocess.run(["systemd-analyze", "verify", place], capture_output=True, text=True)
    assert done.returncode == 0 and unit.name not in done.stderr, done.stderr
