"""coldseek: a cold-start I/O profiler for Linux.

As a library::

    import coldseek

    trace = coldseek.load("qemu-img.trace.parquet")
    trace                                        # in a notebook: a summary and a picture
    trace.to_frame()                             # DataFrame: one row a read
    coldseek.project(trace, "hdd-7200").seconds
    coldseek.record(["qemu-img", "info", "disk0.qcow2"], cache="cold")
    coldseek.compare(["qemu-img", "info", "disk0.qcow2"], runs=5).ratio

`import profiler` is the same. Every name is loaded when it is first used: importing this package alone costs
nothing. docs/library.md has what people do with it most.
"""

from profiler.version import __version__ as __version__

TYPE_CHECKING = False  # as of typing, which takes a moment to load
if TYPE_CHECKING:
    from profiler.analysis.advice.options import Advice, Estimate, Option
    from profiler.analysis.check.held import Held
    from profiler.analysis.reads.access import Totals, classify
    from profiler.analysis.simulation.page_cache import first_touches
    from profiler.analysis.simulation.projection import Cold, requests
    from profiler.analysis.simulation.projections import Projection, Projections
    from profiler.capture.strace.logs.reading import parse as import_strace
    from profiler.devices.loading import presets
    from profiler.devices.model import Device, Service
    from profiler.errors import (
        BaselineError,
        CannotRunError,
        ColdseekError,
        CommandNotFoundError,
        InterruptedRunError,
        NoMemoryError,
        TraceFormatError,
        UsageError,
    )
    from profiler.facts.runs import Measured, Run
    from profiler.files.traces import load, save
    from profiler.library.checking import check
    from profiler.library.comparing import compare
    from profiler.library.costs import advise, project, simulate, summarise
    from profiler.library.devices import calibrate, device
    from profiler.library.exchange import export, import_log
    from profiler.library.pictures import page, plot
    from profiler.library.prefetching import prefetch, prefetch_plan
    from profiler.library.recording import attach, record
    from profiler.machine.page_cache.prefetch import Prefetched
    from profiler.plan import Plan
    from profiler.report.comparison import Comparison, Side
    from profiler.report.notebook import Frame
    from profiler.report.summary import FileSummary, Summary
    from profiler.trace import Meta, Trace

__all__ = [
    "Advice", "BaselineError", "CannotRunError", "Cold", "ColdseekError", "CommandNotFoundError",
    "Comparison", "Device", "Estimate", "FileSummary", "Frame", "Held", "InterruptedRunError",
    "Measured", "Meta", "NoMemoryError", "Option", "Plan", "Prefetched", "Projection", "Projections",
    "Run", "Service", "Side", "Summary", "Totals", "Trace", "TraceFormatError", "UsageError",
    "__version__", "advise", "attach", "calibrate", "check", "classify", "compare", "device", "export",
    "first_touches", "import_log", "import_strace", "load", "page", "plot", "prefetch", "prefetch_plan",
    "presets", "project", "record", "requests", "save", "simulate", "summarise",
]  # fmt: skip

_HOMES = {
    "analysis.advice.options": ("Advice", "Estimate", "Option"),
    "analysis.check.held": ("Held",),
    "analysis.reads.access": ("Totals", "classify"),
    "analysis.simulation.page_cache": ("first_touches",),
    "analysis.simulation.projection": ("Cold", "requests"),
    "analysis.simulation.projections": ("Projection", "Projections"),
    "capture.strace.logs.reading": ("import_strace",),
    "devices.loading": ("presets",),
    "devices.model": ("Device", "Service"),
    "errors": (
        "BaselineError", "CannotRunError", "ColdseekError", "CommandNotFoundError", "InterruptedRunError",
        "NoMemoryError", "TraceFormatError", "UsageError",
    ),
    "facts.runs": ("Measured", "Run"),
    "files.traces": ("load", "save"),
    "library.checking": ("check",),
    "library.comparing": ("compare",),
    "library.costs": ("advise", "project", "simulate", "summarise"),
    "library.devices": ("calibrate", "device"),
    "library.exchange": ("export", "import_log"),
    "library.pictures": ("page", "plot"),
    "library.prefetching": ("prefetch", "prefetch_plan"),
    "library.recording": ("attach", "record"),
    "machine.page_cache.prefetch": ("Prefetched",),
    "plan": ("Plan",),
    "report.comparison": ("Comparison", "Side"),
    "report.notebook": ("Frame",),
    "report.summary": ("FileSummary", "Summary"),
    "trace": ("Meta", "Trace"),
}  # fmt: skip
"""Module -> the public names in it: what is above for type checkers, for Python."""

_OTHERWISE = {"import_strace": "parse"}
"""Names that are others in their modules."""

if not TYPE_CHECKING:  # so that a name which does not exist is an error there too, and not Any

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _HOMES.items():
            if name in names:
                import_module(f"{__name__}.library.notebook")
                value = getattr(import_module(f"{__name__}.{module}"), _OTHERWISE.get(name, name))
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
