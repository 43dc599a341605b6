"""Everything the reports show, worked out once: text and JSON are both made from this and cannot
disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler import devices as device_models
from profiler.analysis import access, attribution, contents, findings, observed, readers, walltime
from profiler.analysis.charges import Charges, charges, usual_device
from profiler.analysis.costs import Cost, by_file, ranking
from profiler.analysis.evidence import Finding
from profiler.analysis.intervals import exact_sum
from profiler.analysis.measured import Run, copies_of, measured, median_s
from profiler.analysis.pagecache import PSEUDO_FILESYSTEMS
from profiler.analysis.picture import Picture, picture
from profiler.analysis.projection import Cold, Projection, project, requests
from profiler.analysis.roles import named_image, roles
from profiler.analysis.traced_image import Chain, image_of
from profiler.devices.model import Device
from profiler.report.focus import focus as focus_of
from profiler.trace import TASK_COLUMNS, Meta, Trace

MAX_TASKS = 10_000
"""More tasks than this are left out of a report; the trace has them all."""

MAX_CONTENTS = 10_000
"""Parts of what the guest has in an image beyond these are left out of a report."""

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
    """The reads of an image that were for one part of what the guest has in it; see `analysis.contents`.
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


@dataclass(frozen=True)
class Summary:
    """One trace, worked out. Sizes in bytes, times in seconds, None: not known.

    focus: the file that matters, see `focus.focus`; None where none stands out. image: the image that the
    run is about, in focus or not. files: all that were read or cost anything, the focus first, then the
    dearest, then by reads; those of pseudo file systems last. totals, strides, gaps, sizes and others are
    without these, pseudo is what was read of them. parts: what the image, what lies behind it, the program,
    its libraries and file systems cost, the dearest first. cold, warm: untraced runs; damaged_runs of them
    could not be read. slowdown: traced wall time through that of the untraced runs in the same cache state.
    writes, written_bytes: to files and block devices. page_cache, device: what was observed there, None
    where no tracer looked; what the projections say is modelled. findings: why the start is slow, by the
    rules of `findings`. readers: who read, by name and program, most reads first. tasks: those that were
    observed, in the order of their starts, at most MAX_TASKS. time: where the wall time of the observed run
    went, answer: whether a cold start is slow because of the disk. costs: what files and structures cost,
    the dearest first. picture: where in the files it reads, against time. chain: of the image, None where
    there is none. charged, cold_start: the requests that costs and projections are of.
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
    page_cache: observed.PageCache | None
    device: observed.DeviceRequests | None
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
    picture: Picture | None = None
    chain: Chain | None = None
    charged: Charges | None = field(default=None, repr=False, compare=False)
    cold_start: Cold | None = field(default=None, repr=False, compare=False)


def summarise(trace: Trace, devices: Sequence[Device] | None = None, copies: int = 0) -> Summary:
    """Work out everything there is to report. devices: to project on; None: the usual presets. copies:
    starts at once; 0: as many as the untraced runs were of."""
    reads = trace.reads()
    every = access.classify(reads)
    is_pseudo = trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    classified = every[~is_pseudo[every["file"].to_numpy(np.int64)]]
    cold_start = requests(trace, reads)
    hdd = usual_device()
    on_hdd = project(cold_start, hdd)
    charged = charges(trace, reads, cold_start, on_hdd)
    count = copies or copies_of(trace.meta)
    ranked = ranking(trace, charged)
    summaries = _files(trace, every, *_of_images(trace, every, on_hdd), ranked)
    in_focus, image, traced = focus_of(trace, ranked), named_image(trace), image_of(trace)
    focus = None if in_focus is None else summaries[in_focus]
    order = sorted(summaries, key=lambda file: (file != in_focus, is_pseudo[file]))
    files = tuple(summaries[file] for file in order)
    of_disks = [summaries[file] for file in order if not is_pseudo[file]]
    writes = trace.writes()
    cold, damaged_cold = measured(trace.meta, "cold")
    warm, damaged_warm = measured(trace.meta, "warm")
    time = walltime.wall_time(trace)
    return Summary(
        meta=trace.meta,
        totals=access.totals(classified, _of_disks(trace.ends_of_file(), is_pseudo)),
        strides=_strides(access.total_strides(classified)),
        gaps=_bins(access.gap_histogram(classified)),
        sizes=_bins(access.size_histogram(classified)),
        focus=focus,
        files=files,
        others=_others([file for file in of_disks if file is not focus]),
        cold=cold,
        warm=warm,
        damaged_runs=damaged_cold + damaged_warm,
        slowdown=slowdown(trace.meta, {"cold": cold, "warm": warm}.get(trace.meta.cache, ())),
        writes=len(writes),
        written_bytes=exact_sum(writes["size"].to_numpy(np.int64)),
        page_cache=observed.page_cache(trace, reads),
        device=observed.device_requests(trace),
        projections=tuple(
            on_hdd if device is hdd and count == 1 else project(cold_start, device, count)
            for device in (device_models.usual() if devices is None else devices)
        ),
        findings=findings.find(trace, reads, cold_start, ranked),
        readers=readers.readers(trace.tasks, classified),
        tasks=_tasks(trace.tasks),
        time=time,
        answer=walltime.answer(trace, time),
        costs=ranked,
        image=None if image is None else summaries.get(image),
        parts=_parts(trace, ranked),
        picture=picture(charged.requests, reads, -1 if in_focus is None else in_focus),
        pseudo=_pseudo(every[is_pseudo[every["file"].to_numpy(np.int64)]]),
        chain=None if traced is None else traced.chain,
        charged=charged,
        cold_start=cold_start,
    )


def _of_disks(rows: pd.DataFrame, is_pseudo: npt.NDArray[np.bool_]) -> int:
    return int((~is_pseudo[rows["file"].to_numpy(np.int64)]).sum())


def _pseudo(classified: pd.DataFrame) -> Pseudo:
    size = exact_sum(classified["size"].to_numpy(np.int64))
    return Pseudo(int(classified["file"].nunique()), len(classified), size)


def _parts(trace: Trace, ranked: Sequence[Cost]) -> tuple[Part, ...]:
    """The costs by the roles of the files."""
    of_files, shares = roles(trace), by_file(ranked)
    by_role: dict[str, list[Cost]] = {}
    for cost in ranked:
        by_role.setdefault(of_files[cost.file] if cost.file >= 0 else "metadata", []).append(cost)
    parts = []
    for role, rows in by_role.items():
        files = {cost.file for cost in rows}
        seconds = [cost.waited_s for cost in rows if cost.waited_s is not None]
        parts.append(
            Part(
                role=role,
                files=len(files - {-1}),
                requests=sum(cost.requests for cost in rows),
                bytes=sum(cost.bytes for cost in rows),
                waited_s=sum(seconds) if len(seconds) == len(rows) else None,
                share=sum(shares.get(file, 0.0) for file in files),
            )
        )
    return tuple(sorted(parts, key=lambda part: -part.share))


def _tasks(table: pd.DataFrame) -> tuple[Task, ...]:
    rows = table.sort_values("start_ns", kind="stable", na_position="first").head(MAX_TASKS)
    return tuple(
        Task(
            tid, pid, None if parent < 0 else parent, name, program, cgroup, container,
            *(None if time is pd.NA else time / 1e9 for time in times),
        )
        for tid, pid, parent, name, program, cgroup, container, *times in _rows(rows, *TASK_COLUMNS)
    )  # fmt: skip


def slowdown(meta: Meta, runs: Sequence[Run]) -> float | None:
    """How many times longer the program took while it was traced; `runs` are untraced, in the same cache
    state. None: not known, as of runs of several starts at once."""
    usual = median_s(runs) if copies_of(meta) == 1 else None
    return meta.wall_s / usual if meta.wall_s is not None and usual else None


def _of_images(
    trace: Trace, classified: pd.DataFrame, on_hdd: Projection
) -> tuple[dict[int, tuple[StructureSummary, ...]], dict[int, tuple[ContentSummary, ...]]]:
    """File -> what its reads were for, of the files that have a map: of the image, of the guest."""
    if not len(trace.structures) and not len(trace.contents):
        return {}, {}
    caused = on_hdd.reads >= 0
    seconds = np.bincount(on_hdd.reads[caused], on_hdd.times[caused], len(classified)).astype(np.float64)

    def share(cost: float) -> float | None:
        return cost / on_hdd.seconds if on_hdd.seconds else None

    table = attribution.with_requests(
        attribution.by_structure(classified, trace.structures, seconds),
        *attribution.requests_by_structure(trace),
    )
    structures: dict[int, list[StructureSummary]] = {}
    for file, kind, reads, size, unique, seeks, cost, asked in _rows(
        table, *attribution.COLUMNS, "requests"
    ):
        asked = None if asked is pd.NA else asked
        row = StructureSummary(kind, reads, size, unique, seeks, asked, share(cost))
        structures.setdefault(file, []).append(row)
    found: dict[int, list[ContentSummary]] = {}
    for file, kind, path, reads, size, unique, cost in _rows(
        contents.by_content(classified, trace.contents, seconds), *contents.COLUMNS
    ):
        rows = found.setdefault(file, [])
        if len(rows) < MAX_CONTENTS:
            rows.append(ContentSummary(kind, path, reads, size, unique, share(cost)))
    return (
        {file: tuple(rows) for file, rows in structures.items()},
        {file: tuple(rows) for file, rows in found.items()},
    )


def _files(
    trace: Trace,
    classified: pd.DataFrame,
    structures: dict[int, tuple[StructureSummary, ...]],
    contents: dict[int, tuple[ContentSummary, ...]],
    ranked: Sequence[Cost],
) -> dict[int, FileSummary]:
    """One of each file that was read or costs anything, by its number: the dearest first, then by reads."""
    table = access.per_file(classified)
    shares = by_file(ranked)
    table = _with_unread(table, [file for file in shares if file >= 0])
    table = table.assign(share=[shares.get(file, 0.0) for file in table["file"]])
    table = table.sort_values(["share", "reads", "bytes"], ascending=False, kind="stable")
    columns = {str(column): table[column].tolist() for column in table}
    strides: dict[int, list[Stride]] = {}
    found = access.strides(classified)
    for file, distance, count in zip(
        *(found[key].tolist() for key in ("file", "bytes", "count")), strict=True
    ):
        strides.setdefault(file, []).append(Stride(distance, count))
    usual = _usual_sizes(classified)
    paths, sizes, filesystems, host_paths = (
        trace.files[key].tolist() for key in ("path", "size", "filesystem", "host_path")
    )
    read_by = readers.by_file(trace.tasks, classified)
    role_of = roles(trace)
    counts = (
        "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "seeks", "unknown_offsets",
    )  # fmt: skip
    return {
        file: FileSummary(
            path=paths[file],
            size=None if sizes[file] is pd.NA else sizes[file],
            filesystem=filesystems[file],
            scattered_ratio=_ratio(columns["scattered_ratio"][row]),
            sequential_ratio=_ratio(columns["sequential_ratio"][row]),
            usual_size=usual.get(file),
            patterns={pattern: columns[pattern][row] for pattern in access.PATTERNS},
            strides=tuple(strides.get(file, ())),
            structures=structures.get(file, ()),
            host_path=host_paths[file],
            read_by=read_by.get(file, ()),
            role=role_of[file],
            share=columns["share"][row] if shares else None,
            contents=contents.get(file, ()),
            **{key: columns[key][row] for key in counts},
        )
        for row, file in enumerate(columns["file"])
    }


def _with_unread(table: pd.DataFrame, files: Sequence[int]) -> pd.DataFrame:
    """`access.per_file` with rows of no reads for those of `files` that have none."""
    unread = sorted(set(files) - set(table["file"]))
    rows = pd.DataFrame({"file": unread}).reindex(columns=table.columns)
    ratios = [name for name in table.columns.astype(str) if name.endswith("_ratio")]
    rows = rows.fillna(dict.fromkeys(table.columns.difference(ratios), 0)).astype(table.dtypes.to_dict())
    return pd.concat([table, rows], ignore_index=True) if unread else table


def _usual_sizes(classified: pd.DataFrame) -> dict[int, int]:
    """File -> the size that at least USUAL_SHARE of its reads have."""
    sizes = classified.groupby(["file", "size"]).size().reset_index(name="reads")
    sizes = sizes.sort_values("reads", ascending=False, kind="stable").drop_duplicates("file")
    of_all = sizes["file"].map(classified.groupby("file").size())
    usual = sizes[sizes["reads"] >= USUAL_SHARE * of_all]
    return dict(zip(usual["file"].tolist(), usual["size"].tolist(), strict=True))


def _others(files: Sequence[FileSummary]) -> Others:
    return Others(
        sum(file.reads > 0 for file in files),
        *(
            sum(getattr(file, name) for file in files)
            for name in ("reads", "bytes", "unique_bytes", "seeks")
        ),
    )


def _strides(table: pd.DataFrame) -> tuple[Stride, ...]:
    return tuple(Stride(*row) for row in _rows(table, "bytes", "count"))


def _bins(table: pd.DataFrame) -> tuple[Bin, ...]:
    return tuple(Bin(*row) for row in _rows(table, "low", "high", "count"))


def _rows(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these columns as plain Python values."""
    return zip(*(table[column].tolist() for column in columns), strict=True)


def _ratio(value: Any) -> float | None:
    return None if value is pd.NA else float(value)
