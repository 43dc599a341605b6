"""How calls become reads of files where nothing is stopped: see `kernel.tracer.Plane`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN
from profiler.capture.calls.history import History
from profiler.capture.calls.positions import take
from profiler.capture.kernel import syscalls
from profiler.capture.kernel.join import asof
from profiler.capture.kernel.syscalls import Columns, Ints, Pairs
from profiler.capture.kernel.tracer import Plane
from profiler.capture.kernel.windows import Tables, Window
from profiler.capture.watch import control
from profiler.capture.watch.evidence import Reads, Touched, touched
from profiler.capture.watch.looks import Task
from profiler.capture.watch.naming import Inodes

_URING = OP_CODES["uring_read"]
_READS = np.isin(np.arange(len(syscalls.NAMES)), [
    number for number, name in enumerate(syscalls.NAMES) if name in syscalls.READS and name != "lseek"
])  # fmt: skip


@dataclass(frozen=True)
class Members:
    """Who is watched when: columns of `Task`, by time. everybody: tasks of whom nothing is known, too."""

    time_ns: Ints
    tid: Ints
    member: npt.NDArray[np.bool_]
    everybody: bool

    def among(self, window: Window) -> Window:
        """The window with what those did who are watched; what all others did is in `all` as before."""
        return Window(window.start_ns, window.end_ns, self._of(window.mine), window.all)

    def _of(self, tables: Tables) -> Tables:
        strangers = np.unique(self.tid[~self.member])
        sure = np.setdiff1d(self.tid, strangers)
        found = {}
        for event, table in tables.items():
            tids = table["tid"].astype(np.int64)
            distinct = np.unique(tids)
            if self.everybody:
                plain = not np.isin(distinct, strangers).any()
            else:
                plain = bool(np.isin(distinct, sure).all())
            if plain:
                found[event] = table
                continue
            latest = asof(tids, table["time_ns"], self.tid, self.time_ns)
            wanted = np.where(latest >= 0, np.append(self.member, False)[latest], self.everybody)
            found[event] = {name: column[wanted] for name, column in table.items()}
        return found


def members(tasks: list[Task], everybody: bool) -> Members:
    """`Members` of what was written down, by time."""
    order = sorted(tasks, key=lambda task: task.time_ns)
    times, tids = ([getattr(task, name) for task in order] for name in ("time_ns", "tid"))
    belong = np.array([task.member for task in order], bool)
    return Members(np.array(times, np.int64), np.array(tids, np.int64), belong, everybody)


class WatchPlane(Plane):
    """See `kernel.tracer.Plane`. paged: of each open, whether its reads show in the page cache.

    unnamed: reads that got data through a descriptor of which nobody knows what it names. doubtful: reads
    that were to be of a file in the page cache, and did not look it up there.
    """

    def __init__(
        self,
        history: History,
        processes: Mapping[int, int],
        start_ns: int,
        inodes: Inodes,
        members: Members,
        paged: npt.NDArray[np.bool_],
        opened_unknown: npt.NDArray[np.bool_],
        passed: set[int],
    ) -> None:
        super().__init__(history, processes, start_ns)
        self.unnamed = self.doubtful = self.rounded = 0
        self._inodes = inodes
        self._members = members
        self._paged = paged
        self._opened_unknown = opened_unknown
        self._moved_elsewhere = passed  # files whose positions somebody moves who is not seen to
        self._reads = Reads()
        self._entered: dict[str, Columns] = {}  # calls that have begun in earlier windows

    def watched(self, window: Window) -> Window:
        """The window without what tasks did that are followed only for what they start."""
        return self._members.among(window)

    def named(self, device: int, inode: int) -> int | None:
        """The recorder's file of an inode that was seen to be opened."""
        return self._inodes.named(device, inode)

    def rows(self, window: Window, calls: Pairs, begun: Mapping[int, int]) -> npt.NDArray[np.void]:
        """The calls as rows; and what was read for requests that lie in the program's memory."""
        evidence = self._reads.feed(window, calls, begun)
        handle = syscalls.handles(calls, self.history)
        got = _READS[calls.call] & (calls.result > 0) & (calls.time_ns >= self.start_ns)
        silent = got & (evidence.device < 0)
        state = asof(handle, calls.time_ns, self.history.state_handle, self.history.state_time)
        direct = (state >= 0) & take(self.history.state_direct, state).astype(bool)
        doubtful = silent & (handle >= 0) & np.append(self._paged, False)[handle] & ~direct
        self.doubtful += int(doubtful.sum())
        self.unnamed += int((silent & (handle >= 0) & np.append(self._opened_unknown, False)[handle]).sum())
        handle = np.where(doubtful, -1, handle)
        at = syscalls.on_files(calls, self.history, self.start_ns, handle)
        rows = syscalls.rows(calls, self.history, self.processes, self.start_ns, handle)
        known = evidence.device[at] >= 0
        rows["file"][known] = self._files(
            evidence.device[at][known], evidence.inode[at][known], rows["file"][known]
        )
        rows["direct"] |= evidence.direct[at]
        carried = self._carried(evidence.others, window.mine)
        by_workers = self._by_workers(touched(window.all))
        for found in (carried, by_workers):
            self._moved_elsewhere.update(np.unique(found["file"][found["op"] == _URING]).tolist())
        shared = np.isin(rows["file"], list(self._moved_elsewhere))
        rows["handle"][shared & (rows["offset"] == UNKNOWN)] = -1  # so that nobody places it
        return np.concatenate([rows, carried, by_workers])

    def _files(self, device: Ints, inode: Ints, thought: Ints | None = None) -> Ints:
        """The recorder's files of inodes. thought: what they are by their descriptors, which holds where it
        can be."""
        if not len(device):
            return device
        thought = np.full(len(device), -1) if thought is None else thought
        rows, which = np.unique(np.stack([device, inode, thought]), axis=1, return_inverse=True)
        files = [
            file if self._inodes.is_of(file, of_device, number) else self._inodes.file(of_device, number)
            for of_device, number, file in rows.T.tolist()
        ]
        return np.array(files, np.int64)[which.reshape(-1)]

    def _carried(self, touched: Touched, tables: Tables) -> npt.NDArray[np.void]:
        """Requests to io_uring and libaio, by what was read for them."""
        parts = [np.zeros(0, EVENT_DTYPE)]
        for call, op in control.CARRIERS.items():
            new, exit_ = tables.get(f"sys_enter_{call}"), tables.get(f"sys_exit_{call}")
            if new is None or exit_ is None:
                continue
            former = self._entered.get(call, new)
            enter = new if former is new else {
                name: np.concatenate([former[name], new[name]]) for name in ("time_ns", "tid")
            }  # fmt: skip
            within = _within(touched, enter, exit_) & (touched.time_ns >= self.start_ns)
            over = asof(
                exit_["tid"].astype(np.int64),
                exit_["time_ns"],
                enter["tid"].astype(np.int64),
                enter["time_ns"],
            )
            open_ = np.setdiff1d(np.arange(len(enter["tid"])), over)
            self._entered[call] = {name: enter[name][open_] for name in ("time_ns", "tid")}
            parts.append(self._requests(touched.rows(within), op))
        return np.concatenate(parts)

    def _by_workers(self, touched: Touched) -> npt.NDArray[np.void]:
        """What threads of io_uring read for those who are watched: they are threads of theirs."""
        mine = np.isin(touched.tid, list(self.processes)) & (touched.time_ns >= self.start_ns)
        return self._requests(touched.rows(mine), "uring_read")

    def _requests(self, found: Touched, op: str) -> npt.NDArray[np.void]:
        found = found.rows(found.end > found.start)
        rows = np.zeros(len(found), EVENT_DTYPE)
        rows["time_ns"] = found.time_ns - self.start_ns
        rows["duration_ns"], rows["handle"] = UNKNOWN, -1
        rows["tid"] = found.tid
        rows["pid"] = syscalls.processes_of(found.tid, self.processes)
        rows["op"] = OP_CODES[op]
        rows["file"] = self._files(found.device, found.inode)
        rows["offset"], rows["size"] = found.start, found.end - found.start
        rows["requested"], rows["direct"] = rows["size"], found.direct
        self.rounded += int((~found.direct).sum())
        return rows


def _within(touched: Touched, enter: Columns, exit_: Columns) -> npt.NDArray[np.bool_]:
    """Which were read between a beginning of the call and its end, by the same task."""
    begun = asof(touched.tid, touched.time_ns, enter["tid"].astype(np.int64), enter["time_ns"])
    ended = asof(touched.tid, touched.time_ns, exit_["tid"].astype(np.int64), exit_["time_ns"])
    begun_ns = np.append(enter["time_ns"], -1)[begun]
    ended_ns = np.append(exit_["time_ns"], -1)[ended]
    return (begun >= 0) & ((ended < 0) | (ended_ns < begun_ns))
