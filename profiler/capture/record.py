"""One traced run from start to end: the cache made cold or warm and proved, the program traced, the facts
added."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence

from profiler.capture import cache, environment
from profiler.capture.around import Around
from profiler.capture.launch import find_program
from profiler.capture.leaving import Leaving
from profiler.capture.recorder import Recorder
from profiler.capture.tracer import Over, Tracer, choose
from profiler.capture.turns import turn
from profiler.errors import InterruptedRunError, UsageError
from profiler.owner import Owner
from profiler.trace import DATA_KINDS, Trace
from profiler.units import show_count, show_plural

Started = Callable[[Recorder], None]


def record(
    command: Sequence[str],
    tracer: str = "auto",
    cache_state: str = "keep",
    *,
    image: str = "",
    owner: Owner | None = None,
    started: Started | None = None,
    say: Callable[[str], None] = lambda _: None,
    leaving: Leaving | None = None,
) -> Trace:
    """Trace one run of `command`.

    tracer: a name of `tracer.NAMES`, or "auto". cache_state: "keep" leaves the page cache as it is, "cold"
    empties it of what the program reads and "warm" runs the program once before; both are measured. image:
    the disk image the run is about. owner: the user whom it runs as, such as the one who called sudo
    (`owner.invoker()`); None: the caller, also under sudo. started: called with the Recorder as it begins to
    fill, for progress. say: called with each line worth telling, such as which tracer was taken.
    leaving: what becomes of processes that outlive the program (see `tracer.Tracer`).

    Raises ColdseekError (and its kinds) if the program cannot be started or traced, or if a run before the
    one that is recorded was interrupted.
    """
    if cache_state not in ("keep", "cold", "warm"):
        raise UsageError(f"no cache state named {cache_state!r}; there are cold, warm and keep")
    find_program(command[0])
    made, why = choose(tracer, owner)
    say(why)
    if cache_state == "cold":
        if cache.can_drop_all():
            files = named_files(command)
        else:
            say("a first run finds out which files to drop from the page cache")
            files = [*named_files(command), *data_files(_first(command, tracer, owner, say))]
        with turn(say):
            return record_cold(made, command, files, image=image, started=started, say=say, leaving=leaving)
    if cache_state == "warm":
        say("a first run warms the page cache")
        with turn(say):
            earlier = _first(command, tracer, owner, say)
            return record_warm(
                made, command, earlier, image=image, started=started, say=say, leaving=leaving
            )
    found = made.record(command, started, leaving=leaving)
    return _finish(found, image=image, cache="keep", cache_asked="keep")


def record_cold(
    tracer: Tracer,
    command: Sequence[str],
    files: Iterable[bytes],
    *,
    image: str = "",
    started: Started | None = None,
    say: Callable[[str], None] = lambda _: None,
    silent: bool = False,
    over: Over | None = None,
    leaving: Leaving | None = None,
) -> Trace:
    """Trace one run right after `files` were dropped from the page cache, with the proof in the meta."""
    proof = cache.make_cold(files, [os.fsencode(image)] if image else [])
    found = tracer.record(command, started, silent=silent, over=over, leaving=leaving)
    return _proved(found, image, "cold", proof.fault, proof.residency, say)


def record_warm(
    tracer: Tracer,
    command: Sequence[str],
    earlier: Trace,
    *,
    image: str = "",
    started: Started | None = None,
    say: Callable[[str], None] = lambda _: None,
    silent: bool = False,
    over: Over | None = None,
    leaving: Leaving | None = None,
) -> Trace:
    """Trace one run after another, `earlier`, has brought in what it reads; with the proof in the meta."""
    files = [*named_files(command), *data_files(earlier)]
    proof = cache.residency(files)
    found = tracer.record(command, started, silent=silent, over=over, leaving=leaving)
    # what was missing before the run is there after it
    fault = ""
    if not cache.is_warm(proof, cache.residency(files).resident_bytes):
        fault = "NOT WARM: part of what the program reads was not in the page cache before it started"
    elif cache.is_blind(proof, [os.fsencode(image)] if image else []):
        looked = "too few of its files" if proof.files else "no file"
        fault = "; ".join([f"NOT PROVED WARM: {looked} could be looked at", *cache.remedy(proof)])
    return _proved(found, image, "warm", fault, proof, say)


def _proved(
    trace: Trace, image: str, state: str, fault: str, proof: cache.Residency, say: Callable[[str], None]
) -> Trace:
    """A trace with the state of the cache that was asked for, and what of it was measured.

    fault: why it is not known to be so, "" if it is.
    """
    notes = [fault] if fault else []
    if fault:
        say(fault)
    elif proof.unchecked:
        notes.append(f"{cache.unlooked(proof)}: whether they were cached before is not known")
    past = past_cache(trace) if state == "warm" else ""
    if past:
        say(past)
        notes.append(past)
    resident, checked = proof.known
    return _finish(
        trace,
        image=image,
        cache="unknown" if fault else state,
        cache_asked=state,
        resident_before_bytes=resident,
        resident_checked_bytes=checked,
        notes=(*trace.meta.notes, *notes),
    )


def past_cache(trace: Trace) -> str:
    """What to say of reads that a warm cache does not help; "" if there are none."""
    reads = trace.reads()
    direct = int(reads["direct"].sum())
    past = f"{show_count(direct)} of {show_plural(len(reads), 'read')} with O_DIRECT, past the page cache"
    return f"{past}: a warm start does not help these" if direct else ""


def discover(
    command: Sequence[str], tracer: str = "auto", owner: Owner | None = None, over: Over | None = None
) -> Trace:
    """A traced run for the sake of its list of files: stdin, stdout and stderr of the program are
    /dev/null."""
    made, _ = choose(tracer, owner)
    return made.record(command, silent=True, over=over)


def _first(command: Sequence[str], tracer: str, owner: Owner | None, say: Callable[[str], None]) -> Trace:
    """`discover`, and no further run after one that was interrupted. What it leaves running is ended: the
    run that is recorded starts it again."""
    with Around(owner=owner, say=say).traced() as over:
        found = discover(command, tracer, owner, over)
    why = found.meta.partial
    if why:
        raise InterruptedRunError(why, f"{why}, in the first run; nothing was saved")
    return found


def data_files(trace: Trace) -> list[bytes]:
    """The names of the files whose pages the program needs: those of its calls, and those that it maps.

    A disk counts where the program itself opens it: that a file system reads it and that requests reach it
    is no reason to drop, or to measure, all that is cached of it.
    """
    events, kinds = trace.events, trace.files["kind"]
    called = set(events["file"][events["layer"] == "syscall"])
    mapped = set(events["file"][events["layer"] == "cache"])
    return [
        path
        for number, (path, kind) in enumerate(zip(trace.files["path"], kinds, strict=True))
        if (number in called and kind in DATA_KINDS) or (number in mapped and kind == "regular")
    ]


def named_files(command: Sequence[str]) -> list[bytes]:
    """The program and whatever files its arguments name, `file=NAME,...` as QEMU takes them included."""
    program = shutil.which(command[0])
    found = [program] if program else []
    for argument in command[1:]:
        for part in (argument, *re.split("[,=]", argument)):
            if part and os.path.isfile(part):
                found.append(part)
    return [os.path.realpath(os.fsencode(path)) for path in dict.fromkeys(found)]


def _finish(trace: Trace, **facts: object) -> Trace:
    meta = dataclasses.replace(trace.meta, **facts)  # type: ignore[arg-type]
    return environment.complete(dataclasses.replace(trace, meta=meta))
