"""The facts of one trace: what a catalogue of thousands remembers of it."""

from __future__ import annotations

import datetime
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.advice import findings
from profiler.analysis.advice.options import advise
from profiler.analysis.advice.traced_image import TracedImage, image_of
from profiler.analysis.cost import walltime
from profiler.analysis.fleet import histograms, pages
from profiler.analysis.host import PSEUDO_FILESYSTEMS
from profiler.analysis.intervals import PAGE, Ints, exact_sum
from profiler.analysis.reads import access
from profiler.analysis.reads.attribution import structure_of
from profiler.analysis.reads.roles import image_path
from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.prefetch import single_pages
from profiler.analysis.simulation.projection import Cold, project, requests
from profiler.devices.model import Device
from profiler.facts.fleet import (
    MOST_FILES,
    MOST_STRUCTURES,
    MOST_TEXT,
    Facts,
    FileRow,
    Saving,
    StructureRow,
)
from profiler.facts.host import Device as HostDevice
from profiler.trace import Meta, Trace

VERSION = 1
"""Raised whenever other facts come of the same trace: rows of another version are worked out again."""


def facts_of(trace: Trace, devices: Sequence[Device], advice: bool = False) -> Facts:
    """The facts; an empty trace has them. devices: to project on, one at least. advice: with what the
    options of the advice save, which takes several times as long."""
    meta, reads = trace.meta, trace.reads()
    of_disks = ~trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    classified = access.classify(reads[of_disks[reads["file"].to_numpy(np.int64)]].reset_index(drop=True))
    ends = trace.ends_of_file()
    totals = access.totals(classified, int(of_disks[ends["file"].to_numpy(np.int64)].sum()))
    cold = requests(trace, reads)
    projections = [project(cold, device) for device in devices]
    image, time, writes = image_of(trace), walltime.wall_time(trace), trace.writes()
    answer = walltime.answer(trace, time)
    needed = single_pages(trace)
    of_pages = pages.hashes(trace.files["path"].tolist(), _column(needed, "file"), _page(needed))
    gaps = classified["gap"].dropna().to_numpy(np.int64)
    return Facts(
        **_run(meta),
        **_image(trace, image),
        **_machine(trace),
        disk_s=answer.disk_s,
        disk_share=answer.disk_share,
        is_disk=answer.is_disk,
        events=len(trace.events),
        **{name: getattr(totals, name) for name in _OF_TOTALS},
        file_count=totals.files,
        writes=len(writes),
        written_bytes=exact_sum(writes["size"].to_numpy(np.int64)),
        requests=len(cold.requests),
        request_bytes=exact_sum(cold.requests["size"].to_numpy(np.int64)),
        metadata_requests=None if cold.metadata == "none" else int(cold.requests["own"].sum()),
        seconds={each.device: each.seconds for each in projections},
        low_s={each.device: each.low_s for each in projections},
        high_s={each.device: each.high_s for each in projections},
        in_order_s={each.device: each.sequential_s for each in projections},
        structures=_structures(trace, classified),
        findings=tuple(sorted({each.kind for each in findings.find(trace, reads, cold)})),
        sizes=histograms.sizes(classified["size"].to_numpy(np.int64)),
        gaps=histograms.gaps(gaps),
        pages=len(needed),
        pages_digest=pages.digest(of_pages),
        sketch=pages.sketch(of_pages),
        files=_files(trace, classified, needed, of_pages),
        savings=_savings(trace, devices, cold) if advice else None,
    )


_OF_TOTALS = (
    "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "seeks", "scattered_ratio",
    "unknown_offsets", "ends_of_file", "patterns",
)  # fmt: skip


def model_of(devices: Sequence[Device], version: str, advice: bool = False) -> str:
    """What facts are made by: rows of another model are worked out again. version: of coldseek, whose
    simulation may have changed."""
    import hashlib

    words = repr((VERSION, version, advice, [repr(device) for device in devices]))
    return hashlib.blake2b(words.encode(), digest_size=8).hexdigest()


def _run(meta: Meta) -> dict[str, Any]:
    command = shlex.join(meta.command)
    return {
        "host": _text(meta.host.name),
        "started_at": _moment(meta.started_at),
        "program": _text(os.path.basename(meta.command[0])) if meta.command else None,
        "command": _text(command),
        "tracer": _text(meta.tracer),
        "tracer_version": _text(meta.tracer_version),
        "trace_version": meta.version,
        "cache": _text(meta.cache),
        "copies": meta.copies.count,
        "exit_status": meta.exit_status,
        "lost_events": meta.lost_events,
        "partial": _text(meta.partial),
        "unseen": tuple(word for key in meta.unseen[:MOST_STRUCTURES] if (word := _text(key))),
        "wall_s": meta.wall_s,
        "ready_s": meta.ready_s,
        "cold_s": median_s(meta.measured.cold),
        "warm_s": median_s(meta.measured.warm),
    }


def _image(trace: Trace, image: TracedImage | None) -> dict[str, Any]:
    meta = trace.meta
    path = trace.files["path"].iloc[image.file] if image is not None else None
    if path is None and meta.image:
        path = image_path(meta)
    size = None if image is None else trace.files["size"].iloc[image.file]
    return {
        "image": _text(path),
        "start": _text(path) or _text(shlex.join(meta.command)),
        "image_format": None if image is None else _text(image.format),
        "image_size": None if size is None or size is pd.NA else int(size),
        "image_cluster": None if image is None else image.cluster or None,
        "image_chain": None if image is None else image.chain.files,
    }


def _machine(trace: Trace) -> dict[str, Any]:
    host = trace.meta.host
    used = trace.files[trace.files["kind"].isin(("regular", "block")).to_numpy(bool)]
    used = used[~used["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)]
    devices = [host.devices[name] for name in sorted(set(used["device"])) if name in host.devices]
    return {
        "kernel": _text(host.kernel),
        "machine": _text(host.machine),
        "distribution": _text(host.distribution),
        "virtual": None if host.virtual is None else _clean(host.virtual),  # "": bare metal
        "cpus": host.cpus,
        "memory_bytes": host.memory_bytes,
        "filesystems": _each_once(used["filesystem"]),
        "disk_models": _each_once(_of_devices(devices, "model"), ", "),
        "read_ahead_kb": _each_once(_of_devices(devices, "read_ahead_kb")),
    }


def _of_devices(devices: Iterable[HostDevice], name: str) -> list[str]:
    return [str(value) for device in devices if (value := getattr(device, name)) is not None]


def _each_once(words: Iterable[str], between: str = " ") -> str | None:
    return _text(between.join(sorted(set(words) - {""})))


def _structures(trace: Trace, classified: pd.DataFrame) -> dict[str, StructureRow]:
    if not len(trace.structures):
        return {}
    kinds = structure_of(classified, trace.structures)
    mapped = kinds != ""
    sums = classified["size"][mapped].astype("int64").groupby(kinds[mapped]).agg(["size", "sum"])
    sums = sums.sort_values("size", ascending=False, kind="stable").head(MOST_STRUCTURES)
    return {
        _clean(kind): StructureRow(int(count), int(size)) for kind, count, size in sums.itertuples(name=None)
    }


def _files(
    trace: Trace, classified: pd.DataFrame, needed: pd.DataFrame, of_pages: pages.Hashes
) -> tuple[FileRow, ...]:
    """The files with the most pages, then reads, then by their names."""
    count = len(trace.files)
    file, of = _column(classified, "file"), _column(needed, "file")
    reads, page_count = np.bincount(file, minlength=count), np.bincount(of, minlength=count)
    size = np.bincount(file, classified["size"].to_numpy(np.float64), minlength=count)
    touched = np.flatnonzero(reads + page_count)
    paths = [_clean(path) for path in trace.files["path"].iloc[touched]]
    ranked = sorted(
        zip(touched.tolist(), paths, strict=True),
        key=lambda pair: (-page_count[pair[0]], -reads[pair[0]], pair[1]),
    )[:MOST_FILES]
    return tuple(
        FileRow(
            path,
            int(reads[number]),
            int(size[number]),
            int(page_count[number]) * PAGE,
            pages.digest(of_pages[of == number]),
        )
        for number, path in ranked
    )


def _savings(trace: Trace, devices: Sequence[Device], cold: Cold) -> tuple[Saving, ...]:
    advice = advise(trace, list(devices), [], cold=cold)
    return tuple(
        Saving(option.key, option.name, then.device, now.seconds - then.seconds)
        for option in advice.options
        for now, then in zip(advice.now, option.costs, strict=True)
    )


def _column(frame: pd.DataFrame, name: str) -> Ints:
    return frame[name].to_numpy(np.int64)


def _page(needed: pd.DataFrame) -> npt.NDArray[np.int64]:
    return _column(needed, "offset") // PAGE


def _clean(text: str | bytes) -> str:
    """As UTF-8 that any reader takes, whatever it holds; at most MOST_TEXT characters."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "backslashreplace")[:MOST_TEXT]
    try:
        return _clean(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # surrogates that no file name can have become
        return text.encode("utf-8", "backslashreplace").decode()[:MOST_TEXT]


def _text(text: str | bytes | None) -> str | None:
    return _clean(text) if text else None


_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")


def _moment(words: str) -> str | None:
    """In UTC to the microsecond; None for what is no date."""
    if not _UTC.fullmatch(words):
        return None
    try:
        moment = datetime.datetime.fromisoformat(words)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return None
