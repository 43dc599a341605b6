"""Where each read was: offset against time, and against the number of the read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from profiler.analysis.cost import below_the_program
from profiler.analysis.cost.charges import Charges, charges
from profiler.analysis.intervals import exact_sum
from profiler.analysis.reads import access, attribution, readers
from profiler.analysis.reads.roles import chain
from profiler.devices.model import Device
from profiler.report.figures.canvas import (
    ALONE,
    COLOURS,
    PAIR,
    SIZE,
    byte_axis,
    finish,
    new_figure,
    time_axis,
    whole_numbers,
)
from profiler.report.figures.names import (
    MAX_NAME,
    NOT_KNOWN,
    OTHER_PROGRAMS,
    choose_file,
    listed,
    named,
    names_of,
    prefix,
    programs_of,
    same_file,
)
from profiler.report.figures.segments import MANY, VISIBLE, near, segments
from profiler.report.figures.stack import MAPPED_COLOUR, draw_files
from profiler.trace import Trace
from profiler.units import show_bytes, show_count, show_path, show_plural, show_short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANSWERED = {
    "hit": ("in the page cache", "#56B4E9"),
    "unknown": ("not known whether cached", "#999999"),
    "direct": ("past the page cache", "#009E73"),
    "miss": ("missed the page cache", "#D55E00"),
}
"""Words and colour for how a read was answered, where that was observed; drawn in this order, so that what
had to be waited for lies on top of the pale hits."""

PALE = 0.65
"""Share of white in the colour of what cost nothing. Marks that are seen through would add up."""

OTHER_STRUCTURES = "other structures"
MAPPED = {True: "mapped in", False: "mapped in (simulated)"}

MAX_MEMBERS, MEMBER_HEIGHT = 5, 1.8
"""Files of a backing chain that have axes, the image first, and inches that each adds to the picture."""

SHAPES, LARGER = ("s", "^", "o", "D", "v", "P"), 2.6
"""Marks for the reads of each program, where colours tell something else: those of the first are drawn as
ever, those of the others are larger by so many points."""
GREY = "#555555"

Group = tuple[str, dict[str, Any], pd.DataFrame]
"""Reads that are drawn alike: what to call them, colour and width of their marks, and their table."""
Shape = tuple[str, list[bytes], str]
"""A mark, the programs whose reads have it, and what to call them."""


def offsets_table(trace: Trace, file: int) -> pd.DataFrame:
    """The reads of one file whose offset is known: time_s, number (1 for its first read), offset and size in
    bytes, seek (bool), answer (`below_the_program.ANSWERS`), structure (of the image; "": no map of it),
    reader (program, bytes, as of `readers.names`). Of a log of the block layer it is the requests of a disk.
    """
    if trace.meta.device_only:
        reads = readers.asked(trace).assign(answer="unknown")
    else:
        reads = below_the_program.answers(trace)
    rows = reads[(reads["file"] == file).to_numpy(bool)]
    made = pd.DataFrame(
        {
            "time_s": rows["time_ns"].to_numpy(np.int64) / 1e9,
            "number": np.arange(1, len(rows) + 1),
            "offset": rows["offset"].to_numpy(np.int64, na_value=-1),
            "size": rows["size"].to_numpy(np.int64, na_value=0),
            "seek": access.seeks(rows),
            "answer": rows["answer"].to_numpy(object),
            "structure": attribution.structure_of(rows, trace.structures),
            "reader": readers.names(trace.tasks, rows),
        }
    )
    return made[made["offset"] >= 0].reset_index(drop=True)


def draw_offsets(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Offset against time and against the number of the read, on one offset axis; each file that lies
    behind the image in focus has axes of its own below. The reads of a single trace are coloured by the
    structure of the image that they are of, or where no map of the file is known by the program that made
    them, if they are several; pale where the page cache answered. Else by that alone. Where the colours are
    taken, shapes tell the programs apart. What was mapped in has a colour of its own.

    Where no file is named and none is in focus, all files are drawn (`stack.draw_files`).
    """
    charged = charges(traces[0])
    number = choose_file(traces[0], file, charged)
    if number is None:
        return draw_files(traces, None, devices, names)
    members = chain(traces[0].meta.images, number)[:MAX_MEMBERS] if file is None else [number]
    tables, mapped, views = _tables(traces, members, charged)
    figure = new_figure(SIZE[1] + MEMBER_HEIGHT * (len(members) - 1))
    grid = figure.subplots(len(members), 2, sharey="row", sharex="col", squeeze=False)
    answered = len(traces) == 1 and traces[0].saw("cache")
    has_map = len(traces) == 1 and bool((tables[0]["structure"] != "").any())
    programs = programs_of(tables)
    coloured = has_map or (len(traces) == 1 and len(programs) > 1)
    if has_map:
        groups = _by(tables[0], "structure", OTHER_STRUCTURES)
    elif coloured:
        groups = _by(tables[0], "reader", OTHER_PROGRAMS)
    else:
        groups = _by_answer(tables[0]) if answered else _by_trace(names_of(traces, names), tables)
    if len(mapped):
        groups = groups if any(len(table) for table in tables) else []
        groups = [(MAPPED[charged.observed], ALONE | {"color": MAPPED_COLOUR}, mapped), *groups]
    shapes = _shapes(tables, programs) if has_map or len(traces) > 1 else []
    for name, mark, table in groups:
        label = _label(name, mark, table)
        for member, ((left, right), (low, high, _)) in enumerate(zip(grid, views, strict=True)):
            rows = table[(table["member"] == member).to_numpy(bool)]
            for axes, column in ((left, "time_s"), (right, "number")):
                segments(axes, rows, column, (high - low) * VISIBLE, mark, label)
                if table is not mapped:
                    _shape(axes, rows, column, mark, shapes)
    for shape, _, label in shapes:
        grid[0][0].plot(
            [], [], linestyle="", marker=shape, markersize=4, color=GREY, label=label, gid="programs"
        )
    for (left, right), (low, high, base), member in zip(grid, views, members, strict=True):
        left.set_ylim(low, high)
        byte_axis(left.yaxis, high - low)
        alone = "the disk" if traces[0].meta.device_only else "the file"
        of = alone if len(members) == 1 else show_short(_name(traces[0], member), MAX_NAME)
        left.set_ylabel(f"offset in {of}" + (f", from {show_count(base)} on" if base else ""))
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.margins(x=0.02)
    left, right = grid[-1]
    time_axis(left, traces)
    right.set_xlabel("number of the read" + (" or of the request of mapped pages" if len(mapped) else ""))
    right.xaxis.set_major_formatter(whole_numbers())
    right.locator_params(axis="x", nbins=6)
    state = f"{traces[0].meta.cache}, " if traces[0].meta.cache in ("cold", "warm") else ""
    words = "pale: in the page cache" if coloured else "hit or miss: observed"
    note = f" ({state}{words})" if answered else ""
    shown = show_path(traces[0].files["path"].iloc[number])
    if len(members) > 1:
        shown = f"{show_short(_name(traces[0], members[0]), MAX_NAME)} and what lies behind it"
    what = "Reads" if not len(mapped) else "Reads and mapped pages" if len(tables[0]) else "Mapped pages"
    title = f"{what} of {shown}{_by_whom(traces, tables)}{note}"
    return finish(figure, grid[0][0], [*tables, mapped], title)


def _tables(
    traces: Sequence[Trace], members: Sequence[int], charged: Charges
) -> tuple[list[pd.DataFrame], pd.DataFrame, list[tuple[float, float, int]]]:
    """The reads of these files for each trace, with the column member (place in `members`); the requests of
    mapped pages of a single trace; and of each member the offsets to show and what was taken from them, as
    of `near`."""
    parts: list[list[pd.DataFrame]] = []
    views: list[tuple[float, float, int]] = []
    for place, member in enumerate(members):
        tables = [
            offsets_table(trace, number)
            for trace, number in zip(traces, same_file(traces, member), strict=True)
        ]
        mapped = _mapped(charged, member).iloc[: None if len(traces) == 1 else 0]
        if len(mapped):
            time = np.concatenate([tables[0]["time_s"], mapped["time_s"]])
            rank = np.empty(len(time), np.int64)
            rank[np.argsort(time, kind="stable")] = np.arange(1, len(time) + 1)
            tables[0] = tables[0].assign(number=rank[: len(tables[0])])
            mapped = mapped.assign(number=rank[len(tables[0]) :])
        shown, low, high, base = near([*tables, mapped])
        parts.append([table.assign(member=place) for table in shown])
        views.append((low, high, base))
    *tables, mapped = (pd.concat(columns, ignore_index=True) for columns in zip(*parts, strict=True))
    return tables, mapped, views


def _mapped(charged: Charges, file: int) -> pd.DataFrame:
    """The requests of mapped pages of a file: time_s, number (to be counted), offset, size."""
    rows = charged.requests
    rows = rows[((rows["file"] == file) & (rows["how"] == "mapped")).to_numpy(bool)]
    return pd.DataFrame(
        {
            "time_s": rows["time_ns"].to_numpy(np.int64) / 1e9,
            "number": np.arange(1, len(rows) + 1),
            "offset": rows["offset"].to_numpy(np.int64),
            "size": rows["size"].to_numpy(np.int64),
        }
    )


def _label(name: str, mark: dict[str, Any], table: pd.DataFrame) -> str:
    of = mark.get("of", table)  # what the label counts, hits and all
    if not name and "of" in mark:
        return "_pale"  # no line of its own in the legend
    if "seek" in of:
        words = f"{show_plural(len(of), 'read')}, {show_plural(int(of['seek'].sum()), 'seek')}"
    else:
        words = show_plural(len(of), "request")
    return listed(f"{prefix(name)}{words}, {show_bytes(exact_sum(of['size'].to_numpy(np.int64)))}")


def _name(trace: Trace, file: int) -> bytes:
    name: bytes = os.path.basename(trace.files["path"].iloc[file])
    return name


def _by_whom(traces: Sequence[Trace], tables: Sequence[pd.DataFrame]) -> str:
    """Who alone read the file, where others read other files."""
    found = {name for table in tables for name in table["reader"].unique()}
    if len(found) != 1 or found == {b""}:
        return ""
    for trace in traces:
        reads = trace.reads()
        if reads["pid"].nunique() > 1 and set(readers.names(trace.tasks, reads)) - found - {b""}:
            return f" by {show_short(found.pop(), MAX_NAME)}"
    return ""


def _shapes(tables: Sequence[pd.DataFrame], programs: Sequence[bytes]) -> list[Shape]:
    """A shape for each of the programs; see SHAPES."""
    made: list[Shape] = []
    for shape, (name, members) in zip(SHAPES, named(programs, len(SHAPES)), strict=False):
        counts = [int(table["reader"].isin(members).sum()) for table in tables]
        words = f"{show_count(counts[0])} and " if len(counts) > 1 else ""
        made.append((shape, members, listed(f"{name}: {words}{show_plural(counts[-1], 'read')}")))
    return made


def _shape(
    axes: Axes, table: pd.DataFrame, column: str, mark: dict[str, Any], shapes: Sequence[Shape]
) -> None:
    """Larger marks of their shapes on the reads of all programs but the first."""
    for shape, members, _ in shapes[1:]:
        rows = table[table["reader"].isin(members).to_numpy(bool)]
        axes.plot(
            rows[column], rows["offset"] + rows["size"] / 2, linestyle="", marker=shape, color=mark["color"],
            markersize=mark["width"] + LARGER, markeredgewidth=0, gid="shapes", rasterized=len(rows) > MANY,
        )  # fmt: skip


def _by_trace(names: Sequence[str], tables: Sequence[pd.DataFrame]) -> list[Group]:
    marks = PAIR if len(tables) > 1 else (ALONE,)
    return list(zip(names, marks, tables, strict=True))


def _by_answer(table: pd.DataFrame) -> list[Group]:
    """The answers that there are; misses even if there are none."""
    groups = [
        (words, ALONE | {"color": colour}, table[(table["answer"] == answer).to_numpy(bool)])
        for answer, (words, colour) in ANSWERED.items()
    ]
    return [group for group in groups if len(group[2]) or group is groups[-1]]


def _by(table: pd.DataFrame, column: str, others: str) -> list[Group]:
    """The values of that column with the most reads, the rest together; pale hits below all misses."""
    named = table[column].value_counts().index.tolist()
    named = named if len(named) <= len(COLOURS) else named[: len(COLOURS) - 1]
    pale: list[Group] = []
    strong: list[Group] = []
    for kind, colour in zip([*named, None], COLOURS, strict=False):
        rows = table[table[column] == kind if kind is not None else ~table[column].isin(named)]
        hit = (rows["answer"] == "hit").to_numpy(bool)
        if hit.any():
            pale.append(("", ALONE | {"color": paler(colour), "of": rows}, rows[hit]))
        if len(rows):
            name = others if kind is None else show_short(kind, MAX_NAME) or NOT_KNOWN
            strong.append((name, ALONE | {"color": colour, "of": rows}, rows[~hit]))
    return pale + strong


def paler(colour: str) -> str:
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * PALE):02x}" for part in parts)
