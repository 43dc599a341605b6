"""A command whose work others do, who cannot be watched."""

from __future__ import annotations

import pytest

from profiler.capture.watch import choose
from profiler.capture.watch.whom.targets import Target
from profiler.studies.record import record


def test_the_trace_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda: "this kernel has no event e")
    monkeypatch.setattr(
        choose, "daemons_of", lambda _: ([Target("unit", "demo.service", coming=True)], "it asks systemd")
    )
    found = record(["true"], "ptrace")
    assert found.meta.targets == ()
    assert found.meta.notes[0].startswith("INCOMPLETE: not watched: unit:demo.service")
