"""What people see of a trace, and how they have it as tables of pandas, and make one of such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from profiler.units import show_bytes, show_plural, show_short

if TYPE_CHECKING:
    import pandas as pd

    from profiler.trace import Meta, Trace

_MOST_OF_A_COMMAND = 60


class Shown:
    """The part of `Trace` that is for people: short in a line, a table in pandas, a page in a notebook."""

    def to_frame(self: Any, view: str = "reads") -> pd.DataFrame:
        """A table as pandas has them everywhere: names as text (UTF-8, other bytes as \\xNN), all whole
        numbers Int64, so that columns are compared and joined as they are. `reads` and the tables of the
        trace have names as bytes, and the types of the format.

        view: "reads" or "writes", as the methods of these names; "syscall", "cache" or "device", as `layer`;
        or one of TABLES, such as "files". Raises TraceFormatError for another name.

        >>> trace.to_frame()[["path", "offset", "size"]].head(2)
                         path  offset  size
        0  /vm/disk0.qcow2       0  4096
        1  /vm/disk0.qcow2  8388608  4096
        """
        from profiler.files.frames import to_frame

        return to_frame(self, view)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, meta: Meta | None = None) -> Trace:
        """A trace of reads that somebody else observed: by eBPF, in an application's log, in a simulator.

        frame: one row a read, with the columns path (text, bytes or Path), offset and size (bytes; null: not
        known). It may have others of EVENT_COLUMNS and FILE_COLUMNS, such as time_ns (from the start of the
        run), duration_ns, pid, tid, op (a name of `calls.READ_OPS` or WRITE_OPS), requested, direct, device
        ("8:1"), inode, kind, filesystem, and file_size, of the file (bytes). What is missing is not known,
        with three exceptions: op is pread64, kind is regular, and without times the rows are in order, 1 us
        apart, as a note of the trace then says. meta: what else is known of the run.

        Raises TraceFormatError for a column that is missing or not known, and for values that cannot be.

        >>> frame = pd.DataFrame({"path": ["/a", "/a"], "offset": [0, 4096], "size": [4096, 100]})
        >>> coldseek.Trace.from_frame(frame)
        <Trace: 2 reads, 4.1 KiB of 1 file; 2 events; import>
        """
        from profiler.files.frames import from_frame

        return from_frame(frame, meta)

    def __repr__(self: Any) -> str:
        reads = self.events.iloc[self.read_rows()]
        size = show_bytes(float(reads["size"].astype("float64").sum()))  # of a hostile trace more than 2**63
        of = show_plural(reads["file"].nunique(), "file")
        what = f"{show_plural(len(reads), 'read')}, {size} of {of}; {show_plural(len(self.events), 'event')}"
        how = ", ".join(filter(None, [self.meta.tracer, self.meta.cache.replace("unknown", "")]))
        command = show_short(" ".join(self.meta.command), _MOST_OF_A_COMMAND)
        return f"<Trace{' of ' + command if command else ''}: {what}{'; ' + how if how else ''}>"

    if TYPE_CHECKING:
        # what is made of a trace is not known here: the library gives it these two (`library.notebook`)

        def page(self, height: int = 900) -> Any:
            """The whole page in a frame of so many pixels, as `page` of the library gives it."""
            raise NotImplementedError

        def _repr_html_(self) -> str:
            raise NotImplementedError
