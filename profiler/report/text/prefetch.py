"""What a prefetch would gain, and how alike starts are, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from profiler.analysis.advice.paying import OWN_REQUESTS, Paying
from profiler.analysis.starts import Alike
from profiler.report.text.page import WIDTH, Page
from profiler.units import show_percent, show_seconds

_WORDS = {"before": "pays", "beside": "pays beside", "not": "does not pay"}


def pays(results: Sequence[Paying], width: int = WIDTH) -> Text:
    """Losses first: where it does not pay, then a line a device."""
    page = Page(width)
    losses = [result.device for result in results if result.verdict == "not"]
    if losses:
        page.paragraph(f"Does not pay on {', '.join(losses)}.")
    rows = [["waits", "cold", "plan + start", "beside", ""]]
    for result in results:
        times = (show_seconds(seconds) for seconds in (result.cold, result.before, result.beside))
        rows.append([result.device, *times, _WORDS[result.verdict]])
    page.table("projected", rows)
    page.row("", f"The plan's own start, {OWN_REQUESTS} requests with nothing cached, is in both.")
    return page.text()


def alike(starts: Alike) -> str:
    """One line on several starts."""
    words = f"starts alike by {_range(starts.jaccard)} of their pages (Jaccard index)"
    if not starts.recall:
        return words
    others = f"pages that {starts.least} of the others read"
    return (
        f"{words}; a start left out, against the {others}: recall {_range(starts.recall)}, "
        f"precision {_range(starts.precision)}"
    )


def _range(shares: Sequence[float]) -> str:
    low, high = show_percent(min(shares)), show_percent(max(shares))
    return low if low == high else f"{low} to {high}"
