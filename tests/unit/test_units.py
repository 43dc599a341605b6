"""Units and hooks that run a plan."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import need_tool

from profiler.errors import UsageError
from profiler.report.units import HOOKS, drop_in, hook, service


@pytest.mark.parametrize(
    "unit", ["", "x", "../x.service", "a b.service", "x.service\nExecStart=/bin/sh", "x.scope"]
)
def test_what_is_no_unit_is_refused(unit: str) -> None:
    for make in (lambda: service("/p", unit), lambda: drop_in("p.service", unit)):
        with pytest.raises(UsageError, match="name it in full"):
            make()


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


def test_the_hook_of_containers() -> None:
    """The keys of oci-hooks(5)."""
    content = json.loads(hook("/p/x.plan", "oci"))
    assert content["version"] == "1.0.0" and content["hook"]["path"] == "/p/x.plan"
    assert content["stages"] == ["prestart"] and content["when"]


def test_other_hooks() -> None:
    assert HOOKS == ("libvirt", "oci")
    with pytest.raises(UsageError, match="there are libvirt, oci"):
        hook("/p", "docker")
