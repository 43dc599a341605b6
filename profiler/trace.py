"""The trace: what one observed run did, as plain tables. Every other part of coldseek meets here.

A `Trace` is frozen and knows nothing of how it was captured or what will be made of it. One trace is one
Parquet file: its rows are the events, so that any Parquet reader opens it; the small tables and the meta
ride along as JSON in the schema's key-value metadata (keys `coldseek.meta`, `coldseek.files`,
`coldseek.extents`, `coldseek.structures`, `coldseek.contents`, `coldseek.tasks`, `coldseek.waits`). Nothing
in it is ever executed or unpickled, and contents of files are never stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from profiler import json_values, packed
from profiler.calls import LARGEST, READ_OPS, WRITE_OPS
from profiler.errors import ColdseekError, TraceFormatError
from profiler.free_memory import available_bytes, within_free_memory
from profiler.parquet import read
from profiler.reading import open_regular
from profiler.units import show_bytes, show_path, show_plural
from profiler.writing import replacing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
# pandas is imported where a table is made: to load it takes longer than many a program runs, and a tracer
# needs it only when that has ended

FORMAT_VERSION = 4
"""Format history. A loader accepts every version up to its own and refuses newer ones by number.
1: the first: events (with `handle` and `direct`), files (with `mtime_ns`), extents, structures, meta.
2: structures have `guest`; they are filled, which no program did before.
3: the table `tasks`, of who did it; files have `host_path`.
4: the tables `waits`, of when tasks were off the processors, and why, and `contents`, of what the guest has
in its disk images.
"""

SUFFIX = ".trace.parquet"
_ROWS_A_PIECE, _PLENTY_BYTES = 1 << 17, 1 << 30
"""So many take some 75 MB while they are made Parquet, a quarter of them 20 MB; where that does not matter,
large pieces are read faster."""
MAX_EVENTS = 400_000_000
"""More rows than this are refused on load: a hostile file may claim any number."""

EVENT_BYTES = 96
"""Of memory that an event takes while a trace is loaded, at the peak: 64 in the table, the rest while it is
checked. More events than there is memory for are refused."""

MOST_ROWS = {
    "files": 10_000_000, "extents": 250_000, "structures": 200_000, "contents": 200_000, "tasks": 1_000_000,
    "waits": 1_000_000,
}  # fmt: skip
"""More rows of the small tables than this are refused on load. No more extents and structures are recorded
(see capture/environment.py, images/map.py), and no more tasks (capture/recorder.py) and waits
(capture/kernel/switches.py); files are as many as a start may open: all of a large source tree are some
100,000."""

MOST_SECONDS = 2**62 / 1e9
"""No run takes longer (146 years): its nanoseconds would not fit in the numbers that hold them."""

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

_ADDED: dict[str, Any] = {"guest": None, "host_path": ""}
"""Columns that a trace of an earlier version does not have, and what they hold then."""
_ADDED_TABLES = {"tasks": 3, "waits": 4, "contents": 4}
"""Tables that a trace of an earlier version than this does not have: empty then."""

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


@dataclass(frozen=True)
class Meta:
    """What is known of the run as a whole. Texts from outside are held as Python holds file names
    (surrogateescape)."""

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
    unseen: tuple[str, ...] = ()  # what this tracer could not see in this run: keys of UNSEEN
    notes: tuple[str, ...] = ()  # whatever else a reader of the numbers has to know, a sentence each
    ready_s: float | None = None  # from the start until what was waited for was there; None: it never was
    targets: tuple[str, ...] = ()  # whom it was about besides the command, as they were named
    image: str = ""  # path of the disk image the run is about; "": none was named
    images: dict[str, Any] = field(default_factory=dict)  # file number -> facts of the image in it
    measured: dict[str, Any] = field(default_factory=dict)  # untraced runs: see capture/runs.py
    host: dict[str, Any] = field(default_factory=dict)  # see capture/environment.py
    copies: dict[str, Any] = field(default_factory=dict)  # of several starts at once: see capture/copies.py
    version: int = FORMAT_VERSION

    @property
    def complete(self) -> bool:
        """True if nothing was lost and the program was observed to its end."""
        return self.lost_events == 0 and not self.partial


UNSEEN: dict[str, str] = {
    "mmap": "reads through memory mappings (page faults)",
    "exec": "what the kernel itself read to start each program",
    "io_uring": "io_uring requests",
    "sqpoll": "io_uring requests of rings polled by a kernel thread (SQPOLL)",
    "completions": "results of some asynchronous reads (submitted, end not seen)",
    "readahead": "which reads the page cache answered, and what reached the device",
    "abi": "calls of programs for another processor mode",
    "descriptors": "which files some descriptors name, that could not be looked at",
    "untraced": "child processes that asked not to be traced (CLONE_UNTRACED)",
    "early": "everything before the trace begins",
    "transfers": "sendfile, splice and copy_file_range",
    "aio": "reads by libaio, but for what they brought in and requested",
    "threads": "threads and child processes (the log was made without -f)",
}
"""What may be unseen, key -> words. A trace may hold keys that are not here: they are shown as they are."""


@dataclass(frozen=True)
class Trace:
    """One observed run.

    meta: see `Meta`. events: EVENT_COLUMNS, sorted by time_ns, any number of rows. files, extents,
    structures, tasks, waits, contents: FILE_COLUMNS, EXTENT_COLUMNS, STRUCTURE_COLUMNS, TASK_COLUMNS,
    WAIT_COLUMNS, CONTENT_COLUMNS; `files.file` equals the row number. A task that did something need not be
    in `tasks`. waits: by task and time. A task that has any was on a processor whenever none of them says
    that it was not, up to the end of the run; of one that has none it is not known when it ran.
    """

    meta: Meta = field(default_factory=Meta)
    events: pd.DataFrame = field(default_factory=lambda: empty_table(EVENT_COLUMNS))
    files: pd.DataFrame = field(default_factory=lambda: empty_table(FILE_COLUMNS))
    extents: pd.DataFrame = field(default_factory=lambda: empty_table(EXTENT_COLUMNS))
    structures: pd.DataFrame = field(default_factory=lambda: empty_table(STRUCTURE_COLUMNS))
    tasks: pd.DataFrame = field(default_factory=lambda: empty_table(TASK_COLUMNS))
    waits: pd.DataFrame = field(default_factory=lambda: empty_table(WAIT_COLUMNS))
    contents: pd.DataFrame = field(default_factory=lambda: empty_table(CONTENT_COLUMNS))

    def reads(self) -> pd.DataFrame:
        """The reads: syscall-layer events that got more than 0 bytes from a regular file or block device.

        One row a read in time order, columns of `events` (times in ns, offsets and sizes in bytes) plus
        `path` (bytes). `offset` is null where the position in the file is not known; `size` never is.
        """
        return self._data_events(READ_OPS, self.events["size"].gt(0).fillna(False))

    def writes(self) -> pd.DataFrame:
        """The writes to regular files and block devices that moved more than 0 bytes; columns as in
        `reads`."""
        return self._data_events(WRITE_OPS, self.events["size"].gt(0).fillna(False))

    def ends_of_file(self) -> pd.DataFrame:
        """The reads that got 0 bytes because the file had ended; columns as in `reads`."""
        asked = (self.events["requested"] > 0) & (self.events["errno"] == 0)
        return self._data_events(READ_OPS, asked & self.events["size"].eq(0).fillna(False))

    def pieces(self) -> Iterator[Trace]:
        """The same trace a bounded number of events at a time, in order, one piece at least: for what can be
        added up, in little memory."""
        free = available_bytes()
        rows = _ROWS_A_PIECE if free is None or free > _PLENTY_BYTES else _ROWS_A_PIECE // 4
        for start in range(0, max(1, len(self.events)), rows):
            yield dataclasses.replace(self, events=self.events.iloc[start : start + rows])

    def layer(self, name: str) -> pd.DataFrame:
        """The events of one of LAYERS, in time order: columns of `events` plus `path` (bytes; b"" where the
        file is not known).
        """
        rows: pd.DataFrame = self.events[(self.events["layer"] == name).to_numpy(bool)]
        rows = rows.reset_index(drop=True)
        paths = np.append(self.files["path"].to_numpy(object), b"")  # file -1 -> the last
        rows["path"] = paths[rows["file"].to_numpy()]
        return rows

    def saw(self, layer: str) -> bool:
        """Whether the tracer looked at this layer: that nothing happened there is not that nobody looked."""
        watched = self.meta.tracer == "kernel" and "readahead" not in self.meta.unseen
        return watched or bool((self.events["layer"] == layer).any())

    def _data_events(self, ops: tuple[str, ...], wanted: pd.Series) -> pd.DataFrame:
        events, files = self.events, self.files
        is_data = np.append(
            files["kind"].isin(DATA_KINDS).to_numpy(bool), False
        )  # file -1 -> the last: False
        chosen = (
            wanted.to_numpy(bool)
            & events["op"].isin(ops).to_numpy(bool)
            & (events["layer"] == "syscall").to_numpy(bool)
            & is_data[events["file"].to_numpy()]
        )
        rows: pd.DataFrame = events[chosen].reset_index(drop=True)
        rows["path"] = files["path"].to_numpy()[rows["file"].to_numpy()]
        return rows


def read_bytes(trace: Trace) -> pd.Series:
    """Bytes read of each file that was read: by the file's number, the most first."""
    import pandas as pd

    sizes = pd.concat([piece.reads().groupby("file")["size"].sum() for piece in trace.pieces()])
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


def validate(trace: Trace) -> None:
    """Raise TraceFormatError unless the tables have their columns, dtypes and bounds."""
    import pandas as pd

    for name, columns in _TABLES.items():
        frame = getattr(trace, name)
        if list(frame.columns) != list(columns):
            raise TraceFormatError(f"table {name} has columns {list(frame.columns)}, not {list(columns)}")
        for column, dtype in columns.items():
            found = frame[column].dtype
            if not (isinstance(found, pd.CategoricalDtype) if dtype == "category" else found == dtype):
                raise TraceFormatError(f"{name}.{column} is of type {found}, not {dtype}")
        if "file" in frame and name != "files":
            index = frame["file"].to_numpy()
            if len(index) and (index.min() < -1 or index.max() >= len(trace.files)):
                raise TraceFormatError(f"{name}.file names files that are not in the table of files")
    events, files = trace.events, trace.files
    if not np.array_equal(files["file"].to_numpy(), np.arange(len(files))):
        raise TraceFormatError("files.file does not count the rows from 0")
    for name, columns in _TABLES.items():
        for column in (one for one, dtype in columns.items() if dtype == "object"):
            if not all(isinstance(value, bytes) for value in getattr(trace, name)[column]):
                raise TraceFormatError(f"{name}.{column} holds something other than bytes")
    if not events["time_ns"].is_monotonic_increasing:
        raise TraceFormatError("the events are not sorted by time")
    for piece in trace.pieces():
        _check_numbers(piece.events)
    places = {
        "extents": ("logical", "physical", "length"),
        "structures": ("start", "end", "guest"),
        "contents": ("start", "end"),
    }
    for name, names in places.items():
        if any(getattr(trace, name)[column].lt(0).any() for column in names):
            raise TraceFormatError(f"table {name} has negative offsets")
    least = {"tid": 0, "pid": 0, "parent": -1, "start_ns": 0, "end_ns": 0}
    for column, lowest in least.items():
        if trace.tasks[column].lt(lowest).any():
            raise TraceFormatError(f"tasks.{column} has numbers that cannot be")
    _check_waits(trace.waits)
    for number, facts in trace.meta.images.items():
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        if not is_number or int(number) >= len(files) or not _are_facts(facts):
            raise TraceFormatError("meta.images holds no facts of these files; record it again")


def _check_waits(waits: pd.DataFrame) -> None:
    start, duration = waits["start_ns"].to_numpy(), waits["duration_ns"].to_numpy(np.int64, na_value=0)
    tid = waits["tid"].to_numpy()
    if (tid < 0).any() or (start < 0).any() or (duration < 0).any() or (start > LARGEST - duration).any():
        raise TraceFormatError("waits has numbers that cannot be")
    sorted_ = (tid[1:] > tid[:-1]) | ((tid[1:] == tid[:-1]) & (start[1:] >= start[:-1]))
    if not sorted_.all():
        raise TraceFormatError("the waits are not sorted by task and time")
    if not set(waits["reason"].cat.categories) <= set(WAIT_REASONS) or waits["reason"].isna().any():
        raise TraceFormatError("waits.reason has words that are no reasons")


def _check_numbers(events: pd.DataFrame) -> None:
    for column in ("time_ns", "duration_ns", "offset", "requested", "size"):
        if events[column].lt(0).any():
            raise TraceFormatError(f"events.{column} has negative values")
    offset, size = (events[column].to_numpy(np.int64, na_value=0) for column in ("offset", "size"))
    if (offset - 1 > LARGEST - size).any():
        raise TraceFormatError("an event ends behind the largest offset that a file can have")


_FORMAT = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
"""A name of QEMU's for a format: it is shown, and stands in commands that are to be copied."""


def _are_facts(facts: Any) -> bool:
    """Whether these can be the facts of an image: an object, and numbers where these are used."""
    name = facts.get("format") if isinstance(facts, dict) else None
    if not isinstance(name, str) or not _FORMAT.fullmatch(name):
        return False
    bounds = {"virtual_size": 2**64, "cluster_size": 2**32, "in_front": 2**31, "layers": 2**31}
    return all(
        type(facts.get(key, 0)) is int and 0 <= facts.get(key, 0) < end for key, end in bounds.items()
    )


def save(trace: Trace, path: str | os.PathLike[str], follow: bool = True) -> None:
    """Write the trace to `path`, whole or not at all (see `writing.replacing`).

    Raises ColdseekError where it cannot be written (no space, no permission, no such directory).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    validate(trace)
    _check_meta(trace.meta)
    schema = _arrow_schema()
    described = schema.with_metadata(
        {
            "coldseek.meta": json_values.dumps(dataclasses.asdict(trace.meta)),
            **{
                f"coldseek.{name}": packed.dumps(getattr(trace, name), columns)
                if name in _PACKED
                else _table_to_json(getattr(trace, name))
                for name, columns in _TABLES.items()
                if name != "events"
            },
        }
    )
    with replacing(path, follow) as file, pq.ParquetWriter(file, described, compression="zstd") as writer:
        for piece in trace.pieces():
            group = pa.Table.from_pandas(piece.events, schema=schema, preserve_index=False)
            writer.write_table(group.replace_schema_metadata(described.metadata))


def load(trace: str | os.PathLike[str] | BinaryIO) -> Trace:
    """Read a trace, by name or as an open file. It may come from anywhere: all of it is checked before it is
    used, and no more memory is taken for it than is free.

    Raises TraceFormatError for what is no trace, is damaged or newer, ColdseekError where it cannot be read
    or does not fit in memory.
    """
    import pandas  # noqa: F401  (before memory is bounded)
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = trace if isinstance(trace, str | os.PathLike) else ""
    shown = show_path(os.fspath(named or getattr(trace, "name", "the trace")))
    try:
        with (
            within_free_memory(),
            open_regular(named) if named else contextlib.nullcontext(cast(BinaryIO, trace)) as source,
        ):
            try:
                parquet = pq.ParquetFile(source)
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                raise TraceFormatError(
                    f"{shown} is no coldseek trace (not a whole Parquet file); "
                    f"make one with 'coldseek record', or 'coldseek import strace' for an strace log"
                ) from error
            try:
                return _from_parquet(parquet, shown)
            except TraceFormatError as error:
                raise TraceFormatError(f"{shown}: {error}") from error
            except MemoryError:
                raise
            except (*_DAMAGE, pa.ArrowException) as error:
                raise TraceFormatError(
                    f"{shown} is damaged ({_first_line(error)}); record it again"
                ) from error
    except OSError as error:
        raise ColdseekError(f"cannot read {shown}: {os.strerror(error.errno or 0)}") from error
    except MemoryError as error:
        raise ColdseekError(
            f"cannot read {shown}: it takes more memory than is free; read it where there is more, or "
            f"record it again if it is damaged"
        ) from error


_DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What reading a damaged file may raise; pyarrow's own errors come beside these."""


def _from_parquet(parquet: Any, shown: str) -> Trace:
    metadata = parquet.schema_arrow.metadata or {}
    if b"coldseek.meta" not in metadata:
        raise TraceFormatError("a Parquet file, but no coldseek trace; make one with 'coldseek record'")
    facts = json_values.loads(metadata[b"coldseek.meta"])
    if not isinstance(facts, dict):
        raise TraceFormatError("the trace's meta is damaged; record it again")
    version = facts.get("version")
    if type(version) is not int or version < 1:
        raise TraceFormatError("the trace does not say its format version; record it again")
    if version > FORMAT_VERSION:
        raise TraceFormatError(
            f"trace format {str(version)[:20]} is newer than this coldseek, which reads up to "
            f"{FORMAT_VERSION}; update coldseek"
        )
    meta = _meta_from(facts)
    _check_meta(meta)
    _bound(parquet.metadata.num_rows, shown)
    small = {
        name: empty_table(columns)
        if version < _ADDED_TABLES.get(name, 0) and f"coldseek.{name}".encode() not in metadata
        else packed.loads(metadata[f"coldseek.{name}".encode()], columns, name, MOST_ROWS[name])
        if name in _PACKED
        else _table_from_json(metadata, name)
        for name, columns in _TABLES.items()
        if name != "events"
    }
    trace = Trace(
        meta=meta,
        **small,
        events=read(parquet, EVENT_COLUMNS, _arrow_schema()),
    )
    validate(trace)
    return trace


def _bound(rows: int, shown: str) -> None:
    """Raise ColdseekError for more events than there may be, or than there is memory for."""
    if rows > MAX_EVENTS:
        raise TraceFormatError(f"the file claims {rows} events; at most {MAX_EVENTS} are read")
    free = available_bytes()
    if free is not None and rows * EVENT_BYTES > free:
        raise ColdseekError(
            f"{shown} holds {show_plural(rows, 'event')}, which take {show_bytes(rows * EVENT_BYTES)} of "
            f"memory, and {show_bytes(free)} are free; read it where there is more, or record a shorter run"
        )


def _meta_from(facts: dict[str, Any]) -> Meta:
    """Build Meta from JSON, each field checked against the type of its default; unknown keys are left
    aside."""
    known: dict[str, Any] = {}
    for item in dataclasses.fields(Meta):
        if item.name not in facts:
            continue
        value = facts[item.name]
        if isinstance(value, list):
            value = tuple(value)
        allowed = _META_TYPES[str(item.type).partition("[")[0]]
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise TraceFormatError(f"the trace's {item.name} is damaged; record it again")
        if isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
            raise TraceFormatError(f"the trace's {item.name} is damaged; record it again")
        known[item.name] = value
    return Meta(**known)


def _check_meta(meta: Meta) -> None:
    """Raise TraceFormatError for numbers that cannot be, and for what is too deep to be walked through."""
    for item in dataclasses.fields(Meta):
        value = getattr(meta, item.name)
        wrong = json_values.fault(value)
        most = MOST_SECONDS if item.name in ("wall_s", "ready_s") else LARGEST
        if not wrong and isinstance(value, int | float) and not 0 <= value <= most:
            wrong = "a number that cannot be"
        if wrong:
            raise TraceFormatError(f"the trace's {item.name} is damaged ({wrong}); record it again")


_META_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "tuple": (tuple,),
    "dict": (dict,),
}

_TABLES: dict[str, dict[str, str]] = {
    "events": EVENT_COLUMNS,
    "files": FILE_COLUMNS,
    "extents": EXTENT_COLUMNS,
    "structures": STRUCTURE_COLUMNS,
    "contents": CONTENT_COLUMNS,
    "tasks": TASK_COLUMNS,
    "waits": WAIT_COLUMNS,
}
_PACKED = ("waits",)
"""Tables of so many rows that their columns are not JSON's lists; see profiler/packed.py."""


def _arrow_schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "Int64": pa.int64(),
        "bool": pa.bool_(), "category": pa.dictionary(pa.int16(), pa.string()),
    }  # fmt: skip
    return pa.schema(
        [pa.field(name, types[dtype], nullable=dtype == "Int64") for name, dtype in EVENT_COLUMNS.items()]
    )


def _table_to_json(frame: pd.DataFrame) -> bytes:
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        values = frame[name].tolist()
        columns[str(name)] = [
            value.decode("utf-8", "surrogateescape")
            if isinstance(value, bytes)
            else None
            if value is pd.NA
            else value
            for value in values
        ]
    return json_values.dumps(columns)


def _table_from_json(metadata: Mapping[bytes, bytes], name: str) -> pd.DataFrame:
    import pandas as pd

    columns = _TABLES[name]
    values = json_values.loads(metadata[f"coldseek.{name}".encode()])
    if isinstance(values, dict):
        rows = len(values[next(iter(columns))])
        values = {**{column: [_ADDED[column]] * rows for column in columns if column in _ADDED}, **values}
    if not isinstance(values, dict) or len({len(values[column]) for column in columns}) > 1:
        raise ValueError("a table's columns differ in length")
    if rows > MOST_ROWS[name]:
        raise TraceFormatError(
            f"the table {name} has {show_plural(rows, 'row')}; at most {MOST_ROWS[name]:,} are read"
        )
    made = {}
    for column, dtype in columns.items():
        found = values[column]
        wanted = (str,) if dtype in ("str", "object") else (int,) if dtype != "Int64" else (int, type(None))
        if not isinstance(found, list) or not all(
            isinstance(value, wanted) and not isinstance(value, bool) for value in found
        ):
            raise ValueError(f"column {column} is not made of {dtype}")
        if dtype == "object":
            found = [value.encode("utf-8", "surrogateescape") for value in found]
        made[column] = pd.Series(found, dtype=dtype)
    return pd.DataFrame(made)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
