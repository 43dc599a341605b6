"""What is done around each run of a study: one command before it, one after it, and the end of whatever it
left running."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from profiler.capture.recording import Over
from profiler.errors import ColdseekError, UsageError
from profiler.files.owner import Owner
from profiler.machine.finish.finish import Finish
from profiler.machine.processes import leftovers
from profiler.machine.processes.aside import Aside, aside
from profiler.machine.processes.launch import find_program, working_directory
from profiler.machine.processes.timed import run
from profiler.studies.warden import watched
from profiler.units import show_path, show_status

_LAST_LINES = 3  # of what a failed command wrote to stderr


def words_of(text: str, option: str) -> tuple[str, ...]:
    """A command as a shell splits it into words; nothing else of a shell's work is done. Raises
    UsageError."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{option} {show_path(text)}: {error}") from error


def last_lines(written: str) -> str:
    """The end of what a program wrote, fit to print on one line; "" if it wrote nothing."""
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    return show_path(" / ".join(lines[-_LAST_LINES:]))


@dataclass(frozen=True)
class Around:
    """before, after: commands, (): none. owner: the user they run as, as the runs do. say: called with what
    there is to tell. own_s, grace_s: see `leftovers.end`.

    The command after each run begins when the run's own command has ended: it may end in its own way what
    that left running. What then is left of it is ended; what runs by other means is not touched. All of it
    is done for runs that fail or are interrupted, too.
    """

    before: Sequence[str] = ()
    after: Sequence[str] = ()
    owner: Owner | None = None
    say: Callable[[str], None] = lambda _: None
    own_s: float = leftovers.OWN_S
    grace_s: float = leftovers.GRACE_S
    _told: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Raise ColdseekError if there is no such command."""
        for option, command in (("--before", self.before), ("--after", self.after)):
            with _naming(option):
                if command:
                    find_program(command[0])

    @contextlib.contextmanager
    def untraced(self, finish: Finish | None = None) -> Iterator[leftovers.Running]:
        """To run the command in, without a tracer: gives what tells of its processes. Raises ColdseekError
        where one of the two fails. finish: when it is over; what stands by for that is none of its
        processes."""
        self.run_before()
        if finish is not None:
            with open(os.devnull, "wb") as null:
                finish.prepare({1: null.fileno(), 2: null.fileno()})
        with self.aside() as after, watched(), leftovers.Leftovers() as found:
            try:
                yield found.running
            finally:
                try:
                    after.act()
                finally:
                    self.end(found.running)

    @contextlib.contextmanager
    def traced(self) -> Iterator[Over]:
        """The same for a traced run: gives what the tracer is to call.

        It has to go on with what is left running, which is cleared up beside it.
        """
        self.run_before()
        threads: list[threading.Thread] = []
        failures: list[ColdseekError] = []

        def clear_up(running: leftovers.Running, kill: Callable[[], None]) -> None:
            try:
                after.act()
                self.end(running, kill)
            except ColdseekError as error:
                failures.append(error)
                kill()

        def over(running: Callable[[], Iterable[int]], kill: Callable[[], None]) -> None:
            threads.append(threading.Thread(target=clear_up, args=(running, kill), daemon=True))
            threads[-1].start()

        with self.aside() as after:
            try:
                yield over
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                for thread in threads:
                    thread.join(leftovers.GRACE_S)
                    after.end()
                raise
        if failures:
            raise failures[0]

    @contextlib.contextmanager
    def aside(self) -> Iterator[Aside]:
        """What runs the command after the run: when it is told to, and in any case at the end."""
        if not self.after:
            yield Aside()
            return
        folder = working_directory()

        def act() -> None:
            os.chdir(folder or "/")
            self._run("--after", self.after)

        with aside(act) as made:
            try:
                yield made
            finally:
                made.act()

    def run_before(self) -> None:
        """Run the command before; untraced and traced do."""
        with watched():
            self._run("--before", self.before)

    def _run(self, option: str, command: Sequence[str]) -> None:
        if not command:
            return
        with _naming(option):
            done = run(command, output=False, stdin=False, owner=self.owner)
        if done.exit_status:
            wrote = last_lines(done.stderr) or "it wrote nothing to stderr"
            shown = show_path(shlex.join(command))
            status = show_status(done.exit_status)
            raise ColdseekError(f"{option} {shown} ended with exit status {status}: {wrote}")

    def end(self, running: leftovers.Running, kill: Callable[[], None] | None = None) -> None:
        """End what still runs, and say so. Raises ColdseekError if that cannot be ended."""
        try:
            self.tell(leftovers.end(running, kill, self.own_s, self.grace_s))
        except TimeoutError as error:
            raise ColdseekError(
                f"what a run left running cannot be ended: {show_path(str(error))}; name a command that "
                f"does with --after"
            ) from error

    def tell(self, ended: Iterable[str]) -> None:
        """Say what was ended: each name once for all runs."""
        names = set(ended)
        if names - self._told:
            self._told.update(names)
            listed = ", ".join(show_path(name) for name in sorted(names))
            self.say(f"ended what the command left running: {listed}")


@contextlib.contextmanager
def _naming(option: str) -> Iterator[None]:
    """Errors name the option that they are about."""
    try:
        yield
    except ColdseekError as error:
        raise ColdseekError(f"{option}: {error}") from error
