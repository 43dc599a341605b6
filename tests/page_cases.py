"""Pages in a real browser, for the tests: opened, looked at, and nothing asked of the network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from browser import Browser, browser

from profiler.report.page import of_trace
from profiler.report.summarise import summarise
from profiler.trace import Trace

LABEL = "document.querySelector('canvas.over').getAttribute('aria-label')"
VIEW = "document.body.dataset.view"


def section(title: str) -> str:
    return (
        "[...document.querySelectorAll('#tables section')]"
        f".find((one) => one.querySelector('h2').textContent === '{title}')"
    )


@contextlib.contextmanager
def pages(folder: Path) -> Iterator[Callable[..., Browser]]:
    """Opens a page in one browser; none may ask the network or complain."""
    with browser() as shown:

        def opened(page: str, width: int = 1200, height: int = 900) -> Browser:
            path = folder / "page.html"
            path.write_text(page, "utf-8")
            shown.size(width, height)
            shown.media(dark=False)
            shown.open(path)
            return shown

        yield opened
        assert not shown.requests
        assert not shown.errors


def made(of: Trace) -> str:
    return of_trace(of, summarise(of))


def colours(shown: Browser, canvas: str = "#panels canvas") -> int:
    """Pixels of a canvas that have a colour."""
    return int(
        shown.value(
            f"""(() => {{ const canvas = document.querySelector('{canvas}');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let found = 0;
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] && Math.max(data[at], data[at + 1], data[at + 2])
                    - Math.min(data[at], data[at + 1], data[at + 2]) > 40) found += 1;
            return found; }})()"""
        )
    )


def box(shown: Browser) -> tuple[float, float, float, float]:
    left, top, width, height = json.loads(
        shown.value(
            "(() => { const box = document.querySelector('canvas.over').getBoundingClientRect();"
            "return JSON.stringify([box.left + 84, box.top + 8, box.width - 96, box.height - 42]); })()"
        )
    )
    return left, top, width, height


def settle(shown: Browser) -> None:
    shown.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
