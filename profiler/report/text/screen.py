"""The default report: one screen that says where the cold time goes, and whether it is the disk at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.text import Text

from profiler.analysis.cost.charges import usual_device
from profiler.analysis.cost.costs import Cost
from profiler.analysis.cost.walltime import WallTime
from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.projection import Projection
from profiler.facts.unseen import UNSEEN
from profiler.report.summary import Summary
from profiler.report.text import picture
from profiler.report.text.facts import verdict, warnings
from profiler.report.text.page import DIM, GAP, WARN, WIDTH, Page, coloured
from profiler.report.verdict import at_once, one_piece
from profiler.report.verdict.sentences import first_line, second_line, why_line
from profiler.units import show_bytes, show_count, show_path, show_seconds, show_short

LINES = 23
"""Of a terminal of 24 lines; the last is for the prompt. Warnings come on top of these."""

MOST_COSTS = 5

PICTURE_LINES = (4, 8)
"""Fewer lines show nothing; of more the screen has better use."""

MAX_SENTENCE = 3
"""Lines of a sentence of the verdict."""

MAX_WHAT = 34
"""Characters of the name of what costs, or fewer where the page is narrow; of a longer one both ends are
shown."""

DEVICES = ("hdd-7200", "sata-ssd", "nvme")
"""Those that are shown where none was named: they differ most. --full has all."""

_PARTS = {"running": "bold green", "device": "bold red", "other": "bold yellow", "not known": DIM}
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python makes of LC_CTYPE where the locale is C (PEP 538): of the terminal it tells nothing."""
_SHADES, _ASCII = "\u2593\u2588\u2592\u00b7", "#@=."


@dataclass(frozen=True)
class Terminal:
    """What can be shown. width: in columns. draws: characters beyond ASCII; colours: any."""

    width: int = WIDTH
    draws: bool = True
    colours: bool = False


def terminal(stream: TextIO, width: int, environ: Mapping[str, str] = os.environ) -> Terminal:
    """What a stream shows: a terminal whose locale is of UTF-8 draws, a dumb one does not."""
    names = [environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if names[1] in _COERCED:
        names[1] = ""
    locale = next(filter(None, names), "")
    wide = "utf8" in locale.lower().replace("-", "") and environ.get("TERM") != "dumb"
    return Terminal(width, wide, coloured(stream))


def screen(
    summary: Summary, shows: Terminal = Terminal(), devices: Sequence[str] = (), trace: str = ""
) -> Text:
    """The screen, at most LINES lines below the warnings. devices: names of those that were asked for; none:
    DEVICES. trace: the name of its file."""
    above = Page(shows.width)
    warnings(above, summary)
    top = Page(shows.width)
    verdict(top, [first_line(summary)], MAX_SENTENCE)
    verdict(top, [words for words in (second_line(summary), why_line(summary)) if words], MAX_SENTENCE)
    middle = Page(shows.width)
    if summary.time is not None:
        _time(middle, summary.time, shows)
    _costs(middle, summary.costs)
    bottom = Page(shows.width)
    _devices(bottom, summary, devices)
    _rest(bottom, summary, trace)
    left = LINES - sum(len(part.lines) for part in (top, middle, bottom))
    drawn = Page(shows.width)
    if summary.picture is not None and shows.draws and left >= PICTURE_LINES[0]:
        lines = min(left, PICTURE_LINES[1])
        timed = summary.meta.wall_s is not None
        picture.draw(drawn, summary.picture, _shown_file(summary), lines, shows.colours, timed)
        left -= lines
    parts = [top, middle, drawn, bottom]
    lines_of = [above.lines]
    for place, part in enumerate(parts):
        gap = [Text()] if place and part.lines and left > 0 else []
        left -= len(gap)
        lines_of.append([*gap, *part.lines])
    return Text("\n").join(line for lines in lines_of for line in lines)


def _time(page: Page, time: WallTime, shows: Terminal) -> None:
    """A bar of where the wall time went, and what it says in words."""
    parts = [time.running_s or 0.0, time.device_s or 0.0, time.other_s or 0.0, time.unknown_s]
    whole = sum(parts)
    glyphs = _SHADES if shows.draws else _ASCII
    if whole <= 0:
        return
    widths = _rounded([part / whole for part in parts], page.room)
    page.drawn(
        "time",
        [
            (glyph * width, style)
            for glyph, width, style in zip(glyphs, widths, _PARTS.values(), strict=True)
        ],
    )
    told = [
        (f"{glyph} ", style, part, show_seconds(seconds), _share(seconds / whole))
        for glyph, (part, style), seconds in zip(glyphs, _PARTS.items(), parts, strict=True)
        if seconds > 0
    ]
    variants = [
        [(glyph, style, " ".join(words)) for glyph, style, *words in told],
        [(glyph, style, f"{part} {seconds}") for glyph, style, part, seconds, _ in told],
        [(glyph, style, f"{part} {share}") for glyph, style, part, _, share in told],
    ]
    fitting = (one for one in variants if sum(len(words) + 4 for _, _, words in one) - 2 <= page.room)
    legend = [
        piece
        for glyph, style, words in next(fitting, variants[-1])
        for piece in ((glyph, style), (words + "  ", ""))
    ]
    page.drawn("", legend)


def _rounded(shares: Sequence[float], room: int) -> list[int]:
    """Columns for each share that add up to `room`; what is not 0 has one at least."""
    widths = [max(int(share * room), int(share > 0)) for share in shares]
    largest = widths.index(max(widths))
    widths[largest] += room - sum(widths)
    return widths


def _share(share: float) -> str:
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def _costs(page: Page, costs: Sequence[Cost]) -> None:
    """The costliest, a row each."""
    if not costs:
        page.row("costs", "nothing that is known of came from a device", DIM)
        return
    shown = costs[:MOST_COSTS]
    waited = "waited" if all(cost.observed for cost in shown) else usual_device().name
    of = f" ({len(shown)} of {len(costs):,})" if len(costs) > len(shown) else ""
    cells = [["how", "requests", "bytes", waited]]
    for cost in shown:
        seconds = "not known" if cost.waited_s is None else show_seconds(cost.waited_s)
        cells.append([cost.how, show_count(cost.requests), show_bytes(cost.bytes), seconds])
    room = page.room - sum(max(map(len, column)) + GAP for column in zip(*cells, strict=True))
    names = [_shortened(_what(cost), max(min(room, MAX_WHAT), 8)) for cost in shown]
    rows = [[name, *line] for name, line in zip([f"what{of}", *names], cells, strict=True)]
    page.table("costs", rows, right=(2, 3, 4))


def _shortened(name: str, room: int) -> str:
    """A name in so many columns; characters of some scripts take two."""
    wide = (show_short(name, most) for most in range(room, 5, -1))
    return next((words for words in wide if cell_len(words) <= room), "...")


def _what(cost: Cost) -> str:
    """Already escaped; see show_short."""
    called = cost.path.decode("utf-8", "surrogateescape")
    called = called if cost.file < 0 else os.path.basename(called) or called
    return f"{called}: {cost.structure}" if cost.structure else called or "files not known"


def _shown_file(summary: Summary) -> bytes:
    """The name of the file in the picture."""
    found = summary.picture
    if found is None or found.file < 0:
        return b""
    path = next((cost.path for cost in summary.costs if cost.file == found.file), None)
    if path is None:
        path = b"" if summary.focus is None else summary.focus.path
    return os.path.basename(path) or path


def _devices(page: Page, summary: Summary, devices: Sequence[str]) -> None:
    """What the same start waits for elsewhere, a line each, and here."""
    wanted = devices or DEVICES
    shown = [one for one in summary.projections if one.device in wanted] or [*summary.projections]
    rows = [(show_path(one.device), one) for one in shown]
    room = max((len(called) for called, _ in rows), default=4)
    lines = [f"{called:<{room}}  {_device(one, page.room - room - 2)}" for called, one in rows]
    if here := _here(summary):
        lines.insert(0, f"{'here':<{room}}  {here}")
    copies = summary.projections[0].copies if summary.projections else 1
    label = "cold waits" if copies == 1 else f"{copies:,} at once"
    for number, line in enumerate(lines):
        page.row(label if number == 0 else "", line, lines=1)


def _here(summary: Summary) -> str:
    """What untraced runs took here; "": not known."""
    cold, warm = median_s(summary.cold), median_s(summary.warm)
    waited = at_once.waited(summary.cold, summary.warm, False)
    if cold is None or warm is None or waited is None:
        return ""
    if summary.projections and summary.projections[0].copies != summary.meta.copies.count:
        return ""
    return f"{show_seconds(waited)}, measured: {show_seconds(cold)} cold, {show_seconds(warm)} warm"


def _device(one: Projection, room: int) -> str:
    """Seconds and band, then as much else as the line takes."""
    least = "at least " if one.missing else ""
    line = f"{least}{show_seconds(one.seconds)}"
    start = "" if one.start_s is None else f"; start {show_seconds(one.start_s)}"
    whole = one_piece.in_one_piece(one) if one_piece.SEEKING in one.shares else ""
    piece = f"; {show_seconds(one.sequential_s)} if in one piece" if whole else ""
    for more in (f" ({show_seconds(one.low_s)} to {show_seconds(one.high_s)})", piece, start):
        line += more if len(line + more) <= room else ""
    return line


def _rest(page: Page, summary: Summary, trace: str) -> None:
    """Where the rest is, and that something was not seen."""
    if summary.meta.unseen:
        kinds = "; ".join(UNSEEN.get(key, show_path(key)) for key in summary.meta.unseen)
        page.row("not seen", kinds, WARN, lines=1)
    named = f" {shlex.quote(show_path(trace))}" if trace else ""
    full, others = f"coldseek report{named} --full", "; also plot, advise, project"
    page.row("more", full + others if page.fits(full + others, 1) else full, DIM, lines=2)
