"""What a cold start read that nobody had looked at before, and whether it was cold all the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from profiler.calls import READ_OPS
from profiler.capture.watch.choose import UNWATCHED
from profiler.capture.watch.whom import waits
from profiler.trace import Trace, host_paths
from profiler.units import show_bytes, show_plural

_USES, _CAME = (*READ_OPS, "present", "miss"), ("miss",)


def unforeseen(
    trace: Trace, files: Sequence[bytes], paths: Sequence[bytes], method: str, watched: bool = False
) -> tuple[str, str]:
    """What to note of those `paths` among the `files` that the run read which nobody had looked at before,
    and what is wrong with its cold start then; "": nothing.

    method: as of `cache.Coldness`. Where the whole page cache was dropped they were dropped with it. That is
    no proof where others do the work (watched), as these run already, and have their files mapped: it has to
    have been seen that most of it came in during the run. Elsewhere they may be the lesser part; the program
    of a client says nothing of what is read for it, and does not count.
    """
    if not paths:
        return "", ""
    used = _bytes(trace, _USES)
    unknown, all_of_it = (sum(used.get(path, 0) for path in some) for some in (paths, files))
    told = (
        f"{show_plural(len(paths), 'file')} of the {len(files):,} that were used, and {show_bytes(unknown)} "
        f"of {show_bytes(all_of_it)}, were not looked at before"
    )
    if watched:
        all_of_it -= used.get(_program(trace), 0)
    lost = 2 * unknown > all_of_it
    if method != "drop_caches":
        return (
            f"{told}, nor dropped: whether they were cached is not known",
            f"NOT PROVED COLD: {told}, nor dropped" if lost else "",
        )
    if not watched:
        return f"{told}: they were dropped with all the rest", ""
    brought = _bytes(trace, _CAME)
    came = sum(min(brought.get(path, 0), used.get(path, 0)) for path in paths)
    seen = f"of these {show_bytes(came)} were seen to come in"
    return (
        f"{told}: they were dropped with all the rest, and {seen}",
        f"NOT PROVED COLD: {told}, and {seen}" if lost and 2 * came < unknown else "",
    )


def unwatched(notes: Iterable[str]) -> str:
    """What is wrong with a cold start whose command left the work to a process that nobody watched, by the
    notes of its trace; "": it did not."""
    if not any(
        waits.is_told(note) or note.removeprefix("INCOMPLETE: ").startswith(UNWATCHED) for note in notes
    ):
        return ""
    return "NOT PROVED COLD: another process did work for the command, and its files were not looked at"


def _program(trace: Trace) -> bytes:
    found = shutil.which(trace.meta.command[0]) if trace.meta.command else None
    return os.path.realpath(os.fsencode(found)) if found else b""


def _bytes(trace: Trace, ops: tuple[str, ...]) -> dict[bytes, int]:
    """Roughly what these events are of, in bytes of each file, by its name on the host: no more than it
    has."""
    events, files = trace.events, trace.files
    size: npt.NDArray[np.float64] = events["size"].to_numpy(np.float64, na_value=0)
    number = events["file"].to_numpy()
    chosen = events["op"].isin(ops).to_numpy(bool) & (number >= 0)
    sums = np.bincount(number[chosen], weights=size[chosen], minlength=len(files))
    most = files["size"].to_numpy(np.float64, na_value=np.inf)
    return dict(zip(host_paths(files), map(int, np.minimum(sums, most)), strict=True))
