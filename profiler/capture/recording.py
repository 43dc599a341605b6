"""What a tracer is asked to record: the program, who hears of it, and what becomes of what outlives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from profiler.capture.calls.event_log import Recorder
from profiler.capture.leaving import Leaving
from profiler.machine.finish.finish import Finish
from profiler.machine.processes import leftovers

Over = Callable[[leftovers.Running, Callable[[], None]], None]
"""What to do about processes that outlive the program, given what tells which run now, and what kills them
all: see `Recording`."""


@dataclass(frozen=True)
class Recording:
    """One run that is to be recorded.

    started: called once with the Recorder that fills up, for progress. silent: the program's stdin, stdout
    and stderr are /dev/null. over: called where the program itself has ended and others of its processes
    still run; it must not wait for them. leaving: such processes are left running where the observation is
    ended by a signal; without it they are ended then. finish: when the run is over, if not with its last
    process: what still runs then is given to `over`, or with `finish.wanted.stop` ended, or left running as
    `leaving` has it.
    """

    command: Sequence[str]
    started: Callable[[Recorder], None] | None = None
    silent: bool = False
    over: Over | None = None
    leaving: Leaving | None = None
    finish: Finish | None = None

    @property
    def streams(self) -> Mapping[int, int]:
        """Which descriptors the program's stdout and stderr are, where `finish` reads them."""
        return self.finish.streams if self.finish is not None else {}

    def begins(self, recorder: Recorder) -> None:
        """The program runs, and `recorder` fills up."""
        if self.started is not None:
            self.started(recorder)

    def is_over(
        self, running: leftovers.Running, kill: Callable[[], None], let_go: Callable[[], None]
    ) -> None:
        """The run is over, as `finish` says, while some of it still runs. let_go: ends the observation."""
        assert self.finish is not None
        if self.over is not None:
            self.over(running, kill)
        elif self.finish.wanted.stop or self.leaving is None:
            leftovers.end_beside(running, kill, self.finish.wanted.grace)
        else:
            let_go()

    def wait_out(self, is_enough: Callable[[], object]) -> None:
        """Nothing runs any more: wait until `finish` says that the run is over, or until it `is_enough`."""
        assert self.finish is not None
        self.finish.wait_out(is_enough, self.leaving.say if self.leaving is not None else lambda _: None)
