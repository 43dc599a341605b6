"""Logs that a hostile hand has changed: no exception, a sound trace, and a report of what it holds."""

from __future__ import annotations

import random

import mutate_block_logs
import mutate_logs
import pytest


@pytest.mark.parametrize("part", range(8))
def test_a_changed_log_is_read_without_harm(part: int) -> None:
    for number in range(12):
        case = mutate_logs.mutated(random.Random(f"unit {part} {number}").randrange)
        mutate_logs.check(case, thorough=number % 5 == 0)


@pytest.mark.parametrize("part", range(4))
def test_a_changed_log_of_a_block_layer_is_read_without_harm(part: int) -> None:
    for number in range(40):
        case = mutate_block_logs.mutated(random.Random(f"unit {part} {number}").randrange)
        mutate_block_logs.check(case, thorough=number % 5 == 0)


@pytest.mark.parametrize("name", mutate_logs.NAMES)
def test_the_logs_as_they_are(name: str) -> None:
    found = mutate_logs.check({"log": mutate_logs.content(name)}, thorough=True)
    assert (found is None) == (name in ("cases/dtruss.strace", "cases/summary-only.strace"))


def test_a_number_that_no_process_can_have_is_a_time_on_both_ways() -> None:
    """Where `-f` puts a process, and `--timestamps=unix,s` a time."""
    log = b"4242 close(3) = 0\n42465536 exit_group(0) = ?\n4242 +++ exited with 0 +++\n" * 2
    mutate_logs.check({"log": log}, thorough=True)
