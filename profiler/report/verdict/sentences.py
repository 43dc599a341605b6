"""The answer in plain words: why is this start slow, what would it cost, what was measured."""

from __future__ import annotations

import os
from collections.abc import Sequence

from profiler.analysis.advice.program_rules import CONTRIBUTORS
from profiler.analysis.cost.costs import Cost
from profiler.analysis.cost.walltime import WallTime
from profiler.analysis.reads.access import Totals
from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.projection import Projection
from profiler.report.focus import STANDS_OUT
from profiler.report.summary import FileSummary, Stride, Summary
from profiler.report.verdict import device_layer
from profiler.report.verdict.failures import failures
from profiler.units import show_bytes, show_path, show_percent, show_plural, show_seconds

SCATTERED = 0.2
"""From this share of seeks on, the seeks are the story; Drishti flags random reads from the same share
on."""

MOST = 0.5
"""Most seeks go one distance if at least this share of them does; of a cost, most is at least this share."""

REREAD = 0.2
"""From this share on, reads of what was already read are worth a sentence."""

NAMED = 0.05
"""A structure of an image with at least this share of its reads is named."""

IN_FOCUS = 0.5
"""The verdict is about the focus file if it has at least this share of all reads or bytes, else about all
files."""

_BEGAN = {
    "cold": ("It is not", "Cold"),
    "warm": ("Warm, it is not", "Warm"),
    "keep": ("With the cache as it was, it is not", "With the cache as it was, it took"),
}
"""How a start began -> how the two sentences on it begin: that it is not the disk; how long it took."""


def verdict(summary: Summary) -> list[str]:
    """A few sentences, each one line: runs that failed, the pattern, the projected cost, the measured one.
    File names are escaped."""
    return [*failures(summary), *answer(summary)]


def first_line(summary: Summary) -> str:
    """Where the cold time goes, and whether it is the disk at all; of a log of the block layer, that it is
    one."""
    if summary.meta.device_only:
        return device_layer.who(summary)
    copies, line = summary.meta.copies.count, _whether_the_disk(summary)
    return f"{copies:,} starts at once, the slowest: {line[0].lower()}{line[1:]}" if copies > 1 else line


def _whether_the_disk(summary: Summary) -> str:
    found, meta = summary.answer, summary.meta
    cold, warm = median_s(summary.cold), median_s(summary.warm)
    if found is not None:
        cold, warm = found.cold_s or cold, found.warm_s or warm
    whole = cold if cold is not None or summary.time is None else summary.time.wall_s
    if found is None or found.disk_s is None or whole is None:
        return _not_known(summary, cold, warm)
    seen = found.measured or not (meta.lost_events or meta.partial or meta.unseen)
    disk, least = _beside(found.disk_s, whole), "" if seen else "at least "
    traced = "" if cold is not None else " while traced"
    is_cold = cold is not None or "cold" in (meta.cache, meta.cache_asked)
    is_not, took = _BEGAN.get("cold" if is_cold else meta.cache, _BEGAN["keep"])
    if found.is_disk is False and seen and (found.disk_share or 0) < MOST:
        times = f"{disk} of {show_seconds(whole)}{traced}"
        times += "" if warm is None else f" (warm {_beside(warm, whole)})"
        return f"{is_not} the disk: {times}{_otherwise(summary.time)}."
    share = "" if found.disk_share is None else f" ({_share(found.disk_share)})"
    share += ", too short to be noticed" if found.is_disk is False and seen else ""
    if "early" in meta.unseen and not is_cold:  # those who ran already: no start
        took, traced = "Watched for", ""
    took += f" {show_seconds(whole)}{traced}" + ("" if warm is None else f", warm {_beside(warm, whole)}")
    return f"{took}. The disk is {least}{disk} of it{share}."


def _not_known(summary: Summary, cold: float | None, warm: float | None) -> str:
    """The first line where it is not known what the disk is of it."""
    if cold is None and warm is None:
        return "How long it takes cold was not measured; 'coldseek compare' does, cold and warm, untraced."
    if cold is None or warm is None:
        known = (
            f"Warm {show_seconds(warm)}, cold"
            if warm is not None
            else f"Cold {show_seconds(cold or 0)}, warm"
        )
        return f"{known} not measured. How much of it is the disk is not known."
    times = f"Cold {show_seconds(cold)}, warm {_beside(warm, cold)}"
    return f"{times}. How much of it is the disk is not known."


def _beside(seconds: float, whole: float) -> str:
    """A duration as it stands beside a longer one: 0.82 s beside 1.32 s, and 36 ms beside 5.39 s."""
    return f"{seconds:.2f} s" if 0.1 <= seconds < 1 <= whole < 100 else show_seconds(seconds)


def _share(share: float) -> str:
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def _otherwise(time: WallTime | None) -> str:
    """What else most of the time went into; "": nothing is known of that."""
    if time is None:
        return ""
    half = MOST * time.wall_s
    if (time.running_s or 0) >= half:
        return "; most of the time it was running"
    if (time.other_s or 0) >= half and time.waited_for:
        often = "most of the time" if time.waited_for[0].seconds >= half else "longest"
        return f"; {often} it waited for {show_path(time.waited_for[0].what)}"
    if time.unknown_s >= half:
        return "; what it did most of the time is not known"
    return ""


def second_line(summary: Summary) -> str:
    """What of it is to be looked at: the image and the program that opens it, or the file that costs most.
    "": nothing is known of that."""
    if summary.meta.device_only:
        return device_layer.how(summary)
    image, focus, rows = summary.image, summary.focus, summary.costs
    weights = _weights(rows)
    if focus is not None and focus.role in ("image", "backing file"):
        image = focus
    elif image is not None and rows:
        return _healthy(summary, image)
    if image is None and focus is not None and focus.reads > 1 and _is_read(rows, focus.path):
        image = focus
    if image is not None:
        return f"{name(image.path)}: {_sentence(image, image.usual_size, image.strides)}"
    if not sum(weights):
        return _pattern(summary) if summary.totals.reads else ""
    return _dearest(rows, weights)


def why_line(summary: Summary) -> str:
    """The first of the reasons; "": none. What costs most is in a table."""
    reasons = [finding for finding in summary.findings if finding.kind != CONTRIBUTORS]
    return f"Why: {reasons[0].words}." if reasons else ""


def _is_read(rows: Sequence[Cost], path: bytes) -> bool:
    """Whether a file comes in by calls that read, for the most part: then it matters in what order."""
    own = [row for row in rows if row.path == path and row.file >= 0]
    return 2 * sum(row.bytes for row in own if row.how == "read") > sum(row.bytes for row in own)


def _healthy(summary: Summary, image: FileSummary) -> str:
    """An image that costs next to nothing is told from the program that opens it."""
    command = summary.meta.command
    program = show_path(os.path.basename(command[0])) if command else "the program"
    own = sum(part.bytes for part in summary.parts if part.role in ("program", "library"))
    of_what = f" ({show_bytes(own)} of program and libraries)" if own else ""
    read = f"{show_plural(image.reads, 'read')}, {show_bytes(image.bytes)}"
    return f"{name(image.path)}: {read}, healthy; the rest is {program} itself{of_what}."


def _weights(rows: Sequence[Cost]) -> list[float]:
    """What each is ranked by: seconds, or bytes where seconds are not known of all."""
    if all(row.waited_s is not None for row in rows) and any(row.waited_s for row in rows):
        return [row.waited_s or 0.0 for row in rows]
    return [float(row.bytes) for row in rows]


def _dearest(rows: Sequence[Cost], weights: Sequence[float]) -> str:
    """The file that costs a third or more of all, else that none does."""
    sums: dict[tuple[int, bytes], float] = {}
    for row, weight in zip(rows, weights, strict=True):
        sums[row.file, row.path] = sums.get((row.file, row.path), 0.0) + weight
    first = max(sums, key=lambda key: sums[key])
    size = sum(row.bytes for row in rows)
    if sums[first] < STANDS_OUT * sum(weights):
        files = show_plural(len({row.file for row in rows if row.file >= 0}), "file")
        asked = show_plural(sum(row.requests for row in rows), "request")
        return f"None of {files} stands out: {asked}, {show_bytes(size)} in all, {_hows(rows)}."
    own = [row for row in rows if (row.file, row.path) == first]
    asked, mine = show_plural(sum(row.requests for row in own), "request"), sum(row.bytes for row in own)
    called = show_path(first[1]) if first[0] < 0 else name(first[1])
    share = sums[first] / sum(weights)
    much = f"{'is most of it' if share >= MOST else 'costs most'} ({_share(share)})"
    return f"{called} {much}: {asked}, {show_bytes(mine)} of {show_bytes(size)}, {_hows(own)}."


def _hows(rows: Sequence[Cost]) -> str:
    """How they came in, the most bytes first: "mapped 90%, read 10%"; "mapped" where that is all."""
    size = max(sum(row.bytes for row in rows), 1)
    by_how = {
        how: sum(row.bytes for row in rows if row.how == how) for how in dict.fromkeys(r.how for r in rows)
    }
    ordered = sorted(by_how.items(), key=lambda pair: -pair[1])
    if len(ordered) == 1:
        return ordered[0][0]
    return ", ".join(f"{how} {_share(bytes / size)}" for how, bytes in ordered)


def answer(summary: Summary) -> list[str]:
    """The verdict without a word of failed runs; the first is `first_line`."""
    if summary.meta.device_only:
        said = [first_line(summary), second_line(summary)]
        return [words for words in said if words] + _cost(summary.projections)
    if not summary.totals.reads:
        unseen = "; much of what it reads may be unseen (below)" if summary.meta.unseen else ""
        brought = summary.page_cache.bytes if summary.page_cache is not None else 0
        mapped = f"; {show_bytes(brought)} came into the page cache without any" if brought else ""
        return [first_line(summary), f"No file reads were seen{mapped}{unseen}."]
    return [first_line(summary), second_line(summary), *_why(summary), *_cost(summary.projections)]


def _pattern(summary: Summary) -> str:
    focus, totals = summary.focus, summary.totals
    if focus is not None and (
        focus.reads >= IN_FOCUS * totals.reads or focus.bytes >= IN_FOCUS * totals.bytes or totals.files == 1
    ):
        return f"{name(focus.path)}: {_sentence(focus, focus.usual_size, focus.strides)}"
    where = f"{show_plural(totals.files, 'file')}, none of which stands out: "
    return where + _sentence(totals, None, ())


def _sentence(of: FileSummary | Totals, size: int | None, strides: Sequence[Stride]) -> str:
    reads, ratio, total = of.reads, of.scattered_ratio, show_bytes(of.bytes)
    sized = "" if size is None else f"{show_bytes(size)} "
    if ratio is None:
        return f"{show_plural(reads, 'read')}, {total}; at which offsets is not known."
    if ratio >= SCATTERED:
        of_all = "" if of.seeks == reads else f" among {show_plural(reads, 'read')}"
        said = f"{show_plural(of.seeks, f'scattered {sized}read')}{of_all}"
        if strides and strides[0].count >= MOST * of.seeks:
            said += f", most of them {show_bytes(abs(strides[0].bytes))} apart"
            said += " (backwards)" if strides[0].bytes < 0 else ""
        said += f", {total} in all"
    else:
        in_sequence = show_percent(1 - ratio)
        said = f"{show_plural(reads, f'{sized}read')}, {total}, {in_sequence} in sequence"
    if of.patterns["repeat"] >= REREAD * reads:
        said += f"; {show_percent(of.patterns['repeat'] / reads)} of the reads repeat earlier ones"
    return said + "."


def _why(summary: Summary) -> list[str]:
    """What the reads of an image were for."""
    focus = summary.focus
    if focus is None or not focus.structures:
        return []
    named = [one for one in focus.structures if one.reads >= NAMED * focus.reads] or focus.structures[:1]
    kinds = [f"{show_path(one.kind)} ({show_percent(one.reads / focus.reads)})" for one in named]
    listed = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
    return [f"What was read of the image: {listed}."]


def _cost(projections: Sequence[Projection]) -> list[str]:
    if not projections:
        return []
    costs = [f"{show_seconds(one.seconds)} {on(one.device)}" for one in projections]
    listed = costs[0] if len(costs) == 1 else f"{', '.join(costs[:-1])} and {costs[-1]}"
    copies = projections[0].copies
    start = "Cold, it" if copies == 1 else f"{copies:,} cold starts at once"
    least = "at least " if projections[0].missing else ""
    return [f"{start} would wait for the device {least}{listed}."]


def on(device: str) -> str:
    """A device's name in a sentence: "at 120 IOPS", "on hdd-7200"."""
    return f"at {device[5:]} IOPS" if device.startswith("iops-") and device[5:].isdigit() else f"on {device}"


def name(path: bytes) -> str:
    """A file's name without its folders, fit to print."""
    return show_path(os.path.basename(path) or path)
