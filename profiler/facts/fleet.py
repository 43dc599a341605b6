"""One trace of a fleet as one row: facts, sums and histograms of a fixed size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SIZE_BINS = 64
"""Sizes from 2**n to 2**(n + 1) - 1 bytes are counted in bin n; nothing of 0 bytes is a read."""

GAP_BINS = 129
"""Bin 64 counts gaps of 0; bin 64 + n those from 2**(n - 1) to 2**n - 1 bytes, bin 64 - n those backward."""

MOST_FILES = 32
MOST_STRUCTURES = 16
SKETCH = 256
"""Pages of a sketch. By so many a share is known within 6 points in 100, 1 / sqrt(256), two times of
three."""

MOST_TEXT = 1_000
"""Characters of any text in a row; of a longer one the first are kept."""


@dataclass(frozen=True)
class FileRow:
    """A file that the start reads. path: UTF-8, other bytes as \\xNN. reads, bytes: by calls. page_bytes: of
    pages of 4 KiB, each once, mapped ones too. digest: of the set of these pages."""

    path: str
    reads: int
    bytes: int
    page_bytes: int
    digest: str


@dataclass(frozen=True)
class StructureRow:
    """The reads of one kind of structure of an image; see `analysis.reads.attribution`."""

    reads: int
    bytes: int


@dataclass(frozen=True)
class Saving:
    """What an option of the advice would save. option: its key, as in `advise --format json`; name: in
    words. seconds: of waiting for the device, a start."""

    option: str
    name: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What a fleet remembers of one trace. Sizes in bytes, times in seconds; None: not known.

    started_at: UTC, ISO 8601. program: the first word of the command, without its folder; command: all of
    it, quoted as a shell takes it. start: the image, or the command where there is none: what starts are
    compared by. image_cluster: None where the format has none. filesystems, disk_models, read_ahead_kb: of
    the devices that were read, each once, in order. cache, tracer, unseen, partial: as of `trace.Meta`.

    reads to patterns: as of `access.Totals`, without file systems that have no contents on a disk. events:
    rows of the trace, of all layers. requests, request_bytes: that a cold start makes of a device,
    simulated; metadata_requests among them are the file systems', None where these are not known. seconds,
    low_s, high_s, in_order_s: device -> what a cold start waits for it, its band, and the same bytes read in
    one piece (`projection.Projection`). cold_s, warm_s: medians of untraced runs. disk_s, disk_share,
    is_disk: as of `walltime.Answer`. findings: kinds of what the rules find.

    sizes, gaps: counts, in SIZE_BINS and GAP_BINS. structures: the MOST_STRUCTURES with the most reads.
    pages: of 4 KiB that the start needs, each once. pages_digest: of the set of them, by path and place; the
    same in two rows if the sets are. sketch: the SKETCH smallest hashes (64 bits) of these pages, in order;
    files: the MOST_FILES with the most pages. savings: of the advice; None: it was not asked for.
    """

    host: str | None = None
    started_at: str | None = None
    program: str | None = None
    command: str | None = None
    start: str | None = None
    image: str | None = None
    image_format: str | None = None
    image_size: int | None = None
    image_cluster: int | None = None
    image_chain: int | None = None
    kernel: str | None = None
    machine: str | None = None
    distribution: str | None = None
    virtual: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    filesystems: str | None = None
    disk_models: str | None = None
    read_ahead_kb: str | None = None
    tracer: str | None = None
    tracer_version: str | None = None
    trace_version: int | None = None
    cache: str | None = None
    copies: int | None = None
    exit_status: int | None = None
    lost_events: int | None = None
    partial: str | None = None
    unseen: tuple[str, ...] | None = None
    wall_s: float | None = None
    ready_s: float | None = None
    cold_s: float | None = None
    warm_s: float | None = None
    disk_s: float | None = None
    disk_share: float | None = None
    is_disk: bool | None = None
    events: int | None = None
    reads: int | None = None
    bytes: int | None = None
    unique_bytes: int | None = None
    unique_page_bytes: int | None = None
    reread_bytes: int | None = None
    file_count: int | None = None
    seeks: int | None = None
    scattered_ratio: float | None = None
    unknown_offsets: int | None = None
    ends_of_file: int | None = None
    writes: int | None = None
    written_bytes: int | None = None
    requests: int | None = None
    request_bytes: int | None = None
    metadata_requests: int | None = None
    patterns: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    low_s: Mapping[str, float] = field(default_factory=dict)
    high_s: Mapping[str, float] = field(default_factory=dict)
    in_order_s: Mapping[str, float] = field(default_factory=dict)
    structures: Mapping[str, StructureRow] = field(default_factory=dict)
    findings: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None
    gaps: tuple[int, ...] | None = None
    pages: int | None = None
    pages_digest: str | None = None
    sketch: tuple[int, ...] | None = None
    files: tuple[FileRow, ...] | None = None
    savings: tuple[Saving, ...] | None = None


DAMAGED, UNREADABLE, FAILED = "damaged", "unreadable", "failed"
"""Why a trace has no facts. damaged: its contents are no trace that can be read, and will not be.
unreadable: it could not be read this time. failed: whoever read it ended, or coldseek made a mistake."""


@dataclass(frozen=True)
class Place:
    """Where a trace lies. name: a path or URL. size: bytes. changed_ns: when it last changed, since 1970;
    None: not known, and its contents are looked at each time."""

    name: str
    size: int | None
    changed_ns: int | None

    @property
    def key(self) -> str:
        """The name as a catalogue holds it: UTF-8, other bytes as \\xNN."""
        return self.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Row:
    """A trace of the catalogue. content: SHA-256 of its bytes, hexadecimal; "": it could not be read. model:
    what the facts were made by. failure: "" or one of DAMAGED, UNREADABLE, FAILED; reason: in words."""

    place: Place
    content: str
    model: str
    facts: Facts
    failure: str = ""
    reason: str = ""
