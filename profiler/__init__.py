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

__version__ = "0.1.0"

TYPE_CHECKING = False  # as of typing, which takes a moment to load
if TYPE_CHECKING:
    from typing import Any

    from profiler.analysis.access import classify
    from profiler.analysis.pagecache import first_touches, simulate
    from profiler.analysis.projection import project
    from profiler.capture.record import record
    from profiler.capture.strace_log import parse as import_strace
    from profiler.devices.loading import find as device
    from profiler.devices.loading import presets
    from profiler.errors import ColdseekError
    from profiler.report.comparison import compare_summary as compare
    from profiler.report.summary import summarise
    from profiler.trace import Trace, load, save

__all__ = [
    "ColdseekError", "Trace", "classify", "compare", "device", "first_touches", "import_strace", "load",
    "presets", "project", "record", "save", "simulate", "summarise",
]  # fmt: skip

_HOMES = {
    "ColdseekError": ("errors", "ColdseekError"),
    "Trace": ("trace", "Trace"),
    "classify": ("analysis.access", "classify"),
    "compare": ("report.comparison", "compare_summary"),
    "device": ("devices.loading", "find"),
    "first_touches": ("analysis.pagecache", "first_touches"),
    "import_strace": ("capture.strace_log", "parse"),
    "load": ("trace", "load"),
    "presets": ("devices.loading", "presets"),
    "project": ("analysis.projection", "project"),
    "record": ("capture.record", "record"),
    "save": ("trace", "save"),
    "simulate": ("analysis.pagecache", "simulate"),
    "summarise": ("report.summary", "summarise"),
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
