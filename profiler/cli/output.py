"""What the commands have in common: where words go, how wide they are, and how nothing recorded is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING

from profiler.errors import ColdseekError, UsageError
from profiler.files.free_memory import within_free_memory
from profiler.units import show_bytes, show_count, show_path, show_plural, show_seconds

if TYPE_CHECKING:
    from profiler.capture.calls.event_log import Recorder
    from profiler.devices.model import Device
    from profiler.trace import Trace


class Format(StrEnum):
    """What results can be printed as."""

    TEXT = "text"
    JSON = "json"


class ReportFormat(StrEnum):
    """What a report can be printed as; html: a page that holds all it shows."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"
    MARKDOWN = "markdown"


class CompareFormat(StrEnum):
    """What a comparison can be printed as; csv: a row a quantity, a column a side."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


def say(words: str) -> None:
    """A line of coldseek's own, on stderr: stdout belongs to results and to the traced program."""
    with suppress(OSError):  # a full disk or a closed pipe behind stderr is no reason not to go on
        print(f"coldseek: {words}", file=sys.stderr, flush=True)


@contextmanager
def reading(*files: str) -> Iterator[None]:
    """What is made of these files in here takes no more memory than is free: a small file can be of a run
    that was not. Raises ColdseekError, which names them, where that is not enough. No process is to be
    started in here: it would inherit the limit."""
    try:
        with within_free_memory():
            yield
    except MemoryError as error:
        names = " and ".join(map(show_path, files))
        why = str(error) if isinstance(error, ColdseekError) else "out of memory"
        raise ColdseekError(
            f"{names}: {why}; look at it where more is free, or record a shorter run"
        ) from error


def width() -> int:
    """Columns to print in: those of the terminal, 80 in a pipe; below 100 whatever the terminal is."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, 99))


def can_be_made(path: str, *sources: str, follow: bool = True) -> None:
    """Raise ColdseekError unless a file of this name can be made: better before a long run than after it.

    sources: the files that it is made from. As it is written beside its place and renamed, it would replace
    one of those. follow: see `writing.destination`.
    """
    from profiler.files.writing import destination, place_of

    folder = os.path.dirname(destination(path, follow)) or "."
    if any(os.path.exists(one) and os.path.exists(path) and os.path.samefile(path, one) for one in sources):
        raise ColdseekError(f"{show_path(path)} is read and would be replaced; name another")
    if not os.path.isdir(folder):
        raise ColdseekError(f"cannot write {show_path(path)}: there is no directory {show_path(folder)}")
    try:
        with place_of(path, follow):
            may = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        may = False
    if not may:
        raise ColdseekError(f"cannot write {show_path(path)}: no permission; name another place")


def keep(trace: Trace, path: str, follow: bool = True) -> None:
    """Save a trace; where that fails save it elsewhere, and raise ColdseekError saying why and where it is.

    follow: see `writing.destination`.
    """
    from profiler.files.traces import save

    try:
        save(trace, path, follow)
    except ColdseekError as error:
        rescue = _keep_elsewhere(trace)
        if rescue is None:
            raise
        raise ColdseekError(f"{error}; the trace was kept as {show_path(rescue)}") from error


def _keep_elsewhere(trace: Trace) -> str | None:
    """Save a trace under a new name in whatever place takes it; the name, or None if none does."""
    import secrets  # which would be the slowest import of --help

    from profiler.files.traces import save
    from profiler.trace import SUFFIX

    for folder in (tempfile.gettempdir(), "/dev/shm", os.path.expanduser("~"), "."):  # noqa: S108
        with suppress(OSError, ColdseekError):
            rescue = os.path.join(folder, f"coldseek-{secrets.token_hex(8)}{SUFFIX}")
            save(trace, rescue, follow=False)
            return rescue
    return None


def sum_up(trace: Trace, path: str) -> None:
    """One line on a trace that was just saved, after whatever makes it less than complete. It counts as the
    report does: what is read of proc and the like is on no disk."""
    from profiler.analysis.host import PSEUDO_FILESYSTEMS

    on_disk = ~trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    reads = size = 0
    for piece in trace.pieces():
        found = piece.reads()
        found = found[on_disk[found["file"].to_numpy()]]
        reads, size = reads + len(found), size + int(found["size"].sum())
    if trace.meta.lost_events:
        say(f"INCOMPLETE: {show_plural(trace.meta.lost_events, 'event')} lost")
    for note in trace.meta.notes:
        # why, and what to do about it; or that a daemon did the work, and how to see that
        if note.startswith("INCOMPLETE") or "--with pid:" in note:
            say(show_path(note))
    if trace.meta.partial:
        say(f"PARTIAL: {trace.meta.partial}")
    noun = "read"
    if trace.meta.device_only:
        asked = trace.layer("device")
        noun, reads, size = "request", len(asked), int(asked["size"].sum())
    say(f"{show_plural(reads, noun)}, {show_bytes(size)}; see coldseek report {show_path(path)}")


def find_devices(names: Sequence[str]) -> list[Device] | None:
    """The devices of these names or preset files; None, for all presets, if there are none."""
    from profiler.devices.loading import find

    return [find(name) for name in names] or None


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command to run. Raises UsageError if there is none."""
    if not arguments:
        raise UsageError(
            "no command to run; put it behind --, as in: coldseek record -- qemu-img info disk0.qcow2"
        )
    return list(arguments)


class Progress:
    """A line on the terminal that says what is being done. Silent in a pipe.

    While a program is traced it tells reads so far, bytes, seconds, from two seconds on, so that a short run
    prints nothing. Before a run that is timed it is drawn once: nothing of ours may happen beside that.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._on = not quiet and sys.stderr.isatty()
        self._recorder: Recorder | None = None
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._drawn = False
        self._words = ""
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._on:
            self._thread = threading.Thread(target=self._draw, daemon=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self.clear()

    def started(self, recorder: Recorder) -> None:
        """To be given to a tracer."""
        self._recorder, self._began = recorder, time.monotonic()
        if self._thread is not None and not self._thread.is_alive():
            self._thread.start()

    def begins(self, words: str) -> None:
        """Say on the line what comes now; it stands there until something else is said."""
        self._recorder, self._words = None, words
        if self._on:
            self._line(f"{words} ...")

    def say(self, words: str) -> None:
        """A line of coldseek's own that does not run into the progress line; that of the run before ends."""
        self._recorder = None
        self.clear()
        say(words)

    def clear(self) -> None:
        if self._drawn:
            self._drawn = False
            with suppress(OSError):  # the terminal may be gone
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _draw(self) -> None:
        # signals are for the main thread, which waits for the program and would not notice
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._ended.wait(0.5):
            recorder, elapsed = self._recorder, time.monotonic() - self._began
            if recorder is not None and elapsed > 2:
                # the kernel tracer counts when the program has ended
                done = f"{show_count(recorder.reads)} reads, {show_bytes(recorder.read_bytes)}"
                words = done if recorder.reads else "recording"
                which = f"{self._words}: " if self._words else ""
                self._line(f"{which}{words}, {show_seconds(round(elapsed, 1))}")

    def _line(self, words: str) -> None:
        self._drawn = True
        with suppress(OSError):
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
