"""A process beside the one that measures, which draws the figures.

It loads matplotlib while the first run is looked at, so that nobody waits for that, and sleeps while others
are timed. It draws when the report has been printed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.machine.processes.guard import apart
from profiler.units import show_path

Plots = Mapping[str, tuple[Sequence[str], str]]
"""File of a picture -> the files of the traces that it shows, and its kind (see `figures.KINDS`)."""

AT_ONCE = 2
"""Processes that draw. Each holds what it draws: of a long trace, hundreds of megabytes."""

_LATE = (
    "profiler.report.figures",
    "pyarrow.parquet",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "PIL.PngImagePlugin",
)
"""What draws, with what matplotlib imports only when it is used."""

_MOST_WORDS = 3000  # bytes of a line: as many as a pipe takes in one piece, so that no other comes between


class Drawer:
    """The process, as seen from the one beside it. tells: what it is told by; heard: what it answers
    with."""

    def __init__(self, tells: int, heard: BinaryIO, plots: Plots) -> None:
        self._tells, self._heard, self._plots = tells, heard, plots
        self._loaded = False

    def wait_loaded(self) -> None:
        """Wait until it has loaded what it needs, and sleeps."""
        if not self._loaded:
            self._loaded = bool(self._heard.readline())

    def draw(self) -> Iterator[str]:
        """Have all drawn; the name of each file as soon as it is there, in no certain order. Raises
        ColdseekError, when the others are there, where one cannot be drawn."""
        self.wait_loaded()
        with contextlib.suppress(BrokenPipeError):  # it has ended: that is told below
            os.write(self._tells, b"!")
        left, faults = set(self._plots), []
        for line in self._heard:
            file, _, fault = line.decode("utf-8", "surrogateescape").rstrip("\n").partition(" ")
            left.discard(file)
            if fault:
                faults.append(fault)
            else:
                yield file
        if faults or left:
            raise ColdseekError(
                faults[0] if faults else f"cannot draw {', '.join(sorted(left))}: what draws was killed"
            )


@contextlib.contextmanager
def drawer(folder: str, plots: Plots) -> Iterator[Drawer]:
    """While entered, there is a process that can draw these plots of traces in `folder`; it ends with this
    one."""
    orders, tells = os.pipe()
    heard, says = os.pipe()
    group = apart(partial(_work, folder, plots, orders, says), (orders, says))
    os.close(orders)
    os.close(says)
    with open(heard, "rb") as answers:
        try:
            yield Drawer(tells, answers, plots)
        finally:
            os.close(tells)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)  # no figure shall come when this command is over
            answers.read()


def _work(folder: str, plots: Plots, orders: int, says: int) -> None:
    """Load, wait for the word, draw. Without it, the other process has ended or does not need them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what is half written is taken away
    while os.open(os.devnull, os.O_RDWR) < 2:  # no file of ours may be taken for the standard streams
        pass
    with contextlib.suppress(Exception):  # it is told of each figure why it cannot be drawn
        for name in _LATE:
            import_module(name)
    os.write(says, b"loaded\n")
    if os.read(orders, 1):
        names = list(plots)
        number = next((n for n in range(1, AT_ONCE) if os.fork() == 0), 0)
        _draw(folder, {name: plots[name] for name in names[number::AT_ONCE]}, says)


def _draw(folder: str, plots: Plots, says: int) -> None:
    for file, (states, kind) in plots.items():
        fault = ""
        try:
            _draw_one(os.path.join(folder, file), [os.path.join(folder, state) for state in states], kind)
        except ColdseekError as error:
            fault = f" {error}"
        except Exception as error:
            fault = f" cannot draw {file}: {show_path(f'{type(error).__name__}: {error}')}"
        os.write(says, f"{file}{fault}".encode("utf-8", "surrogateescape")[:_MOST_WORDS] + b"\n")


def _draw_one(path: str, traces: Iterable[str], kind: str) -> None:
    from profiler.files.traces import load
    from profiler.report import figures

    figures.save(figures.draw([load(trace) for trace in traces], kind), path)
