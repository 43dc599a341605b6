"""A command whose work others do, who cannot be watched."""

from __future__ import annotations

import pytest

from profiler.capture.watch import choose
from profiler.capture.watch.whom.targets import Target
from profiler.studies.record import record


@pytest.fixture(autouse=True)
def _an_old_kernel_and_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda: "this kernel has no event e")
    monkeypatch.setattr(
        choose, "daemons_of", lambda _: ([Target("unit", "demo.service", coming=True)], "it asks systemd")
    )


def test_the_trace_keeps_it() -> None:
    found = record(["true"], "ptrace")
    assert found.meta.targets == ()
    assert found.meta.notes[0].startswith("INCOMPLETE: not watched: unit:demo.service")


@pytest.mark.parametrize("asked", [(), ("none",)])
def test_its_cold_start_is_not_proved(asked: tuple[str, ...]) -> None:
    """The files of the client were dropped; those of whoever does its work may all be cached."""
    found = record(["cat", "/etc/hostname"], "ptrace", "cold", evict="files", targets=asked)
    assert (found.meta.cache, found.meta.cache_asked) == ("unknown", "cold")
    assert found.meta.notes[-1].startswith("NOT PROVED COLD: another process did work for the command")
