"""What works on this machine, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rich.text import Text

from profiler.report.text.page import HEAD, LOUD, WARN, WIDTH, Page

_LABEL = 14


class Probed(Protocol):
    """What was found of one thing; see `capture.tracer.Probe`."""

    @property
    def works(self) -> bool: ...

    @property
    def why(self) -> str: ...

    @property
    def remedy(self) -> str: ...


def doctor(
    sections: Iterable[tuple[str, Sequence[tuple[str, Probed]]]],
    answers: Iterable[tuple[str, str]],
    width: int = WIDTH,
) -> Text:
    """sections: a title each, and what was probed below it. answers: "yes" or another word, and to what."""
    page = Page(width, _LABEL)
    for title, probes in sections:
        page.paragraph(title, HEAD)
        for name, probe in probes:
            state = "works" if probe.works else "DOES NOT WORK"
            page.row(f"  {name}", f"{state}: {probe.why}", "" if probe.works else WARN, lines=None)
            if not probe.works and probe.remedy:
                page.row("", f"remedy: {probe.remedy}", lines=None)
    for word, words in answers:
        page.paragraph(f"{word}: {words}", LOUD if word == "NO" else HEAD)
    return page.text()
