"""Units and hooks that run a plan."""

from __future__ import annotations

import json

import pytest

from profiler.errors import UsageError
from profiler.report.units import HOOKS, drop_in, hook, service


@pytest.mark.parametrize(
    "unit", ["", "x", "../x.service", "a b.service", "x.service\nExecStart=/bin/sh", "x.scope"]
)
def test_what_is_no_unit_is_refused(unit: str) -> None:
    for make in (lambda: service("/p", unit), lambda: drop_in("p.service", unit)):
        with pytest.raises(UsageError, match="name it in full"):
            make()


def test_the_hook_of_containers() -> None:
    """The keys of oci-hooks(5)."""
    content = json.loads(hook("/p/x.plan", "oci"))
    assert content["version"] == "1.0.0" and content["hook"]["path"] == "/p/x.plan"
    assert content["stages"] == ["prestart"] and content["when"]


def test_other_hooks() -> None:
    assert HOOKS == ("libvirt", "oci")
    with pytest.raises(UsageError, match="there are libvirt, oci"):
        hook("/p", "docker")
