"""Descriptor tables rebuilt from the kernel's events, after the fact: which open each descriptor meant when.

The events tell every open by its descriptor, not what was opened. So opens are told apart here, and each is
given its file later: by the inode that the kernel names when it is read, or by what was seen of it
otherwise. Pure: events and looks in, a `journal.History` out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from profiler.capture.calls.call import Call, Identity, Iocb
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import Recorder
from profiler.capture.calls.flags import CLONE_FILES, CLONE_THREAD, O_CLOEXEC
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.calls.history import History, Journal
from profiler.capture.calls.meaning import Calls
from profiler.capture.kernel.windows import Tables
from profiler.capture.watch import control
from profiler.capture.watch.control import Event
from profiler.capture.watch.looks import Look, Looks, Task
from profiler.trace import FileFacts

_FLAGS_AT = {"open": 1, "openat": 2}


class _Unnamed:
    """A `call.Source` that was not there: what a descriptor names is not known, only that it is another
    open than all before."""

    def __init__(self) -> None:
        self.count = 0
        self.hidden = 0  # offsets that the program holds in its memory, so far

    def identify(self, call: Call, descriptor: int) -> Identity:
        self.count += 1
        return Identity(("open", self.count), FileFacts(b""))

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        return False

    def received(self, call: Call) -> list[int]:
        return []

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        return 0

    def value_at(self, call: Call, argument: int) -> int | None:
        self.hidden += call.args[argument] != 0
        return None

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        return None

    def iocbs(self, call: Call) -> list[Iocb]:
        return []

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        return []


@dataclass
class Opened:
    """What is known of an open by its handle. began_ns, ended_ns, task: the call that made it; task -1: it
    was there before. file: the recorder's number, -1: no file, None: not known. is_path: with O_PATH, of
    which nothing is told."""

    began_ns: int
    ended_ns: int
    task: int
    file: int | None = None
    is_path: bool = False


@dataclass
class Life:
    """A task as one program. start_ns, end_ns: on the monotonic clock, None: not known, or outside of the
    time that is recorded. parent: the task that made it, -1: not known."""

    tid: int
    process: int
    parent: int
    start_ns: int | None
    name: bytes = b""
    program: bytes = b""
    cgroup: bytes = b""
    end_ns: int | None = None


@dataclass
class Replay:
    """tasks: every change of who belongs, by time. opened: by handle. rows: what the calls that are followed
    here did, in a recorder of their own, whose files are to be had by their handles; of hidden_rows the
    offset lies in the program's memory, early_rows are of before start_ns."""

    everything: bool = False
    own: Collection[int] = ()  # tasks that never belong
    holds: Callable[[str], bool] = lambda _: False
    start_ns: int = 0
    tasks: list[Task] = field(default_factory=list)
    opened: dict[int, Opened] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    early_rows: set[int] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.now = 0
        self.journal = Journal(clock=lambda: self.now)
        self.rows = Recorder()
        self.processes: dict[int, int] = {}
        self._lives: dict[int, Life] = {}
        self._source = _Unnamed()
        self._calls = Calls(self.rows, self.journal, self._source)
        self._begun: dict[int, Event] = {}
        self._changed: dict[tuple[int, int], int] = {}
        self._nameless: dict[tuple[int, int], tuple[Open, int]] = {}  # process, descriptor -> open, since
        self._next_look = self._next_pass = self._next_task = 0
        self._firsts: dict[int, int] = {}  # process -> the first of its tasks that was found
        self._members: set[int] = set()
        self._shown: dict[tuple[int, int], int] = {}  # process, descriptor -> the look that shows it

    # -- who there is ------------------------------------------------------------------------------------

    def there(self, seen: Task) -> None:
        """A task was seen, which may have been there for long."""
        task, process, time_ns, member = seen.tid, seen.process, seen.time_ns, seen.member
        if task not in self.processes:
            self._adopt(task, process)
        life = self._lives.get(task)
        if life is None:
            self._live(Life(task, process, -1, None))
            self._belongs(time_ns, task, member)
        elif member and task not in self._members:
            self._belongs(time_ns, task, True)
        life = self._lives[task]
        life.name = life.name or seen.name
        life.program, life.cgroup = life.program or seen.program, life.cgroup or seen.cgroup

    def _live(self, life: Life) -> None:
        self._lives[life.tid] = life
        self.lives.append(life)

    def _adopt(self, task: int, process: int) -> None:
        self.processes[task] = process
        first = self._firsts.setdefault(process, task)
        if first != task and first in self.journal:
            self.journal.share(first, task)
        else:
            self.journal.table(task)

    def _belongs(self, time_ns: int, task: int, member: bool) -> None:
        member = (member or self.everything) and task not in self.own
        (self._members.add if member else self._members.discard)(task)
        self.tasks.append(Task(time_ns, task, self.processes[task], member))

    # -- events and looks by time ------------------------------------------------------------------------

    def feed(self, tables: Tables, looks: Looks, end_ns: int) -> None:
        """Take in the events of a window of time that ends then, and the looks up to there."""
        for event in control.in_order(tables):
            self._look_until(looks, event.time_ns)
            self.now = event.time_ns
            self._take(event)
        self._look_until(looks, end_ns)

    def _take(self, event: Event) -> None:
        name, task = event.name, event.task
        if name.startswith("sys_enter_"):
            call = control.call_of(name)
            if call == "close":
                self._finish(event, "close", event.values, 0)
            elif call in ("ioctl", "mmap"):
                self._finish(event, call, event.values, 0)
            else:
                self._begun[task] = event
        elif name.startswith("sys_exit_"):
            self._ended(event, control.call_of(name))
        else:
            _TASK_EVENTS[name](self, event)

    def _ended(self, event: Event, call: str) -> None:
        result = event.values[0]
        assert isinstance(result, int)
        if call in control.MADE:
            self._no_file(event.task, result)
            self.unseen |= {"io_uring"} if call == "io_uring_setup" and result >= 0 else set()
            return
        begun = self._begun.pop(event.task, None)
        if begun is None or control.call_of(begun.name) != call:
            if call in control.OPENS and result >= 0:  # its beginning was lost, or before all events
                self._finish(event, "open", (0, 0, 0), result)
            return
        if call == "io_setup":
            self.unseen |= {"aio"} if result >= 0 else set()
            return
        self._finish(begun, call, begun.values, result, event.time_ns)

    def _no_file(self, task: int, descriptor: int) -> None:
        """A descriptor was made that names no file."""
        if descriptor < 0:
            return
        self._known(task)
        opened = self._calls.opened(Identity(("no file",), FileFacts(b"", kind="anonymous")))
        self.opened[opened.handle] = Opened(self.now, self.now, task, -1)
        self.journal.open(task, descriptor, opened)
        self._touch(task, descriptor)

    def _known(self, task: int) -> None:
        if task not in self.processes:  # a task of which no event has told
            self._adopt(task, task)
            self._live(Life(task, task, -1, None))
            self._belongs(self.now, task, self.everything)

    def _finish(
        self, begun: Event, name: str, values: tuple[int | bytes, ...], result: int, ended_ns: int = 0
    ) -> None:
        task = begun.task
        self._known(task)
        ended_ns = ended_ns or begun.time_ns
        args = [value for value in values if isinstance(value, int)]
        began = max(0, begun.time_ns - self.start_ns)
        call = Call(began, ended_ns - begun.time_ns, self.processes[task], task, name, args, result)
        hidden, row, handles = self._source.hidden, len(self.rows), self.rows.handles
        if name in HANDLERS:
            self._calls.finish(call)
        if self._source.hidden > hidden:
            self.hidden_rows.update(range(row, len(self.rows)))
        if begun.time_ns < self.start_ns:
            self.early_rows.update(range(row, len(self.rows)))
        for handle in range(handles, self.rows.handles):
            opens = name in control.OPENS and result >= 0
            flags = args[_FLAGS_AT.get(name, 0)] if name in _FLAGS_AT else 0
            self.opened[handle] = Opened(
                begun.time_ns, ended_ns, task if opens else -1, is_path=bool(opens and flags & os.O_PATH)
            )
        for descriptor in _touched(name, args, result):
            self._touch(task, descriptor)

    def _touch(self, task: int, descriptor: int) -> None:
        process = self.processes[task]
        self._changed[process, descriptor] = self.now
        self._nameless.pop((process, descriptor), None)
        opened = self._open(task, descriptor)
        if opened is not None and self.opened[opened.handle].file is None:
            self._nameless[process, descriptor] = opened, self.now

    # -- tasks -------------------------------------------------------------------------------------------

    def _new(self, event: Event) -> None:
        child, name, flags = event.values
        assert isinstance(child, int) and isinstance(name, bytes) and isinstance(flags, int)
        parent = event.task
        self._known(parent)
        if flags & CLONE_FILES:
            self.journal.share(parent, child)
        else:
            self.journal.fork(parent, child)
        self.processes[child] = self.processes[parent] if flags & CLONE_THREAD else child
        above = self._lives[parent]
        self._live(
            Life(child, self.processes[child], parent, event.time_ns, name, above.program, above.cgroup)
        )
        self._belongs(event.time_ns, child, parent in self._members)

    def _executed(self, event: Event) -> None:
        task, former, program = event.values
        assert isinstance(task, int) and isinstance(former, int) and isinstance(program, bytes)
        self._known(event.task)
        if former != task and former in self.journal:
            self.journal.rename(former, task)
        self.journal.exec(task)
        life = self._lives.get(task) or self._lives[event.task]
        life.end_ns = event.time_ns
        name = os.path.basename(program)[:15]  # what the kernel makes of it (TASK_COMM_LEN)
        self._live(Life(task, self.processes[task], life.parent, event.time_ns, name, program, life.cgroup))
        for process, descriptor in [slot for slot in self._nameless if slot[0] == self.processes[task]]:
            if self._open(task, descriptor) is None:
                del self._nameless[process, descriptor]

    def _exited(self, event: Event) -> None:
        task, name = event.task, event.values[1]
        assert isinstance(name, bytes)
        life = self._lives.get(task)
        if life is not None:
            life.name, life.end_ns = name, event.time_ns
        if task in self.journal:
            self.journal.exit(task)
        self._begun.pop(task, None)

    def _renamed(self, event: Event) -> None:
        task, name = event.values
        assert isinstance(task, int) and isinstance(name, bytes)
        if task in self._lives:
            self._lives[task].name = name

    def _joined(self, event: Event) -> None:
        task, path = event.values
        assert isinstance(task, int) and isinstance(path, bytes)
        self._known(task)
        self._lives[task].cgroup = path
        if self.holds(path.decode("utf-8", "surrogateescape")):
            self._belongs(event.time_ns, task, True)

    # -- looks -------------------------------------------------------------------------------------------

    def _look_until(self, looks: Looks, time_ns: int) -> None:
        while self._next_task < len(looks.tasks) and looks.tasks[self._next_task].time_ns <= time_ns:
            self.there(looks.tasks[self._next_task])
            self._next_task += 1
        while self._next_pass < len(looks.passes):
            began, ended, count = looks.passes[self._next_pass]
            while self._next_look < count and looks.looks[self._next_look].ended_ns <= time_ns:
                self._see(looks, self._next_look)
                self._next_look += 1
            if ended > time_ns:
                return
            self._next_pass += 1
            for (process, descriptor), (opened, since) in list(self._nameless.items()):
                if process not in self.journal:
                    del self._nameless[process, descriptor]
                    continue
                number = self._shown.get((process, descriptor), -1)
                if since < began and number >= 0 and looks.until[number] >= began:
                    self.opened[opened.handle].file = looks.looks[number].file
                    del self._nameless[process, descriptor]

    def _see(self, looks: Looks, number: int) -> None:
        look = looks.looks[number]
        slot = look.process, look.descriptor
        if look.process not in self.processes:
            return
        self._shown[slot] = number
        if self._changed.get(slot, -1) >= look.began_ns or look.process not in self.journal:
            return
        self.now = max(self.now, look.ended_ns)
        opened = self._open(look.process, look.descriptor)
        if opened is not None:
            known = self.opened[opened.handle]
            if known.file is None:
                known.file = look.file
            if known.file == look.file:
                self._nameless.pop(slot, None)
                return
        shared = looks.looks[look.same] if look.same >= 0 else None
        if shared is not None and shared.process in self.journal:
            opened = self._open(shared.process, shared.descriptor)
            if opened is not None and self.opened[opened.handle].file == look.file:
                self._late(look, opened)
                return
        opened = self._calls.opened(
            Identity(("look", look.file), FileFacts(b"", kind="regular" if look.file >= 0 else "pipe"),
                     look.position, look.flags)
        )  # fmt: skip
        self.opened[opened.handle] = Opened(look.began_ns, look.ended_ns, -1, look.file)
        self._late(look, opened)

    def _late(self, look: Look, opened: Open) -> None:
        self.journal.late(look.process, look.descriptor, opened)
        table = self.journal.table(look.process)
        table.opens = table.opens.having(look.descriptor, opened, bool(look.flags & O_CLOEXEC))

    def _open(self, task: int, descriptor: int) -> Open | None:
        """What a descriptor means now. The journal's own `get` takes note of what is sought in vain."""
        return self.journal.table(task).opens.get(descriptor)

    # -- what comes of it --------------------------------------------------------------------------------

    def process_of(self, task: int) -> int:
        """The process of a task; the number itself where that is not known."""
        return self.processes.get(task, task)

    def history(self) -> History:
        """What each descriptor meant when; files are not in it yet (-1), and of all opens `data` is 1."""
        return self.journal.history()


def _touched(name: str, args: list[int], result: int) -> list[int]:
    """The descriptors that a call has changed."""
    if name == "close":
        return [args[0]]
    makes = (*control.OPENS, "dup", "dup2", "dup3", "pidfd_getfd")
    duplicates = name == "fcntl" and args[1] in (0, 1030)
    return [result] if (name in makes or duplicates) and result >= 0 else []


_TASK_EVENTS: Mapping[str, Callable[[Replay, Event], None]] = {
    control.NEW: Replay._new, control.EXECUTED: Replay._executed, control.EXITED: Replay._exited,
    control.RENAMED: Replay._renamed, control.JOINED: Replay._joined,
}  # fmt: skip
