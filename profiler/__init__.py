"""coldseek: a cold-start I/O profiler for Linux.

As a library::

    import profiler

    trace = profiler.load("qemu-img.trace.parquet")
    trace.reads()                                # DataFrame: one row a read, see profiler.Trace.reads
    profiler.classify(trace.reads())             # the same with pattern, seek and gap of each read
    profiler.project(trace, profiler.device("hdd-7200")).seconds
    profiler.record(["qemu-img", "info", "disk0.qcow2"], cache_state="cold")
    trace.page()                                 # in a notebook: the page; the trace itself shows a summary

`import coldseek` is the same.

Every name is loaded when it is first used: importing this package alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module

from profiler.version import __version__ as __version__

TYPE_CHECKING = False  # as of typing, which takes a moment to load
if TYPE_CHECKING:
    from typing import Any

    from profiler.analysis.reads.access import classify
    from profiler.analysis.simulation.page_cache import first_touches, simulate
    from profiler.analysis.simulation.projection import project
    from profiler.capture.strace.logs.reading import parse as import_strace
    from profiler.devices.loading import find as device
    from profiler.devices.loading import presets
    from profiler.errors import ColdseekError
    from profiler.files.traces import load, save
    from profiler.report.comparison import compare_summary as compare
    from profiler.report.summarise import summarise
    from profiler.studies.record import record
    from profiler.trace import Trace

__all__ = [
    "ColdseekError", "Trace", "classify", "compare", "device", "first_touches", "import_strace", "load",
    "presets", "project", "record", "save", "simulate", "summarise",
]  # fmt: skip

_HOMES = {
    "ColdseekError": ("errors", "ColdseekError"),
    "Trace": ("trace", "Trace"),
    "classify": ("analysis.reads.access", "classify"),
    "compare": ("report.comparison", "compare_summary"),
    "device": ("devices.loading", "find"),
    "first_touches": ("analysis.simulation.page_cache", "first_touches"),
    "import_strace": ("capture.strace.logs.reading", "parse"),
    "load": ("files.traces", "load"),
    "presets": ("devices.loading", "presets"),
    "project": ("analysis.simulation.projection", "project"),
    "record": ("studies.record", "record"),
    "save": ("files.traces", "save"),
    "simulate": ("analysis.simulation.page_cache", "simulate"),
    "summarise": ("report.summarise", "summarise"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, home = _HOMES[name]
    found = getattr(import_module(f"{__name__}.{module}"), home)
    _for_notebooks()
    return found


def _for_notebooks() -> None:
    """A trace shows itself in a notebook: its summary, and with `trace.page()` its page. Said here, as the
    trace knows nothing of what is made from it."""
    kind = import_module(f"{__name__}.trace").Trace

    def short(trace: Trace) -> str:
        """The summary and a picture, as HTML."""
        made: str = import_module(f"{__name__}.report.notebook").short(trace)
        return made

    def page(trace: Trace, height: int = 900) -> Any:
        """The whole page, in a frame of so many pixels."""
        return import_module(f"{__name__}.report.notebook").page(trace, height)

    kind._repr_html_, kind.page = short, page


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
