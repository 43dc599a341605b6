"""How far each read starts from where the previous one of its file ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.host import PSEUDO_FILESYSTEMS
from profiler.analysis.reads import access, readers
from profiler.devices.model import Device
from profiler.report.figures.canvas import ALONE, PAIR, Floats, finish, new_figure, whole_numbers
from profiler.report.figures.names import choose_file, listed, names_of, prefix, same_file
from profiler.trace import Trace
from profiler.units import show_bytes, show_count, show_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LABELS = 12
"""Bars of one trace that are labelled with their counts; more would run into each other."""


def gaps_table(trace: Trace, file: int | None) -> pd.DataFrame:
    """The gap histogram of one file, or of all (None) but those that the kernel makes up: columns of
    `access.log2_histogram` plus power: the bin's place on a signed logarithmic axis, 0 for no gap,
    +-(k + 1) for gaps from 2**k to 2**(k + 1) bytes.
    """
    classified = access.classify(readers.asked(trace))
    is_pseudo = trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    numbers = classified["file"].to_numpy(np.int64)
    table = access.gap_histogram(classified[~is_pseudo[numbers] if file is None else numbers == file])
    power = [
        int(low).bit_length() if low >= 0 else -int(-high).bit_length()
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    return table.assign(power=pd.Series(power, dtype="int64"))


def draw_gaps(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """How far each read starts from where the previous one of its file ended; of all files where none is in
    focus."""
    number = choose_file(traces[0], file)
    shown = "all files" if number is None else show_path(traces[0].files["path"].iloc[number])
    numbers = [None] * len(traces) if number is None else same_file(traces, number)
    tables = [gaps_table(trace, number) for trace, number in zip(traces, numbers, strict=True)]
    figure = new_figure()
    axes = figure.subplots()
    width = 0.84 / len(tables)
    for position, (name, table) in enumerate(zip(names_of(traces, names), tables, strict=True)):
        place = table["power"].to_numpy() + (position - (len(tables) - 1) / 2) * width
        counts = table["count"].to_numpy()
        seeks = int(counts[table["power"] != 0].sum())
        label = (
            f"{prefix(name)}{show_count(seeks)} with a gap, {show_count(int(counts.sum()) - seeks)} without"
        )
        axes.bar(
            place, counts, width, label=listed(label), edgecolor="white", hatch="////" if position else "",
            color=(PAIR[position] if len(tables) > 1 else ALONE)["color"],
        )  # fmt: skip
        _label_bars(axes, place, counts, ("right", "left")[position] if len(tables) > 1 else "center")
    powers = np.concatenate([table["power"].to_numpy() for table in tables])
    counts = np.concatenate([table["count"].to_numpy() for table in tables])
    back, forth = max(1, -int(powers.min(initial=0))), max(11, int(powers.max(initial=0)))
    axes.set_xlim(-back - 1, forth + 1)
    marked = range(6, 64, 5)  # 32 B, 1 KiB, 32 KiB, 1 MiB ...: where these bins begin
    ticks = [
        *(-power for power in marked if power <= back),
        0,
        *(power for power in marked if power <= forth),
    ]
    axes.set_xticks([tick - np.sign(tick) * 0.5 for tick in ticks], [_gap_label(tick) for tick in ticks])
    axes.axvline(0, color="black", linewidth=0.8, alpha=0.4, zorder=0)
    axes.set_xlabel("gap from the end of the previous read (logarithmic; negative: backwards)")
    axes.set_ylabel("reads")
    if len(counts) and counts.max() > 50 * counts.min():
        axes.set_yscale("log")
        axes.set_ylim(0.7, counts.max() * 2.5)
    axes.yaxis.set_major_formatter(whole_numbers())
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return finish(figure, axes, tables, f"Gaps between reads of {shown}")


def _label_bars(axes: Axes, places: Floats, counts: npt.NDArray[np.int64], side: str) -> None:
    """The counts above their bars, if the bars are few."""
    if len(counts) <= MAX_LABELS:
        for place, count in zip(places, counts, strict=True):
            axes.annotate(
                show_count(int(count)), (place, count), xytext=(0, 3), textcoords="offset points", ha=side,
                fontsize=9,
            )  # fmt: skip


def _gap_label(power: int) -> str:
    if power == 0:
        return "0"
    return ("-" if power < 0 else "") + show_bytes(2 ** (abs(power) - 1))
