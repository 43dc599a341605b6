"""A trace as other tools read it. A kind a file: each writes one file, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from profiler.errors import UsageError
from profiler.report.export.fio import IOLOG, fio_iolog, fio_job
from profiler.report.export.folded import folded
from profiler.report.export.lists import paths_of_lines, paths_with_nul, soci, stargz
from profiler.report.export.perfetto import write_perfetto
from profiler.report.export.tables import write_csv, write_parquet
from profiler.trace import Trace

Write = Callable[[Trace, BinaryIO], None]
"""Writes the export of a trace to an open file."""


@dataclass(frozen=True)
class Kind:
    """title: what it is. reader: a command that takes the file, FILE in it."""

    title: str
    reader: str
    write: Write


def _lines(made: Callable[[Trace], Iterable[bytes]]) -> Write:
    def write(trace: Trace, file: BinaryIO) -> None:
        file.writelines(made(trace))

    return write


_SQL = "SELECT path, sum(size) FROM 'FILE' GROUP BY path"

KINDS: dict[str, Kind] = {
    "csv": Kind("all events on rows of their own", "column -s, -t FILE", write_csv),
    "parquet": Kind("the same for SQL", f'duckdb -c "{_SQL}"', write_parquet),
    "folded": Kind("waited microseconds by folder and file", "flamegraph.pl FILE", _lines(folded)),
    "fio": Kind("requests for fio", f"fio JOB, with FILE as {IOLOG} beside it", _lines(fio_iolog)),
    "fio-job": Kind("the job that makes these requests", "fio FILE", _lines(fio_job)),
    "vmtouch": Kind("files, NUL between them", "vmtouch -t -0 -b FILE", _lines(paths_with_nul)),
    "nydus": Kind(
        "files, a line each", "nydus-image create --prefetch-policy fs ... < FILE", _lines(paths_of_lines)
    ),
    "stargz": Kind(
        "files, a JSON line each", "ctr-remote image optimize --record-in FILE ...", _lines(stargz)
    ),
    "soci": Kind("files, a JSON array", "soci convert --prefetch-files-json FILE ...", _lines(soci)),
    "perfetto": Kind(
        "tracks of threads, page cache and disks", "open FILE on ui.perfetto.dev", write_perfetto
    ),
}  # fmt: skip
"""Name of an export -> what makes it."""


def export(trace: Trace, kind: str, file: BinaryIO) -> None:
    """Write the trace as `kind` of KINDS. Raises UsageError for another, ColdseekError where the trace has
    nothing of that kind."""
    if kind not in KINDS:
        raise UsageError(f"no export named {kind!r}; there are {', '.join(KINDS)}")
    KINDS[kind].write(trace, file)
