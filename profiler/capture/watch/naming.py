"""The files of opens that only their descriptors are known of, by the inodes that were read through them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import UNKNOWN, Recorder
from profiler.capture.calls.history import History
from profiler.capture.kernel.pagecache import block_node, device_name
from profiler.capture.kernel.syscalls import Ints, Pairs, slots
from profiler.capture.watch.evidence import Evidence
from profiler.capture.watch.replay import Opened
from profiler.trace import DATA_KINDS, FileFacts

_MINOR_BITS = 20  # of a dev_t inside the kernel (linux/kdev_t.h)

Opens = Mapping[tuple[int, int], Sequence[tuple[int, int]]]
"""(the kernel's dev_t, inode) -> (ns, the recorder's file) of each time that it was seen to be opened: not
before the open itself."""


class Inodes:
    """The recorder's files by device and inode, as the kernel's events have them."""

    def __init__(self, recorder: Recorder, opens: Opens) -> None:
        self._recorder = recorder
        self._opens = opens
        self._places = {(place, file) for place, files in opens.items() for _, file in files}
        self._known: dict[tuple[str, int], int] = {}
        for number, facts in enumerate(recorder.files):
            if facts.inode is not None and facts.kind != "block":
                self._known.setdefault((facts.device, facts.inode), number)

    def named(self, device: int, inode: int, time_ns: int | None = None) -> int | None:
        """The file, if it was seen to be opened. time_ns: when one of its opens was; numbers of inodes are
        used again."""
        opens = self._opens.get((device, inode))
        if opens:
            later = [file for seen_ns, file in opens if time_ns is not None and seen_ns >= time_ns]
            return later[0] if later else opens[-1][1]
        return self._known.get((device_name(device), inode))

    def are_data(self) -> npt.NDArray[np.bool_]:
        """Of each file whether its reads are file reads; of file -1, the last, they are not."""
        return np.array([facts.kind in DATA_KINDS for facts in self._recorder.files] + [False])

    def is_of(self, file: int, device: int, inode: int) -> bool:
        """Whether an open of this file was one of that inode: containers have several names for one."""
        return ((device, inode), file) in self._places

    def file(self, device: int, inode: int, time_ns: int | None = None) -> int:
        """The file, under its number where it has no name."""
        found = self.named(device, inode, time_ns)
        if found is not None:
            return found
        if device >> _MINOR_BITS == 0 and (node := block_node(inode)):  # linux: bdev_add
            key = "block", os.makedev(inode >> _MINOR_BITS, inode & ((1 << _MINOR_BITS) - 1))
            return self._recorder.file(key, FileFacts(node, device_name(inode), kind="block"))
        name = device_name(device)
        facts = FileFacts(f"(inode {inode} of {name})".encode(), name, inode if inode >= 0 else None)
        number = self._recorder.file((device, inode), facts)
        if self._recorder.files[number].kind == "unknown":
            self._recorder.files[number].kind = "regular"  # only these are read through the page cache
        return number


@dataclass
class Seen:
    """An inode that was read through an open. calls: how many. first_ns: when first. paged: whether through
    the page cache."""

    calls: int = 0
    first_ns: int = 2**62
    paged: bool = False


@dataclass
class Naming:
    """Collects what was read through which open, and gives the opens their files.

    history: of descriptors, without files. opened: what is known of each open otherwise, by handle. passed:
    once they are named, the files of descriptors that came from another process, which moves them too.
    """

    history: History
    opened: Mapping[int, Opened]
    inodes: Inodes
    passed: set[int] = field(default_factory=set)
    _seen: dict[int, dict[tuple[int, int], Seen]] = field(default_factory=dict)
    _late: dict[tuple[int, int, int], dict[tuple[int, int], Seen]] = field(default_factory=dict)

    def feed(self, calls: Pairs, evidence: Evidence) -> None:
        """Take in the calls of a window."""
        known = np.flatnonzero(evidence.device >= 0)
        table, slot = slots(calls, self.history)
        table, slot = table[known], slot[known]
        handle = np.where(slot >= 0, np.append(self.history.slot_handle, -1)[slot], -1)
        columns = np.stack([
            handle, np.where(handle < 0, table, 0), np.where(handle < 0, calls.descriptor[known], 0),
            np.where(handle < 0, slot, 0), evidence.device[known], evidence.inode[known],
            evidence.direct[known].astype(np.int64),
        ])  # fmt: skip
        order = np.argsort(calls.time_ns[known], kind="stable")
        groups, first, counts = np.unique(columns[:, order], axis=1, return_index=True, return_counts=True)
        times = calls.time_ns[known][order][first] if len(order) else np.zeros(0, np.int64)
        for group, time_ns, count in zip(groups.T.tolist(), times.tolist(), counts.tolist(), strict=True):
            number, of_table, descriptor, of_slot, device, inode, direct = group
            if number >= 0:
                found = self._seen.setdefault(number, {})
            elif of_table >= 0:
                found = self._late.setdefault((of_table, descriptor, of_slot), {})
            else:
                continue
            seen = found.setdefault((device, inode), Seen())
            seen.calls += count
            seen.first_ns = min(seen.first_ns, time_ns)
            seen.paged |= not direct

    def saw(self, handle: int, device: int, inode: int, time_ns: int) -> None:
        """Something of this inode was read through an open otherwise than by calls of one descriptor."""
        seen = self._seen.setdefault(handle, {}).setdefault((device, inode), Seen())
        seen.calls, seen.first_ns, seen.paged = seen.calls + 1, min(seen.first_ns, time_ns), True

    def named(self) -> tuple[History, npt.NDArray[np.bool_]]:
        """The history with the files of all opens; and of each whether its reads show in the page cache.

        A descriptor that was read though no event had made it was passed by another process: it means that
        file since it last changed.
        """
        history, more = self.history, sorted(self._late)
        count = len(history.file)
        file, data = np.full(count + len(more), -1), np.zeros(count + len(more), np.int64)
        data[:count] = history.data
        paged = np.zeros(count + len(more), bool)
        for handle in range(count):
            opened, seen = self.opened.get(handle), self._seen.get(handle, {})
            if seen:
                # of several, which no open has, the one that was read the most: the others are in their rows
                (device, inode), best = max(seen.items(), key=lambda item: item[1].calls)
                told = None if opened is None else opened.file
                since = best.first_ns if opened is None or opened.task < 0 else opened.began_ns
                if told is None or not self.inodes.is_of(told, device, inode):
                    told = self.inodes.file(device, inode, since)
                file[handle] = told
                paged[handle] = best.paged
                if opened is not None and opened.task < 0 and opened.file is None:
                    self.passed.add(int(file[handle]))
            elif opened is not None and opened.file is not None:
                file[handle] = opened.file
        for number, place in enumerate(more):
            (device, inode), best = max(self._late[place].items(), key=lambda item: item[1].calls)
            file[count + number], data[count + number] = self.inodes.file(device, inode), 1
            paged[count + number] = best.paged
        data &= self.inodes.are_data()[file]
        self.passed.update(file[count:].tolist())
        return dataclasses.replace(_with_late(history, more, count), file=file, data=data), paged


def _with_late(history: History, more: Sequence[tuple[int, int, int]], count: int) -> History:
    """The history with descriptors that no event had made. more: table, descriptor, and the row of slot_*
    that says when it last changed, -1: never."""
    if not more:
        return history
    table, descriptor, slot = np.array(more, np.int64).T
    since = np.where(slot >= 0, np.append(history.slot_time, 0)[slot], 0)
    time = np.concatenate([history.slot_time, since])
    order = np.argsort(time, kind="stable")
    handle = count + np.arange(len(more))

    def slot_column(old: Ints, new: Ints) -> Ints:
        return np.concatenate([old, new])[order]

    none = np.zeros(len(more), np.int64)
    state_time = np.concatenate([none, history.state_time])
    return dataclasses.replace(
        history,
        slot_time=time[order],
        slot_table=slot_column(history.slot_table, table),
        slot_descriptor=slot_column(history.slot_descriptor, descriptor),
        slot_handle=slot_column(history.slot_handle, handle),
        state_time=state_time,
        state_handle=np.concatenate([handle, history.state_handle]),
        state_append=np.concatenate([none, history.state_append]),
        state_direct=np.concatenate([none, history.state_direct]),
        position=np.concatenate([history.position, np.full(len(more), UNKNOWN)]),
    )
