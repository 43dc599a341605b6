"""Copies of a disk image, made for a while, and the recorded command run on each, cold and warm; of a
command that reads no image, the command itself, as it is and behind what is to help it.

The image is only ever opened for reading: copies are made by `qemu-img convert` and `cp`, a virtual machine
runs with -snapshot, and a command that was seen to write to the image is not run. The copies lie in a folder
of their own, which only its owner can enter, and are gone afterwards, whatever happens (see `scratch`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from profiler.capture.recording import Recording
from profiler.capture.tracer import choose
from profiler.errors import ColdseekError, CommandNotFoundError, UsageError
from profiler.files.owner import Owner, acting_as
from profiler.machine.page_cache import cache
from profiler.machine.page_cache.prefetch import changes, refusal
from profiler.machine.page_cache.turns import turn
from profiler.machine.processes import timed
from profiler.machine.processes.launch import find_program
from profiler.machine.processes.scratch import Scratch
from profiler.machine.refusals import refused
from profiler.plan import known_files
from profiler.studies.record import data_files, named_files, record_cold
from profiler.studies.substitution import in_folder, program_of, substituted
from profiler.studies.warden import watched
from profiler.trace import Trace, host_path, read_bytes
from profiler.units import show_bytes, show_path, show_signal, show_status

SPARE = 64 * 2**20
"""Bytes that are left free on the file system at least, besides a twentieth of what the copy takes."""


@dataclass(frozen=True)
class Subject:
    """What the command is to be run on. key: "now" is the image itself. convert: the options of `qemu-img
    convert` that make the copy; None: no copy is made. copy: byte by byte instead. before: done right before
    each cold run, and part of its time."""

    key: str
    convert: tuple[str, ...] | None = None
    copy: bool = False
    before: Callable[[], object] | None = None


@dataclass(frozen=True)
class Verified:
    """How it went. cold, warm: untraced runs, seconds of all of the start, cold[n] right before warm[n].
    trace: of a traced cold run, None where there is none. bytes: that the copy takes on its device. faults:
    what is wrong with the numbers; with a `failed` one there are none.
    """

    key: str
    cold: tuple[float, ...] = ()
    warm: tuple[float, ...] = ()
    trace: Trace | None = None
    bytes: int = 0
    faults: tuple[str, ...] = ()
    failed: str = ""

    @property
    def cold_s(self) -> float | None:
        return statistics.median(self.cold) if self.cold else None

    @property
    def warm_s(self) -> float | None:
        return statistics.median(self.warm) if self.warm else None


@dataclass
class _Ready:
    """A subject with its command and its image, if it is about one; runs are added as they are made."""

    subject: Subject
    command: list[str]
    image: bytes | None
    bytes: int = 0
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    trace: Trace | None = None
    faults: dict[str, None] = field(default_factory=dict)
    failed: str = ""


def verify(
    trace: Trace,
    image: int | None,
    source_format: str,
    subjects: Sequence[Subject],
    runs: int = 3,
    *,
    scratch: str = "",
    tracer: str = "auto",
    owner: Owner | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Verified]:
    """Run the recorded command on each of the subjects: `runs` times cold and warm, the subjects in
    turn, and once cold and traced.

    image: the number of the image's file, None: the command reads none, and no copies are made;
    source_format: QEMU's name of the image's format. scratch: the folder to
    make the copies in; "": that of the image, so that they lie on the same disk. owner: the user whom
    everything runs as.

    Raises ColdseekError, in one line, if the image is not the one that was recorded, if the command does not
    name it or was seen to write to it, and where there is no room; KeyboardInterrupt. A subject that fails
    by itself is told as such in its result.
    """
    check(trace, image)
    path = None if image is None else host_path(trace.files, image)
    before = None if path is None else os.stat(path)
    status = 0 if trace.meta.exit_status is None else trace.meta.exit_status
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_folder(trace.meta.cwd))
        stack.enter_context(_ending())
        find_program(trace.meta.command[0])
        if path is None:
            ready = [_Ready(subject, list(trace.meta.command), None) for subject in subjects]
        else:
            folder = scratch or os.path.dirname(os.fsdecode(path))
            place = stack.enter_context(_scratch(folder, owner))
            ready = [
                _prepared(subject, trace, path, source_format, place, owner, say) for subject in subjects
            ]
        files = [*named_files(trace.meta.command), *data_files(trace)]
        for number in range(runs):
            for one in ready:
                if not one.failed:
                    with turn(say):
                        _pair(one, files, status, owner)
                    if not one.failed:
                        say(
                            f"run {number + 1} of {runs}, {one.subject.key}: {one.cold[-1]:.3f} s cold, "
                            f"{one.warm[-1]:.3f} s warm"
                        )
        for one in ready:
            if not one.failed and one.subject.before is None:
                made, _ = choose(tracer, owner)
                own = [] if one.image is None else [one.image]
                named = os.fsdecode(own[0]) if own else ""
                one.trace = record_cold(
                    made, Recording(one.command, silent=True), [*files, *own], image=named
                )
                if one.trace.meta.partial:
                    raise KeyboardInterrupt(one.trace.meta.partial)
                device = read_bytes(trace).index[:1] if image is None else [image]
                changed = _changed(trace, one.trace, trace.files["device"].iloc[device].tolist())
                if changed:
                    one.faults[changed] = None
        after = None if path is None else os.stat(path)
    if path is not None and _stamp(before) != _stamp(after):
        raise ColdseekError(f"{show_path(path)} was written to while it was verified; nothing of it counts")
    return [
        Verified(
            one.subject.key, tuple(one.cold), tuple(one.warm), one.trace, one.bytes, tuple(one.faults),
            one.failed,
        )
        for one in ready
    ]  # fmt: skip


def _stamp(status: os.stat_result | None) -> tuple[int, int] | None:
    return None if status is None else (status.st_size, status.st_mtime_ns)


def check(trace: Trace, image: int | None) -> None:
    """Raise ColdseekError unless the recorded command can be run again, on copies of the image if it is
    about one.

    The image has to be the very file that was recorded, unchanged, and without one the program itself: so
    what a trace from somewhere else says is never run here.
    """
    if not trace.meta.command:
        raise ColdseekError(
            "the trace does not say which command it is of; record it with 'coldseek record'"
        )
    if trace.meta.ready_s is not None:
        raise ColdseekError(
            "the start was recorded until it was ready, and may never end: it is not run again"
        )
    of_program = image is None
    image = program_of(trace) if image is None else image
    path = host_path(trace.files, image)
    changed = changes(known_files(trace.files.iloc[[image]]))
    if changed:
        raise refusal(changed)
    if of_program:
        return
    writes = int((trace.writes()["file"] == image).sum())
    if writes:
        raise ColdseekError(
            f"the recorded command writes to {show_path(path)}, so it is not run again; run it on a snapshot"
        )
    with in_folder(trace.meta.cwd):
        substituted(trace.meta.command, path, path, "", "")


def _prepared(
    subject: Subject, trace: Trace, path: bytes, source_format: str, place: str, owner: Owner | None,
    say: Callable[[str], None],
) -> _Ready:  # fmt: skip
    """A subject with its copy made."""
    if subject.convert is None and not subject.copy:
        return _Ready(subject, substituted(trace.meta.command, path, path, "", ""), path)
    target_format = source_format if subject.convert is None else subject.convert[1]
    copy = os.path.join(place, f"{subject.key}.{target_format}")
    source = os.fsdecode(path)
    say(f"making a copy: {subject.key}")
    if subject.convert is None:
        needed = os.stat(path).st_blocks * 512
        command = ["cp", "--sparse=always", "--reflink=never", "--", source, copy]
    else:
        qemu_img = _qemu_img()
        form = ["-f", source_format] if source_format else []
        needed = _needed(qemu_img, [*form, *subject.convert, source], path, owner)
        command = [qemu_img, "convert", "--force-share", *form, *subject.convert, source, copy]
    _make_room(needed, place)
    target = os.fsencode(copy)
    made = _Ready(subject, [], target)
    words = _run(command, owner)
    if words:
        made.failed = f"could not be made: {words}"
        return made
    made.command = substituted(
        trace.meta.command, path, target, source_format, "" if subject.copy else target_format
    )
    made.bytes = os.stat(copy).st_blocks * 512
    return made


def _qemu_img() -> str:
    found = shutil.which("qemu-img")
    if found is None:
        raise CommandNotFoundError(
            "qemu-img: command not found; install qemu-utils (Debian) or qemu-img (Fedora)"
        )
    return found


def _needed(qemu_img: str, arguments: list[str], path: bytes, owner: Owner | None) -> int:
    """Bytes that a copy takes, by `qemu-img measure`; where it cannot tell, the size of the image."""
    with acting_as(owner):
        done = subprocess.run(
            [qemu_img, "measure", "--force-share", "--output=json", *arguments], capture_output=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(done.stdout)["required"])
    return os.stat(path).st_size


def _make_room(needed: int, place: str) -> None:
    """Raise ColdseekError unless there is room for it."""
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    wanted = needed + needed // 20 + SPARE
    if wanted > free:
        raise ColdseekError(
            f"no room for a copy: it takes {show_bytes(needed)}, and {show_bytes(free)} are free beside the "
            f"image; name another folder with --scratch"
        )


def _run(command: list[str], owner: Owner | None) -> str:
    """Run it to its end; why it failed, "" if it did not. It is never left running."""
    with acting_as(owner):
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    try:
        _, words = child.communicate()
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode == 0:
        return ""
    return refused(os.path.basename(command[0]), child.returncode, words, "it")


@contextlib.contextmanager
def _scratch(folder: str, owner: Owner | None) -> Iterator[str]:
    """A new folder in `folder` that only its owner can enter; removed with all that is in it."""
    try:
        made = Scratch(folder, ".coldseek-verify-", owner)
    except OSError as error:
        raise UsageError(
            f"no folder for the copies can be made in {show_path(folder)}: {error.strerror}; name another "
            f"with --scratch"
        ) from error
    with contextlib.closing(made):
        try:
            yield made.path
        finally:
            with _ending(ignored=True):  # a second Ctrl-C is no reason to leave anything
                made.remove()


@contextlib.contextmanager
def _ending(ignored: bool = False) -> Iterator[None]:
    """SIGTERM and SIGHUP end it as Ctrl-C does, with everything cleaned up; or none of them does."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"ended by {show_signal(number)}")

    numbers = (signal.SIGTERM, signal.SIGHUP, *((signal.SIGINT,) if ignored else ()))
    former: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                former[number] = signal.signal(number, signal.SIG_IGN if ignored else end)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def _changed(before: Trace, now: Trace, devices: Sequence[str]) -> str:
    """What of the device's settings is not what it was when the trace was recorded; "": nothing known."""
    device = next(iter(devices), "")
    was, is_now = (trace.meta.host.device(device).read_ahead_kb for trace in (before, now))
    if was is None or is_now is None or was == is_now:
        return ""
    return f"read_ahead_kb is {is_now} now and was {was} when the trace was recorded"


def _pair(one: _Ready, files: Sequence[bytes], status: int, owner: Owner | None) -> None:
    """A cold and a warm run."""
    own = [] if one.image is None else [one.image]
    proof = cache.make_cold([*files, *own], own)
    if not proof.cold:
        one.faults[proof.fault] = None
    began = time.perf_counter()
    if one.subject.before is not None:
        try:
            one.subject.before()
        except ColdseekError as error:
            one.failed = str(error)
            return
    spent = time.perf_counter() - began
    with watched():
        cold = timed.run(one.command, output=False, stdin=False, before=proof.residency, owner=owner)
        warm = timed.run(one.command, output=False, stdin=False, owner=owner)
    for run in (cold, warm):
        if run.exit_status != status:
            ended = show_status(run.exit_status)
            one.failed = f"the command ended with exit status {ended}, recorded was {show_status(status)}"
            return
    one.cold.append(spent + cold.wall_s)
    one.warm.append(warm.wall_s)
