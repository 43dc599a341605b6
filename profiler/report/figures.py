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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler import devices as device_models
from profiler.analysis import access, attribution, observed
from profiler.analysis.projection import project, requests
from profiler.devices.model import Device
from profiler.errors import ColdseekError, UsageError
from profiler.trace import SUFFIX, Meta, Trace
from profiler.units import show_bytes, show_count, show_path, show_plural, show_seconds
from profiler.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette ("Color Universal Design", 2008), told apart with any colour vision."""

ALONE = {"color": "#0072B2", "width": 2.2}
PAIR = ({"color": "#56B4E9", "width": 6.0}, {"color": "#D55E00", "width": 2.0})
"""Colour, and points of marks and lines. Of two traces the first is drawn broad and pale, the second narrow
and strong on top of it: where they agree, both show, with and without colours."""

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

OTHERS = "other structures"

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

MAX_POINTS = 5_000
"""Points of a cumulative line; of longer ones every n-th is drawn, and the last."""

MAX_TITLE = 84
"""Characters of a title: more do not fit in the width of the figure."""

MAX_NAME = 30
"""A longer name of a trace's file would crowd the legend."""

MAX_LABELS = 12
"""Bars of one trace that are labelled with their counts; more would run into each other."""

LOG_FROM = 20
"""Devices whose totals differ by more than this factor need a logarithmic axis."""

LABEL_HEIGHT = 0.05
"""Of a line of text, as a share of the axis."""

_SIZE, _DPI = (11.0, 5.6), 150
_STYLE: Any = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
Floats = npt.NDArray[np.float64]
Group = tuple[str, dict[str, Any], pd.DataFrame]
"""Reads that are drawn alike: what to call them, colour and width of their marks, and their table."""


def draw(
    traces: Sequence[Trace],
    kind: str = "offsets",
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """The picture of `kind` (see KINDS) of one trace or of two, such as a cold and a warm one.

    file: path or name of the file to look at (offsets, gaps); None: the one in focus of the first trace.
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
    with matplotlib.rc_context(_STYLE):
        return KINDS[kind](traces, file, devices, names)


def save(figure: Figure, path: str) -> None:
    """Write the figure to `path`, whole or not at all; PNG or SVG by its suffix. Raises ColdseekError."""
    import matplotlib

    suffix = check_suffix(path)
    with replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script the font lacks
        if figure.get_layout_engine() is not None:
            # the layout alone, once: matplotlib would draw all marks of an SVG for it and throw them away
            figure.draw_without_rendering()
            figure.set_layout_engine(None)
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coldseek"}):
            metadata = {"Date": None} if suffix == ".svg" else None  # the same input gives the same file
            figure.savefig(file, format=suffix[1:], dpi=_DPI, metadata=metadata)


def check_suffix(path: str) -> str:
    """The suffix of `path`; raises ColdseekError, listing those there are, if it is not one of SUFFIXES."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot draw {show_path(path)}: name a file that ends in {' or '.join(SUFFIXES)}")
    return suffix


# ---- which file, and what to call things ------------------------------------------------------------------


def choose_file(trace: Trace, file: str | bytes | None = None) -> int:
    """The number of the file with that path or, if only one has it, that name; None: the one in focus; -1:
    no reads.

    Raises ColdseekError if it was not read.
    """
    from profiler.report.summary import focus_path

    read = np.unique(trace.reads()["file"].to_numpy()).tolist()
    paths = {number: trace.files["path"].iloc[number] for number in read}
    wanted = focus_path(trace) if file is None else os.fsencode(file)
    if wanted is None:
        return -1
    found = [number for number, path in paths.items() if path == wanted]
    found = found or [number for number, path in paths.items() if os.path.basename(path) == wanted]
    if len(found) != 1:
        which = f"{len(found)} files of that name were read" if found else "no read of it was recorded"
        raise ColdseekError(f"cannot draw {show_path(wanted)}: {which}; give the whole path")
    return int(found[0])


def _file_of_all(traces: Sequence[Trace], file: str | bytes | None) -> tuple[str, list[int]]:
    """What to call the file, and its number in each trace; -1 where it was not read."""
    numbers = [choose_file(traces[0], file)]
    if numbers[0] < 0:
        return "no file", [-1] * len(traces)
    path = traces[0].files["path"].iloc[numbers[0]]
    for trace in traces[1:]:
        same = np.flatnonzero((trace.files["path"] == path).to_numpy(bool)).tolist()
        numbers.append(same[0] if same else -1)
    return show_path(path), numbers


def file_names(paths: Sequence[str]) -> list[str]:
    """What to call the traces in two files: by what tells their paths apart; nothing if that is long."""
    if len(paths) != 2:
        return []
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = [show_path(os.path.relpath(path, shared).removesuffix(SUFFIX)) for path in paths]
    return names if names[0] != names[1] and max(map(len, names)) <= MAX_NAME else []


def _names(traces: Sequence[Trace], names: Sequence[str] = ()) -> list[str]:
    """What to call each trace: by its cache state if that tells them apart, and is all that does."""
    states = [trace.meta.cache for trace in traces]
    alike = len({trace.meta.command for trace in traces}) == 1
    if len(set(states)) == len(states) and set(states) <= {"cold", "warm"} and (alike or not names):
        return states
    return list(names) or (["first", "second"] if len(traces) > 1 else [""])


def _prefix(name: str) -> str:
    return f"{name}: " if name else ""


def _command(meta: Meta) -> str:
    return " ".join(show_path(part) for part in meta.command)


# ---- offsets ----------------------------------------------------------------------------------------------


def offsets_table(trace: Trace, file: int) -> pd.DataFrame:
    """The reads of one file whose offset is known: time_s, number (1 for its first read), offset and size in
    bytes, seek (bool), answer (of `observed.ANSWERS`), structure (of the image; "": no map of it is known).
    """
    reads = observed.answers(trace)
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
        }
    )
    return made[made["offset"] >= 0].reset_index(drop=True)


def draw_offsets(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Offset against time and against the number of the read, on one offset axis. The reads of a single
    trace are coloured by the structure of the image that they are of, pale where the page cache answered; or
    by that alone, where no map of the file is known.
    """
    shown, numbers = _file_of_all(traces, file)
    tables = [offsets_table(trace, number) for trace, number in zip(traces, numbers, strict=True)]
    figure = _figure()
    left, right = figure.subplots(1, 2, sharey=True)
    tables, low, high, base = _near(tables)
    answered = len(traces) == 1 and traces[0].saw("cache")
    if len(traces) == 1 and (tables[0]["structure"] != "").any():
        groups = _by_structure(tables[0])
    else:
        groups = _by_answer(tables[0]) if answered else _by_trace(_names(traces, names), tables)
    for name, mark, table in groups:
        of = mark.get("of", table)  # what the label counts, hits and all
        words = f"{show_plural(len(of), 'read')}, {show_plural(int(of['seek'].sum()), 'seek')}"
        label = f"{_prefix(name)}{words}, {show_bytes(int(of['size'].sum()))}"
        if not name and "of" in mark:
            label = "_pale"  # no line of its own in the legend
        for axes, column in ((left, "time_s"), (right, "number")):
            _segments(axes, table, column, (high - low) * VISIBLE, mark, label)
    left.set_ylim(low, high)
    _byte_axis(left.yaxis, high - low)
    left.set_ylabel(f"offset in the file, from {show_count(base)} on" if base else "offset in the file")
    timed = all(trace.meta.wall_s is not None for trace in traces)
    left.set_xlabel(
        "seconds since the start (traced, so slowed down)"
        if timed
        else "order in the log, which has no times"
    )
    if not timed:
        left.set_xticks([])
    right.set_xlabel("number of the read")
    right.xaxis.set_major_formatter(_counts())
    right.locator_params(axis="x", nbins=6)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.margins(x=0.02)
    state = f"{traces[0].meta.cache}, " if traces[0].meta.cache in ("cold", "warm") else ""
    mapped = answered and (tables[0]["structure"] != "").any()
    words = "pale: in the page cache" if mapped else "hit or miss: observed"
    note = f" ({state}{words})" if answered else ""
    return _finish(figure, left, tables, f"Reads of {shown}{note}")


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


def _by_structure(table: pd.DataFrame) -> list[Group]:
    """The structures with the most reads, the rest together; pale hits below all misses."""
    named = table["structure"].value_counts().index[: len(COLOURS) - 1].tolist()
    pale: list[Group] = []
    strong: list[Group] = []
    for kind, colour in zip([*named, OTHERS], COLOURS, strict=False):
        rows = table[table["structure"] == kind if kind != OTHERS else ~table["structure"].isin(named)]
        hit = (rows["answer"] == "hit").to_numpy(bool)
        if hit.any():
            pale.append(("", ALONE | {"color": _paler(colour), "of": rows}, rows[hit]))
        if len(rows):
            strong.append((show_path(kind), ALONE | {"color": colour, "of": rows}, rows[~hit]))
    return pale + strong


def _paler(colour: str) -> str:
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * PALE):02x}" for part in parts)


def _segments(
    axes: Axes, table: pd.DataFrame, column: str, visible: float, mark: dict[str, Any], label: str
) -> None:
    """Each read from its offset to offset + size: a line, or a mark where a line would be too short to
    see."""
    x, low = table[column].to_numpy(np.float64), table["offset"].to_numpy(np.float64)
    high = low + table["size"].to_numpy(np.float64)
    short = high - low < visible
    style: dict[str, Any] = {"color": mark["color"], "rasterized": len(table) > MANY}
    axes.plot(
        x[short], (low[short] + high[short]) / 2, linestyle="", marker="s", markersize=mark["width"],
        markeredgewidth=0, label=label, gid="short reads", **style,
    )  # fmt: skip
    x, low, high = _joined(x[~short], low[~short], high[~short])
    line = np.column_stack([low, high, np.full(len(x), np.nan)]).ravel()
    axes.plot(
        np.repeat(x, 3), line, linewidth=mark["width"], solid_capstyle="butt", gid="long reads", **style
    )


def _joined(x: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
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


def _near(tables: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], float, float, int]:
    """The tables with `base` taken from their offsets, the offsets to show with a margin, and `base`: bytes,
    0 but where all offsets lie so near to each other and so far from 0 that no three digits tell them
    apart. Floats do not tell offsets near 2**63 apart either.
    """
    table = pd.concat(tables)
    if not len(table):
        return [*tables], 0.0, 4096.0, 0
    low, high = int(table["offset"].min()), int((table["offset"] + table["size"]).max())
    low = 0 if low < 0.3 * high else low
    step = int(_step(high - low))
    base = low // step * step if low > FAR * (high - low) else 0
    margin = max(0.03 * (high - low), 1.0)
    near = [one.assign(offset=one["offset"] - base) for one in tables] if base else [*tables]
    return near, low - base - margin, high - base + margin, base


# ---- gaps -------------------------------------------------------------------------------------------------


def gaps_table(trace: Trace, file: int) -> pd.DataFrame:
    """The gap histogram of one file: columns of `access.log2_histogram` plus power: the bin's place on a
    signed logarithmic axis, 0 for no gap, +-(k + 1) for gaps from 2**k to 2**(k + 1) bytes.
    """
    classified = access.classify(trace.reads())
    table = access.gap_histogram(classified[(classified["file"] == file).to_numpy(bool)])
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
    """How far each read starts from where the previous one ended."""
    shown, numbers = _file_of_all(traces, file)
    tables = [gaps_table(trace, number) for trace, number in zip(traces, numbers, strict=True)]
    figure = _figure()
    axes = figure.subplots()
    width = 0.84 / len(tables)
    for position, (name, table) in enumerate(zip(_names(traces, names), tables, strict=True)):
        place = table["power"].to_numpy() + (position - (len(tables) - 1) / 2) * width
        counts = table["count"].to_numpy()
        seeks = int(counts[table["power"] != 0].sum())
        label = (
            f"{_prefix(name)}{show_count(seeks)} with a gap, {show_count(int(counts.sum()) - seeks)} without"
        )
        axes.bar(
            place, counts, width, label=label, edgecolor="white", hatch="////" if position else "",
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
    axes.yaxis.set_major_formatter(_counts())
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return _finish(figure, axes, tables, f"Gaps between reads of {shown}")


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


# ---- cost -------------------------------------------------------------------------------------------------


def cost_table(trace: Trace, devices: Sequence[Device] | None = None) -> pd.DataFrame:
    """Cumulative projected cold seconds along all reads of the trace: number (1 for the first read), then
    three columns for each device: by its name, and with " low" and " high" behind it the band. What is
    waited for outside of all reads, such as mapped files, counts with the read after it.
    """
    reads = trace.reads()
    cold = requests(trace, reads)
    read = pd.Series(cold.requests["read"].to_numpy()).where(lambda row: row >= 0).bfill().ffill().fillna(0)
    columns: dict[str, Any] = {"number": np.arange(1, len(reads) + 1)}
    for device in device_models.usual() if devices is None else devices:
        made = project(cold, device)
        spent = np.bincount(read.astype(np.int64), weights=made.times, minlength=len(reads))[: len(reads)]
        columns[device.name] = np.cumsum(spent)
        for which, end in (("low", made.low_s), ("high", made.high_s)):
            ratio = end / made.seconds if made.seconds else 1.0
            columns[f"{device.name} {which}"] = columns[device.name] * ratio
    return pd.DataFrame(columns)


def draw_cost(
    traces: Sequence[Trace],
    file: str | bytes | None = None,
    devices: Sequence[Device] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Where along the reads a cold start spends its time, a line with its band for each device. Of a cold
    and a warm trace the cold one."""
    names = _names(traces, names)
    kept = [names.index("cold")] if sorted(names) == ["cold", "warm"] else list(range(len(names)))
    tables = [cost_table(traces[position], devices) for position in kept]
    figure = _figure()
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
    axes.xaxis.set_major_formatter(_counts())
    axes.yaxis.set_major_formatter(_durations())
    axes.grid(alpha=0.25)
    _label_ends(axes, ends)
    command = _command(traces[kept[0]].meta) or "the reads"
    return _finish(figure, axes, tables, f"Projected cold cost of {command}")


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


# ---- common parts -----------------------------------------------------------------------------------------

KINDS: dict[str, Callable[..., Figure]] = {"offsets": draw_offsets, "gaps": draw_gaps, "cost": draw_cost}
"""Name of a picture -> what draws it."""


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")


def _finish(figure: Figure, axes: Axes, tables: Sequence[pd.DataFrame], title: str) -> Figure:
    """The title, with the legend of `axes` below it if it has one."""
    if len(title) > MAX_TITLE:  # both ends tell most: the command and its file
        title = f"{title[: MAX_TITLE // 2 - 2]} ... {title[-MAX_TITLE // 2 + 3 :]}"
    handles, labels = axes.get_legend_handles_labels()
    heading = {"fontsize": 13, "fontweight": "bold", "parse_math": False}
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside upper center", ncols=2, frameon=False, markerscale=2, title=title
        )
        legend.get_title().set(**heading)
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        figure.suptitle(title, **heading)
    if not any(len(table) for table in tables):
        nothing: dict[str, Any] = {"ha": "center", "va": "center", "color": "grey"}
        axes.text(0.5, 0.5, "no reads to show", transform=axes.transAxes, **nothing)
    return figure


def _step(span: float) -> float:
    """Bytes between two ticks of an axis of so many."""
    return float(2.0 ** np.ceil(np.log2(max(span / 7, 1))))


def _byte_axis(axis: Any, span: float) -> None:
    """Ticks at round numbers of binary units, about six of them."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axis.set_major_locator(MultipleLocator(_step(span)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show_bytes(int(value))))


def _counts() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value - round(value)) < 1e-6 else "")


def _durations() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: show_seconds(value))
