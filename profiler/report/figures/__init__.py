"""Pictures of a trace. For each kind one function makes a table and another draws it.

Figures are made with matplotlib's object interface, so nothing global is touched and no display is needed;
matplotlib is imported when the first picture is drawn. File names go through `show_path` and are never read
as formulas.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from profiler.devices.model import Device
from profiler.errors import UsageError
from profiler.files.writing import replacing
from profiler.report.figures.canvas import DPI, STYLE
from profiler.report.figures.cost import draw_cost
from profiler.report.figures.gaps import draw_gaps
from profiler.report.figures.names import choose_file, file_names
from profiler.report.figures.offsets import draw_offsets
from profiler.report.figures.stack import draw_files
from profiler.trace import Trace
from profiler.units import show_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "SUFFIXES", "check_suffix", "choose_file", "draw", "file_names", "save"]

SUFFIXES = (".png", ".svg")

KINDS: dict[str, Callable[..., Figure]] = {
    "offsets": draw_offsets, "files": draw_files, "gaps": draw_gaps, "cost": draw_cost,
}  # fmt: skip
"""Name of a picture -> what draws it."""


def draw(
    traces: Sequence[Trace],
    kind: str = "offsets",
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """The picture of `kind` (see KINDS) of one trace or of two, such as a cold and a warm one.

    file: path or name of the file to look at (offsets, gaps); None: the one in focus of the first trace. If
    none stands out, offsets are drawn as files are, and gaps are those of all files.
    devices: those of the cost picture; None: the usual presets. names: what to call the traces, unless they
    are the cold and the warm one of a command.

    Raises UsageError for an unknown kind or a number of traces other than 1 and 2, ColdseekError for a file
    that was not read.
    """
    logger = logging.getLogger("matplotlib")
    if not logger.level:  # of a home where it cannot write it would complain, and makes do without
        logger.setLevel(logging.ERROR)
    import matplotlib

    if kind not in KINDS:
        raise UsageError(f"no picture named {show_path(kind)}; there are {', '.join(KINDS)}")
    if not 1 <= len(traces) <= 2:
        raise UsageError(f"a picture shows one trace or two, not {len(traces)}")
    with matplotlib.rc_context(STYLE):
        return KINDS[kind](traces, file, devices, names)


def save(figure: Figure, path: str) -> None:
    """Write the figure to `path`, whole or not at all; PNG or SVG by its suffix. Raises ColdseekError."""
    import matplotlib

    suffix = check_suffix(path)
    with replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script the font lacks
        layout = figure.get_layout_engine()
        if layout is not None:
            # the layout alone, once: matplotlib would draw all marks for it and throw them away
            layout.execute(figure)
            figure.set_layout_engine(None)
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coldseek"}):
            metadata = {"Date": None} if suffix == ".svg" else None  # the same input gives the same file
            figure.savefig(file, format=suffix[1:], dpi=DPI, metadata=metadata)


def check_suffix(path: str) -> str:
    """The suffix of `path`; raises ColdseekError, listing those there are, if it is not one of SUFFIXES."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot draw {show_path(path)}: name a file that ends in {' or '.join(SUFFIXES)}")
    return suffix
