"""A log of strace on its way to become a trace.

Two paths lead through it and come to the same result: `columns` decodes the usual lines many at a time, and
every other line is read on its own by `lines`. What a call means is said in `calls.handlers`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from profiler.capture.calls.event_log import Recorder
from profiler.capture.strace.batches.columns import GENERAL, Columns, Decoder, layout_of
from profiler.capture.strace.batches.stretches import Block, Stretches
from profiler.capture.strace.clock import Clock
from profiler.capture.strace.grammar import UnreadableError, split_prefix
from profiler.capture.strace.lines import BESIDE, CALL, MATTER, SUMMARY_ROW, Lines
from profiler.capture.strace.logs import comms
from profiler.capture.strace.logs.dressing import Undresser
from profiler.capture.strace.logs.foreign import ForeignError, tool_of
from profiler.capture.strace.logs.packing import BLOCK
from profiler.capture.strace.tasks import EXECS, Tasks
from profiler.trace import Meta, Trace
from profiler.units import show_plural

_SAMPLE = 400  # lines to learn the layout from
_ASIDE = (b"mprotect(", b"brk(", b"futex(", b"rt_sigaction(", b"getpid(")
_AT_POSITION = re.compile(rb"(?<!\w)readv?\(\d+<?")
_DURATION = re.compile(rb" (<\d{1,9}(?:\.\d{1,9})?>)\s*\Z")


@functools.cache
def _helper() -> ThreadPoolExecutor:
    """One thread: arrays and RE2 leave the interpreter free meanwhile."""
    return ThreadPoolExecutor(1, "strace-columns")


os.register_at_fork(after_in_child=_helper.cache_clear)  # its thread is not in the copy that saves a trace


class Log:
    """One log on its way to become a trace: `feed` it pieces as they come, then `finish`, then `trace`.

    fast: False sends every line through the general path (for tests). lines: taken in so far. recognised:
    whether any of them was strace's. partial: why the log is not whole, if that is known before its end.
    """

    def __init__(self, *, fast: bool = True) -> None:
        self.recorder = Recorder()
        self.tasks = Tasks(self.recorder)
        self.notes: list[str] = []  # of what was done to the log before it was read
        self.undresser: Undresser | None = None
        self.lines = 0
        self._fast = fast
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._overlong = False
        self._cut_in_line = False
        self._decoder: Decoder | None = None
        self._ahead: tuple[bytes, dict[int, bytes], Future[Columns]] | None = None
        self._named = False  # lines begin with the name of their task too
        self._clock = Clock()
        self._lines = Lines(self.tasks, self._clock)
        self._stretches = Stretches(self.recorder, self.tasks, self._lines)
        self._one_task: int | None = None
        self._several_tasks = False
        self._whole = False  # calls are in the log that nobody asks for on purpose
        self._seeks = False
        self._at_position = False

    @property
    def recognised(self) -> bool:
        return self._lines.recognised

    @property
    def partial(self) -> str:
        return self._lines.partial

    def cut_off(self, why: str) -> None:
        """The log is not whole."""
        self._lines.partial = why

    @property
    def ended(self) -> bool:
        """Whether the first process has, as far as the log shows."""
        return self._lines.ended

    @property
    def exit_status(self) -> int | None:
        """Of the first process; None: not known."""
        return self._lines.exit_status

    # -- pieces to blocks of whole lines -------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take in the next piece of the log, of any length."""
        for begin in range(0, len(data), BLOCK):
            piece = data[begin : begin + BLOCK]
            self._waiting.append(piece)
            self._waiting_size += len(piece)
            if self._waiting_size >= BLOCK:
                self._take_whole_lines()
                if self._waiting_size >= BLOCK:  # not one newline in all that
                    if not self._overlong:
                        self._catch_up()
                        self.lines += 1
                        self._lines.not_read(self.lines, self._waiting[0])
                    self._overlong = True
                    self._waiting, self._waiting_size = [], 0

    def flush(self) -> None:
        """Take in the whole lines among what was fed so far."""
        self._take_whole_lines()
        self._catch_up()

    def _take_whole_lines(self) -> None:
        data = b"".join(self._waiting)
        end = data.rfind(b"\n") + 1
        self._waiting, self._waiting_size = [data[end:]], len(data) - end
        begin = 0
        if self._overlong and end:  # the end of that line
            begin = data.index(b"\n") + 1
            self._overlong = False
        if end > begin:
            self._take(data[begin:end])

    def finish(self) -> None:
        """The log has ended: what waits is its last line, whole or cut off."""
        self.flush()
        last = b"".join(self._waiting)
        if last and not self._overlong:
            before = self._lines.unreadable
            self._take(last + b"\n")
            self._catch_up()
            self._cut_in_line = self._lines.unreadable > before
        self._waiting, self._waiting_size = [], 0

    # -- a block -------------------------------------------------------------------------------------------

    def _take(self, block: bytes) -> None:
        """Take in whole lines: another thread makes their columns while the block before is gone through."""
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if self.undresser is not None:
            if self._decoder is None:
                self._undress(block)
            block = self.undresser(block)
        if self._decoder is None:
            self._named = comms.has_names(block[: BLOCK // 4])
        names: dict[int, bytes] = {}
        if self._named:
            block, names = comms.taken(block)
        if self._decoder is None:
            self._decoder = self._learn(block)
        self._whole = self._whole or any(name in block for name in _ASIDE)
        self._seeks = self._seeks or b"lseek(" in block
        self._at_position = self._at_position or _AT_POSITION.search(block) is not None
        columns = _helper().submit(self._decoder.decode, block)
        self._catch_up()
        self._ahead = block, names, columns

    def _undress(self, block: bytes) -> None:
        """Learn from the first lines whose log it is, and what it is dressed in."""
        assert self.undresser is not None
        head = block[: BLOCK // 4]
        tool = tool_of(head)
        if tool is not None:
            raise ForeignError(tool)
        self.undresser.learn(head)
        if self.undresser.notes:
            self.notes.append(f"left out of each line: {', '.join(self.undresser.notes)}")

    def _catch_up(self) -> None:
        """Run through the block whose columns were asked for."""
        if self._ahead is None:
            return
        block, names, columns = self._ahead[0], self._ahead[1], self._ahead[2].result()
        self._ahead = None
        ready = len(columns.chosen) < len(columns.starts) or bool((columns.shape != GENERAL).any())
        self._lines.recognised = self._lines.recognised or ready
        self._complete(block, columns)
        times = self._clock.times(columns.stamp_ns, self.lines)
        self._count_tasks(columns.task)
        self._stretches.run(
            Block(block, columns, times[columns.chosen], self.lines, bool(self._clock.style))
        )
        self.tasks.lineage.name(names)
        self.lines += len(columns.starts)

    def _learn(self, block: bytes) -> Decoder:
        """Look at the log's first lines for its layout."""
        seen = []
        for line in block[: BLOCK // 4].split(b"\n", _SAMPLE)[:_SAMPLE]:
            with contextlib.suppress(UnreadableError):
                prefix = split_prefix(line)
                if CALL.match(line, prefix.end):
                    seen.append((prefix, line))
        styles = [prefix.stamp.style if prefix.stamp is not None else "" for prefix, _ in seen]
        self._clock.style = max(sorted(set(styles)), key=styles.count, default="")
        usual = [
            (prefix, line[: prefix.end], duration[1] if duration else b"")
            for (prefix, line), style in zip(seen, styles, strict=True)
            if style == self._clock.style and not line.endswith((b"= ?", b" <unfinished ...>"))
            for duration in [_DURATION.search(line, max(0, len(line) - 30))]
        ]
        return Decoder(layout_of(usual) if self._fast else None, sorted(MATTER))

    def _complete(self, block: bytes, columns: Columns) -> None:
        """Fill in task, time and text of the lines that are not in the log's layout, as far as they can be
        read.
        """
        odd = np.flatnonzero(columns.text_at < 0)
        places = zip(odd.tolist(), columns.starts[odd].tolist(), columns.ends[odd].tolist(), strict=True)
        for row, start, end in places:
            line = block[start:end]
            if BESIDE.match(line) or SUMMARY_ROW.match(line):
                columns.text_at[row] = start
                continue
            try:
                prefix = split_prefix(line)
            except UnreadableError:
                continue
            columns.text_at[row] = start + prefix.end
            if prefix.task is not None:
                columns.task[row] = prefix.task
            if prefix.stamp is not None and prefix.stamp.style == self._clock.style:
                columns.stamp_ns[row] = prefix.stamp.ns

    def _count_tasks(self, tasks: np.ndarray) -> None:
        seen = tasks[tasks >= 0]
        if len(seen) and not self._several_tasks:
            self._one_task = int(seen[0]) if self._one_task is None else self._one_task
            self._several_tasks = bool((seen != self._one_task).any())

    # -- result --------------------------------------------------------------------------------------------

    def trace(self) -> Trace:
        """What the log says. After `finish`, or before it for what is known so far."""
        timed = bool(self._clock.style)
        meta = Meta(
            command=self.tasks.command,
            cwd=self.tasks.cwd,
            started_at=self._clock.started_at,
            tracer="import",
            wall_s=self._clock.last_ns / 1e9 if timed else None,
            exit_status=self.exit_status,
            partial=self._why_partial(),
            unseen=self._unseen(),
            notes=tuple(self._notes(timed)),
        )
        trace = self.recorder.trace(meta)
        pid = self.tasks.lineage.unprefixed_pid
        if not pid:
            return trace
        events = trace.events.assign(
            **{
                name: trace.events[name].mask(trace.events[name] == 0, pid).astype("int32")
                for name in ("pid", "tid")
            }
        )
        tasks = trace.tasks.assign(
            **{
                name: trace.tasks[name].mask(trace.tasks[name] == 0, pid).astype("int32")
                for name in ("pid", "tid", "parent")
            }
        )
        return dataclasses.replace(trace, events=events, tasks=tasks)

    @property
    def started_at(self) -> str:
        """When the log begins, UTC, ISO 8601; "" if it does not tell."""
        return self._clock.started_at

    def _why_partial(self) -> str:
        if self.partial:
            return self.partial
        if self._cut_in_line:
            return "the log is cut off in its last line"
        if self._overlong:
            return "the log ends in a line without end"
        return "" if self.ended else "the log ends before the program does"

    def _unseen(self) -> tuple[str, ...]:
        unseen = {"mmap", "readahead", "exec"}
        if self.tasks.first_call not in EXECS:
            unseen.add("early")
        if not self._several_tasks:
            unseen.add("threads")
        if self.tasks.calls.pending:
            unseen.add("completions")
        return tuple(sorted(unseen))

    def _doubts(self) -> Iterator[str]:
        """What is not sure for want of calls that the log does not hold."""
        tasks = self.tasks
        if tasks.doubtful:
            count = show_plural(tasks.doubtful, "descriptor")
            yield (
                f"the log holds no close: {count} gave data behind the end of a file, which are another "
                f"file's or a socket's and are left out"
            )
        if tasks.answers.placeless:
            count = show_plural(tasks.answers.placeless, "descriptor")
            yield (
                f"the log does not show {count} being opened: their reads are counted as reads of files, at "
                f"offsets that are not known; they may be of pipes or sockets"
            )
        if tasks.answers.iocbs_missing:
            count = show_plural(tasks.answers.iocbs_missing, "request")
            yield f"{count} of io_submit are not shown in the log: what they read is missing"
        if self._at_position and not self._seeks and not self._whole:
            yield (
                "the log holds no lseek: where reads without an offset of their own begin is right only if "
                "the program made none"
            )

    def _notes(self, timed: bool) -> Iterator[str]:
        yield from self.notes
        if self._lines.unreadable:
            first = "the first, " if self._lines.unreadable > 1 else ""
            count = show_plural(self._lines.unreadable, "line")
            yield f"{count} could not be read; {first}{'; '.join(self._lines.shown)}"
        if not timed:
            yield "the log has no times: events are in the order of its lines, and no durations are known"
        if self._lines.beginnings_missing:
            count = show_plural(self._lines.beginnings_missing, "call")
            yield f"{count} ended whose beginning is not in the log"
        yield from self._doubts()
        waiting = len(self.tasks.lineage.pending)
        if waiting:
            yield f"{show_plural(waiting, 'call')} had not ended when the log does"
