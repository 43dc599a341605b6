"""What a start brings in of all its files: a band for each, in the order of first touch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from profiler.analysis.cost.charges import Charges, charges
from profiler.analysis.cost.costs import by_file, ranking
from profiler.analysis.intervals import exact_sum
from profiler.devices.model import Device
from profiler.report.figures.canvas import SIZE, finish, new_figure, shortened, time_axis, whole_numbers
from profiler.report.figures.names import command_of, names_of
from profiler.report.figures.segments import VISIBLE, segments
from profiler.trace import Trace
from profiler.units import show_bytes, show_path, show_plural, show_seconds, show_short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BANDS = 18
"""Bands of single files; the cheaper ones share the last. More would be too low to see anything in."""

INSIDE = 0.8
"""Of a band's height what its offsets span."""

_BAND, _REST = 0.34, 1.7  # inches of a band, and of title, legend and axes
MAX_LABEL = 34
"""Characters of a file's name at the side."""

MAX_COMMAND = 32
"""Characters of the command in the title, which says more behind it."""

MAPPED_COLOUR = "#7F3F98"
MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "read": ("by reads", {"color": "#0072B2", "width": 3.4, "marker": "s"}),
    "mapped": ("mapped", {"color": MAPPED_COLOUR, "width": 4.6, "marker": "^"}),
    "metadata": ("metadata of file systems", {"color": "#009E73", "width": 4.2, "marker": "D"}),
    "device": ("requests of disks", {"color": "#0072B2", "width": 3.4, "marker": "s"}),
}
"""What to call what came in in each way (`charges.HOWS`), and its marks: told apart without colours too."""


def files_table(trace: Trace, charged: Charges) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The requests of a cold start with their place in the picture, and for each band its name and what it
    cost.

    Columns: time_s; number, from 1; how; size, bytes; band, from 0 in the order of first touch; offset and
    height, where in its band a request lies, as shares of it. A file's offsets go from the first to the last
    that is asked for; in the band of the other files each file has an equal part. The last band is that of
    the other files, if there is one.
    """
    rows = charged.requests
    shares = by_file(ranking(trace, charged))
    dearest = [file for file in shares if file >= 0][:MAX_BANDS]
    own = (rows["file"] < 0).to_numpy(bool)
    file = rows["file"].to_numpy(np.int64)
    # files by number, file systems by name, everything else as one
    is_other = ~own & ~np.isin(file, dearest)
    key = np.where(own, rows["of"].to_numpy(object), file.astype(object))
    key[is_other] = None
    others = list(dict.fromkeys(file[is_other].tolist()))
    keys = [value for value in dict.fromkeys(key.tolist()) if value is not None] + [None] * bool(others)
    places = {value: number for number, value in enumerate(keys)}
    start = rows["offset"].to_numpy(np.float64)
    end = start + rows["size"].to_numpy(np.float64)
    group = np.where(own, key, file.astype(object))
    frame = pd.DataFrame({"group": group, "start": start, "end": end})
    low = frame.groupby("group", sort=False)["start"].transform("min").to_numpy(np.float64)
    high = frame.groupby("group", sort=False)["end"].transform("max").to_numpy(np.float64)
    span = np.maximum(high - low, 1.0)
    scale, shift = np.ones(len(rows)), np.zeros(len(rows))
    if others:
        part = {number: place for place, number in enumerate(others)}
        scale[is_other] = 1 / len(others)
        shift[is_other] = [part[number] / len(others) for number in file[is_other].tolist()]
    table = pd.DataFrame(
        {
            "time_s": rows["time_ns"].to_numpy(np.int64) / 1e9,
            "number": np.arange(1, len(rows) + 1),
            "how": rows["how"],
            "size": rows["size"],
            "band": np.array([places[value] for value in key], np.int64),
            "offset": shift + (start - low) / span * scale,
            "height": (end - start) / span * scale,
        }
    )
    seconds = rows["waited_s"]
    costs = [_cost(table, seconds, number) for number in range(len(keys))]
    return table, _labels(trace, keys, len(others)), costs


def _cost(table: pd.DataFrame, seconds: pd.Series, band: int) -> str:
    rows = (table["band"] == band).to_numpy(bool)
    waited = seconds[rows]
    words = f"{show_plural(int(rows.sum()), 'request')}, "
    words += show_bytes(exact_sum(table["size"][rows].to_numpy(np.int64)))
    return words + ("" if waited.isna().all() else f", {show_seconds(float(waited.sum()))}")


def _labels(trace: Trace, keys: Sequence[Any], others: int) -> list[str]:
    """What to call each band: files by their names, with the folder where two have the same."""
    paths = [trace.files["path"].iloc[value] for value in keys if isinstance(value, int)]
    same = Counter(map(os.path.basename, paths))

    def label(value: Any) -> str:
        if value is None:
            return f"{show_plural(others, 'other file')}"
        if isinstance(value, str):
            return show_short(value, MAX_LABEL)
        path = trace.files["path"].iloc[value]
        name = os.path.basename(path)
        return show_short(name if name and same[name] == 1 else path, MAX_LABEL)

    return [label(value) for value in keys]


def draw_files(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """A band for each file that costs anything: where in it each request lies, against time and against the
    number of the request. Of two traces the first stands on the left, the second on the right, both by time;
    what files are called and what they cost is that of the first.

    What was read, what was mapped and what file systems read of their own have marks of their own.
    """
    charged = [charges(trace) for trace in traces]
    table, labels, costs = files_table(traces[0], charged[0])
    figure = new_figure(max(SIZE[1], _REST + _BAND * len(labels)))
    left, right = figure.subplots(1, 2)
    _draw(left, table, "time_s", labels)
    time_axis(left, traces[:1])
    if len(traces) > 1:
        second, its_labels, its_costs = files_table(traces[1], charged[1])
        _draw(right, second, "time_s", its_labels)
        time_axis(right, traces[1:])
        tables = [table, second]
        for axes, name, costs_of in zip(
            (left, right), names_of(traces, names), (costs, its_costs), strict=True
        ):
            axes.set_title(name, fontsize=11, parse_math=False)
            _costs(axes, costs_of)
    else:
        tables = [table]
        _draw(right, table, "number", [""] * len(labels))
        _costs(right, costs)
        right.set_xlabel("number of the request")
        right.xaxis.set_major_formatter(whole_numbers())
        right.locator_params(axis="x", nbins=5)
    meta = traces[0].meta
    what = "of the log" if meta.device_only else "seen by the tracer" if charged[0].observed else "simulated"
    state = f"{meta.cache}; " if meta.cache in ("cold", "warm") else ""
    command = command_of(meta) or ", ".join(map(show_path, meta.targets)) or "the start"
    title = f"What {shortened(command, MAX_COMMAND)} brings in ({state}requests {what})"
    return finish(figure, left, tables, title, columns=len(MARKS))


def _draw(axes: Axes, table: pd.DataFrame, column: str, labels: Sequence[str]) -> None:
    bands = len(labels)
    for how, (words, mark) in MARKS.items():
        rows = table[(table["how"] == how).to_numpy(bool)]
        if not len(rows):
            continue
        size = show_bytes(exact_sum(rows["size"].to_numpy(np.int64)))
        label = f"{words}: {show_plural(len(rows), 'request')}, {size}"
        # bands go down, offsets in a band go up
        bottom = rows["band"] + (1 + INSIDE) / 2 - INSIDE * (rows["offset"] + rows["height"])
        placed = rows.assign(offset=bottom, size=INSIDE * rows["height"])
        segments(axes, placed, column, max(bands, 1) * VISIBLE * 2, mark, label)
    axes.set_ylim(max(bands, 1), 0)
    axes.set_yticks(np.arange(bands) + 0.5, labels, fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    for band in range(bands):
        if band % 2 == 0:
            axes.axhspan(band, band + 1, color="black", alpha=0.04, linewidth=0)
    axes.grid(axis="x", alpha=0.25)
    axes.margins(x=0.03)


def _costs(axes: Axes, costs: Sequence[str]) -> None:
    """What each band cost, at the right side."""
    for band, words in enumerate(costs):
        axes.annotate(
            words, (1, band + 0.5), xycoords=("axes fraction", "data"), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=8, color="#333333", parse_math=False,
        )  # fmt: skip
