"""What all pictures have in common: their size, title and legend, and the numbers on their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.trace import Trace
from profiler.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette ("Color Universal Design", 2008), told apart with any colour vision."""

ALONE = {"color": "#0072B2", "width": 2.2}
PAIR = ({"color": "#56B4E9", "width": 6.0}, {"color": "#D55E00", "width": 2.0})
"""Colour, and points of marks and lines. Of two traces the first is drawn broad and pale, the second narrow
and strong on top of it: where they agree, both show, with and without colours."""

LONG_LABELS = 1e-3
"""Seconds: where the times of an axis are nearer to each other they have many digits, and there is room for
few."""

MAX_TITLE = 84
"""Characters of a title: more do not fit in the width of the figure."""

SIZE, DPI = (11.0, 5.6), 150
STYLE: Any = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
Floats = npt.NDArray[np.float64]


def new_figure(height: float = SIZE[1]) -> Figure:
    """An empty figure; height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(SIZE[0], height), dpi=DPI, layout="constrained")


def finish(
    figure: Figure, axes: Axes, tables: Sequence[pd.DataFrame], title: str, columns: int = 2
) -> Figure:
    """The title, with the legend of `axes` below it if it has one, in so many columns."""
    title = shortened(title, MAX_TITLE)
    handles, labels = axes.get_legend_handles_labels()
    heading = {"fontsize": 13, "fontweight": "bold", "parse_math": False}
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, frameon=False, markerscale=2,
            title=title,
        )  # fmt: skip
        legend.get_title().set(**heading)
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        figure.suptitle(title, **heading)
    if not any(len(table) for table in tables):
        nothing: dict[str, Any] = {"ha": "center", "va": "center", "color": "grey"}
        axes.text(0.5, 0.5, "no reads to show", transform=axes.transAxes, **nothing)
    return figure


def shortened(text: str, most: int) -> str:
    """The text in at most so many characters: of a longer one both ends, which tell most of a command
    and its file. A word is cut only where it fills half of an end."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 2 - 2], text[-(most // 2) + 3 :]
    if text[len(head)] != " " and head.rfind(" ") > len(head) // 2:
        head = head[: head.rfind(" ")]
    if text[-len(tail) - 1] != " " and 0 <= tail.find(" ") < len(tail) // 2:
        tail = tail[tail.find(" ") + 1 :]
    return f"{head.rstrip()} ... {tail.lstrip()}"


def mark_ready(axes: Axes, traces: Sequence[Trace]) -> None:
    """A thin line where each trace says that the program was ready; of two that nearly coincide one has the
    word."""
    moments = sorted(trace.meta.ready_s for trace in traces if trace.meta.ready_s is not None)
    for number, moment in enumerate(moments):
        axes.axvline(moment, color="black", linewidth=0.8, alpha=0.6)
        if number + 1 == len(moments) or moments[-1] - moment > moments[-1] / 10:
            axes.annotate(
                "ready", (moment, 1), xycoords=("data", "axes fraction"), xytext=(-2, -2),
                textcoords="offset points", ha="right", va="top", fontsize=8, rotation=90,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7},
            )  # fmt: skip


def time_axis(axes: Axes, traces: Sequence[Trace], words: str = "") -> None:
    """The times of the traces along x, written out, and where each was ready. A log without times has an
    order only."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if any(trace.meta.wall_s is None for trace in traces):
        axes.set_xlabel("order in the log, which has no times")
        axes.set_xticks([])
        return
    low, high = axes.get_xlim()
    many_digits = high - low < LONG_LABELS
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3 if many_digits else 5))

    def show(value: float, _: int | None) -> str:
        ticks = axes.xaxis.get_majorticklocs()
        step = float(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
        digits = next((digits for digits in range(9) if math.isclose(round(step, digits), step)), 9)
        return f"{value:.{digits}f}"

    axes.xaxis.set_major_formatter(FuncFormatter(show))
    of_logs = all(trace.meta.device_only for trace in traces)
    axes.set_xlabel(
        f"seconds since the start{words} ({'of the log' if of_logs else 'traced, so slowed down'})"
    )
    mark_ready(axes, traces)


def step_of(span: float) -> float:
    """Bytes between two ticks of an axis of so many."""
    return float(2.0 ** np.ceil(np.log2(max(span / 7, 1))))


def byte_axis(axis: Any, span: float) -> None:
    """Ticks at round numbers of binary units, about six of them."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axis.set_major_locator(MultipleLocator(step_of(span)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show_bytes(int(value))))


def whole_numbers() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value - round(value)) < 1e-6 else "")


def durations() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: show_seconds(value))
