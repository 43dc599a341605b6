"""Everything the reports show, worked out once: text and JSON are both made from this and cannot
disagree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from profiler import devices as device_models
from profiler.analysis import access, attribution, findings, observed
from profiler.analysis.intervals import exact_sum
from profiler.analysis.measured import Run, measured, median_s
from profiler.analysis.projection import Cold, Projection, project, requests
from profiler.devices.model import Device
from profiler.trace import Meta, Trace

HDD = "hdd-7200"
"""The disk on which the cost of each structure of an image is shown."""

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
    device, as they were observed; None: not known. hdd_share: of all the time that the start waits for HDD,
    None if it waits for nothing.
    """

    kind: str
    reads: int
    bytes: int
    unique_bytes: int
    seeks: int
    requests: int | None
    hdd_share: float | None


@dataclass(frozen=True)
class FileSummary:
    """What was read of one file; the terms are those of `access.Totals`. path: bytes, as it was recorded.

    size: of the file, in bytes, None if not known. usual_size: the size in bytes that most of its reads
    have, None if there is none. structures: what the reads of an image were for, most reads first; empty if
    the trace has no map of it.
    """

    path: bytes
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


@dataclass(frozen=True)
class Others:
    """All files but the one in focus, summed."""

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

    focus: the file that matters, the image if one was named, else the data file with the most reads; None
    without reads. files: all that were read, the focus first, then by reads. cold, warm: untraced runs;
    damaged_runs of them could not be read. slowdown: traced wall time through that of the untraced runs in
    the same cache state. writes, written_bytes: to files and block devices. page_cache, device: what was
    observed there, None where no tracer looked; what the projections say is modelled. findings: why the
    start is slow, by the rules of `findings`.
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
    findings: tuple[findings.Finding, ...]


def summarise(trace: Trace, devices: Sequence[Device] | None = None, copies: int = 1) -> Summary:
    """Work out everything there is to report. devices: to project on; None: the usual presets. copies:
    starts at once."""
    reads = trace.reads()
    classified = access.classify(reads)
    cold_start = requests(trace, reads)
    files = _files(trace, classified, _structures(trace, classified, cold_start))
    path = _focus(trace.meta, [file.path for file in files])
    focus = next((file for file in files if file.path == path), None)
    if focus is not None:
        files = (focus, *(file for file in files if file is not focus))
    writes = trace.writes()
    cold, damaged_cold = measured(trace.meta, "cold")
    warm, damaged_warm = measured(trace.meta, "warm")
    return Summary(
        meta=trace.meta,
        totals=access.totals(classified, len(trace.ends_of_file())),
        strides=_strides(access.total_strides(classified)),
        gaps=_bins(access.gap_histogram(classified)),
        sizes=_bins(access.size_histogram(classified)),
        focus=focus,
        files=files,
        others=_others(files[1:]),
        cold=cold,
        warm=warm,
        damaged_runs=damaged_cold + damaged_warm,
        slowdown=slowdown(trace.meta, {"cold": cold, "warm": warm}.get(trace.meta.cache, ())),
        writes=len(writes),
        written_bytes=exact_sum(writes["size"].to_numpy(np.int64)),
        page_cache=observed.page_cache(trace, reads),
        device=observed.device_requests(trace),
        projections=tuple(
            project(cold_start, device, copies)
            for device in (device_models.usual() if devices is None else devices)
        ),
        findings=findings.find(trace, reads, cold_start),
    )


def slowdown(meta: Meta, runs: Sequence[Run]) -> float | None:
    """How many times longer the program took while it was traced; `runs` are untraced, in the same cache
    state."""
    usual = median_s(runs)
    return meta.wall_s / usual if meta.wall_s is not None and usual else None


def _structures(
    trace: Trace, classified: pd.DataFrame, cold_start: Cold
) -> dict[int, tuple[StructureSummary, ...]]:
    """File -> what its reads were for, of the files that have a map."""
    if not len(trace.structures):
        return {}
    made = project(cold_start, device_models.find(HDD))
    caused = made.reads >= 0
    seconds = np.bincount(made.reads[caused], made.times[caused], len(classified)).astype(np.float64)
    table = attribution.with_requests(
        attribution.by_structure(classified, trace.structures, seconds),
        *attribution.requests_by_structure(trace),
    )
    found: dict[int, list[StructureSummary]] = {}
    for file, kind, reads, size, unique, seeks, cost, asked in _rows(
        table, *attribution.COLUMNS, "requests"
    ):
        asked = None if asked is pd.NA else asked
        share = cost / made.seconds if made.seconds else None
        found.setdefault(file, []).append(StructureSummary(kind, reads, size, unique, seeks, asked, share))
    return {file: tuple(rows) for file, rows in found.items()}


def _files(
    trace: Trace, classified: pd.DataFrame, structures: dict[int, tuple[StructureSummary, ...]]
) -> tuple[FileSummary, ...]:
    """One of each file that was read, most reads first."""
    table = access.per_file(classified).sort_values(["reads", "bytes"], ascending=False, kind="stable")
    columns = {str(column): table[column].tolist() for column in table}
    strides: dict[int, list[Stride]] = {}
    found = access.strides(classified)
    for file, distance, count in zip(
        *(found[key].tolist() for key in ("file", "bytes", "count")), strict=True
    ):
        strides.setdefault(file, []).append(Stride(distance, count))
    usual = _usual_sizes(classified)
    paths, sizes, filesystems = (trace.files[key].tolist() for key in ("path", "size", "filesystem"))
    counts = (
        "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "seeks", "unknown_offsets",
    )  # fmt: skip
    return tuple(
        FileSummary(
            path=paths[file],
            size=None if sizes[file] is pd.NA else sizes[file],
            filesystem=filesystems[file],
            scattered_ratio=_ratio(columns["scattered_ratio"][row]),
            sequential_ratio=_ratio(columns["sequential_ratio"][row]),
            usual_size=usual.get(file),
            patterns={pattern: columns[pattern][row] for pattern in access.PATTERNS},
            strides=tuple(strides.get(file, ())),
            structures=structures.get(file, ()),
            **{key: columns[key][row] for key in counts},
        )
        for row, file in enumerate(columns["file"])
    )


def _usual_sizes(classified: pd.DataFrame) -> dict[int, int]:
    """File -> the size that at least USUAL_SHARE of its reads have."""
    sizes = classified.groupby(["file", "size"]).size().reset_index(name="reads")
    sizes = sizes.sort_values("reads", ascending=False, kind="stable").drop_duplicates("file")
    of_all = sizes["file"].map(classified.groupby("file").size())
    usual = sizes[sizes["reads"] >= USUAL_SHARE * of_all]
    return dict(zip(usual["file"].tolist(), usual["size"].tolist(), strict=True))


def focus_path(trace: Trace) -> bytes | None:
    """The path of the file that the reports look at closely; None if nothing was read."""
    counts = trace.reads().groupby("file")["size"].agg(["size", "sum"])
    ordered = counts.sort_values(["size", "sum"], ascending=False, kind="stable").index
    return _focus(trace.meta, [trace.files["path"].iloc[number] for number in ordered])


def _focus(meta: Meta, paths: Sequence[bytes]) -> bytes | None:
    """The named image, by its path as it was recorded, else by its name if only one file has it, else the
    first of `paths`, which are sorted by the number of reads.
    """
    if meta.image:
        image = _path(os.path.normpath(os.path.join(meta.cwd, meta.image)))
        exact = [path for path in paths if path in (image, _path(meta.image))]
        alike = [path for path in paths if os.path.basename(path) == os.path.basename(image)]
        if exact or len(alike) == 1:
            return (exact or alike)[0]
    return paths[0] if paths else None


def _path(text: str) -> bytes:
    """As os.fsencode, but for any text: a trace may hold surrogates that no file name can have become."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _others(files: tuple[FileSummary, ...]) -> Others:
    return Others(
        len(files),
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
