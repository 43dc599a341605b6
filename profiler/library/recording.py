"""Runs of programs, and observing those who run already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from profiler.library.arguments import GRACE_S, Named, command_of, finish_of, nothing, several
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.files.owner import Owner
    from profiler.trace import Trace


@words_of_python()
def record(
    command: Sequence[Named | bytes],
    *,
    cache: str = "keep",
    tracer: str = "auto",
    evict: str = "auto",
    image: Named = "",
    targets: str | Iterable[str] = (),
    until: str | Iterable[str] = (),
    seconds: float | None = None,
    timeout: float | None = None,
    stop: bool = False,
    grace: float = GRACE_S,
    guest_files: bool = False,
    owner: Owner | None = None,
    output: Named | None = None,
    say: Callable[[str], None] = nothing,
) -> Trace:
    """Trace one run of a command, as `coldseek record` does. The parameters have the names of its options.

    command: a list of words; no shell. The program keeps stdin, stdout and stderr of this process, and has
    its rights, under sudo too, unless `owner` names a user (`profiler.files.owner.invoker()` is the one who
    called sudo). cache: "keep" leaves the page cache as it is, "cold" empties it of what the program reads,
    "warm" runs the program once before; the last two are measured, and `trace.meta.cache` says what was
    reached. tracer: "auto", "kernel", "ptrace" or "strace". evict: what a cold start drops: "files", "all",
    or "auto". image: the disk image that the run is about. targets: whom to watch besides, as "unit:NAME".
    until: the run is over when all these hold, as "tcp:HOST:PORT"; seconds: or after so long; timeout: it
    has failed if it is not over by then. What runs on then is ended, `grace` seconds after it was asked to.
    guest_files: name the guest's files that were read of a disk image. output: save the trace there too.
    say: called with each line worth telling.

    Raises UsageError for parameters that make no sense, CommandNotFoundError, CannotRunError, and
    ColdseekError where it cannot be traced, or saved.

    >>> trace = coldseek.record(["cat", "/dev/null"])
    >>> trace.meta.command, trace.meta.exit_status
    (('cat', '/dev/null'), 0)
    """
    words = command_of(command)
    finish = finish_of(until, seconds, timeout, stop, grace)
    from profiler.studies.record import record as run

    trace = run(
        words, tracer, cache, image=os.fspath(image), owner=owner, say=say, evict=evict, finish=finish,
        targets=several(targets),
    )  # fmt: skip
    if guest_files:
        from profiler.capture.images.contents import with_guest_files

        trace = with_guest_files(trace)
    return _kept(trace, output)


@words_of_python()
def attach(
    targets: str | int | Iterable[str | int],
    *,
    seconds: float | None = None,
    output: Named | None = None,
) -> Trace:
    """Observe those who run already, as `coldseek attach` does. Nothing is stopped. Needs root.

    targets: whom, as "pid:1234" (a number is one too), "unit:NAME", "container:NAME", "cgroup:PATH",
    "user:NAME", or "all". seconds: how long; None: until they have ended, or Ctrl-C. output: save the trace
    there too.

    Raises UsageError for targets that are none, ColdseekError where there are none such, or the kernel's
    trace events cannot be had.

    >>> trace = coldseek.attach("all", seconds=0.2)
    >>> trace.meta.targets
    ('all',)
    """
    from profiler.capture.complete import complete
    from profiler.capture.watch.attach import attach as observe

    whom = [targets] if isinstance(targets, str | int) else list(targets)
    return _kept(complete(observe([str(target) for target in whom], seconds)), output)


def _kept(trace: Trace, output: Named | None) -> Trace:
    """The trace, saved where that was wanted."""
    if output is not None:
        from profiler.files.traces import save

        save(trace, output)
    return trace
