"""One traced run from start to end: the cache made cold or warm and proved, the program traced, the facts
added."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence

from profiler.capture.calls.event_log import Recorder
from profiler.capture.complete import complete
from profiler.capture.images import heads as image_heads
from profiler.capture.leaving import Leaving
from profiler.capture.recording import Over, Recording
from profiler.capture.tracer import Tracer, choose
from profiler.capture.watch.choose import Make, chosen
from profiler.errors import InterruptedRunError, UsageError
from profiler.files.owner import Owner
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache import cache, eviction, residency
from profiler.machine.page_cache.turns import turn
from profiler.machine.processes.launch import find_program
from profiler.studies.around import Around
from profiler.studies.unforeseen import unforeseen, unwatched
from profiler.trace import DATA_KINDS, Trace, host_paths
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
    evict: str = "auto",
    finish: Finish | None = None,
    targets: Sequence[str] = (),
) -> Trace:
    """Trace one run of `command`.

    tracer: a name of `tracer.NAMES`, or "auto". cache_state: "keep" leaves the page cache as it is, "cold"
    empties it of what the program reads and "warm" runs the program once before; both are measured. image:
    the disk image the run is about. owner: the user whom it runs as, such as the one who called sudo
    (`owner.invoker()`); None: the caller, also under sudo. started: called with the Recorder as it begins to
    fill, for progress. say: called with each line worth telling, such as which tracer was taken.
    leaving: what becomes of processes that outlive the program (see `tracer.Tracer`). evict: what a cold
    start drops from the page cache: "all" of the machine's, the "files" that the program reads, or "auto"
    (see `eviction`). finish: when the run is over; None: when all that it started has ended. It is closed
    here. targets: whom to watch besides.

    Raises ColdseekError (and its kinds) if the program cannot be started or traced, or if a run before the
    one that is recorded was interrupted.
    """
    if cache_state not in ("keep", "cold", "warm"):
        raise UsageError(f"no cache state named {cache_state!r}; there are cold, warm and keep")
    if cache_state != "cold" and evict != "auto":
        raise UsageError("what is evicted is a matter of cold starts; use --evict with --cache cold")
    find_program(command[0])
    make, watched, missing = chosen(command, targets, tracer, owner, say)
    made, why = make()
    say(why)
    recording = Recording(command, started, leaving=leaving, finish=finish)
    if cache_state == "cold":
        eviction.check(evict)
        with turn(say):
            how = eviction.choose(evict)  # no other coldseek measures now, whose runs would count as busy
            say(how.told)
            files = named_files(command)
            if not how.whole:
                say("a first run finds out which files to drop from the page cache")
                files += data_files(_first(command, make, owner, say, finish))
            found = record_cold(
                made, recording, files, image=image, say=say, how=how, watched=watched, missing=missing
            )
    if cache_state == "warm":
        say("a first run warms the page cache")
        with turn(say):
            earlier = _first(command, make, owner, say, finish)
            found = record_warm(made, recording, earlier, image=image, say=say)
    if cache_state == "keep":
        marks = image_heads.marked(named_files(command))
        found = traced(made, recording)
        found = image_heads.with_marks(found, marks)
        found = _finish(found, image=image, cache="keep", cache_asked="keep")
    notes = (*missing, *found.meta.notes)
    return dataclasses.replace(found, meta=dataclasses.replace(found.meta, targets=watched, notes=notes))


def record_cold(
    tracer: Tracer,
    recording: Recording,
    files: Iterable[bytes],
    *,
    image: str = "",
    say: Callable[[str], None] = lambda _: None,
    how: eviction.Eviction | None = None,
    watched: Sequence[str] = (),
    missing: Sequence[str] = (),
) -> Trace:
    """Trace one run right after `files` were dropped from the page cache, with the proof in the meta. how:
    what was said of it; None: as well as it may be done here. watched, missing: as of `choose.Chosen`.

    The proof is of the files that this run read, as far as they are among `files`, which were guessed
    before; the others are noted (`unforeseen`). There is none where the command left the reading to a
    process that nobody watched.
    """
    command, files = recording.command, list(files)
    marks = image_heads.marked(named_files(command))  # before: it brings back their names and inodes
    proof = cache.make_cold(files, [os.fsencode(image)] if image else [], how.whole if how else None)
    found = traced(tracer, recording)
    found = image_heads.with_marks(found, marks)
    read = [*data_files(found), *(named_files(command[:1]) if "exec" in found.meta.unseen else ())]
    read = [path for path in read if not cache.in_memory(path)]
    note, fault = unforeseen(found, read, proof.residency.lacks(read), proof.method, bool(watched))
    fault = fault or unwatched((*missing, *found.meta.notes))
    proof = proof.of(read)
    whole = how.whole if how else cache.can_drop_all()
    more = [words for words in (how.told if how is not None else "", note) if words]
    meta = dataclasses.replace(
        found.meta, notes=(*found.meta.notes, *more), evicted="all" if whole else "files"
    )
    found = dataclasses.replace(found, meta=meta)
    return _proved(found, image, "cold", proof.fault or fault, proof.residency, say)


def record_warm(
    tracer: Tracer,
    recording: Recording,
    earlier: Trace,
    *,
    image: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Trace:
    """Trace one run after another, `earlier`, has brought in what it reads; with the proof in the meta."""
    command = recording.command
    files = [*named_files(command), *data_files(earlier)]
    proof = residency.residency(files)
    marks = image_heads.marked(named_files(command))
    found = traced(tracer, recording)
    found = image_heads.with_marks(found, marks)
    # what was missing before the run is there after it
    fault = ""
    if not residency.is_warm(proof, residency.residency(files).resident_bytes):
        fault = "NOT WARM: part of what the program reads was not in the page cache before it started"
    elif residency.is_blind(proof, [os.fsencode(image)] if image else []):
        looked = "too few of its files" if proof.files else "no file"
        fault = "; ".join([f"NOT PROVED WARM: {looked} could be looked at", *residency.remedy(proof)])
    return _proved(found, image, "warm", fault, proof, say)


def traced(tracer: Tracer, recording: Recording) -> Trace:
    """`Tracer.record`, with somebody who looks out for when the run is over; what came after is left out."""
    finish = recording.finish
    if finish is None:
        return tracer.record(recording)
    try:
        with open(os.devnull, "wb") as null:
            finish.prepare({1: null.fileno(), 2: null.fileno()} if recording.silent else None)
        found = tracer.record(recording)
    finally:
        finish.close()
    meta = found.meta
    if finish.why and finish.reason == "end":
        meta = dataclasses.replace(meta, notes=(*meta.notes, finish.why))
    events = found.events
    if finish.reason in ("ready", "for", "timeout") and meta.wall_s is not None:
        last = int(events["time_ns"].searchsorted(round(meta.wall_s * 1e9), side="right"))
        events = events.iloc[:last]
    return dataclasses.replace(found, meta=meta, events=events)


def _proved(
    trace: Trace, image: str, state: str, fault: str, proof: residency.Residency, say: Callable[[str], None]
) -> Trace:
    """A trace with the state of the cache that was asked for, and what of it was measured.

    fault: why it is not known to be so, "" if it is.
    """
    notes = [fault] if fault else []
    if fault:
        say(fault)
    elif proof.unchecked:
        notes.append(f"{residency.unlooked(proof)}: whether they were cached before is not known")
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
    command: Sequence[str],
    make: Make = choose,
    over: Over | None = None,
    finish: Finish | None = None,
) -> Trace:
    """A traced run for the sake of its list of files: stdin, stdout and stderr of the program are
    /dev/null. make: makes the tracer."""
    made, _ = make()
    marks = image_heads.marked(named_files(command))
    recording = Recording(command, silent=True, over=over, finish=finish)
    return image_heads.with_marks(traced(made, recording), marks)


def _first(
    command: Sequence[str],
    make: Make,
    owner: Owner | None,
    say: Callable[[str], None],
    finish: Finish | None,
) -> Trace:
    """`discover`, and no further run after one that was interrupted. What it leaves running is ended: the
    run that is recorded starts it again."""
    own = finish.again() if finish is not None else None
    around = Around(owner=owner, say=say)
    if own is not None:
        around = dataclasses.replace(around, own_s=0.0, grace_s=own.wanted.grace)
    with around.traced() as over:
        found = discover(command, make, over, own)
    why = found.meta.partial
    if why:
        raise InterruptedRunError(why, f"{why}, in the first run; nothing was saved")
    return found


def data_files(trace: Trace) -> list[bytes]:
    """The names, on the host, of the files whose pages the program needs: those of its calls, and those that
    it maps.

    A disk counts where the program itself opens it: that a file system reads it and that requests reach it
    is no reason to drop, or to measure, all that is cached of it.
    """
    events, kinds = trace.events, trace.files["kind"]
    called = set(events["file"][events["layer"] == "syscall"])
    mapped = set(events["file"][events["layer"] == "cache"])
    return [
        path
        for number, (path, kind) in enumerate(zip(host_paths(trace.files), kinds, strict=True))
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
    return complete(dataclasses.replace(trace, meta=meta))
