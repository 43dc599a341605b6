"""All there is to say of one trace: what `coldseek report --full` shows."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.text import Text

from profiler.analysis.advice.traced_image import Chain
from profiler.analysis.cost.below_the_program import DeviceRequests, FileBroughtIn, PageCache
from profiler.analysis.reads.access import PATTERNS
from profiler.analysis.reads.readers import Reader
from profiler.analysis.reads.readers import label as reader_label
from profiler.analysis.reads.spread import CONFIDENCE, median_interval
from profiler.analysis.reads.untraced_runs import mean_s, median_s
from profiler.report.contents import tables
from profiler.report.summary import FileSummary, Others, StructureSummary, Summary
from profiler.report.text.facts import about, resident, runs_facts, tracing, unseen, verdict, warnings
from profiler.report.text.page import DIM, GAP, HEAD, LOUD, WARN, WIDTH, Page
from profiler.report.text.project import projected
from profiler.report.verdict.doubts import seconds
from profiler.report.verdict.sentences import answer, name
from profiler.trace import Meta
from profiler.units import (
    show_bytes,
    show_count,
    show_path,
    show_percent,
    show_plural,
    show_seconds,
    show_status,
)

MAX_STRIDES = 3
"""Strides beyond these are counted, not shown; JSON has them all."""

MAX_STRUCTURES = 6
"""Kinds of structures of an image that are listed; JSON has them all."""

DISPENSABLE = ("unique", "bytes", "seeks")
"""Columns of the table of structures that are left out, in this order, where the page is too narrow."""

MAX_FINDINGS = 3
"""Findings beyond these are in JSON only; `coldseek advise` says what to do about them."""

MAX_MEMBERS = 16
"""Images of a chain that are named; JSON has them all."""

MAX_BROUGHT = 3
"""Files that are named for how much of them was brought into the page cache; JSON has them all."""


def report(summary: Summary, width: int = WIDTH) -> Text:
    """The report of one trace, lines at most `width` columns wide (file names excepted only beyond all
    reason), with all notes, all who read and every file, where it lies on the host and who read it."""
    page = Page(width)
    warnings(page, summary)
    verdict(page, answer(summary))
    page.blank()
    _run(page, summary)
    if not summary.meta.device_only:
        page.blank()
        _reads(page, summary)
    _observed(page, summary)
    page.blank()
    _measured(page, summary)
    page.blank()
    here = summary.cold, summary.warm, summary.meta.copies.count
    projected(page, summary.projections, here)
    page.blank()
    unseen(page, [summary.meta], None)
    page.blank()
    _read_by(page, summary)
    if summary.meta.device_only:
        _disks(page, summary)
    else:
        _files(page, summary.files)
    return page.text()


def _run(page: Page, summary: Summary) -> None:
    meta = summary.meta
    for label, words in about(meta):
        page.row(label, words)
    page.row("exit status", show_status(meta.exit_status), WARN if meta.exit_status else "")
    if meta.ready_s is not None:
        page.row("ready", f"after {show_seconds(meta.ready_s)} while traced")
    page.row("cache", _cache(meta), WARN if meta.cache == "unknown" else "")
    tracer = show_path(" ".join(part for part in (meta.tracer, meta.tracer_version) if part)) or "not known"
    state = "complete" if meta.complete else "NOT COMPLETE, see above"
    page.row("trace", f"{state}; tracer {tracer}", "" if meta.complete else LOUD)
    if meta.wall_s is not None:
        cost = tracing(summary.slowdown, " as untraced")
        took = "covers" if meta.device_only else "took"
        traced = "" if meta.device_only else f" while traced{cost}"
        page.row("", f"{took} {show_seconds(meta.wall_s)}{traced}", DIM)


def _cache(meta: Meta) -> str:
    words = {
        "cold": "cold",
        "warm": "warm",
        "keep": "left as it was",
        "unknown": "state not known",
    }.get(meta.cache, show_path(meta.cache))
    if meta.resident_before_bytes is None:
        return f"{words}; what was resident before is not known"
    return f"{words}; {resident(meta.resident_before_bytes, meta.resident_checked_bytes)} resident before"


def _reads(page: Page, summary: Summary) -> None:
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
    pseudo = summary.pseudo
    if pseudo.reads:
        of = f"{show_plural(pseudo.reads, 'read')} of {show_plural(pseudo.files, 'file')}"
        extra.append(f"{of} of proc, sysfs and the like")
    if extra:
        page.row("", f"counted apart: {'; '.join(extra)}", DIM)
    if totals.scattered_ratio is not None:
        page.row("pattern", f"{show_plural(totals.seeks, 'seek')}: {_ratios(totals)}")
    if totals.reads:
        page.row("", _patterns(totals.patterns))
    if focus is not None:
        _focus(page, focus, others)
    if summary.chain is not None and summary.chain.files > 1:
        page.row("chain", f"{summary.chain.words}, {show_count(summary.chain.read)} of them read")
        page.row("", _members(summary.chain), lines=None)
    for number, finding in enumerate(summary.findings[:MAX_FINDINGS]):
        page.row("why" if number == 0 else "", finding.words, lines=2)
    if focus is not None and others.files:
        page.row(
            "others",
            f"and {show_plural(others.files, 'other file')}: shared libraries and the like, "
            f"{show_plural(others.reads, 'read')}, {show_bytes(others.bytes)}",
        )


def _members(chain: Chain) -> str:
    """The images of a chain by name, the first in front."""
    names = [show_path(os.path.basename(path)) for path in chain.members[:MAX_MEMBERS]]
    more = len(chain.members) - len(names)
    return ", behind it ".join(names) + (f", and {show_plural(more, 'more file')}" if more else "")


def _focus(page: Page, focus: FileSummary, others: Others) -> None:
    """The file that matters, and what its reads were for."""
    page.row("file", _named(focus))
    if others.files:
        page.row(
            "",
            f"{show_plural(focus.reads, 'read')}, {show_bytes(focus.bytes)}, "
            f"{show_bytes(focus.unique_bytes)} unique, {show_plural(focus.seeks, 'seek')}: {_ratios(focus)}",
        )
    for stride in focus.strides[:MAX_STRIDES]:
        page.row("", f"stride {_signed(stride.bytes)}, {show_count(stride.count)} times")
    if len(focus.strides) > MAX_STRIDES:
        page.row("", f"and {show_plural(len(focus.strides) - MAX_STRIDES, 'rarer stride')}", DIM)
    _structures(page, focus.structures)
    for label, rows, more in tables(focus.contents, page.room):
        page.table(label, rows)
        if more:
            page.row("", more, DIM)


def _named(file: FileSummary) -> str:
    there = f", on the host {show_path(file.host_path)}" if file.host_path else ""
    return show_path(file.path) + there


def _read_by(page: Page, summary: Summary) -> None:
    """Who read, where it is more than one program or more than one thread of it."""
    found = [one for one in summary.readers if one.name or one.program]
    if len(found) < 2 and not any(one.threads for one in found):
        return
    for number, one in enumerate(summary.readers):
        noun = "request" if summary.meta.device_only else "read"
        page.row("read by" if number == 0 else "", _reader(one, noun), lines=None)


def _disks(page: Page, summary: Summary) -> None:
    """The disks that were asked."""
    for number, cost in enumerate(summary.costs):
        much = f"{show_plural(cost.requests, 'request')}, {show_bytes(cost.bytes)}"
        page.row("disks" if number == 0 else "", f"{show_path(cost.path)} {much}")


def _reader(one: Reader, noun: str) -> str:
    """Who read, and how much."""
    of = [f"{one.processes:,} processes"] if one.processes > 1 else []
    if one.threads:
        of.append(", ".join(map(show_path, one.threads)))
    words = show_path(reader_label(one.name, one.program)) + (f" ({'; '.join(of)})" if of else "")
    inside = f" in {show_path(one.container)}" if one.container else ""
    return f"{words or 'not known'}{inside} {show_plural(one.reads, noun)}, {show_bytes(one.bytes)}"


def _files(page: Page, files: Sequence[FileSummary]) -> None:
    """Every file that was read, where it lies on the host, and who read it."""
    page.row("files", f"{show_plural(len(files), 'file')}, the one in focus first, then by reads")
    for file in files:
        page.row("", show_path(file.path), HEAD, lines=None)
        if file.host_path:
            page.row("", f"on the host {show_path(file.host_path)}", lines=None)
        by = [(one, show_path(reader_label(one.name, one.program))) for one in file.read_by]
        who = [f"{name} (pid {one.pid}) {show_plural(one.reads, 'read')}" for one, name in by if name]
        words = f"{show_plural(file.reads, 'read')}, {show_bytes(file.bytes)}, "
        words += f"{show_bytes(file.unique_bytes)} unique, {show_plural(file.seeks, 'seek')}"
        page.row("", words + (f"; by {', '.join(who)}" if who else ""), DIM, lines=None)


def _structures(page: Page, structures: Sequence[StructureSummary]) -> None:
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
        if sum(widths[one] + GAP for one in columns) - GAP > page.room:
            del columns[head]
    page.table("structures", [[*columns], *zip(*columns.values(), strict=True)])
    more = len(structures) - MAX_STRUCTURES
    if more > 0:
        page.row("", f"and {show_plural(more, 'more kind')} of structures", DIM)


def _observed(page: Page, summary: Summary) -> None:
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


def _brought_in(page: Page, files: Sequence[FileBroughtIn]) -> None:
    """The files of which most was brought in, mapped executables and libraries among them."""
    named = [
        f"{show_bytes(file.bytes)} of {name(file.path) or 'files not known'}"
        + (" (mapped)" if 2 * file.mapped_bytes > file.bytes else "")
        for file in files[:MAX_BROUGHT]
    ]
    more = len(files) - MAX_BROUGHT
    if named:
        rest = f", the rest of {show_plural(more, 'other file')}" if more > 0 else ""
        page.row("", ", ".join(named) + rest, DIM)


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


def _measured(page: Page, summary: Summary) -> None:
    for state, runs in (("cold", summary.cold), ("warm", summary.warm)):
        if runs:
            walls = [run.wall_s for run in runs if not run.failed] or [0]
            sure = median_interval(runs)
            sure_of = "" if sure is None else f"; {CONFIDENCE:.0%}: {seconds(sure)}"
            spread = f" (median of {len(walls)}, {seconds((min(walls), max(walls)))}{sure_of})"
            middle = median_s(runs)
            time = "all failed" if middle is None else show_seconds(middle)
            mean = mean_s(runs)
            of_all = "" if mean is None else f" for the slowest, {show_seconds(mean)} in the mean"
            spread = spread if len(walls) > 1 else ""
            page.row(f"{state} here", f"{time}{of_all}{spread}, untraced; {runs_facts(runs)}")
    if not summary.cold and not summary.warm:
        page.row("measured", "nothing yet; 'coldseek compare' times it cold and warm, untraced", DIM)
    if summary.damaged_runs:
        page.row("", f"{show_plural(summary.damaged_runs, 'measured run')} left out: damaged", WARN)
