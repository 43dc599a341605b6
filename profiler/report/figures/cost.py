"""What the reads of a cold start cost on each device, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from profiler import devices as device_models
from profiler.analysis.reads import readers
from profiler.analysis.simulation.projection import project, requests
from profiler.devices.model import Device
from profiler.report.figures.canvas import COLOURS, durations, finish, new_figure, whole_numbers
from profiler.report.figures.names import command_of, listed, named, names_of, programs_of
from profiler.trace import Trace
from profiler.units import show_path, show_plural, show_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP = ("#222222", "#999999", "#8C564B", "#D0D0D0", "#7F3F98", "#B5A642")
STRIP_COLUMNS, STRIP_HEIGHT = 600, 0.025
"""The strip below the lines that tells who read: colours that are none of a device's, columns at most, and
its share of the axis."""

MAX_POINTS = 5_000
"""Points of a cumulative line; of longer ones every n-th is drawn, and the last."""

LOG_FROM = 20
"""Devices whose totals differ by more than this factor need a logarithmic axis."""

LABEL_HEIGHT = 0.05
"""Of a line of text, as a share of the axis."""


def cost_table(trace: Trace, devices: Sequence[Device] | None = None) -> pd.DataFrame:
    """Cumulative projected cold seconds along all reads of the trace: number (1 for the first read), then
    three columns for each device: by its name, and with " low" and " high" behind it the band. What is
    waited for outside of all reads, such as mapped files, counts with the read after it.
    """
    reads = readers.asked(trace)
    cold = requests(trace, reads)
    by = np.arange(len(reads)) if trace.meta.device_only else cold.requests["read"].to_numpy()
    read = pd.Series(by).where(lambda row: row >= 0).bfill().ffill().fillna(0)
    columns: dict[str, Any] = {"number": np.arange(1, len(reads) + 1)}
    for device in device_models.usual() if devices is None else devices:
        made = project(cold, device)
        spent = np.bincount(read.astype(np.int64), weights=made.times, minlength=len(reads))[: len(reads)]
        columns[device.name] = np.cumsum(spent)
        for which, end in (("low", made.low_s), ("high", made.high_s)):
            ratio = end / made.seconds if made.seconds else 1.0
            columns[f"{device.name} {which}"] = columns[device.name] * ratio
    return pd.DataFrame(columns)


def turns_table(trace: Trace) -> pd.DataFrame:
    """Who read along all reads of the trace: start and end (numbers of reads, from 0, end exclusive), reader
    (as of `readers.names`), merged where one goes on; of many reads in one of STRIP_COLUMNS the one with
    the most."""
    names = pd.Series(readers.names(trace.tasks, readers.asked(trace)), dtype=object)
    codes, kinds = pd.factorize(names)
    width = -(-len(names) // STRIP_COLUMNS) or 1
    columns = -(-len(names) // width)
    counts = np.bincount(
        np.arange(len(codes)) // width * len(kinds) + codes, minlength=columns * len(kinds)
    ).reshape(columns, len(kinds))  # fmt: skip
    most = counts.argmax(axis=1) if counts.size else np.empty(0, np.int64)
    starts = np.flatnonzero(np.append(True, most[1:] != most[:-1])[: len(most)])
    return pd.DataFrame(
        {
            "start": starts * width,
            "end": np.append(starts[1:] * width, len(names))[: len(starts)],
            "reader": np.asarray(kinds, object)[most[starts]],
        }
    )


def _strip(axes: Axes, trace: Trace) -> None:
    """Who made which of the reads, if several programs did."""
    reads = pd.DataFrame({"reader": readers.names(trace.tasks, readers.asked(trace))})
    programs = programs_of([reads])
    if not programs:
        return
    turns = turns_table(trace)
    for colour, (name, members) in zip(STRIP, named(programs, len(STRIP)), strict=False):
        rows = turns[turns["reader"].isin(members).to_numpy(bool)]
        spans = list(zip(rows["start"], rows["end"] - rows["start"], strict=True))
        count = int(reads["reader"].isin(members).sum())
        axes.broken_barh(
            spans, (0, STRIP_HEIGHT), transform=axes.get_xaxis_transform(), facecolor=colour, linewidth=0,
            label=listed(f"{name}: {show_plural(count, 'read')}"), gid="programs",
        )  # fmt: skip


def draw_cost(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Where along the reads a cold start spends its time, a line with its band for each device. Of a cold
    and a warm trace the cold one. Of one trace a strip at the bottom tells the programs that read apart."""
    names = names_of(traces, names)
    kept = [names.index("cold")] if sorted(names) == ["cold", "warm"] else list(range(len(names)))
    tables = [cost_table(traces[position], devices) for position in kept]
    figure = new_figure()
    axes = figure.subplots()
    ends: list[tuple[float, str, str]] = []
    highest = 0.0
    for style, position, table in zip(("-", "--"), kept, tables, strict=False):
        for number, device in enumerate(table.columns[1::3]):
            line = _thinned(table)
            total, high = (
                float(line[name].iloc[-1]) if len(line) else 0.0 for name in (device, f"{device} high")
            )
            highest = max(highest, high)
            colour = COLOURS[number % len(COLOURS)]
            which = f" ({names[position]})" if len(kept) > 1 else ""
            label = f"{device}{which}: {show_seconds(total)}"
            axes.plot(line["number"], line[device], style, color=colour, linewidth=2, gid=label)
            low, top = line[f"{device} low"], line[f"{device} high"]
            axes.fill_between(line["number"], low, top, color=colour, alpha=0.15, linewidth=0)
            if total > 0:
                ends.append((total, label, colour))
    totals = [total for total, _, _ in ends]
    if totals and max(totals) > LOG_FROM * min(totals):
        axes.set_yscale("log")
        axes.set_ylim(min(totals) / 100, highest * 1.5)
    else:
        axes.set_ylim(0, (highest or 1) * 1.06)
    axes.set_xlim(0, max([len(table) for table in tables] + [1]))
    axes.set_xlabel("number of the read (all files)")
    axes.set_ylabel("cumulative seconds waiting for the device (shaded: the band)")
    axes.xaxis.set_major_formatter(whole_numbers())
    axes.yaxis.set_major_formatter(durations())
    axes.grid(alpha=0.25)
    if len(kept) == 1:
        _strip(axes, traces[kept[0]])
    _label_ends(axes, ends)
    meta = traces[kept[0]].meta
    command = command_of(meta) or ", ".join(map(show_path, meta.targets)) or "the reads"
    return finish(figure, axes, tables, f"Projected cold cost of {command}")


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    step = -(-len(table) // MAX_POINTS) or 1
    rows = np.append(np.arange(0, len(table), step), len(table) - 1)
    return table.iloc[np.unique(rows[rows >= 0])]


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its right end, moved apart where two would overlap."""
    ordered = sorted(ends)
    if not ordered:
        return
    to_axes = axes.transScale + axes.transLimits
    places = [float(to_axes.transform((1.0, total))[1]) for total, _, _ in ordered]
    for _ in range(100):  # push neighbours apart until each has its line
        for number in range(1, len(places)):
            missing = LABEL_HEIGHT - (places[number] - places[number - 1])
            if missing > 0:
                places[number - 1] -= missing / 2
                places[number] += missing / 2
    for (_, label, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            label, (1.0, place), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points",
            color=colour, va="center", fontweight="bold", fontsize=10, parse_math=False,
        )  # fmt: skip
