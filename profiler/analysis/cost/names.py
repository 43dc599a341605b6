"""What to call file systems, and disks as a whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.simulation.inverse import partitions
from profiler.trace import Trace


class Words:
    """Words that are numbered as they come; 0 is none at all."""

    def __init__(self) -> None:
        self.words = [""]

    def codes(self, keys: npt.NDArray[np.object_], called: Callable[[str], str]) -> npt.NDArray[np.int32]:
        """The numbers of what each of these keys is called."""
        which, distinct = pd.factorize(keys)
        for key in distinct:
            if called(key) not in self.words:
                self.words.append(called(key))
        return np.array([self.words.index(called(key)) for key in distinct], np.int32)[which]


def name_of(filesystem: str, device: str) -> str:
    """What to call a file system of this kind, "" not known, on a device, "" not known."""
    what = filesystem or "file system"
    return f"{what} on {device}" if device else what


def names_of_file_systems(trace: Trace) -> dict[str, str]:
    """What to call the file system on each device, by "major:minor": as most of its files say."""
    used = trace.files[trace.files["kind"].isin(("regular", "directory")).to_numpy(bool)]
    used = used[((used["filesystem"] != "") & (used["device"] != "")).to_numpy(bool)]
    most = used.groupby("device", sort=False)["filesystem"].agg(lambda kinds: kinds.value_counts().index[0])
    return {str(device): name_of(str(filesystem), str(device)) for device, filesystem in most.items()}


def names_of_disks(trace: Trace) -> dict[str, str]:
    """The same for whole disks, where one file system is all that was used of one."""
    names = names_of_file_systems(trace)
    by_disk: dict[str, set[str]] = {}
    for device, partition in partitions(trace).items():
        if device in names:
            by_disk.setdefault(partition.disk, set()).add(names[device])
    return {disk: found.pop() if len(found) == 1 else f"file systems on {disk}"
            for disk, found in by_disk.items()}  # fmt: skip
