"""Runs that ended otherwise than the first: their times and reads are not those that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from profiler.analysis.reads.untraced_runs import first_status
from profiler.facts.runs import Run
from profiler.report.summary import Summary
from profiler.trace import Meta
from profiler.units import show_path, show_status

LOUD = "FAILED: "
"""With this begins whatever is said of failed runs."""

_TIMED_OUT = 124  # of a run that was not ready in time; see capture/finish
_LAST_LINES, _MOST = 3, 300  # of what a failed run wrote: lines, and characters of them


def failed(summary: Summary) -> bool:
    """Whether any run, the traced one included, ended with another exit status than the first."""
    return _traced_failed(summary.meta) or any(run.failed for run in (*summary.cold, *summary.warm))


def failures(*summaries: Summary) -> list[str]:
    """What there is to say of failed runs, of one trace or of two of the same command, each a line.

    A command may end with an exit status that is not 0 each time: then nothing of it failed, and it is said.
    """
    said = list(dict.fromkeys(line for one in summaries for line in _failed(one)))
    runs = [run for one in summaries for run in (*one.cold, *one.warm)]
    if said:
        wrote = [_words(run) for run in runs if run.failed]
        remedy = ["If what a run left behind is why, --after CMD undoes it after each."]
    elif runs and all(run.exit_status for run in runs):
        said = [f"Every run ended with {_statuses(runs)}."]
        wrote, remedy = [_words(run) for run in runs], []
    else:
        return []
    return [*said, *(f"It wrote: {words}" for words in [*filter(None, wrote)][:1]), *remedy]


def _failed(summary: Summary) -> Iterator[str]:
    runs = (*summary.cold, *summary.warm)
    bad = [run for run in runs if run.failed]
    meta, first = summary.meta, first_status(summary.meta)
    if bad:
        how_many = f"all {len(runs)}" if len(bad) == len(runs) else f"{len(bad)} of {len(runs)}"
        left = "none is timed" if len(bad) == len(runs) else "they are left out of the times"
        how = f"{_statuses(bad)}, the first run with {show_status(first)}"
        yield f"{LOUD}{how_many} untraced runs ended with {how}; {left}."
    if _traced_failed(meta):
        which = meta.cache_asked or meta.cache
        yield (
            f"{LOUD}the traced {which} run ended with exit status {show_status(meta.exit_status)}, "
            f"the first run with {show_status(first)}: its reads are not those that were asked for."
        )


def _traced_failed(meta: Meta) -> bool:
    first = first_status(meta)
    timed_out = meta.exit_status == _TIMED_OUT and first not in (_TIMED_OUT, None)
    return timed_out or (not meta.partial and first is not None and meta.exit_status not in (first, None))


def _statuses(runs: Sequence[Run]) -> str:
    every = [one for run in runs for one in (run.copies or (run,))]
    bad = [one for one in every if one.failed] or every
    found = sorted({one.exit_status for one in bad if one.exit_status is not None})
    listed = " and ".join(show_status(status) for status in found)
    return f"exit status{'es' if len(found) > 1 else ''} {listed}"


def _words(run: Run) -> str:
    lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    return show_path(" / ".join(lines[-_LAST_LINES:])[-_MOST:])
