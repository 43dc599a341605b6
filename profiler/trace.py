"""The trace: what one observed run did, as plain tables. Every other part of coldseek meets here.

A `Trace` is frozen and knows nothing of how it was captured or what will be made of it. Contents of files
are never stored. How it is a file is in `files.traces`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from profiler.calls import READ_OPS, WRITE_OPS
from profiler.errors import UsageError
from profiler.facts.copies import CopiesFacts
from profiler.facts.host import Host
from profiler.facts.images import Images
from profiler.facts.runs import NOT_PROVED_COLD, Measured
from profiler.facts.shown import Shown
from profiler.facts.unseen import DEVICE_ONLY
from profiler.files.free_memory import available_bytes
from profiler.units import show_path

if TYPE_CHECKING:
    import pandas as pd
# pandas is imported where a table is made: to load it takes longer than many a program runs, and a tracer
# needs it only when that has ended

FORMAT_VERSION = 5
"""Format history. A loader accepts every version up to its own and refuses newer ones by number.
1: the first: events (with `handle` and `direct`), files (with `mtime_ns`), extents, structures, meta.
2: structures have `guest`; they are filled, which no program did before.
3: the table `tasks`, of who did it; files have `host_path`.
4: the tables `waits`, of when tasks were off the processors, and why, and `contents`, of what the guest has
in its disk images.
5: structures have `role`; the events have `path` in the file, for other readers, and not in the table.
"""

SUFFIX = ".trace.parquet"
_ROWS_A_PIECE, _PLENTY_BYTES = 1 << 17, 1 << 30
"""So many take some 75 MB while they are made Parquet, a quarter of them 20 MB; where that does not matter,
large pieces are read faster."""
MOST_ROWS = {
    "files": 10_000_000, "extents": 250_000, "structures": 200_000, "contents": 200_000, "tasks": 1_000_000,
    "waits": 1_000_000,
}  # fmt: skip
"""More rows of the small tables than this are refused on load. No more extents and structures are recorded
(see machine/extents.py, images/map.py), and no more tasks (capture/calls/event_log.py) and waits
(kernel/schedule/switches.py); files are as many as a start may open: all of a large source tree are some
100,000."""

EVENT_COLUMNS: dict[str, str] = {
    "time_ns": "int64",  # start of the call: monotonic, counted from the start of the run
    "duration_ns": "Int64",  # null: not known
    "pid": "int32",  # process (thread group)
    "tid": "int32",  # thread
    "layer": "category",  # syscall | cache | device: views of the same I/O, never to be added up
    "op": "category",  # name of the syscall or kernel event; see READ_OPS ... DEVICE_OPS
    "file": "int32",  # row of `files`; -1: not known
    "handle": "int32",  # which open of the file (Linux: open file description); -1: not known
    "offset": "Int64",  # bytes from the start of the file; null: not known
    "requested": "int64",  # bytes asked for
    "size": "Int64",  # bytes got; null: not known, because the end of the operation was not seen
    "errno": "int16",  # 0: no error
    "direct": "bool",  # O_DIRECT: past the page cache
}
FILE_COLUMNS: dict[str, str] = {
    "file": "int32",
    "path": "object",  # bytes: any name survives
    "device": "str",  # "major:minor" of the device that holds it; "": not known
    "inode": "Int64",
    "size": "Int64",  # bytes, when it was first seen
    "mtime_ns": "Int64",
    "kind": "str",  # one of FILE_KINDS
    "filesystem": "str",  # ext4, xfs, tmpfs ...; "": not known
    "host_path": "object",  # bytes: where it lies on the host; b"": where `path` says
}
EXTENT_COLUMNS: dict[str, str] = {
    "file": "int32",
    "logical": "int64",  # bytes from the start of the file
    "physical": "int64",  # bytes from the start of the device
    "length": "int64",
    "flags": "int64",  # FIEMAP_EXTENT_* of linux/fiemap.h
}
STRUCTURE_COLUMNS: dict[str, str] = {
    "file": "int32",
    "start": "int64",  # bytes, half open: [start, end)
    "end": "int64",
    "kind": "str",  # "refcount block", "L2 table" ...
    "guest": "Int64",  # where `start` is in the disk that the guest sees; null: nowhere, or not known
    "role": "str",  # one of facts.structures.ROLES: "table", "data", "free"
}
CONTENT_COLUMNS: dict[str, str] = {
    "file": "int32",  # of the disk image, or of one of its backing files
    "start": "int64",  # bytes of that file, half open: [start, end)
    "end": "int64",
    "kind": "str",  # what the guest has there: "ext4 inode table", "ext4 file data", "ntfs file system" ...
    "path": "object",  # bytes: of the guest's file, in its file system; b"": none, or not asked for
}
TASK_COLUMNS: dict[str, str] = {
    "tid": "int32",  # a number may come again: a row is a task from one start on
    "pid": "int32",  # its process (thread group)
    "parent": "int32",  # the task that made it; -1: not known
    "name": "object",  # bytes, as the kernel holds it (15 at most); b"": not known
    "program": "object",  # bytes: path of the executable; b"": not known
    "cgroup": "object",  # bytes: path of its control group; b"": not known
    "container": "str",  # name or short id of the container; "": none, or not known
    "start_ns": "Int64",  # from the start of the run; null: before it, or not known
    "end_ns": "Int64",  # null: it goes on, or not known
}
WAIT_COLUMNS: dict[str, str] = {
    "tid": "int32",
    "start_ns": "int64",  # from the start of the run
    "duration_ns": "Int64",  # null: its end was not seen; what the task did then is not known
    "reason": "category",  # one of WAIT_REASONS
    "file": "int32",  # row of `files` that was waited for; -1: none, or not known
    "what": "object",  # bytes: name of the socket, and the like; b"": it has none, or it is not known
}
WAIT_REASONS = (
    "device", "processor", "socket", "pipe", "lock", "timer", "child", "signal", "descriptor", "tracer",
    "ended", "unknown",
)  # fmt: skip
"""Why a task was off the processors. `device`: it waited for data of a file or a file system, read, mapped
or metadata; `processor`: it could have run; `descriptor`: one of another kind, such as a terminal or an
eventfd; `tracer`: coldseek had stopped it; `ended`: it was not there, before its beginning or after its
end."""

LAYERS = ("syscall", "cache", "device")
FILE_KINDS = (
    "regular", "block", "directory", "character", "pipe", "socket", "anonymous", "metadata", "absent",
    "link", "unknown",
)  # fmt: skip
"""`metadata`: the pages of a block device's own inode, where file systems keep what they know of files.
`absent`: it was looked for, and there was none. `link`: a symbolic link on the way to a file."""
DATA_KINDS = ("regular", "block")
"""The kinds whose reads count as file reads."""

LOOKED_UP_KINDS = ("regular", "directory", "absent", "link")
"""The kinds of files whose paths were followed on a file system."""
MAPPING_OPS = ("mmap", "mmap_exec", "exec", "fault", "present")
"""What touches a file without a call that reads it."""

CACHE_OPS = ("miss", "fault")
"""What happens in the page cache: a page or folio brought into it; a fault on a mapped file."""
DEVICE_OPS = ("request", "kernel_request")
"""Requests that reach a device: by the program's own task; by a worker of the kernel on its behalf."""
CACHE_STATES = ("cold", "warm", "keep", "unknown")


@dataclass(slots=True)
class FileFacts:
    """What is known of one file; the columns of `trace.FILE_COLUMNS` without its number. None: not known."""

    path: bytes
    device: str = ""
    inode: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    kind: str = "unknown"
    filesystem: str = ""
    host_path: bytes = b""  # where it lies on the host, if that is elsewhere


@dataclass(frozen=True)
class Meta:
    """What is known of the run as a whole. Texts from outside are held as Python holds file names
    (surrogateescape).

    >>> coldseek.Meta(command=("ls", "/"), cache="cold").complete
    True
    """

    command: tuple[str, ...] = ()
    cwd: str = ""
    started_at: str = ""  # UTC, ISO 8601
    tracer: str = ""  # kernel | ptrace | strace | import
    tracer_version: str = ""
    cache: str = (
        "unknown"  # one of CACHE_STATES: what was asked for and, for cold and warm, measured to be so
    )
    cache_asked: str = ""  # the same, as it was asked for, reached or not; "": not known
    evicted: str = ""  # before a cold start: "all" the page cache, or the command's "files"; "": not known
    resident_before_bytes: int | None = None  # in the page cache right before the run; None: not measured
    resident_checked_bytes: int | None = None  # of so many bytes of files that were looked at
    wall_s: float | None = None  # of the traced run, so slowed down by the tracer; None: not known
    device_read_bytes: int | None = None  # by all its processes, as the kernel accounted; None: not known
    exit_status: int | None = None  # as a shell gives it: 128 + n for death by signal n
    lost_events: int = 0
    partial: str = ""  # why the trace ends before the program did; "": it does not
    unseen: tuple[str, ...] = ()  # what this tracer could not see in this run: keys of facts.unseen.UNSEEN
    notes: tuple[str, ...] = ()  # whatever else a reader of the numbers has to know, a sentence each
    ready_s: float | None = None  # from the start until what was waited for was there; None: it never was
    targets: tuple[str, ...] = ()  # whom it was about besides the command, as they were named
    image: str = ""  # path of the disk image the run is about; "": none was named
    images: Images = field(default_factory=dict)  # the disk images that were read, by the number of the file
    measured: Measured = field(default_factory=Measured)  # untraced runs
    host: Host = field(default_factory=Host)
    copies: CopiesFacts = field(default_factory=CopiesFacts)  # of several starts at once
    version: int = FORMAT_VERSION

    @property
    def complete(self) -> bool:
        """True if nothing was lost and the program was observed to its end."""
        return self.lost_events == 0 and not self.partial

    @property
    def not_proved_cold(self) -> bool:
        """Whether the files of the run were dropped, and might not be looked at then."""
        return any(note.startswith(NOT_PROVED_COLD) for note in self.notes)

    @property
    def device_only(self) -> bool:
        """True if nothing but requests of disks was observed."""
        return DEVICE_ONLY in self.unseen


@dataclass(frozen=True, repr=False)
class Trace(Shown):
    """One observed run.

    meta: see `Meta`. events: EVENT_COLUMNS, sorted by time_ns, any number of rows. files, extents,
    structures, tasks, waits, contents: FILE_COLUMNS, EXTENT_COLUMNS, STRUCTURE_COLUMNS, TASK_COLUMNS,
    WAIT_COLUMNS, CONTENT_COLUMNS; `files.file` equals the row number. A task that did something need not be
    in `tasks`. waits: by task and time. A task that has any was on a processor whenever none of them says
    that it was not, up to the end of the run; of one that has none it is not known when it ran.

    >>> trace
    <Trace: 64 reads, 256 KiB of 1 file; 64 events; import>
    >>> trace.files[["path", "kind"]]
                     path     kind
    0  b'/vm/disk0.qcow2'  regular
    >>> trace.reads()[["time_ns", "offset", "size"]].tail(1)
        time_ns     offset  size
    63       63  528482304  4096
    >>> len(trace.writes()), len(trace.ends_of_file()), len(trace.layer("syscall")), trace.saw("device")
    (0, 0, 64, False)
    """

    meta: Meta = field(default_factory=Meta)
    events: pd.DataFrame = field(default_factory=lambda: empty_table(EVENT_COLUMNS))
    files: pd.DataFrame = field(default_factory=lambda: empty_table(FILE_COLUMNS))
    extents: pd.DataFrame = field(default_factory=lambda: empty_table(EXTENT_COLUMNS))
    structures: pd.DataFrame = field(default_factory=lambda: empty_table(STRUCTURE_COLUMNS))
    tasks: pd.DataFrame = field(default_factory=lambda: empty_table(TASK_COLUMNS))
    waits: pd.DataFrame = field(default_factory=lambda: empty_table(WAIT_COLUMNS))
    contents: pd.DataFrame = field(default_factory=lambda: empty_table(CONTENT_COLUMNS))

    def reads(self, columns: Collection[str] = (*EVENT_COLUMNS, "path")) -> pd.DataFrame:
        """The reads: syscall-layer events that got more than 0 bytes from a regular file or block device.

        One row a read in time order, columns of `events` (times in ns, offsets and sizes in bytes) plus
        `path` (bytes). `offset` is null where the position in the file is not known; `size` never is.
        columns: no more than these; all of them take 75 bytes of memory a read.
        """
        return self._rows(self._are_data(READ_OPS, self._moved()), columns)

    def read_rows(self) -> npt.NDArray[np.int64]:
        """The rows of `events` that `reads` gives, in their order."""
        return np.flatnonzero(self._are_data(READ_OPS, self._moved()))

    def writes(self) -> pd.DataFrame:
        """The writes to regular files and block devices that moved more than 0 bytes; columns as in
        `reads`."""
        return self._rows(self._are_data(WRITE_OPS, self._moved()))

    def ends_of_file(self) -> pd.DataFrame:
        """The reads that got 0 bytes because the file had ended; columns as in `reads`."""
        events = self.events
        got_nothing = events["size"].eq(0).fillna(False).to_numpy(bool)
        asked = (events["requested"].to_numpy() > 0) & (events["errno"].to_numpy() == 0)
        return self._rows(self._are_data(READ_OPS, got_nothing & asked))

    def pieces(self) -> Iterator[Trace]:
        """The same trace a bounded number of events at a time, in order, one piece at least: for what can be
        added up, in little memory."""
        free = available_bytes()
        rows = _ROWS_A_PIECE if free is None or free > _PLENTY_BYTES else _ROWS_A_PIECE // 4
        for start in range(0, max(1, len(self.events)), rows):
            yield dataclasses.replace(self, events=self.events.iloc[start : start + rows])

    def layer(
        self, name: str, ops: Collection[str] = (), columns: Collection[str] = (*EVENT_COLUMNS, "path")
    ) -> pd.DataFrame:
        """The events of one of LAYERS, in time order: columns of `events` plus `path` (bytes; b"" where the
        file is not known). ops: no others than these. columns: no more than these. Raises UsageError for
        another name.
        """
        _check_layer(name)
        chosen = (self.events["layer"] == name).to_numpy(bool)
        if ops:
            chosen = chosen & self.events["op"].isin(ops).to_numpy(bool)
        return self._rows(chosen, columns)

    def saw(self, layer: str) -> bool:
        """Whether the tracer looked at this layer: that nothing happened there is not that nobody looked.
        Raises UsageError for what is none of LAYERS."""
        _check_layer(layer)
        watched = self.meta.tracer == "kernel" and "readahead" not in self.meta.unseen
        return watched or bool((self.events["layer"] == layer).any())

    def _rows(
        self, chosen: npt.NDArray[np.bool_], columns: Collection[str] = (*EVENT_COLUMNS, "path")
    ) -> pd.DataFrame:
        """These events, as a table of its own."""
        rows: pd.DataFrame = self.events[[name for name in columns if name != "path"]]
        if not chosen.all():
            rows = rows[chosen]
        rows = rows.reset_index(drop=True)
        if "path" in columns:
            paths = np.append(self.files["path"].to_numpy(object), b"")  # file -1 -> the last
            rows["path"] = paths[rows["file"].to_numpy()]
        return rows

    def _moved(self) -> npt.NDArray[np.bool_]:
        """Which events got or wrote more than 0 bytes."""
        return self.events["size"].gt(0).fillna(False).to_numpy(bool)

    def _are_data(self, ops: tuple[str, ...], wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which events are such calls on regular files and block devices."""
        events = self.events
        is_data = self.files["kind"].isin(DATA_KINDS).to_numpy(bool)
        is_data = np.append(is_data, False)  # file -1 -> the last: False
        chosen: npt.NDArray[np.bool_] = (
            wanted
            & events["op"].isin(ops).to_numpy(bool)
            & (events["layer"] == "syscall").to_numpy(bool)
            & is_data[events["file"].to_numpy()]
        )
        return chosen


def _check_layer(name: str) -> None:
    if name not in LAYERS:
        raise UsageError(f"no layer named '{show_path(str(name))}'; there are {', '.join(LAYERS)}")


def read_bytes(trace: Trace) -> pd.Series:
    """Bytes read of each file that was read: by the file's number, the most first."""
    import pandas as pd

    sizes = pd.concat(
        [piece.reads(("file", "size")).groupby("file")["size"].sum() for piece in trace.pieces()]
    )
    found: pd.Series = sizes.groupby(level=0).sum().sort_values(ascending=False, kind="stable")
    return found


def host_paths(files: pd.DataFrame) -> list[bytes]:
    """The names by which to open files here, outside of the container that named them otherwise: of each of
    these rows of FILE_COLUMNS `host_path`, or `path` where that is the host's own."""
    return [there or path for path, there in zip(files["path"], files["host_path"], strict=True)]


def host_path(files: pd.DataFrame, number: int) -> bytes:
    """The name by which to open the file of this row here; see `host_paths`."""
    row = files.iloc[number]
    found: bytes = row["host_path"] or row["path"]
    return found


def empty_table(columns: dict[str, str]) -> pd.DataFrame:
    """A table of no rows with these columns and dtypes."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in columns.items()})


def table(columns: dict[str, str], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """`rows` as a table with exactly these columns and dtypes."""
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in columns.items()}
    )


TABLES: dict[str, dict[str, str]] = {
    "events": EVENT_COLUMNS,
    "files": FILE_COLUMNS,
    "extents": EXTENT_COLUMNS,
    "structures": STRUCTURE_COLUMNS,
    "contents": CONTENT_COLUMNS,
    "tasks": TASK_COLUMNS,
    "waits": WAIT_COLUMNS,
}
"""Tables of a `Trace` -> their columns."""
