"""Looks out for what a run is to come to, and passes its output on. Runs as a process of its own.

So what it opens is not the program's, it finds what it looks for on time however busy a tracer is, and what
the program writes goes on to where it went after coldseek has finished: it ends with the program then.

Told on its stdin, a socket, a line of JSON each: first {"conditions", "streams"}; {"pid": N} when the
program runs; {"look": true} to look once more. It tells {"prepared": true}, {"met": number, "ns": when},
{"silent": true} when no output can come any more, and {"looked": true}.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

if __name__ == "__main__":  # run as a file, with no module path of the user's
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:1] = [os.path.abspath(os.path.join(here, *[os.pardir] * 3))]

from profiler.machine.finish import probes
from profiler.machine.finish.conditions import Condition
from profiler.machine.finish.lines import Lines, fed
from profiler.machine.finish.relay import Relay

LOOK_S = 0.002
"""Between looks; a fifth of what may pass until something is found."""
_SIZE_S = 0.05  # between looks at the size of a terminal
_SHARE = 2  # looking takes at most one part in so many and one of the time
_MOST_BYTES = 1 << 20  # of what it is told


class Lookout:
    """line: to the process that it works for."""

    def __init__(self, line: socket.socket, told: Mapping[str, Any]) -> None:
        self._line = line
        self._buffer = b""
        self._program = -1
        self._network = probes.Network()
        conditions = [
            Condition(**{**one, "addresses": tuple(one["addresses"])}) for one in told["conditions"]
        ]
        self._looks: dict[int, probes.Probe] = {}
        self._web: dict[int, Condition] = {}
        self._answers: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        outputs = {}
        for number, one in enumerate(conditions):
            if one.kind == "tcp":
                self._looks[number] = probes.listens_tcp(self._network, one)
            elif one.kind == "unix":
                self._looks[number] = probes.listens_unix(self._network, one)
            elif one.kind == "file":
                self._looks[number] = probes.file_there(one)
            elif one.kind == "line":
                self._looks[number] = probes.FileLine(one)
            elif one.kind == "http":
                self._web[number] = one
            elif one.kind == "output":
                outputs[number] = one.expression
        self._outputs = outputs
        self._pending = set(outputs)
        self._relays = [self._relay(*stream) for stream in told["streams"]]
        self._silent = not self._relays

    def _relay(self, source: int, sink: int, terminal: bool) -> Relay:
        lines, numbers = Lines(list(self._outputs.values())), list(self._outputs)

        def seen(piece: bytes) -> None:
            if self._pending:
                for place in fed(lines, piece):
                    self._met(numbers[place])

        os.set_blocking(source, False)
        return Relay(source, sink, terminal, seen)

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until nobody listens and there is nothing to pass on."""
        self._tell(prepared=True)
        next_look = next_size = 0.0
        heard = True
        while heard or self._relays:
            now = time.monotonic()
            looking = heard and self._network.pid and bool(self._looks or self._web)
            waits = [max(0.0, next_look - now)] if looking else []
            waits += [max(0.0, next_size - now)] if any(one.terminal for one in self._relays) else []
            ready = self._ready(heard, min(waits, default=None))
            if heard and self._line.fileno() in ready:
                heard = self._listen()
            for relay in self._relays:
                if relay.wants()[0] in ready:
                    relay.go_on()
            self._relays = [one for one in self._relays if one.open]
            now = time.monotonic()
            if looking and heard and now >= next_look:
                self._look()
                took = time.monotonic() - now
                next_look = now + max(LOOK_S, took * (_SHARE + 1))
            if now >= next_size:
                next_size = now + _SIZE_S
                if [one for one in self._relays if one.resize()]:
                    self._tell_size()
            if not self._relays and not self._silent:
                self._silent = True
                self._tell(silent=True)

    def _ready(self, heard: bool, wait: float | None) -> set[int]:
        poll = select.poll()
        if heard:
            poll.register(self._line.fileno(), select.POLLIN)
        for relay in self._relays:
            poll.register(*relay.wants())
        # poll counts in milliseconds, and rounds up
        return {number for number, _ in poll.poll(None if wait is None else wait * 1000)}

    def _look(self) -> None:
        for number, holds in list(self._looks.items()):
            if holds():
                del self._looks[number]
                self._met(number)
        with contextlib.suppress(queue.Empty):
            while True:
                number, when = self._answers.get_nowait()
                self._web.pop(number, None)
                self._met(number, when)

    def _ask(self, number: int, condition: Condition) -> None:
        """A thread's work: ask a web server until it answers."""
        while True:
            began = time.monotonic()
            good, when = probes.answers(condition)
            if good:
                self._answers.put((number, when))
                return
            time.sleep(max(LOOK_S, _SHARE * (time.monotonic() - began) if when else 0.0))

    def _tell_size(self) -> None:
        if self._program >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._program, signal.SIGWINCH)

    # -- what is said ------------------------------------------------------------------------------------

    def _listen(self) -> bool:
        """Do what is asked for; False: nobody is there any more."""
        try:
            piece = self._line.recv(1 << 16)
        except OSError:
            piece = b""
        self._buffer += piece
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            told = json.loads(line)
            if "pid" in told:
                self._begins(told["pid"])
            if "look" in told:
                if self._network.pid:
                    self._look()
                self._tell(looked=True)
        return bool(piece)

    def _begins(self, pid: int) -> None:
        self._network.pid = pid
        with contextlib.suppress(OSError):
            self._program = os.pidfd_open(pid)
        for number, one in self._web.items():
            threading.Thread(target=self._ask, args=(number, one), daemon=True).start()

    def _met(self, number: int, when: int = 0) -> None:
        self._pending.discard(number)
        self._tell(met=number, ns=when or time.monotonic_ns())

    def _tell(self, **words: object) -> None:
        with contextlib.suppress(OSError):
            self._line.sendall(json.dumps(words).encode() + b"\n")


def main() -> None:
    """Look out for the process at the other end of stdin."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with contextlib.suppress(OSError):  # of the C library's own
            signal.signal(number, signal.SIG_IGN)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -10)  # to be there on time
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write("-1000")  # with its end the program could write no more
    line = socket.socket(fileno=0)
    told = b""
    while not told.endswith(b"\n") and len(told) < _MOST_BYTES and (piece := line.recv(1 << 16)):
        told += piece
    if told.endswith(b"\n"):
        Lookout(line, json.loads(told)).run()
    os._exit(0)  # a thread may wait for a server's answer


if __name__ == "__main__":
    main()
