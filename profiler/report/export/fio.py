"""The requests of a cold start for fio: its list of reads, and the job that makes them."""

from __future__ import annotations

from collections.abc import Iterator

from profiler.analysis.replayed import replayed
from profiler.iolog import iolog
from profiler.trace import Trace

IOLOG = "start.iolog"
"""The name by which the job knows the iolog."""

_BLOCK = 4096


def fio_iolog(trace: Trace) -> Iterator[bytes]:
    """An iolog of version 3: the requests past the page cache, at their recorded times, of files that are
    named by their number in the trace, as fio takes no path with blanks. coldseek replay makes such files,
    and removes them."""
    reads, _ = replayed(trace, "device", on_device=False)
    columns = [reads[name].tolist() for name in ("time_ns", "file", "offset", "size")]
    used = sorted(set(columns[1]))
    row = {file: number for number, file in enumerate(used)}
    rows = zip(*columns, strict=True)
    lines = iolog(
        [name_of(file) for file in used],
        ((time // 1000, row[file], offset, size) for time, file, offset, size in rows),
    )
    for line in lines:
        yield line.encode()


def fio_job(trace: Trace) -> Iterator[bytes]:
    """A job file: it makes the files, each as large as it has to be, full of data, and then reads IOLOG, all
    in the folder where fio is started."""
    reads, sizes = replayed(trace, "device", on_device=False)
    yield b"[global]\nioengine=psync\ndirect=1\nthread=1\n"
    for file in sorted(set(reads["file"].tolist())):
        name, size = name_of(file), -(-int(sizes[file]) // _BLOCK) * _BLOCK
        yield f"\n[{name}]\nfilename={name}\nsize={size}\nrw=write\nbs=4k\nend_fsync=1\nstonewall\n".encode()
    yield f"\n[start]\nread_iolog={IOLOG}\nstonewall\n".encode()


def name_of(file: int) -> str:
    """The name of a file of the trace in an iolog."""
    return f"coldseek-{file}"
