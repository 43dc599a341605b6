"""The reports as text: one screen that answers why a start is slow. Colour only where the caller has a
terminal.

Everything is built as `rich.text.Text`, never as markup, and every file name goes through `show_path`: a
name can neither steer the terminal nor be taken for a style.
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from profiler.analysis.access import PATTERNS
from profiler.analysis.measured import Run, median_s
from profiler.analysis.observed import DeviceRequests, FileBroughtIn, PageCache
from profiler.analysis.projection import Projection
from profiler.report.comparison import Comparison, Side
from profiler.report.failures import LOUD, failures
from profiler.report.summary import StructureSummary, Summary
from profiler.report.verdict import answer, name
from profiler.trace import UNSEEN, Meta
from profiler.units import show_bytes, show_count, show_path, show_percent, show_plural, show_seconds

WIDTH = 80
"""Columns, unless the caller knows better; more than 99 are never used."""

MAX_RUNS = 6
"""More untraced runs of one kind than this share lines."""

MAX_NOTES = 4
"""Notes and strides beyond these numbers are counted, not shown; JSON has them all."""
MAX_STRIDES = 3

MAX_STRUCTURES = 6
"""Kinds of structures of an image that are listed; JSON has them all."""

DISPENSABLE = ("unique", "bytes", "seeks")
"""Columns of the table of structures that are left out, in this order, where the page is too narrow."""

MAX_FINDINGS = 3
"""Findings beyond these are in JSON only; `coldseek advise` says what to do about them."""

MAX_BROUGHT = 3
"""Files that are named for how much of them was brought into the page cache; JSON has them all."""

LEAST_PART = 0.005
"""A part of a device's time with less than this share of it is not named."""

SLOWER = 1.05
"""A traced run that took less than this times the untraced ones was not measurably slowed down."""

_LABEL = 11  # columns of the labels on the left
_LOUD, _WARN, _HEAD, _DIM = "bold red", "yellow", "bold", "dim"


def write(text: Text, stream: TextIO) -> None:
    """Print to `stream`, in colours if it is a terminal (and NO_COLOR is not set), as plain text
    otherwise."""
    if stream.isatty() and not os.environ.get("NO_COLOR"):
        Console(file=stream, highlight=False).print(text, soft_wrap=True)
    else:
        stream.write(text.plain + "\n")


def report(summary: Summary, width: int = WIDTH) -> Text:
    """The report of one trace, lines at most `width` columns wide (file names excepted only beyond all
    reason)."""
    page = _Page(width)
    _completeness(page, summary.meta, "")
    page.verdict(failures(summary))
    _loud_notes(page, [summary.meta])
    page.verdict(answer(summary))
    page.blank()
    _run(page, summary)
    page.blank()
    _reads(page, summary)
    _observed(page, summary)
    page.blank()
    _measured(page, summary)
    page.blank()
    here = median_s(summary.cold), median_s(summary.warm)
    _projected(page, summary.projections, summary.page_cache is not None, here)
    page.blank()
    _unseen(page, [summary.meta])
    return page.text()


def project(projections: Sequence[Projection], width: int = WIDTH) -> Text:
    """The projected times alone."""
    page = _Page(width)
    _projected(page, projections)
    return page.text()


def compare(comparison: Comparison, width: int = WIDTH) -> Text:
    """Two traces side by side: times from untraced runs only, reads from the traces."""
    page = _Page(width)
    first, second = comparison.first, comparison.second
    for side in (first, second):
        _completeness(page, side.summary.meta, side.name)
    page.verdict(failures(first.summary, second.summary))
    _loud_notes(page, [first.summary.meta, second.summary.meta])
    page.verdict(_compared(comparison))
    page.blank()
    if second.summary.meta.command == first.summary.meta.command:
        page.row("command", _command(first.summary.meta))
    else:
        for side in (first, second):
            page.row(side.name, _command(side.summary.meta))
    if first.runs or second.runs:
        page.blank()
        _run_table(page, [(side.name, side.runs) for side in (first, second)])
    for side in (first, second):
        _slowdown(page, side)
    page.blank()
    _side_by_side(page, comparison)
    page.blank()
    _unseen(page, [first.summary.meta, second.summary.meta])
    return page.text()


# ---- the parts of a page ----------------------------------------------------------------------------------


def _completeness(page: _Page, meta: Meta, which: str) -> None:
    """What is missing comes first: numbers that are too low must not be read unwarned."""
    of = f" ({which})" if which else ""
    if meta.lost_events:
        page.loud(f"INCOMPLETE{of}: {show_plural(meta.lost_events, 'event')} lost; all counts are too low.")
    if meta.partial:
        page.loud(f"PARTIAL{of}: {show_path(meta.partial)}; what came after is missing.")


def _loud_notes(page: _Page, metas: Iterable[Meta]) -> None:
    for note in dict.fromkeys(note for meta in metas for note in meta.notes if _is_loud(note)):
        page.loud(show_path(note))


def _is_loud(note: str) -> bool:
    """Whether a note says that something is missing, or that the cache was not as the page calls it."""
    return note.startswith(("INCOMPLETE", "NOT COLD", "NOT PROVED COLD", "NOT WARM", "NOT PROVED WARM"))


def _run(page: _Page, summary: Summary) -> None:
    meta = summary.meta
    page.row("command", _command(meta))
    status = "not known" if meta.exit_status is None else str(meta.exit_status)
    page.row("exit status", status, _WARN if meta.exit_status else "")
    page.row("cache", _cache(meta), _WARN if meta.cache == "unknown" else "")
    tracer = show_path(" ".join(part for part in (meta.tracer, meta.tracer_version) if part)) or "not known"
    state = "complete" if meta.complete else "NOT COMPLETE, see above"
    page.row("trace", f"{state}; tracer {tracer}", "" if meta.complete else _LOUD)
    if meta.wall_s is not None:
        cost = _tracing(summary.slowdown, " as untraced")
        page.row("", f"took {show_seconds(meta.wall_s)} while traced{cost}", _DIM)


def _tracing(slowdown: float | None, untraced: str = "") -> str:
    """What tracing cost, if that is known; a program does not become faster by it, as its runs vary."""
    if not slowdown:
        return ""
    no_slower = "; tracing made no measurable difference"
    return f", {slowdown:.1f} times as long{untraced}" if slowdown >= SLOWER else no_slower


def _cache(meta: Meta) -> str:
    words = {
        "cold": "cold",
        "warm": "warm",
        "keep": "left as it was",
        "unknown": "state not known",
    }.get(meta.cache, show_path(meta.cache))
    if meta.resident_before_bytes is None:
        return f"{words}; what was resident before is not known"
    return f"{words}; {_resident(meta.resident_before_bytes, meta.resident_checked_bytes)} resident before"


def _resident(resident: int | None, checked: int | None) -> str:
    if resident is None:
        return "not known"
    return show_bytes(resident) + ("" if checked is None else f" of {show_bytes(checked)}")


def _reads(page: _Page, summary: Summary) -> None:
    totals, focus, others = summary.totals, summary.focus, summary.others
    unique, in_pages = show_bytes(totals.unique_bytes), show_bytes(totals.unique_page_bytes)
    pages = "" if unique == in_pages else f" ({in_pages} of pages)"
    page.row(
        "reads",
        f"{show_plural(totals.reads, 'read')} of {show_plural(totals.files, 'file')}, "
        f"{show_bytes(totals.bytes)}: {unique} unique{pages}, {show_bytes(totals.reread_bytes)} read again",
    )
    extra = []
    if totals.unknown_offsets:
        extra.append(f"{show_plural(totals.unknown_offsets, 'read')} at unknown offsets, not projected")
    if totals.ends_of_file:
        extra.append(f"{show_plural(totals.ends_of_file, 'read')} at the end of the file")
    if summary.writes:
        extra.append(f"{show_plural(summary.writes, 'write')} ({show_bytes(summary.written_bytes)})")
    if extra:
        page.row("", f"counted apart: {'; '.join(extra)}", _DIM)
    if totals.scattered_ratio is not None:
        page.row("pattern", f"{show_plural(totals.seeks, 'seek')}: {_ratios(totals)}")
    if totals.reads:
        page.row("", _patterns(totals.patterns))
    if focus is None:
        return
    page.row("file", show_path(focus.path))
    if others.files:
        page.row(
            "",
            f"{show_plural(focus.reads, 'read')}, {show_bytes(focus.bytes)}, "
            f"{show_bytes(focus.unique_bytes)} unique, {show_plural(focus.seeks, 'seek')}: {_ratios(focus)}",
        )
    for stride in focus.strides[:MAX_STRIDES]:
        page.row("", f"stride {_signed(stride.bytes)}, {show_count(stride.count)} times")
    if len(focus.strides) > MAX_STRIDES:
        page.row("", f"and {show_plural(len(focus.strides) - MAX_STRIDES, 'rarer stride')}", _DIM)
    _structures(page, focus.structures)
    for number, finding in enumerate(summary.findings[:MAX_FINDINGS]):
        page.row("why" if number == 0 else "", finding.words, lines=1)
    if others.files:
        page.row(
            "others",
            f"and {show_plural(others.files, 'other file')}: shared libraries and the like, "
            f"{show_plural(others.reads, 'read')}, {show_bytes(others.bytes)}",
        )


def _structures(page: _Page, structures: Sequence[StructureSummary]) -> None:
    """What the reads of an image were for."""
    if not structures:
        return
    shown = structures[:MAX_STRUCTURES]
    columns = {
        "": [show_path(one.kind) for one in shown],
        "reads": [show_count(one.reads) for one in shown],
        "bytes": [show_bytes(one.bytes) for one in shown],
        "unique": [show_bytes(one.unique_bytes) for one in shown],
        "seeks": [show_count(one.seeks) for one in shown],
        "requests": ["" if one.requests is None else show_count(one.requests) for one in shown],
        "HDD time": ["" if one.hdd_share is None else show_percent(one.hdd_share) for one in shown],
    }
    if all(one.requests is None for one in shown):
        del columns["requests"]
    widths = {head: max(map(len, (head, *cells))) for head, cells in columns.items()}
    for head in DISPENSABLE:
        if sum(widths.values()) + 2 * (len(widths) - 1) > page.width - _LABEL - 1:
            del widths[head]
    for number, line in enumerate(zip(*([head, *columns[head]] for head in widths), strict=True)):
        cells = [*zip(line, widths.values(), strict=True)]
        page.columns("structures" if number == 0 else "", cells, _DIM if number == 0 else "")
    more = len(structures) - MAX_STRUCTURES
    if more > 0:
        page.row("", f"and {show_plural(more, 'more kind')} of structures", _DIM)


def _observed(page: _Page, summary: Summary) -> None:
    """What the page cache did and what reached the device, where a tracer looked."""
    if summary.page_cache is not None or summary.device is not None:
        page.blank()
    if summary.page_cache is not None:
        page.row("page cache", _answered(summary.page_cache, summary.meta.lost_events > 0))
        _brought_in(page, summary.page_cache.files)
    if summary.device is not None:
        page.row("device", f"{_requested(summary.device)} (observed)")


def _answered(found: PageCache, lost: bool) -> str:
    why = " (events were lost)" if lost else ""
    said = f"{show_plural(found.hits, 'read')} hit, {show_count(found.misses)} missed"
    said += f", {show_count(found.direct)} went past it" if found.direct else ""
    said += f", {show_count(found.unknown)} not known{why}" if found.unknown else ""
    parts = [
        (found.read_bytes, "by reads"), (found.mapped_bytes, "mapped"),
        (found.metadata_bytes, "file-system metadata"), (found.written_bytes, "by writes"),
    ]  # fmt: skip
    split = ", ".join(f"{show_bytes(size)} {what}" for size, what in parts if size)
    brought = f"{show_bytes(found.bytes)} brought in{': ' if split else ''}{split}"
    return f"{said}; {brought}; {show_plural(found.faults, 'page fault')}"


def _requested(device: DeviceRequests) -> str:
    kernel = device.kernel_requests
    workers = f" ({show_count(kernel)} by kernel workers)" if kernel else ""
    said = f"{show_plural(device.requests, 'request')}{workers}, {show_bytes(device.bytes)}, "
    said += show_plural(device.seeks, "seek")
    if device.median_s is not None and device.p99_s is not None and device.wait_s is not None:
        said += f"; {show_seconds(device.median_s)} median, {show_seconds(device.p99_s)} 99th percentile"
        said += f", under way for {show_seconds(device.wait_s)}"
    return said


def _brought_in(page: _Page, files: Sequence[FileBroughtIn]) -> None:
    """The files of which most was brought in, mapped executables and libraries among them."""
    named = [
        f"{show_bytes(file.bytes)} of {name(file.path) or 'files not known'}"
        + (" (mapped)" if 2 * file.mapped_bytes > file.bytes else "")
        for file in files[:MAX_BROUGHT]
    ]
    more = len(files) - MAX_BROUGHT
    if named:
        rest = f", the rest of {show_plural(more, 'other file')}" if more > 0 else ""
        page.row("", ", ".join(named) + rest, _DIM)


def _ratios(of: object) -> str:
    scattered, sequential = getattr(of, "scattered_ratio", None), getattr(of, "sequential_ratio", None)
    if scattered is None or sequential is None:
        return "share not known"
    return f"{show_percent(scattered)} scattered, {show_percent(sequential)} sequential"


def _patterns(patterns: dict[str, int]) -> str:
    return ", ".join(f"{show_count(patterns[key])} {key}" for key in PATTERNS if patterns[key])


def _signed(distance: int) -> str:
    words = show_bytes(abs(distance)) + (" backwards" if distance < 0 else "")
    return words if abs(distance) < 1024 else f"{words} ({distance} bytes)"


def _measured(page: _Page, summary: Summary) -> None:
    for state, runs in (("cold", summary.cold), ("warm", summary.warm)):
        if runs:
            walls = [run.wall_s for run in runs if not run.failed] or [0]
            spread = f" (median of {len(walls)}, {show_seconds(min(walls))} to {show_seconds(max(walls))})"
            middle = median_s(runs)
            time = "all failed" if middle is None else show_seconds(middle)
            page.row(f"{state} here", f"{time}{spread if len(walls) > 1 else ''}, untraced; {_facts(runs)}")
    if not summary.cold and not summary.warm:
        page.row("measured", "nothing yet; 'coldseek compare' times it cold and warm, untraced", _DIM)
    if summary.damaged_runs:
        page.row("", f"{show_plural(summary.damaged_runs, 'measured run')} left out: damaged", _WARN)


def _facts(runs: Sequence[Run]) -> str:
    """The worst of several runs: most resident before, most read from the device, failures."""
    resident = [run for run in runs if run.resident_before_bytes is not None]
    device = [run.device_read_bytes for run in runs if run.device_read_bytes is not None]
    parts = []
    if resident:
        worst = max(resident, key=lambda run: run.resident_before_bytes or 0)
        parts.append(
            f"{_resident(worst.resident_before_bytes, worst.resident_checked_bytes)} resident before"
        )
    if device:
        parts.append(f"{show_bytes(max(device))} from the device")
    failed = sum(run.failed for run in runs)
    if failed:
        parts.append(f"{show_plural(failed, 'run')} FAILED")
    return ", ".join(parts) or "what was resident before is not known"


def _projected(
    page: _Page, projections: Sequence[Projection], observed: bool = False, here: Here = (None, None)
) -> None:
    """observed: what happened stands elsewhere on the page, and must not be mixed up with the model. here:
    what the same start took on this machine, cold and warm."""
    if not projections:
        page.row("projected", "on no device")
        return
    first = projections[0]
    copies = "" if first.copies == 1 else f", {first.copies} starts at once"
    requests = f"{show_plural(first.requests, 'request')}, {show_bytes(first.bytes)}"
    model = ", modelled, not observed" if observed else ""
    page.row("projected", f"cold{copies}: {requests}{model}")
    lines = [["", "waits", "band", "start"]]
    for one in projections:
        band = f"{show_seconds(one.low_s)} to {show_seconds(one.high_s)}"
        start = "" if one.start_s is None else show_seconds(one.start_s)
        lines.append([one.device, show_seconds(one.seconds), band, start])
    cold, warm = here
    if cold is not None and warm is not None and first.copies == 1:
        lines.append(["here", show_seconds(max(cold - warm, 0)), "measured", show_seconds(cold)])
    lines = lines if first.start_s is not None else [line[:3] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = page.width - _LABEL - 1 - sum(width + 2 for width in widths)
    shares = ["device time", *(_shares(one.shares, room) for one in projections), ""]
    for number, (line, share) in enumerate(zip(lines, shares, strict=False)):
        cells = [*zip(line, widths, strict=True), (share, 0)]
        page.columns("", cells, _DIM if number == 0 else "")
    if first.placed != "all" and first.requests:
        what = "file offsets" if first.placed == "none" else "where extents are not known, file offsets"
        page.row("", f"{what} taken as device offsets", _DIM)


Here = tuple[float | None, float | None]


def _shares(shares: dict[str, float], room: int) -> str:
    """What the device's time goes into, the most first, as far as there is room."""
    said = ""
    for part, share in sorted(shares.items(), key=lambda share: -share[1]):
        more = f"{', ' if said else ''}{share:.0%} {part}"
        if share < LEAST_PART or len(said + more) > room:
            break
        said += more
    return said


def _unseen(page: _Page, metas: Iterable[Meta]) -> None:
    metas = list(metas)
    keys = list(dict.fromkeys(key for meta in metas for key in meta.unseen))
    if keys:
        page.row("not seen", "; ".join(UNSEEN.get(key, show_path(key)) for key in keys), _WARN)
    else:
        page.row("not seen", "nothing that the tracer knows of")
    notes = list(dict.fromkeys(note for meta in metas for note in meta.notes if not _is_loud(note)))
    for number, note in enumerate(notes[:MAX_NOTES]):
        page.row("note" if number == 0 else "", show_path(note), _WARN)
    if len(notes) > MAX_NOTES:
        page.row(
            "", f"and {show_plural(len(notes) - MAX_NOTES, 'more note')}; --format json has them all", _DIM
        )


# ---- comparisons ------------------------------------------------------------------------------------------


def _compared(comparison: Comparison) -> list[str]:
    first, second = comparison.first, comparison.second
    lines = []
    if comparison.ratio is not None and first.median_s is not None and second.median_s is not None:
        times = f"{comparison.ratio:.{1 if comparison.ratio >= 0.1 else 3}f} times as long"
        lines.append(
            f"{show_seconds(first.median_s)} {first.name}, {show_seconds(second.median_s)} {second.name}: "
            f"{times} {first.name} (medians of {_count(first)} and {_count(second)} untraced runs)."
        )
    elif any(run.failed for side in (first, second) for run in side.runs):
        lines.append("There are no times to compare: too many runs failed.")
    else:
        lines.append("Times were not measured: traced runs are slowed down, so only reads are compared.")
    if comparison.is_pair or first.summary.meta.command == second.summary.meta.command:
        lines += [line for line in answer(first.summary) if not line.startswith("Measured here")]
    return lines


def _count(side: Side) -> int:
    return sum(not run.failed for run in side.runs)


def _run_table(page: _Page, sides: Sequence[tuple[str, tuple[Run, ...]]]) -> None:
    page.columns("run", [("wall", 9), ("resident before", 22), ("read from device", 18), ("exit", 0)], _HEAD)
    for state, runs in sides:
        shown = runs if len(runs) <= MAX_RUNS else ()
        for number, run in enumerate(shown, 1):
            page.columns(
                f"{state} {number}",
                [
                    (show_seconds(run.wall_s), 9),
                    (_resident(run.resident_before_bytes, run.resident_checked_bytes), 22),
                    (
                        "not known" if run.device_read_bytes is None else show_bytes(run.device_read_bytes),
                        18,
                    ),
                    ("?" if run.exit_status is None else str(run.exit_status), 0),
                ],
                _LOUD if run.failed else _WARN if run.exit_status else "",
            )
        if runs and not shown:
            every = ", ".join(show_seconds(run.wall_s) + (" (failed)" if run.failed else "") for run in runs)
            page.row(state, f"{every}; {_facts(runs)}", lines=None)
    for state, runs in sides:
        middle = median_s(runs)
        if middle is not None:
            page.columns("median", [(show_seconds(middle), 9), (state, 0)], _HEAD)


def _slowdown(page: _Page, side: Side) -> None:
    wall = side.summary.meta.wall_s
    if wall is not None:
        whose = "" if side.slowdown and side.slowdown < SLOWER else "; the tracer's time, not the program's"
        page.row("traced", f"{side.name}: {show_seconds(wall)}{_tracing(side.slowdown)}{whose}", _DIM)


def _side_by_side(page: _Page, comparison: Comparison) -> None:
    one, two = comparison.first.summary, comparison.second.summary
    page.columns("", [(comparison.first.name, 14), (comparison.second.name, 14), ("difference", 0)], _HEAD)
    for label, key, show in (
        ("reads", "reads", show_count),
        ("bytes", "bytes", show_bytes),
        ("unique", "unique_bytes", show_bytes),
        ("seeks", "seeks", show_count),
        ("files", "files", show_count),
    ):
        a, b = getattr(one.totals, key), getattr(two.totals, key)
        change = "same" if a == b else ("+" if b > a else "") + show(b - a)
        page.columns(label, [(show(a), 14), (show(b), 14), (change, 0)])
    for label, a, b in _observed_of_both(one, two):
        page.columns(label, [(a, 14), (b, 14), ("observed", 0)])
    if comparison.is_pair:
        here = comparison.first.median_s, comparison.second.median_s
        _projected(page, one.projections, one.page_cache is not None, here)
    else:
        page.blank()
        for label, a, b in zip(("projected", *[""] * 99), one.projections, two.projections, strict=False):
            page.columns(
                label, [(show_seconds(a.seconds), 14), (show_seconds(b.seconds), 14), (a.device, 0)]
            )
    for side, paths in (
        (comparison.first, comparison.only_first),
        (comparison.second, comparison.only_second),
    ):
        if paths:
            names = ", ".join(name(path) for path in paths[:3])
            rest = f" and {show_count(len(paths) - 3)} more" if len(paths) > 3 else ""
            page.row(f"only {side.name}", f"{show_plural(len(paths), 'file')}: {names}{rest}")


def _observed_of_both(one: Summary, two: Summary) -> Iterator[tuple[str, str, str]]:
    """Label and values of what was observed in both, below the calls."""
    if one.page_cache is not None and two.page_cache is not None:
        yield "missed", show_count(one.page_cache.misses), show_count(two.page_cache.misses)
        yield "brought in", show_bytes(one.page_cache.bytes), show_bytes(two.page_cache.bytes)
    if one.device is not None and two.device is not None:
        yield "requests", show_count(one.device.requests), show_count(two.device.requests)


# ---- layout -----------------------------------------------------------------------------------------------


def _command(meta: Meta) -> str:
    return " ".join(shlex.quote(show_path(part)) for part in meta.command) or "not known"


_UNIT = re.compile(r"(?<=\d) (?=(?:s|ms|us|min|h|B|[KMGTP]iB)\b)")


class _Page:
    """Lines of text, labels on the left, values wrapped on the right of them."""

    def __init__(self, width: int) -> None:
        self.width = max(40, min(width, 99))
        self.lines: list[Text] = []

    def loud(self, words: str) -> None:
        self._wrapped("", words, 0, _LOUD)

    def verdict(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self._wrapped("", sentence, 0, _LOUD if sentence.startswith(LOUD) else _HEAD)

    def blank(self) -> None:
        self.lines.append(Text())

    def row(self, label: str, value: str, style: str = "", lines: int | None = 4) -> None:
        """A label and a value; a value of more than `lines` lines is cut short."""
        self._wrapped(label, value, _LABEL + 1, style, lines)

    def columns(self, label: str, cells: Sequence[tuple[str, int]], style: str = "") -> None:
        """A label and cells, each padded to its width (0: as long as it is); cut where the page ends."""
        line = "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
        self._line(label, line[: self.width - _LABEL - 1], _LABEL + 1, style)

    def text(self) -> Text:
        return Text("\n").join(self.lines)

    def _wrapped(self, label: str, value: str, indent: int, style: str, lines: int | None = 4) -> None:
        width = self.width - indent
        value = _UNIT.sub("\0", value)  # a number and its unit stay on one line
        parts = textwrap.wrap(value, width, max_lines=lines, placeholder=" ...", break_on_hyphens=False)
        for number, part in enumerate(parts or [""]):
            self._line(label if number == 0 else "", part.replace("\0", " "), indent, style)

    def _line(self, label: str, value: str, indent: int, style: str) -> None:
        head = label.ljust(indent) if value else label
        self.lines.append(Text().append(head, _DIM).append(value, style))
