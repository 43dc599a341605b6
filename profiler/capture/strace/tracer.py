"""The tracer that runs the system's strace and reads its log as it grows."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from profiler.calls import CALLS
from profiler.capture import confined
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.recording import Recording
from profiler.capture.strace import guard as strace_guard
from profiler.capture.strace.log import Log
from profiler.capture.strace.tasks import CLONES, EXECS, IO_URING
from profiler.errors import ColdseekError
from profiler.files.owner import Owner
from profiler.machine import procfs
from profiler.machine.probe import Probe
from profiler.machine.processes.interrupts import Interrupts
from profiler.machine.processes.launch import exec_error
from profiler.trace import FileFacts, Trace
from profiler.units import show_status

_CALLS = sorted({*HANDLERS, *CLONES, *EXECS, *IO_URING, *confined.CALLS})
_SHOWN_WHOLE = ",".join(("io_submit", "io_getevents", "io_pgetevents", "recvmsg", "recvmmsg",
                         *(row.name for row in CALLS if row.vector)))  # fmt: skip
_OPTIONS = (
    "-f", "-y", "-ttt", "-T",
    "-s", "0",  # no contents of files
    "-a", "1",  # no padding
    "-e", f"abbrev=!{_SHOWN_WHOLE}",  # with -s 0, lists are cut short before their first element
    "-e", "signal=!chld",  # of the others one may be the program's end
    "-e", "trace=" + ",".join(f"?{name}" for name in _CALLS),  # ?: those that this machine has
)  # fmt: skip
_EXTRAS = ("--seccomp-bpf", "--kill-on-exit", "--decode-pids=comm")
"""Options that not every strace has, and that help: stop at these calls only; leave nothing running; name
the tasks."""
_TRY_S = 10.0
_LOOK_S = 0.1  # between looks at the growing log
_SOON_S = 0.005  # the same, where somebody waits for the program's end
_LITTLE_SPACE = 1 << 16
_REMEDY = "install it (apt install strace), or use --tracer ptrace"


def make(owner: Owner | None = None) -> StraceTracer:
    """A tracer for one run. owner: see `StraceTracer`."""
    return StraceTracer(owner)


def probe() -> Probe:
    """Whether strace can trace a program here: it traces one."""
    program = shutil.which("strace")
    if program is None:
        return Probe(False, "there is no strace in the PATH", _REMEDY)
    failure = _try(program)
    if not failure:
        how = ", ".join(("-f", *_extras(program)))
        return Probe(True, f"{_version(program)} works with {how}")
    if "not permitted" in failure or "denied" in failure:
        return Probe(False, f"strace may not trace here ({failure})", _why_forbidden())
    return Probe(False, f"strace fails here ({failure})", "try: strace -f true")


def _why_forbidden() -> str:
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/kernel/yama/ptrace_scope") as setting:
        if int(setting.read()) >= 2:
            return "allow ptrace (as root: sysctl kernel.yama.ptrace_scope=1), or run as root"
    return "in a container, allow ptrace (docker run --cap-add=SYS_PTRACE)"


def _try(program: str, *options: str) -> str:
    """Trace `true` with these options and those that always are given; gives what went wrong, "" if
    nothing did.
    """
    command = [program, *_OPTIONS, *options, "-o", os.devnull, "--", shutil.which("true") or "true"]
    try:
        result = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TRY_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_TRY_S:.0f} s"
    except OSError as error:
        return os.strerror(error.errno or 0)
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    if result.returncode == 0 and not lines:
        return ""
    if lines:
        return lines[0].removeprefix("strace: ")[:200]
    return f"exit status {show_status(result.returncode)}"


@functools.lru_cache
def _extras(program: str) -> tuple[str, ...]:
    return tuple(option for option in _EXTRAS if not _try(program, option))


@functools.lru_cache
def _version(program: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run([program, "-V"], capture_output=True, timeout=_TRY_S, check=False).stdout
        found = re.match(rb"strace -- version (\S{1,40})", shown)
        if found is not None:
            return f"strace {found[1].decode(errors='replace')}"
    return "strace"


class StraceTracer:
    """A `tracer.Tracer`: strace writes its log into a file that has no name, and it is read while it grows.

    A file, not a pipe: a pipe would hold the program up. owner: the
    user whom the program is to run as, strace does not; None: the one who runs coldseek.
    """

    name = "strace"

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = owner

    def record(self, recording: Recording) -> Trace:
        """Run the program to its end and give what was seen; see `tracer.Tracer`."""
        command, finish = recording.command, recording.finish
        program = shutil.which("strace")
        if program is None:
            raise ColdseekError(f"there is no strace in the PATH; {_REMEDY}")
        _check(command)
        cwd = os.getcwd()
        log = Log()
        with _log_file() as stream:
            # opened by strace itself: the program inherits no descriptor of it
            path = f"/proc/{os.getpid()}/fd/{stream.fileno()}"
            user = ["-u", self._owner.name] if self._owner is not None else []
            options = [*_OPTIONS, *_extras(program), *user, "-o", path, "--", *command]
            recording.begins(log.recorder)
            partial, status = _run([program, *options], stream, log, recording, self._owner)
            log.finish()
            cut = finish is not None and finish.reason not in ("", "end")
            if not partial and not cut:
                partial = _why_unfinished(log, stream)
        if not log.tasks.command:
            number = log.tasks.exec_errno
            if number:
                raise exec_error(command[0], number)
            if not partial:
                words = _words(program) if recording.silent else "its words are above"
                raise ColdseekError(f"strace did not start the program ({words}); {_REMEDY}")
        for facts in log.recorder.files:
            _complete(facts)
        trace = log.trace()
        meta = dataclasses.replace(
            trace.meta,
            command=tuple(command),
            cwd=cwd,
            tracer=self.name,
            tracer_version=_version(program),
            exit_status=log.exit_status if log.exit_status is not None else _shell_status(status),
            partial=partial,
            unseen=tuple(key for key in trace.meta.unseen if key not in ("threads", "early")),
        )
        if finish is not None:
            came = finish.facts(_start_ns(log))
            meta = dataclasses.replace(meta, **({**came, "partial": partial} if partial else came))
        return dataclasses.replace(trace, meta=meta)


def _start_ns(log: Log) -> int:
    """When the log begins, on CLOCK_MONOTONIC; strace stamps it by the clock of the day."""
    if not log.started_at:
        return time.monotonic_ns()
    began = datetime.fromisoformat(log.started_at)
    since = datetime.now(UTC) - began
    return time.monotonic_ns() - since // timedelta(microseconds=1) * 1000


def _words(program: str) -> str:
    """What strace says for itself, without a program that talks in between: of a silent run neither is
    heard, as both have the same stderr.
    """
    return _try(program, *_extras(program)) or "it does not say why"


def _check(command: Sequence[str]) -> None:
    """Raise what the shell would say of a command that is not there or cannot be executed.

    strace has one exit status for all of it.
    """
    name = command[0]
    if shutil.which(name) is not None:
        return
    places = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(os.pathsep)
    there = [place for place in places if os.path.exists(os.path.join(place, name))]
    raise exec_error(name, errno.EACCES if there else errno.ENOENT)


def _log_file() -> BinaryIO:
    """A file without a name, so that nothing of it stays whatever happens."""
    try:
        return tempfile.TemporaryFile(prefix="coldseek-", buffering=0)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        remedy = "set TMPDIR to a place with room"
        raise ColdseekError(f"cannot keep strace's log: {reason}; {remedy}") from error


def _run(
    command: list[str], stream: BinaryIO, log: Log, recording: Recording, owner: Owner | None
) -> tuple[str, int | None]:
    """Run strace to its end and feed its log; gives why the program was cut short, "" if it was not, and
    strace's return code as subprocess gives it, None where it was left running.
    """
    leaving, finish, streams = recording.leaving, recording.finish, recording.streams
    null = subprocess.DEVNULL if recording.silent else None
    environ = None if owner is None else owner.environment(os.environ)
    ended = threading.Event()  # the observation, not the program
    with _guard() as tell:
        process = subprocess.Popen(
            command, stdin=null, stdout=streams.get(1, null), stderr=streams.get(2, null), env=environ,
            preexec_fn=tell,
            close_fds=False,  # what coldseek inherited is the program's; our own close by themselves
        )  # fmt: skip
        kill = functools.partial(strace_guard.kill_tracees, process.pid)
        running = functools.partial(strace_guard.tracees, process.pid)
        try:
            program = _first_task(process, stream, log)
            end = kill if leaving is None else ended.set
            with Interrupts(
                program or process.pid, end, once=recording.silent, leaves=leaving is not None
            ) as interrupts:
                told = False
                if finish is not None:
                    finish.begin(program or process.pid, lambda: recording.is_over(running, kill, ended.set))
                look_s = _LOOK_S if finish is None else _SOON_S
                while not _has_ended(process, look_s) and not ended.is_set():
                    _read(stream, log)
                    log.flush()
                    if log.ended and not told:
                        told = True
                        interrupts.main_ended(1)
                        if finish is not None:
                            finish.command_ended(log.exit_status)
                        elif recording.over is not None:
                            recording.over(running, kill)
                        if leaving is not None:
                            leaving.goes_on(log.exit_status or 0, running)
                _read(stream, log)
                if finish is not None and not finish.over and not ended.is_set():
                    log.flush()
                    finish.command_ended(log.exit_status)
                    interrupts.main_ended(1)  # Ctrl-C is for who waits now
                    recording.wait_out(lambda: ended.is_set() or interrupts.partial)
                partial = interrupts.partial
                if ended.is_set() and process.poll() is None and leaving is not None:
                    log.flush()
                    if not log.ended and partial:
                        partial += f"; the program, process {program}, goes on"
                    words = finish.words(_start_ns(log)) if finish is not None else ""
                    leaving.let_go(interrupts.number, running(), log=stream.fileno(), words=words)
                    return partial, None
        except KeyboardInterrupt:
            partial = "interrupted by Ctrl-C"
        finally:
            if (leaving is None or not leaving.left) and process.poll() is None:
                kill()
                process.wait()
        _read(stream, log)
    return partial, process.returncode


@contextlib.contextmanager
def _guard() -> Iterator[Callable[[], None]]:
    """Have a `strace_guard` stand by; gives what strace's process has to call between fork and exec.

    There, and not later in this process: between the two it may be killed.
    """
    inside, outside = os.pipe()
    with open(inside, "rb") as end:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", strace_guard.__file__],
            stdin=end, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield lambda: (os.write(outside, f"{os.getpid()}\n".encode()), None)[1]
        with contextlib.suppress(OSError):
            os.write(outside, b"done")
    finally:
        os.close(outside)
        guard.wait()


def _first_task(process: subprocess.Popen[bytes], stream: BinaryIO, log: Log) -> int | None:
    """Wait for the log's first line; gives the process that it is about, None if strace ends before."""
    head = b""
    while not _has_ended(process, 0.005):
        head += stream.read()
        found = re.match(rb"(\d{1,9})[ <][^\n]*\n", head)  # with or without its name
        if found is not None:
            log.feed(head)
            return int(found[1])
    log.feed(head)
    return None


def _has_ended(process: subprocess.Popen[bytes], wait_s: float) -> bool:
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _read(stream: BinaryIO, log: Log) -> None:
    while data := stream.read(1 << 20):
        log.feed(data)


def _why_unfinished(log: Log, stream: BinaryIO) -> str:
    """Why the log does not show the program's end; "" if it does, or if it does not even show its start."""
    if log.ended:
        return ""
    space = os.fstatvfs(stream.fileno())
    if space.f_bavail * space.f_frsize < _LITTLE_SPACE:
        return "no space left for strace's log; set TMPDIR to a place with room"
    return "strace's log ends before the program does" if log.tasks.command else ""


def _shell_status(returncode: int | None) -> int | None:
    return returncode if returncode is None or returncode >= 0 else 128 - returncode


def _complete(facts: FileFacts) -> None:
    """Add what the file system says of a file now, if it is still there."""
    if not facts.path.startswith(b"/") or facts.kind not in ("regular", "block", "character", "directory"):
        return
    try:
        status = os.lstat(facts.path)
    except (OSError, ValueError):
        return
    if stat.S_ISLNK(status.st_mode):  # the log has names without links: this is another file
        return
    found = procfs.describe(facts.path, status)
    facts.device, facts.inode, facts.size = found.device, found.inode, found.size
    facts.mtime_ns, facts.kind = found.mtime_ns, found.kind
