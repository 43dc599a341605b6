"""What a tracer is, which there are, which works here, and which is taken when nobody chooses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from profiler.capture.recording import Recording
from profiler.errors import ColdseekError, UsageError
from profiler.machine import procfs
from profiler.machine.probe import Probe
from profiler.trace import Trace

if TYPE_CHECKING:
    from profiler.files.owner import Owner


class Tracer(Protocol):
    """Launches a program, sees its file reads, and gives them as a Trace. One per run.

    `record` passes stdin, stdout, stderr and signals through and returns when the program and its children
    have ended, or as the `Recording` says. It fills meta's command, cwd, started_at, tracer, tracer_version,
    wall_s, ready_s, exit_status, lost_events, partial, unseen and notes; it does not touch the cache. It
    raises CommandNotFoundError or CannotRunError if the program cannot be started.
    """

    name: str

    def record(self, recording: Recording) -> Trace: ...


_MODULES = {
    "kernel": "profiler.capture.kernel.tracer",
    "ptrace": "profiler.capture.ptrace.tracer",
    "strace": "profiler.capture.strace.tracer",
}
"""In order of preference. Each module offers `probe() -> Probe` and `make(owner) -> Tracer`."""

NAMES = tuple(_MODULES)


def probe(name: str) -> Probe:
    """Whether the tracer `name` works here; tried, not guessed from versions."""
    fault = procfs.fault()
    if fault:
        return Probe(False, fault, procfs.REMEDY)
    found: Probe = import_module(_MODULES[name]).probe()
    return found


def choose(name: str = "auto", owner: Owner | None = None) -> tuple[Tracer, str]:
    """The tracer of that name, or the first that works here, and one line saying which it is and why.

    owner: the user whom the program is to run as, whom the line names then; None: the one who runs this.

    Raises ColdseekError, naming the remedy, if it (or none) works here.
    """
    whose = [] if owner is None else [f"the program runs as user {owner.name}"]
    if name != "auto":
        if name not in _MODULES:
            raise UsageError(f"no tracer named {name!r}; there are auto, {', '.join(NAMES)}")
        result = probe(name)
        if not result.works:
            raise ColdseekError(f"the {name} tracer does not work here: {result.why}; {result.remedy}")
        return make_tracer(name, owner), "; ".join([f"tracer {name}: as asked", *whose])
    if fault := procfs.fault():
        raise ColdseekError(f"no tracer works here: {fault}; {procfs.REMEDY}")
    refused: list[str] = []
    for candidate in NAMES:
        result = probe(candidate)
        if result.works:
            why = [f"tracer {candidate}: {result.why}", *refused, *whose]
            return make_tracer(candidate, owner), "; ".join(why)
        refused.append(f"{candidate} does not work here: {result.why}")
    raise ColdseekError(
        "no tracer works here: " + "; ".join(refused) + "; 'coldseek doctor' names the remedies"
    )


def make_tracer(name: str, owner: Owner | None = None) -> Tracer:
    """The tracer of that name, which is known to work here."""
    made: Tracer = import_module(_MODULES[name]).make(owner)
    return made
