"""Several untraced, timed runs of a command at once, each in the care of a process of its own.

What `runs.run` does for one start - its time and what it used, when it is ready, Ctrl-C - is done for each
by such a process, which also is given the orphans of its copy alone: so each copy's processes are known.
They stand by before the page cache is emptied, begin at one word, and end what their copy left running at
another, when all of them are over.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from profiler import errors
from profiler.errors import ColdseekError
from profiler.facts.runs import Run
from profiler.files.owner import Owner
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache.residency import Residency
from profiler.machine.processes import leftovers
from profiler.machine.processes.interrupts import Interrupts
from profiler.machine.processes.timed import Begin, run
from profiler.studies.around import Around
from profiler.studies.copies import Copies, filled
from profiler.studies.warden import watched

_GO, _END = b"g", b"e"
_PATIENCE_S = 7.0  # for a copy that was asked to end: it gives its program three seconds
_LAST_S = 2.0  # for what looked out for when a copy is ready
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
_DESCRIPTORS = 65536  # nobody has more open, as good as ever


@contextlib.contextmanager
def together(copies: Copies, around: Around, owner: Owner | None = None) -> Iterator[Begin]:
    """To begin all copies in, once: what that gives is one Run, of the slowest, with each of them in
    `Run.copies`. Their times count from the moment when all are told to begin.

    around: how it is for one. Its commands before and after are those of the copies here; the ones before
    have ended when this is entered, the ones after are run when all copies are over. What the copies have
    left running then is ended. Raises as `runs.run` and `Around.untraced` do.
    """
    arounds = [
        replace(around, before=copies.around(copies.before, n), after=copies.around(copies.after, n))
        for n in copies.numbers
    ]
    for one in arounds:
        one.run_before()
    with contextlib.ExitStack() as stack:
        afters = [stack.enter_context(one.aside()) for one in arounds]
        stack.enter_context(watched())
        found = stack.enter_context(leftovers.Leftovers())
        made = _Copies(copies, around, owner)
        try:
            made.prepare()
            yield made.run
        finally:
            try:
                made.be_over()
                for after in afters:
                    after.act()
            finally:
                try:
                    around.tell(made.end())
                finally:
                    around.end(found.running)


def as_one(copies: Sequence[Run], before: Residency | None) -> Run:
    """All copies as one run: the time of the slowest, what all have used. The exit status is that of the
    first which is not 0, and so is stderr."""
    resident, checked = (None, None) if before is None else before.known
    bad = [(number, one) for number, one in enumerate(copies, 1) if one.exit_status]
    said = next((f"copy {number}: {one.stderr}" for number, one in bad if one.stderr), "")
    return Run(
        wall_s=max(one.wall_s for one in copies),
        exit_status=bad[0][1].exit_status if bad else 0,
        user_s=sum(one.user_s or 0.0 for one in copies),
        system_s=sum(one.system_s or 0.0 for one in copies),
        device_read_bytes=sum(one.device_read_bytes or 0 for one in copies),
        resident_before_bytes=resident,
        resident_checked_bytes=checked,
        stderr=said,
        copies=tuple(copies),
    )


class _Copy:
    """One copy, as the process above it sees it. told: what it has said, by key; gone: it says no more."""

    def __init__(self, pid: int, listens: int, orders: int) -> None:
        self.pid, self.listens, self.orders = pid, listens, orders
        self.told: dict[str, Any] = {}
        self.gone = False
        self._rest = b""

    def hear(self) -> None:
        """Take in what it says; to be called when there is something."""
        piece = os.read(self.listens, 1 << 16)
        self.gone = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self.told |= json.loads(line)

    def order(self, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.orders, word)

    def send(self, number: int) -> None:
        if not self.gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _Copies:
    """All copies of one round. prepare, run, be_over and end, in this order."""

    def __init__(self, copies: Copies, around: Around, owner: Owner | None) -> None:
        self._wanted, self._around, self._owner = copies, around, owner
        self._copies: list[_Copy] = []
        self._begun = False
        self._last: threading.Timer | None = None

    def prepare(self) -> None:
        """Have a process stand by for each copy."""
        for number in self._wanted.numbers:
            self._copies.append(self._stand_by(number))
        self._hear("ready")

    def run(self, before: Residency | None = None) -> Run:
        """Let all of them begin, and wait until each is over."""
        with Interrupts([one.pid for one in self._copies], self._insist, once=True) as interrupts:
            self._begun = True
            word = _GO + time.monotonic_ns().to_bytes(8, "little")
            for one in self._copies:
                one.order(word)
            self._hear("over")
        why = interrupts.partial or next((one.told["why"] for one in self._copies if "why" in one.told), "")
        if why:
            raise KeyboardInterrupt(why)
        return as_one([Run(**one.told["over"]) for one in self._copies], before)

    def be_over(self) -> None:
        """End what still goes on, which it does only if something went wrong."""
        if self._begun and any(not one.told.keys() & {"over", "error"} for one in self._copies):
            self._insist()
            with contextlib.suppress(ColdseekError):
                self._hear("over")

    def end(self) -> list[str]:
        """End what the copies have left running; the names of those that had to be asked."""
        for one in self._copies:
            one.order(_END)
            os.close(one.orders)
        while any(not one.gone for one in self._copies):
            self._listen()
        if self._last is not None:
            self._last.cancel()
        for one in self._copies:
            os.close(one.listens)
        return [name for one in self._copies for name in one.told.get("ended", [])]

    def _hear(self, key: str) -> None:
        """Wait until each copy has told this, or what went wrong. Raises ColdseekError for that."""
        while True:
            for number, one in enumerate(self._copies, 1):
                if "error" in one.told:
                    kind = getattr(errors, one.told["kind"], ColdseekError)
                    raise kind(one.told["error"])
                if one.gone:
                    raise ColdseekError(f"what ran copy {number} was killed; start coldseek again")
            if all(key in one.told for one in self._copies):
                return
            self._listen()

    def _listen(self) -> None:
        talking = {one.listens: one for one in self._copies if not one.gone}
        for ready in select.select(list(talking), [], [])[0]:
            talking[ready].hear()

    def _insist(self) -> None:
        """Ask all copies to end, and kill what runs them if that is not enough: their programs are orphans
        then, and ended as such."""
        for one in self._copies:
            one.send(signal.SIGTERM)
        if self._last is None:
            self._last = threading.Timer(_PATIENCE_S, self._kill)
            self._last.daemon = True
            self._last.start()

    def _kill(self) -> None:
        for one in self._copies:
            one.send(signal.SIGKILL)

    def _stand_by(self, number: int) -> _Copy:
        listens, tells = os.pipe()
        hears, orders = os.pipe()
        above = os.getpid()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    self._care(number, above, hears, tells, former)
                finally:
                    os._exit(0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        os.close(tells)
        os.close(hears)
        return _Copy(pid, listens, orders)

    def _care(self, number: int, above: int, hears: int, tells: int, mask: set[int]) -> None:
        """The work of the process that stands by for a copy."""
        gc.freeze()  # what belongs to the process above is not closed from here
        signal.set_wakeup_fd(-1)
        for one in _SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                signal.signal(one, lambda *_: None)  # between runs these are answered above
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != above:
            return
        first = 3
        for kept in sorted((hears, tells)):
            os.closerange(first, kept)
            first = kept + 1
        os.closerange(first, _DESCRIPTORS)

        def tell(**words: Any) -> None:
            with contextlib.suppress(BrokenPipeError):
                os.write(tells, json.dumps(words).encode() + b"\n")

        finish = self._wanted.finishes[number - 1].again() if self._wanted.finishes else None
        command = filled(self._wanted.command, number)
        try:
            if finish is not None:
                with open(os.devnull, "wb") as null:
                    finish.prepare({1: null.fileno(), 2: null.fileno()})
            with leftovers.Leftovers() as found:
                tell(ready=True)
                word = os.read(hears, 9)
                if word[:1] == _GO:
                    told = int.from_bytes(word[1:], "little")
                    tell(over=self._timed(command, finish, found, told))
                    os.read(hears, 1)
                    with contextlib.suppress(TimeoutError):  # it is tried once more above
                        tell(
                            ended=leftovers.end(
                                found.running, None, self._around.own_s, self._around.grace_s
                            )
                        )
        except KeyboardInterrupt as error:
            tell(why=str(error), over=None)
            os.read(hears, 1)
        except ColdseekError as error:
            tell(kind=type(error).__name__, error=str(error))
        except OSError as error:
            tell(
                kind="ColdseekError",
                error=f"copy {number} cannot be run: {error.strerror}; try fewer copies",
            )
        finally:
            if finish is not None:
                finish.close()
                _reap_all()

    def _timed(
        self, command: Sequence[str], finish: Finish | None, found: leftovers.Leftovers, told_ns: int
    ) -> dict[str, Any]:
        late = (time.monotonic_ns() - told_ns) / 1e9
        made = run(
            command, output=False, stdin=False, owner=self._owner, finish=finish, running=found.running
        )
        return asdict(replace(made, wall_s=made.wall_s + late))


def _reap_all() -> None:
    """Wait for what looked out, which ends when nobody needs it any more."""
    until = time.monotonic() + _LAST_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
