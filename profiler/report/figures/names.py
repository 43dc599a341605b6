"""Which file a picture is of, and what to call files, traces and programs in it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from profiler.analysis.cost.charges import Charges
from profiler.analysis.cost.costs import ranking
from profiler.errors import ColdseekError
from profiler.report.focus import focus
from profiler.trace import CACHE_OPS, MAPPING_OPS, SUFFIX, Meta, Trace
from profiler.units import show_path, show_short

MAX_NAME = 30
"""A longer name of a trace's file would crowd the legend."""

OTHER_PROGRAMS = "others"
NOT_KNOWN = "not known"
"""Who read, where the trace does not say."""


def choose_file(trace: Trace, file: str | bytes | None = None, charged: Charges | None = None) -> int | None:
    """The number of the file with that path or, if only one has it, that name. file: None: the one in focus,
    which may be none. charged: `charges` of the trace if at hand.

    Raises ColdseekError if nothing of it was read or mapped.
    """
    if file is None:
        return focus(trace, None if charged is None else ranking(trace, charged))
    touching = trace.events["op"].isin((*CACHE_OPS, *MAPPING_OPS)).to_numpy(bool)
    used = np.append(trace.events["file"].to_numpy()[touching], trace.reads()["file"].to_numpy())
    paths = {int(number): trace.files["path"].iloc[number] for number in np.unique(used[used >= 0])}
    wanted = os.fsencode(file)
    found = [number for number, path in paths.items() if path == wanted]
    found = found or [number for number, path in paths.items() if os.path.basename(path) == wanted]
    if len(found) != 1:
        which = f"{len(found)} files of that name were read" if found else "no read of it was recorded"
        raise ColdseekError(f"cannot draw {show_path(wanted)}: {which}; give the whole path")
    return found[0]


def same_file(traces: Sequence[Trace], number: int) -> list[int]:
    """The number of this file of the first trace in each of the traces; -1 where it was not met."""
    path = traces[0].files["path"].iloc[number]
    numbers = [number]
    for trace in traces[1:]:
        same = np.flatnonzero((trace.files["path"] == path).to_numpy(bool)).tolist()
        numbers.append(same[0] if same else -1)
    return numbers


def file_names(paths: Sequence[str]) -> list[str]:
    """What to call the traces in two files: by what tells their paths apart; nothing if that is long."""
    if len(paths) != 2:
        return []
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = [show_path(os.path.relpath(path, shared).removesuffix(SUFFIX)) for path in paths]
    return names if names[0] != names[1] and max(map(len, names)) <= MAX_NAME else []


def names_of(traces: Sequence[Trace], names: Sequence[str] = ()) -> list[str]:
    """What to call each trace: by its cache state if that tells them apart, and is all that does."""
    states = [trace.meta.cache for trace in traces]
    alike = len({trace.meta.command or trace.meta.targets for trace in traces}) == 1
    if len(set(states)) == len(states) and set(states) <= {"cold", "warm"} and (alike or not names):
        return states
    return list(names) or (["first", "second"] if len(traces) > 1 else [""])


def listed(label: str) -> str:
    """The label as it is listed in a legend, where what begins with _ would be left out."""
    return f" {label}" if label.startswith("_") else label


def prefix(name: str) -> str:
    return f"{name}: " if name else ""


def command_of(meta: Meta) -> str:
    return " ".join(show_path(part) for part in meta.command)


def programs_of(tables: Sequence[pd.DataFrame]) -> list[bytes]:
    """Who read, the most reads first, and last those who are not known; nobody if all that is known is one
    program."""
    counts = pd.concat([table["reader"] for table in tables]).value_counts()
    known = [name for name in counts.index if name]
    return [*known, b""][: len(counts)] if len(known) > 1 else []


def named(programs: Sequence[bytes], most: int) -> list[tuple[str, list[bytes]]]:
    """What to call each of the programs, the rest together where they are more than `most`."""
    alone = programs if len(programs) <= most else programs[: most - 1]
    named = [(show_short(name, MAX_NAME) or NOT_KNOWN, [name]) for name in alone]
    return [*named, (OTHER_PROGRAMS, [*programs[len(alone) :]])] if len(alone) < len(programs) else named
