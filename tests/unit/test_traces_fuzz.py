"""Traces that nobody would make: one line of an error, or everything that is made of a trace."""

from __future__ import annotations

import random
import warnings

import mutate_traces
import pytest


@pytest.mark.parametrize("seed", range(6))
def test_a_changed_trace_does_no_harm(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(20):
            source = random.Random(f"{seed}:{number}")
            _, raw = mutate_traces.mutated(source.randrange)
            mutate_traces.check(raw, source.randrange, everything=False)


def test_the_traces_as_they_are_are_taken() -> None:
    for which in range(len(mutate_traces.bases())):
        for number in (0, 1, 2):
            raw = mutate_traces.unchanged(which)
            assert mutate_traces.check(raw, lambda below, number=number: min(number, below - 1)) == ""
