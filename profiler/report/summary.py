"""Everything the reports show, worked out once: text and JSON are both made from this and cannot
disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from profiler.analysis.advice.evidence import Finding
from profiler.analysis.advice.traced_image import Chain
from profiler.analysis.cost import below_the_program, walltime
from profiler.analysis.cost.charges import Charges
from profiler.analysis.cost.costs import Cost
from profiler.analysis.framed import Framed, plain
from profiler.analysis.reads import access, readers
from profiler.analysis.reads.picture import Picture
from profiler.analysis.simulation.projection import Cold, Projection
from profiler.facts.runs import Run
from profiler.trace import Meta
from profiler.units import show_bytes, show_plural

MAX_TASKS = 10_000
"""More tasks than this are left out of a report; the trace has them all."""

MAX_CONTENTS = 10_000
"""Parts of what the guest has in an image beyond these are left out of a report."""

MOST_KEPT = 1_000_000
"""Of a start of more reads than this the requests are not kept: who asks for them has them made again."""

USUAL_SHARE = 0.5
"""A read size is called the usual one if at least this share of the reads has it."""


@dataclass(frozen=True)
class Stride:
    """A dominant recurring jump: bytes from the start of one read to the start of the next, and how
    often."""

    bytes: int
    count: int


@dataclass(frozen=True)
class StructureSummary:
    """The reads of one kind of structure of an image; see `attribution`. requests: those that reached the
    device, as they were observed; None: not known. hdd_share: of all the time that the start waits for
    `charges.USUAL_DEVICE`, None if it waits for nothing.
    """

    kind: str
    reads: int
    bytes: int
    unique_bytes: int
    seeks: int
    requests: int | None
    hdd_share: float | None


@dataclass(frozen=True)
class ContentSummary:
    """The reads of an image that were for one part of what the guest has in it; see `contents`.
    path: bytes, of the guest's file; b"": of no file, or not known. hdd_share: as in `StructureSummary`.
    """

    kind: str
    path: bytes
    reads: int
    bytes: int
    unique_bytes: int
    hdd_share: float | None


@dataclass(frozen=True)
class FileSummary:
    """What was read of one file, by calls; the terms are those of `access.Totals`. path: bytes, as it was
    recorded. Of one that was only mapped there are no reads.

    size: of the file, in bytes, None if not known. usual_size: the size in bytes that most of its reads
    have, None if there is none. structures: what the reads of an image were for, most reads first; empty if
    the trace has no map of it. host_path: where it lies on the host, b"" if that is `path`. read_by: the
    processes that read it, most reads first. role: what it is to the start, one of `roles.ROLES`. share: of
    all that the start costs, mapped pages included; None where that is not known. contents: what of the
    guest's disk the reads of an image were for, most bytes first, at most MAX_CONTENTS.

    >>> file = coldseek.summarise(trace).files[0]
    >>> file.path, file.reads, file.scattered_ratio
    (b'/vm/disk0.qcow2', 64, 1.0)
    """

    path: bytes
    host_path: bytes
    size: int | None
    filesystem: str
    reads: int
    bytes: int
    unique_bytes: int
    unique_page_bytes: int
    reread_bytes: int
    seeks: int
    scattered_ratio: float | None
    sequential_ratio: float | None
    unknown_offsets: int
    usual_size: int | None
    patterns: dict[str, int]
    strides: tuple[Stride, ...]
    structures: tuple[StructureSummary, ...]
    read_by: tuple[readers.FileReader, ...] = ()
    role: str = "data"
    share: float | None = None
    contents: tuple[ContentSummary, ...] = ()


@dataclass(frozen=True)
class Part:
    """What the files of one role cost together. role: one of `roles.ROLES`, or "metadata": what file systems
    read of their own. files: how many cost anything, 0 for metadata. requests, bytes, waited_s: as of
    `costs.Cost`. share: of all that the start costs.
    """

    role: str
    files: int
    requests: int
    bytes: int
    waited_s: float | None
    share: float


@dataclass(frozen=True)
class Pseudo:
    """Reads of proc, sysfs and the like, which have no contents on any disk: they are in no totals."""

    files: int
    reads: int
    bytes: int


@dataclass(frozen=True)
class Late:
    """Reads after the command had ended, of what it left running: they are in the totals, and not in the
    wall time."""

    reads: int
    bytes: int


@dataclass(frozen=True)
class Task:
    """A row of `trace.TASK_COLUMNS`: `start_s` and `end_s` in seconds, None: not known."""

    tid: int
    pid: int
    parent: int | None
    name: bytes
    program: bytes
    cgroup: bytes
    container: str
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class Others:
    """All files but the one in focus, summed, without those of `Pseudo`. files: those that were read."""

    files: int
    reads: int
    bytes: int
    unique_bytes: int
    seeks: int


@dataclass(frozen=True)
class Bin:
    """Values from `low` to `high` bytes, as in `access.log2_histogram`."""

    low: int
    high: int
    count: int


@dataclass(frozen=True, repr=False)
class Summary(Framed):
    """One trace, worked out. Sizes in bytes, times in seconds, None: not known.

    focus: the file that matters, see `focus.focus`; None where none stands out. image: the image that the
    run is about, in focus or not. files: all that were read or cost anything, the focus first, then the
    dearest, then by reads; those of pseudo file systems last. totals, strides, gaps, sizes and others are
    without these, pseudo is what was read of them; late: what of the totals came after the end. parts: what
    the image, what lies behind it, the program, its libraries and file systems cost, the dearest first.
    cold, warm: untraced runs; damaged_runs of them could not be read. slowdown: traced wall time through
    that of the untraced runs in the same cache state. writes, written_bytes: to files and block devices.
    page_cache, device: what was observed there, None where no tracer looked; what the projections say is
    modelled. findings: why the start is slow, by the rules of `findings`. readers: who read, by name and
    program, most reads first. tasks: those that were observed, in the order of their starts, at most
    MAX_TASKS. time: where the wall time of the observed run went, answer: whether a cold start is slow
    because of the disk. costs: what files and structures cost, the dearest first. picture: where in the
    files it reads, against time. chain: of the image, None where there is none. charged, cold_start: the
    requests that costs and projections are of, the second None of more than MOST_KEPT reads.

    >>> coldseek.summarise(trace)
    <Summary: 64 reads, 256 KiB of 1 file; 64 seeks>
    """

    meta: Meta
    totals: access.Totals
    strides: tuple[Stride, ...]
    gaps: tuple[Bin, ...]
    sizes: tuple[Bin, ...]
    focus: FileSummary | None
    files: tuple[FileSummary, ...]
    others: Others
    cold: tuple[Run, ...]
    warm: tuple[Run, ...]
    damaged_runs: int
    slowdown: float | None
    writes: int
    written_bytes: int
    page_cache: below_the_program.PageCache | None
    device: below_the_program.DeviceRequests | None
    projections: tuple[Projection, ...]
    findings: tuple[Finding, ...]
    readers: tuple[readers.Reader, ...] = ()
    tasks: tuple[Task, ...] = ()
    time: walltime.WallTime | None = None
    answer: walltime.Answer | None = None
    costs: tuple[Cost, ...] = ()
    image: FileSummary | None = None
    parts: tuple[Part, ...] = ()
    pseudo: Pseudo = Pseudo(0, 0, 0)
    late: Late = Late(0, 0)
    picture: Picture | None = None
    chain: Chain | None = None
    charged: Charges | None = field(default=None, repr=False, compare=False)
    cold_start: Cold | None = field(default=None, repr=False, compare=False)

    def rows(self) -> Iterator[dict[str, object]]:
        """A row for each of `files`."""
        for file in self.files:
            yield {**plain(file), **file.patterns}

    def __repr__(self) -> str:
        totals = self.totals
        reads, files = show_plural(totals.reads, "read"), show_plural(totals.files, "file")
        seeks = show_plural(totals.seeks, "seek")
        return f"<Summary: {reads}, {show_bytes(totals.bytes)} of {files}; {seeks}>"
