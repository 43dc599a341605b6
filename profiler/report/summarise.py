"""A trace summarised: every number of a report, from the trace alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler import devices as device_models
from profiler.analysis.advice import findings
from profiler.analysis.advice.traced_image import image_of
from profiler.analysis.cost import below_the_program, walltime
from profiler.analysis.cost.charges import charges, usual_device
from profiler.analysis.cost.costs import Cost, by_file, ranking
from profiler.analysis.host import PSEUDO_FILESYSTEMS
from profiler.analysis.intervals import exact_sum
from profiler.analysis.reads import access, attribution, contents, readers
from profiler.analysis.reads.picture import READ_COLUMNS as PICTURE_COLUMNS
from profiler.analysis.reads.picture import picture
from profiler.analysis.reads.readers import FileReader, Reader
from profiler.analysis.reads.roles import named_image, roles
from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.projection import Projection, project, requests
from profiler.devices.model import Device
from profiler.facts.runs import Run
from profiler.report.focus import focus as focus_of
from profiler.report.summary import (
    MAX_CONTENTS,
    MAX_TASKS,
    MOST_KEPT,
    USUAL_SHARE,
    Bin,
    ContentSummary,
    FileSummary,
    Late,
    Others,
    Part,
    Pseudo,
    Stride,
    StructureSummary,
    Summary,
    Task,
)
from profiler.trace import TASK_COLUMNS, Meta, Trace

SLACK_S = 0.01
"""A read so much later than the end of the command is still of its own: who waits for it hears of that end
with another clock than its reads have."""


def summarise(trace: Trace, devices: Sequence[Device] | None = None, copies: int = 0) -> Summary:
    """Work out everything there is to report. devices: to project on; None: the usual presets. copies:
    starts at once; 0: as many as the untraced runs were of."""
    is_pseudo = trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    read = _patterns(trace, is_pseudo)
    cold_start = requests(trace)
    hdd = usual_device()
    on_hdd = project(cold_start, hdd)
    charged = charges(trace, None, cold_start, on_hdd)
    count = copies or trace.meta.copies.count
    ranked = ranking(trace, charged)
    summaries = _files(trace, read, *_of_images(trace, read.of_images, on_hdd), ranked)
    read = dataclasses.replace(read, of_images=None)
    in_focus, image, traced = focus_of(trace, ranked), named_image(trace), image_of(trace)
    focus = None if in_focus is None else summaries[in_focus]
    order = sorted(summaries, key=lambda file: (file != in_focus, is_pseudo[file]))
    files = tuple(summaries[file] for file in order)
    of_disks = [summaries[file] for file in order if not is_pseudo[file]]
    written, written_bytes = _written(trace)
    cold, warm = trace.meta.measured.cold, trace.meta.measured.warm
    damaged_cold, damaged_warm = trace.meta.measured.damaged
    time = walltime.wall_time(trace)
    return Summary(
        meta=trace.meta,
        totals=read.totals,
        strides=read.strides,
        gaps=read.gaps,
        sizes=read.sizes,
        focus=focus,
        files=files,
        others=_others([file for file in of_disks if file is not focus]),
        cold=cold,
        warm=warm,
        damaged_runs=damaged_cold + damaged_warm,
        slowdown=slowdown(trace.meta, {"cold": cold, "warm": warm}.get(trace.meta.cache, ())),
        writes=written,
        written_bytes=written_bytes,
        page_cache=below_the_program.page_cache(trace),
        device=below_the_program.device_requests(trace),
        projections=tuple(
            on_hdd if device is hdd and count == 1 else project(cold_start, device, count)
            for device in (device_models.usual() if devices is None else devices)
        ),
        findings=findings.find(trace, trace.reads(findings.COLUMNS), cold_start, ranked),
        readers=readers.requesters(trace) if trace.meta.device_only else read.readers,
        tasks=_tasks(trace.tasks),
        time=time,
        answer=walltime.answer(trace, time),
        costs=ranked,
        image=None if image is None else summaries.get(image),
        parts=_parts(trace, ranked),
        picture=picture(charged.requests, None, -1)
        if in_focus is None
        else picture(charged.requests, trace.reads(PICTURE_COLUMNS), in_focus),
        late=read.late,
        pseudo=read.pseudo,
        chain=None if traced is None else traced.chain,
        charged=charged,
        cold_start=cold_start if read.totals.reads <= MOST_KEPT else None,
    )


@dataclass(frozen=True)
class _Patterns:
    """What the reads are, worked out before anything else: to tell it of each takes most of the memory.

    without those of pseudo file systems: totals, strides, gaps, sizes, readers, late. pseudo: what was read
    of these. by_file, strides_by_file: of `access`. usual_sizes, read_by: by number of the file. of_images:
    the reads as of `access.classify`, as far as they are needed for images; None: there are none.
    """

    totals: access.Totals
    strides: tuple[Stride, ...]
    gaps: tuple[Bin, ...]
    sizes: tuple[Bin, ...]
    late: Late
    pseudo: Pseudo
    by_file: pd.DataFrame
    strides_by_file: pd.DataFrame
    usual_sizes: dict[int, int]
    readers: tuple[Reader, ...]
    read_by: dict[int, tuple[FileReader, ...]]
    of_images: pd.DataFrame | None


def _patterns(trace: Trace, is_pseudo: npt.NDArray[np.bool_]) -> _Patterns:
    every = access.classify(trace.reads(("file", "offset", "size")))
    pseudo = is_pseudo[every["file"].to_numpy()]
    classified = every[~pseudo] if pseudo.any() else every
    totals = access.totals(classified, _ends_of_file(trace, is_pseudo))
    strides = _strides(access.total_strides(classified))
    gaps, sizes = access.gap_histogram(classified), access.size_histogram(classified)
    by_file, strides_by_file = access.per_file(every), access.strides(every)
    usual = _usual_sizes(every)
    every = every[["file", "offset", "size", "new_bytes", "seek"]]  # no more than that from here on
    del classified
    who = trace.reads(("time_ns", "pid", "tid"))
    read_by = readers.by_file(trace.tasks, who.assign(file=every["file"], size=every["size"]))
    who = who.assign(size=every["size"], new_bytes=every["new_bytes"])
    who = who[~pseudo] if pseudo.any() else who
    return _Patterns(
        totals,
        strides,
        _bins(gaps),
        _bins(sizes),
        _late(who, trace.meta),
        _pseudo(every[pseudo]),
        by_file,
        strides_by_file,
        usual,
        readers.readers(trace.tasks, who),
        read_by,
        every if len(trace.structures) or len(trace.contents) else None,
    )


def _ends_of_file(trace: Trace, is_pseudo: npt.NDArray[np.bool_]) -> int:
    return int((~is_pseudo[trace.ends_of_file()["file"].to_numpy(np.int64)]).sum())


def _written(trace: Trace) -> tuple[int, int]:
    """How many writes there were, and of how many bytes."""
    size = trace.writes()["size"].to_numpy(np.int64)
    return len(size), exact_sum(size)


def _pseudo(reads: pd.DataFrame) -> Pseudo:
    return Pseudo(int(reads["file"].nunique()), len(reads), exact_sum(reads["size"].to_numpy(np.int64)))


def _late(reads: pd.DataFrame, meta: Meta) -> Late:
    ends = np.inf if meta.wall_s is None else (meta.wall_s + SLACK_S) * 1e9
    size = reads["size"].to_numpy(np.int64)[reads["time_ns"].to_numpy(np.int64) > ends]
    return Late(len(size), exact_sum(size))


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
    usual = median_s(runs) if meta.copies.count == 1 else None
    return meta.wall_s / usual if meta.wall_s is not None and usual else None


def _of_images(
    trace: Trace, classified: pd.DataFrame | None, on_hdd: Projection
) -> tuple[dict[int, tuple[StructureSummary, ...]], dict[int, tuple[ContentSummary, ...]]]:
    """File -> what its reads were for, of the files that have a map: of the image, of the guest."""
    if classified is None:
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
    read: _Patterns,
    structures: dict[int, tuple[StructureSummary, ...]],
    contents: dict[int, tuple[ContentSummary, ...]],
    ranked: Sequence[Cost],
) -> dict[int, FileSummary]:
    """One of each file that was read or costs anything, by its number: the dearest first, then by reads."""
    table = read.by_file
    shares = by_file(ranked)
    table = _with_unread(table, [file for file in shares if file >= 0])
    table = table.assign(share=[shares.get(file, 0.0) for file in table["file"]])
    table = table.sort_values(["share", "reads", "bytes"], ascending=False, kind="stable")
    columns = {str(column): table[column].tolist() for column in table}
    strides: dict[int, list[Stride]] = {}
    found = read.strides_by_file
    for file, distance, count in zip(
        *(found[key].tolist() for key in ("file", "bytes", "count")), strict=True
    ):
        strides.setdefault(file, []).append(Stride(distance, count))
    paths, sizes, filesystems, host_paths = (
        trace.files[key].tolist() for key in ("path", "size", "filesystem", "host_path")
    )
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
            usual_size=read.usual_sizes.get(file),
            patterns={pattern: columns[pattern][row] for pattern in access.PATTERNS},
            strides=tuple(strides.get(file, ())),
            structures=structures.get(file, ()),
            host_path=host_paths[file],
            read_by=read.read_by.get(file, ()),
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
    codes, distinct = pd.factorize(classified["size"].to_numpy(np.int64))
    pairs, of_pair = pd.factorize(classified["file"].to_numpy(np.int64) * len(classified) + codes)
    sizes = pd.DataFrame(
        {
            "file": of_pair // max(len(classified), 1),
            "size": distinct[of_pair % max(len(classified), 1)],
            "reads": np.bincount(pairs, minlength=len(of_pair)),
        }
    ).sort_values(["file", "size"], ignore_index=True)
    reads = sizes.groupby("file")["reads"].sum()
    sizes = sizes.sort_values("reads", ascending=False, kind="stable").drop_duplicates("file")
    of_all = sizes["file"].map(reads)
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
