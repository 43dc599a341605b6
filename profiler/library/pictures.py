"""Pictures and pages of traces."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from profiler.library.arguments import Named, devices_of, trace_of
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from profiler.devices.model import Device
    from profiler.report.comparison import Comparison
    from profiler.report.notebook import Frame
    from profiler.trace import Trace


@words_of_python()
def plot(
    *traces: Trace | Named,
    kind: str = "offsets",
    file: Named | bytes | None = None,
    devices: Device | Named | Iterable[Device | Named] | None = None,
    output: Named | None = None,
) -> Figure:
    """Draw one trace, or two over each other, as `coldseek plot` does. The figure is matplotlib's.

    traces: one or two, or names of their files. kind: "offsets", where each read was against time; "files",
    a band for each file; "gaps", how far apart they lie; "cost", seconds for each device. file: the one to
    look at; None: the image, or the one that costs most. devices: of the costs; None: the usual presets.
    output: save it there too, a .png or .svg.

    Raises UsageError for an unknown kind, another number of traces, and another suffix; ColdseekError for a
    file that was not read.

    >>> figure = coldseek.plot(trace, kind="gaps")
    >>> len(figure.axes)
    1
    """
    from profiler.report import figures

    if output is not None:
        figures.check_suffix(os.fspath(output))
    wanted = None if devices is None else devices_of(devices, list)
    named = file if file is None or isinstance(file, bytes) else os.fspath(file)
    figure = figures.draw([trace_of(trace) for trace in traces], kind, named, wanted)
    if output is not None:
        figures.save(figure, os.fspath(output))
    # a notebook that has not loaded pyplot knows no pictures of a figure
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


@words_of_python()
def page(what: Trace | Named | Comparison, *, output: Named | None = None, height: int = 900) -> Frame:
    """The page of a trace, or of a comparison: one file of HTML with all that a report shows.

    what: a trace, the name of its file, or what `compare` gave. output: save it there too, as an .html.
    height: of the frame in a notebook, in pixels.

    Raises ColdseekError where it cannot be saved, and as `load` does.

    >>> page = coldseek.page(trace)
    >>> page.document[:15], page.height
    ('<!doctype html>', 900)
    """
    from profiler.report import page as pages
    from profiler.report.comparison import Comparison
    from profiler.report.notebook import Frame, of_trace

    if isinstance(what, Comparison):
        frame = Frame(pages.of_comparison(what, what.traces), int(height))
    else:
        frame = of_trace(trace_of(what), height)
    if output is not None:
        from profiler.files.writing import replacing

        with replacing(output) as file:
            file.write(frame.document.encode("utf-8", "surrogateescape"))
    return frame
