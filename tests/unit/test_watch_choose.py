"""Where others than the command do its work and cannot be watched, this is said: then, and in the trace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from profiler.capture import tracer
from profiler.capture.watch import choose
from profiler.capture.watch.whom.targets import Target
from profiler.errors import ColdseekError
from profiler.machine.probe import Probe

FAULT = "this kernel has no event e"


@pytest.fixture(autouse=True)
def _an_old_kernel_and_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda: FAULT)
    monkeypatch.setattr(
        choose, "daemons_of", lambda _: ([Target("unit", "demo.service", coming=True)], "it asks systemd")
    )


def test_a_client_is_recorded_alone_and_whose_reads_are_missing_is_noted() -> None:
    said: list[str] = []
    found = choose.chosen(["true"], say=said.append)
    assert found.watched == ()
    assert said == [f"not watched: unit:demo.service, who do the command's work: {FAULT}"]
    assert found.notes == (f"INCOMPLETE: {said[0]}",)


def test_whoever_asked_for_it_gets_no_trace_without() -> None:
    with pytest.raises(ColdseekError, match=FAULT):
        choose.chosen(["true"], ["all"])


def test_nobody_is_missing_where_nobody_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = choose.chosen(["true"], ["none"], say=said.append)
    assert (found.watched, said) == ((), [])
    assert found.notes == ("not watched: unit:demo.service, who do the work, as asked",)
    monkeypatch.setattr(choose, "daemons_of", lambda _: ([], ""))
    assert choose.chosen(["true"], ["none"]).notes == ()


def test_what_works_is_tried_once_for_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(
        tracer, "probe", lambda name: tried.append(name) or Probe(name == "ptrace", "so", "")
    )
    for module in (tracer, choose):  # a real one would look for the C library by a program
        monkeypatch.setattr(module, "make_tracer", lambda name, owner: SimpleNamespace(name=name))
    make = choose.chosen(["true"], ["none"]).make
    (first, told), (second, again) = make(), make()
    assert tried == ["kernel", "ptrace"]
    assert first is not second, "a tracer is of one run"
    assert (first.name, second.name) == ("ptrace", "ptrace") and told == again
