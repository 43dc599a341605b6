"""Stretches of offsets as marks and lines, few enough for a file of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from profiler.report.figures.canvas import Floats, step_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VISIBLE = 1 / 400
"""A read lower than this share of the axis is drawn as a mark, or it would be thinner than a pixel."""

FAR = 64
"""Offsets that begin behind so many times the range that they span are drawn from the first of them on."""

MANY = 5_000
"""More marks than this are an image inside an SVG: as shapes they would make a file of many megabytes."""

MANY_SEGMENTS = 50_000
"""More long reads than this are joined where they overlap in one column of COLUMNS; a picture has fewer
pixels."""
COLUMNS = 3_000


def segments(
    axes: Axes, table: pd.DataFrame, column: str, visible: float, mark: dict[str, Any], label: str
) -> None:
    """Each read from its offset to offset + size: a line, or a mark where a line would be too short to
    see."""
    x, low = table[column].to_numpy(np.float64), table["offset"].to_numpy(np.float64)
    high = low + table["size"].to_numpy(np.float64)
    short = high - low < visible
    style: dict[str, Any] = {"color": mark["color"], "rasterized": len(table) > MANY}
    axes.plot(
        x[short], (low[short] + high[short]) / 2, linestyle="", marker=mark.get("marker", "s"),
        markersize=mark["width"], markeredgewidth=0, label=label, gid="short reads", **style,
    )  # fmt: skip
    x, low, high = joined(x[~short], low[~short], high[~short])
    line = np.column_stack([low, high, np.full(len(x), np.nan)]).ravel()
    axes.plot(
        np.repeat(x, 3), line, linewidth=mark["width"], solid_capstyle="butt", gid="long reads", **style
    )


def joined(x: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """Segments as they are or, if they are many, joined where they overlap in one column of the picture."""
    if len(x) <= MANY_SEGMENTS:
        return x, low, high
    width = (x.max() - x.min()) / COLUMNS or 1.0
    column = np.floor((x - x.min()) / width)
    order = np.lexsort((low, column))
    column, low, high = column[order], low[order], high[order]
    shift = column * (high.max() + 1)  # columns apart, so that one running maximum serves them all
    reached = np.maximum.accumulate(high + shift)
    begins = np.append(True, (low + shift)[1:] > reached[:-1])
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(low)) - 1
    return x.min() + (column[starts] + 0.5) * width, low[starts], (reached - shift)[ends]


def near(tables: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], float, float, int]:
    """The tables with `base` taken from their offsets, the offsets to show with a margin, and `base`: bytes,
    0 but where all offsets lie so near to each other and so far from 0 that no three digits tell them
    apart. Floats do not tell offsets near 2**63 apart either.
    """
    table = pd.concat(tables)
    if not len(table):
        return [*tables], 0.0, 4096.0, 0
    # a read may end at 2**63
    ends = table["offset"].to_numpy(np.uint64) + table["size"].to_numpy(np.uint64)
    low, high = int(table["offset"].min()), int(ends.max())
    low = 0 if low < 0.3 * high else low
    step = int(step_of(high - low))
    base = low // step * step if low > FAR * (high - low) else 0
    margin = max(0.03 * (high - low), 1.0)
    near = [one.assign(offset=one["offset"] - base) for one in tables] if base else [*tables]
    return near, low - base - margin, high - base + margin, base
