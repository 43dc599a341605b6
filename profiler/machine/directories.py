"""The directories on the way to the files of a run: what had to be looked up to open them."""

from __future__ import annotations

import os
import stat

import numpy as np
import pandas as pd

from profiler.trace import FILE_COLUMNS, LOOKED_UP_KINDS, host_paths
from profiler.units import device_name

MAX_DIRECTORIES = 20_000


def directories(files: pd.DataFrame, skip: frozenset[str]) -> tuple[pd.DataFrame, bool]:
    """Rows of FILE_COLUMNS, of the kind `directory` and numbered behind `files`, for the directories above
    the files among them that were looked up, that are not there yet; and whether these are all.

    skip: file systems that keep nothing on a device. They are looked at by their paths on the host, now:
    what has been moved since is left out.
    """
    wanted = files["kind"].isin(LOOKED_UP_KINDS) & ~files["filesystem"].isin(skip)
    chosen = files[wanted.to_numpy(bool)]
    known = set(zip(files["device"], files["inode"], strict=True))
    made: list[tuple[object, ...]] = []
    seen: set[bytes] = set()
    for path in host_paths(chosen):
        above = os.path.dirname(path)
        while above not in seen and above.startswith(b"/"):
            if len(seen) >= MAX_DIRECTORIES:
                return _table(files, made), False
            seen.add(above)
            try:
                facts = os.stat(above)
            except (OSError, ValueError):
                above = os.path.dirname(above)
                continue
            device = device_name(facts.st_dev)
            if stat.S_ISDIR(facts.st_mode) and (device, facts.st_ino) not in known:
                known.add((device, facts.st_ino))
                made.append((above, device, facts.st_ino, facts.st_size, facts.st_mtime_ns))
            above = os.path.dirname(above)
    return _table(files, made), True


def _table(files: pd.DataFrame, made: list[tuple[object, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(made, columns=["path", "device", "inode", "size", "mtime_ns"])
    table["file"] = np.arange(len(files), len(files) + len(made))
    return table.assign(kind="directory", filesystem="", host_path=b"")[list(FILE_COLUMNS)].astype(
        FILE_COLUMNS
    )
