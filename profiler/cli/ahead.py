"""What a command needs late is loaded early: before the page cache is emptied.

A cold start empties the cache of Python's modules too. What is imported after that comes from the disk
again, file by file, and the user waits for it. Beside a timed run nothing may be loaded: it would be timed
with it.
"""

from __future__ import annotations

from importlib import import_module

RECORD = (
    "profiler.studies.record",
    "ptrace.binding",  # which the tracers import when they run
    "profiler.analysis.host",  # by which the last line counts
    "profiler.files.traces",
    "pyarrow.parquet",  # which saves the traces
)
"""What records a cold start."""

STUDY = ("profiler.studies.cold_warm",)
"""What records and times. Its first run, before the cache is emptied, loads what the tracers need."""

REPORT = (
    "profiler.report.text",
    "profiler.report.json",
    "profiler.report.comparison",
    "profiler.report.page",
    "pyarrow.parquet",
)
"""What makes a report of two traces, with what the libraries themselves import only when they are used."""


def load_ahead(modules: tuple[str, ...]) -> None:
    """Import these modules; with those of a report, the presets of the devices that it names."""
    for name in modules:
        import_module(name)
    if modules is REPORT:
        from profiler import devices

        devices.usual()
