"""What opening files costs a cold start: the inodes and directory blocks that a file system reads to find
them, worked out for ext4 from where these lie (linux: fs/ext4/inode.c, namei.c, extents.c), for others by
a rule.

A file is opened by its path from the root: of each directory on the way the block with the next name is
read, then the inode that it names; each once, as nothing is dropped in between. A file that is not there
(kind `absent`) costs the way to where its name is missing, a symbolic link (`link`) is an inode too. A trace
does not hold what was only asked about (stat(2)).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from profiler.analysis.intervals import fresh, spans
from profiler.analysis.simulation.page_cache import NEVER
from profiler.analysis.simulation.placement import SPACE
from profiler.calls import READ_OPS
from profiler.facts.host import Inodes
from profiler.trace import LOOKED_UP_KINDS, MAPPING_OPS, Trace, host_paths

ROOT_INODE = 2
"""The root's inode is in memory as long as the file system is mounted."""

_IN_INODE, _IN_BLOCK, _HEADER = 4, 12, 12  # extents in an inode; bytes of one in a block, and before them
_MOST_BLOCKS = 4096  # of one directory that is listed
_MOST = 4_000_000  # blocks: 16 GiB of inodes and directories
_LONGEST = 4096  # PATH_MAX
_OUTSIDE = 4096  # a smaller directory is in its inode


@dataclass(frozen=True)
class _Device:
    """Where inodes lie on one device; all in blocks of `block` bytes."""

    block: int
    inode: int
    inodes_per_group: int
    blocks_per_group: int
    read_ahead: int
    tables: Mapping[int, int]

    def place(self, inode: int) -> tuple[int, int, int]:
        """The block that holds an inode, and the first and last block of its group's table."""
        group, number = divmod(inode - 1, self.inodes_per_group)
        table = self.tables.get(group, group * self.blocks_per_group)
        return (
            table + number * self.inode // self.block,
            table,
            table + (self.inodes_per_group * self.inode - 1) // self.block,
        )


_EVERYWHERE = 2**62
_IN_CLUSTERS = _Device(16384, 512, _EVERYWHERE, 1, 0, {})
_ONE_BY_ONE = _Device(4096, 4096, _EVERYWHERE, 1, 0, {})

RULES = {
    **dict.fromkeys(("xfs", "btrfs", "f2fs", "bcachefs"), _IN_CLUSTERS),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "lustre"), _ONE_BY_ONE),
}
"""File systems of which it is not known where their inodes lie. On disks 16 KiB hold 32 inodes whose numbers
follow each other: so large are the inode clusters of xfs (linux: fs/xfs/libxfs/xfs_ialloc.c), whose numbers
are places, and the leaves of btrfs. Over a network each name is a round trip."""


def lookups(trace: Trace, known: Collection[int] = ()) -> pd.DataFrame | None:
    """Requests for inodes, directories and the maps of files with more extents than an inode holds; None
    where of no file system is known where it keeps these. known: files that were in memory at the start, so
    that they, and all above them, had been looked up.

    One row a request, in the order of time: file (row of `trace.files`, whose lookup it was), device,
    device_offset, size (bytes), time_ns, needed_ns (NEVER for what is read ahead of an inode table).
    """
    devices = _devices(trace)
    return _Walk(trace, devices, known).go() if devices else None


def by_rule(trace: Trace) -> bool:
    """Whether `lookups` of it are for the most part guesses, as it is not known where inodes lie."""
    return any(device in RULES.values() for device in _devices(trace).values())


def _devices(trace: Trace) -> dict[str, _Device]:
    """The devices of which is known, or guessed, where they keep inodes; others left out."""
    files = trace.files[["device", "filesystem"]].drop_duplicates()
    kinds: dict[str, str] = dict(files[(files["filesystem"] != "").to_numpy(bool)].itertuples(index=False))
    found = {}
    for name, facts in trace.meta.host.devices.items():
        if not facts.inodes_sought:
            continue
        device = RULES.get(kinds.get(name, "")) if facts.inodes is None else _device(facts.inodes)
        if device is not None:
            found[name] = device
    return found


def _device(inodes: Inodes) -> _Device:
    ahead = inodes.read_ahead_blocks
    return _Device(
        inodes.block_size, inodes.inode_size, inodes.inodes_per_group, inodes.blocks_per_group,
        1 << (ahead.bit_length() - 1) if ahead else 0, dict(inodes.tables),
    )  # fmt: skip


class _Walk:
    """The lookups of one trace."""

    def __init__(self, trace: Trace, devices: Mapping[str, _Device], known: Collection[int]) -> None:
        self._devices = devices
        self._trace = trace
        files = trace.files
        self._device = files["device"].tolist()
        self._inode = files["inode"].fillna(0).tolist()
        self._size = files["size"].fillna(0).tolist()
        self._kind = files["kind"].tolist()
        self._path = host_paths(files)
        self._by_path = {
            path: number
            for number, (path, kind) in enumerate(zip(self._path, self._kind, strict=True))
            if kind == "directory"
        }
        by_file = trace.extents.sort_values(["file", "logical"]).groupby("file", sort=False)
        self._extents: dict[Any, pd.DataFrame] = dict(iter(by_file))
        self._blocks = {file: self._blocks_of(file) for file in self._by_path.values()}
        self._there: set[tuple[str, int]] = set()
        self._known: set[int] = set()  # files and directories that have been looked up
        for file in known:
            while file >= 0 and file not in self._known:
                self._known.add(file)
                file = self._above(file)
        self._rows: list[tuple[int, str, int, int, int, int]] = []

    def _blocks_of(self, directory: int) -> list[int]:
        """The blocks of a directory, in its order."""
        device, extents = self._devices.get(self._device[directory]), self._extents.get(directory)
        if device is None or device is _ONE_BY_ONE:  # the name is asked for, not the directory
            return []
        if device is _IN_CLUSTERS:  # a small one is in its inode, else it is put behind that
            near = device.place(self._inode[directory])[0] + 1
            return list(range(near, near + min(self._size[directory] // _OUTSIDE, _MOST_BLOCKS)))
        blocks: list[int] = []
        for start, length in () if extents is None else extents[["physical", "length"]].to_numpy().tolist():
            count = min(length // device.block, _MOST_BLOCKS - len(blocks))
            blocks.extend(range(start // device.block, start // device.block + count))
        return blocks

    def go(self) -> pd.DataFrame:
        first = _first_times(self._trace.events)
        for file, time in first.items():
            if self._kind[file] in LOOKED_UP_KINDS:
                self._look_up(file, time)
                if self._kind[file] == "directory":  # opened itself: to be listed
                    for number in range(len(self._blocks.get(file, ()))):
                        self._directory_block(file, number, time)
        self._maps()
        table = pd.DataFrame(
            self._rows, columns=["file", "device", "device_offset", "size", "time_ns", "needed_ns"]
        )
        return table.sort_values("time_ns", kind="stable", ignore_index=True)

    def _look_up(self, file: int, time: int) -> None:
        """A file by its path; whatever is above it first."""
        way = []
        while file not in self._known:
            self._known.add(file)
            above = self._above(file)
            way.append((file, above))
            if above < 0 or above == file:
                break
            file = above
        for file, above in reversed(way):
            if above >= 0 and above != file:
                self._entry(above, self._path[file], time)
            self._read_inode(file, time)

    def _above(self, file: int) -> int:
        """The directory that a file lies in, or would; the nearest that there is. -1: not known."""
        path = os.path.dirname(self._path[file])
        while (
            self._kind[file] == "absent"
            and len(path) <= _LONGEST
            and path not in self._by_path
            and len(path) > 1
        ):
            path = os.path.dirname(path)
        return self._by_path.get(path, -1)

    def _entry(self, directory: int, path: bytes, time: int) -> None:
        """The block of a directory that holds a name, and the root of its tree before that. Which of the
        leaves it is depends on the file system's secret hash; here on another one."""
        name = path[len(self._path[directory]) :].lstrip(b"/").partition(b"/")[0]
        count = len(self._blocks.get(directory, ()))
        if count:
            self._directory_block(directory, 0, time)
        if count > 1:
            self._directory_block(directory, 1 + zlib.crc32(name) % (count - 1), time)

    def _directory_block(self, directory: int, number: int, time: int) -> None:
        device = self._devices.get(self._device[directory])
        if device is not None:
            self._read(directory, self._blocks[directory][number], 1, time, time)

    def _read_inode(self, file: int, time: int) -> None:
        device, inode = self._devices.get(self._device[file]), self._inode[file]
        if device is None or inode <= ROOT_INODE:
            return
        block, table, last = device.place(inode)
        if (self._device[file], block) in self._there:
            return
        if device.read_ahead:  # __ext4_get_inode_loc: around it, and one more
            begin = max(block // device.read_ahead * device.read_ahead, table)
            end = min(begin + device.read_ahead, last)
            self._read(file, begin, block - begin, time, NEVER)
            self._read(file, block, 1, time, time)
            self._read(file, block + 1, end - block, time, NEVER)
        else:
            self._read(file, block, 1, time, time)

    def _maps(self) -> None:
        """The blocks that tell where files lie whose inodes have no room for that."""
        events = self._trace.events
        many = [file for file, extents in self._extents.items() if len(extents) > _IN_INODE]
        if not many:
            return
        touched = events["op"].isin((*READ_OPS, *MAPPING_OPS)) & events["file"].isin(many)
        rows = events[["file", "time_ns", "offset", "size"]][touched.to_numpy(bool)]
        rows_of = rows.groupby("file", sort=False)
        of_file: dict[Any, pd.DataFrame] = dict(iter(rows_of))
        for file, rows in of_file.items():
            self._map(file, rows)

    def _map(self, file: int, touched: pd.DataFrame) -> None:
        """Those of what was read of a file, each taken to be full, and one above them if there are more than
        an inode has room for."""
        device = self._devices.get(self._device[file])
        if device is None:
            return
        extents = self._extents[file]
        each = (device.block - _HEADER) // _IN_BLOCK
        # where they lie is not told: somewhere before what they tell of
        near = np.maximum(extents["physical"].to_numpy(np.int64)[::each] // device.block - 1, 0).tolist()
        offset, size = (touched[name].to_numpy(np.int64, na_value=0) for name in ("offset", "size"))
        start, end = spans(offset, np.maximum(size, 1))  # of what was mapped, the first byte
        logical = extents["logical"].to_numpy(np.int64)
        first, last = (
            np.maximum(np.searchsorted(logical, place, side="right") - 1, 0) // each
            for place in (start, end - 1)
        )
        time = touched["time_ns"].to_numpy(np.int64)
        if len(near) > _IN_INODE and len(time):
            self._read(file, max(near[0] - 1, 0), 1, int(time[0]), int(time[0]))
        told = fresh(np.zeros(len(first), np.int64), first, last + 1)
        for when, low, high in zip(
            time[told.row].tolist(), told.start.tolist(), told.end.tolist(), strict=True
        ):
            for leaf in range(low, high):
                self._read(file, near[leaf], 1, when, when)

    def _read(self, file: int, block: int, count: int, time: int, needed: int) -> None:
        """A stretch of blocks; of what is there nothing, nor once there are more than any start reads."""
        if len(self._there) > _MOST:
            return
        name = self._device[file]
        size = self._devices[name].block
        begin = block
        for number in range(block, block + count + 1):
            end = number == block + count
            if end or (name, number) in self._there:
                if number > begin:
                    place, length = begin * size % SPACE, (number - begin) * size
                    self._rows.append((file, name, place, length, time, needed))
                begin = number + 1
            if not end:
                self._there.add((name, number))


def _first_times(events: pd.DataFrame) -> dict[int, int]:
    """When each file was first met; by time."""
    met = events[["file", "time_ns"]][~events["file"].duplicated().to_numpy(bool)]
    return {file: time for file, time in met.to_numpy(np.int64).tolist() if file >= 0}
