"""The line on a terminal that says what is being done."""

from __future__ import annotations

import pytest

from profiler.capture.calls.event_log import Recorder
from profiler.cli.output import Progress


def test_no_line_of_a_traced_run_stands_over_the_next_one() -> None:
    progress = Progress()
    progress.started(Recorder())
    progress.say("traced run, warm")
    assert progress._recorder is None


def test_on_a_terminal_a_line_tells_which_run_of_how_many_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as quiet:
        quiet.begins("run 4 of 9, untraced, cold")
    assert capsys.readouterr().err == ""
    progress = Progress()
    progress._on = True
    progress.begins("run 4 of 9, untraced, cold")
    progress.say("untraced run 1 of 6: cold, 0.044 s")
    assert capsys.readouterr().err == (
        "\r\x1b[Krun 4 of 9, untraced, cold ...\r\x1b[Kcoldseek: untraced run 1 of 6: cold, 0.044 s\n"
    )
