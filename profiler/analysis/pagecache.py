"""Which reads reach the device. For now the page cache of an unlimited machine without read-ahead: first
touches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import fresh, spans, to_pages

MEMORY_FILESYSTEMS = frozenset(
    {
        "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
        "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "pipefs", "proc", "pstore",
        "ramfs", "resctrl", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sockfs",
        "sysfs", "tmpfs", "tracefs",
    }
)  # fmt: skip
"""File systems without a device behind them: reading them costs no I/O (marked `nodev` in
/proc/filesystems, less those that are networks or lie on other file systems)."""


def first_touches(reads: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """What has to come from the device if nothing is cached at the start and nothing is evicted.

    reads: the frame of `Trace.reads()`. files: the trace's table of files, for their file systems.

    Gives one row a request, in order: read (row of `reads` that caused it), file, offset and size (bytes,
    whole pages), time_ns. A request is a stretch of pages of one read that no earlier read of that file
    touched, so a re-read costs nothing. Reads with O_DIRECT go past the page cache: they always count, as
    they are, and leave nothing behind. Reads of memory file systems cost nothing; reads of unknown offset
    cannot be placed and are left out.
    """
    row = np.flatnonzero(reads["offset"].notna().to_numpy(bool) & ~_in_memory(reads, files))
    chosen = reads.iloc[row]
    file = chosen["file"].to_numpy(np.int64)
    start, end = spans(chosen["offset"].to_numpy(np.int64), chosen["size"].to_numpy(np.int64))
    direct = chosen["direct"].to_numpy(bool)

    cached = np.flatnonzero(~direct)
    pieces = fresh(file[cached], *to_pages(start[cached], end[cached]))
    passing = np.flatnonzero(direct)
    which = np.concatenate([cached[pieces.row], passing])
    begin = np.concatenate([pieces.start, start[passing]])
    stop = np.concatenate([pieces.end, end[passing]])
    order = np.argsort(which, kind="stable")  # the pieces of one read stay in the order of their offsets
    which, begin, stop = which[order], begin[order], stop[order]
    return pd.DataFrame(
        {
            "read": row[which].astype(np.int64),
            "file": file[which].astype(np.int32),
            "offset": begin,
            "size": stop - begin,
            "time_ns": chosen["time_ns"].to_numpy(np.int64)[which],
        }
    )


def _in_memory(reads: pd.DataFrame, files: pd.DataFrame) -> npt.NDArray[np.bool_]:
    memory = files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    memory = np.append(memory, False)  # where file -1 points
    found: npt.NDArray[np.bool_] = memory[reads["file"].to_numpy(np.int64)]
    return found
