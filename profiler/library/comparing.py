"""A cold start against a warm one, measured here, or two traces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from profiler.errors import UsageError
from profiler.library.arguments import (
    GRACE_S,
    MOST_RUNS,
    Named,
    around_of,
    command_of,
    devices_of,
    finish_of,
    nothing,
    several,
    trace_of,
)
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.devices.model import Device
    from profiler.files.owner import Owner
    from profiler.machine.finish.finish import Finish
    from profiler.report.comparison import Comparison
    from profiler.studies.copies import Copies
    from profiler.trace import Trace

MOST_COPIES = 256


@overload
def compare(
    first: Trace | Named, second: Trace | Named, *, devices: Iterable[Device | Named] | None = None
) -> Comparison: ...
@overload
def compare(
    first: Sequence[Named | bytes],
    *,
    runs: int | None = None,
    copies: int = 1,
    own: str | Iterable[str] = (),
    before: str | Sequence[Named] = (),
    after: str | Sequence[Named] = (),
    until: str | Iterable[str] = (),
    seconds: float | None = None,
    timeout: float | None = None,
    stop: bool = False,
    grace: float = GRACE_S,
    targets: str | Iterable[str] = (),
    tracer: str = "auto",
    evict: str = "auto",
    image: Named = "",
    guest_files: bool = False,
    owner: Owner | None = None,
    output: Named | None = None,
    devices: Iterable[Device | Named] | None = None,
    say: Callable[[str], None] = nothing,
) -> Comparison: ...
@words_of_python()
def compare(
    first: Trace | Named | Sequence[Named | bytes],
    second: Trace | Named | None = None,
    *,
    runs: int | None = None,
    copies: int = 1,
    own: str | Iterable[str] = (),
    before: str | Sequence[Named] = (),
    after: str | Sequence[Named] = (),
    until: str | Iterable[str] = (),
    seconds: float | None = None,
    timeout: float | None = None,
    stop: bool = False,
    grace: float = GRACE_S,
    targets: str | Iterable[str] = (),
    tracer: str = "auto",
    evict: str = "auto",
    image: Named = "",
    guest_files: bool = False,
    owner: Owner | None = None,
    output: Named | None = None,
    devices: Iterable[Device | Named] | None = None,
    say: Callable[[str], None] = nothing,
) -> Comparison:
    """Compare a cold start with a warm one, or two traces, as `coldseek compare` does.

    Two traces, or names of their files: they are compared as they are. A list of words is a command: it is
    traced once cold and once warm, and timed untraced in turn, `runs` times each; None: 3 times, or twice
    where the times agree. Its stdin and outputs are /dev/null, and what it leaves running is ended after
    each run. `ratio` is the median of the cold runs through that of the warm ones.

    copies: time so many at once; {n} in the words becomes 1, 2 ... own: names of the files that each has
    for itself. before, after: a command for around each run, untimed; a text is split as a shell does.
    output: a folder, which is made, for cold.trace.parquet and warm.trace.parquet. devices: to project on;
    None: the usual presets. The other parameters are those of `record`.

    Raises UsageError for parameters that make no sense, KeyboardInterrupt where a run was interrupted, and
    otherwise as `record` does.

    >>> both = coldseek.compare(["cat", "/dev/null"], runs=1)
    >>> len(both.first.runs), len(both.second.runs), both.ratio > 0
    (1, 1, True)
    """
    from profiler.report.comparison import compare_summary

    wanted = None if devices is None else devices_of(devices, list)
    if second is not None or isinstance(first, str | os.PathLike):
        if second is None:
            raise UsageError("compare takes two traces, or a command, which is a list of words")
        if runs is not None or copies != 1:
            raise UsageError("runs and copies are of a command; two traces hold the times that they have")
        return compare_summary(trace_of(first), trace_of(second), wanted)  # type: ignore[arg-type]
    words = command_of(first)  # type: ignore[arg-type]
    if runs is not None and not 1 <= runs <= 1000:
        raise UsageError(f"runs is {runs}; give a number from 1 to 1000")
    if not 1 <= copies <= MOST_COPIES:
        raise UsageError(f"copies is {copies}; give a number from 1 to {MOST_COPIES}")
    if own and copies == 1:
        raise UsageError("own says what several starts do not share; use it with copies")
    words_before, words_after = around_of(before, "before"), around_of(after, "after")
    conditions = several(until)

    def finish(number: int) -> Finish | None:
        from profiler.studies.copies import filled

        mine = filled(conditions, number) if copies > 1 else conditions
        return finish_of(mine, seconds, timeout, stop, grace)

    from profiler.studies.cold_warm import study
    from profiler.studies.copies import Copies, filled

    at_once: Copies | None = None
    if copies > 1:
        finishes = tuple(one for number in range(1, copies + 1) if (one := finish(number)) is not None)
        at_once = Copies(
            copies,
            tuple(words),
            before=words_before,
            after=words_after,
            finishes=finishes,
            own=tuple(several(own)),
        )
        words = filled(words, 1)
        words_before, words_after = (tuple(filled(one, 1)) for one in (words_before, words_after))
    pair = study(
        words, runs or MOST_RUNS, tracer, image=os.fspath(image), owner=owner, say=say, keep=_keeper(output),
        evict=evict, finish=finish(1), targets=several(targets), copies=at_once, settle=runs is None,
        guest_files=guest_files, before=words_before, after=words_after,
    )  # fmt: skip
    return compare_summary(*pair, wanted)


def _keeper(output: Named | None) -> Callable[[Mapping[str, Trace]], None]:
    """What saves the traces of a study, as they come, in a folder."""
    if output is None:
        return lambda _: None
    from profiler.files.owner import invoker, make_folder
    from profiler.files.traces import save
    from profiler.units import show_path

    folder = os.fspath(output)
    try:
        make_folder(folder, invoker())
    except OSError as error:
        why = f"{error.strerror}; name another with output"
        raise UsageError(f"cannot make the folder {show_path(folder)}: {why}") from error

    def keep(traces: Mapping[str, Trace]) -> None:
        for name, trace in traces.items():
            save(trace, os.path.join(folder, f"{name}.trace.parquet"))

    return keep
