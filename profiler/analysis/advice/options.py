"""What would help a start, projected: each option on each device."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.analysis.advice.copied import MAX_MADE
from profiler.analysis.advice.layouts import LAYOUTS, Layout
from profiler.analysis.advice.rewriting import defragmented, on_layout
from profiler.analysis.advice.traced_image import TracedImage, image_of, in_pieces, unread
from profiler.analysis.cost.contributors import Contributor, contributors, projected_costs
from profiler.analysis.cost.costs import Cost
from profiler.analysis.framed import Framed, plain
from profiler.analysis.reads.attribution import structure_of
from profiler.analysis.simulation.kernel.settings import READ_AHEAD_KB
from profiler.analysis.simulation.placement import place
from profiler.analysis.simulation.prefetch import plan
from profiler.analysis.simulation.projection import Cold, Projection, project, requests
from profiler.analysis.simulation.sequential import READ_AHEAD
from profiler.devices.model import Device
from profiler.errors import NOT_READY, ColdseekError
from profiler.facts.images import ImageFacts
from profiler.facts.structures import DATA, roles_of
from profiler.facts.values import known
from profiler.runner import PIECE
from profiler.trace import Meta, Trace
from profiler.units import show_bytes, show_path, show_plural, show_status

MIB = 2**20

_PREFETCHED = PIECE


@dataclass(frozen=True)
class Estimate:
    """What a start waits for a device, projected; seconds, with the band as of `Projection`. start_s: the
    whole start, None where no warm run was timed.

    >>> now = coldseek.advise(trace, "hdd-7200").now[0]
    >>> now.device, now.low_s < now.seconds < now.high_s
    ('hdd-7200', True)
    """

    device: str
    requests: int
    bytes: int
    seconds: float
    low_s: float
    high_s: float
    start_s: float | None


@dataclass(frozen=True)
class Option:
    """Something that might be done. key: as in JSON. convert: of `Layout`, empty for what is no copy by it.
    costs: one a device. saves: share of the time on the first device that is saved. setting: a command that
    sets something of the machine, in words; there may be none.

    >>> option = coldseek.advise(trace, "hdd-7200").options[0]
    >>> option.key, len(option.costs)
    ('in-order', 1)
    """

    key: str
    name: str
    convert: tuple[str, ...]
    costs: tuple[Estimate, ...]
    saves: float
    setting: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Advice(Framed):
    """image: None: the start is of none. now: the start as it is. contributors: the dearest things of it.
    options: those that gain, most first. without: names of those that would gain nothing. notes: what could
    not be projected and why. taken: paths that no copy may have: the start or its image needs them.

    >>> coldseek.advise(trace, "hdd-7200").to_frame()["option"].tolist()
    ['as it is', 'in one piece', 'a faster device']
    """

    image: TracedImage | None
    now: tuple[Estimate, ...]
    contributors: tuple[Contributor, ...]
    options: tuple[Option, ...]
    without: tuple[str, ...]
    notes: tuple[str, ...]
    taken: frozenset[bytes] = frozenset()

    def rows(self) -> Iterator[dict[str, object]]:
        """A row for each option on each device, the start as it is before them."""
        for key, name, costs in [
            ("", "as it is", self.now),
            *((o.key, o.name, o.costs) for o in self.options),
        ]:
            for cost in costs:
                yield {"key": key, "option": name, **plain(cost)}

    def __repr__(self) -> str:
        best = ", ".join(f"{option.key} saves {option.saves:.0%}" for option in self.options[:3])
        return f"<Advice: {best or 'nothing helps'}>"


LEAST_SAVED = 0.05
"""What saves less than this share of the time on every device is not worth a copy; the bands of the models
are wider."""

_FASTER = 0.5
"""A device counts as faster if the start waits for it at most this share of the time."""


READ_AHEADS_KB = (512, 4096)
"""Four times the kernel's default (VM_READAHEAD_PAGES), and what distributions that tune for throughput set
(4 MiB: tuned's profile throughput-performance, readahead >4096)."""


def advise(
    trace: Trace,
    devices: list[Device],
    presets: list[Device],
    *,
    cold: Cold | None = None,
    found: Sequence[Cost] = (),
    all_of_them: bool = False,
) -> Advice:
    """What would help, on each of `devices`, of which there is one at least. presets: among which a faster
    device is looked for. cold: of the trace, if at hand. found: what its files cost (`costs`); empty: as it
    is projected on the first device. all_of_them: those that gain nothing are among the options too.
    """
    image = image_of(trace)
    cold = requests(trace) if cold is None else cold
    projections = [project(cold, device) for device in devices]
    now = tuple(map(estimate, projections))
    options, notes = _copies(trace, image, devices, now) if image is not None else ([], [])
    notes += [f"of each time: {words}" for words in cold.missing]
    if image is None:
        costs = tuple(map(in_one_piece, projections, devices))
        options.append(_option("in-order", "in one piece", now, costs))
    options += _read_aheads(trace, cold, devices, now)
    first, rest = prefetched(trace)
    costs = tuple(both(project(first, device), project(rest, device)) for device in devices)
    options.append(_option("prefetch", "prefetch", now, costs))
    faster = _faster(cold, now, presets)
    if faster is not None:
        options.append(_option("device", "a faster device", now, faster))
    gains = [option for option in options if all_of_them or _gains(option, now)]
    gains.sort(
        key=lambda option: (option.key == "device", -option.saves)
    )  # what has to be bought comes last
    return Advice(
        image,
        now,
        contributors(trace, found or projected_costs(trace, cold, projections[0])),
        tuple(gains),
        tuple(one.name for one in options if one not in gains),
        tuple(notes),
        _taken(trace, image),
    )


def _taken(trace: Trace, image: TracedImage | None) -> frozenset[bytes]:
    """The files of the start, and the one behind its image, though it may not have been read."""
    paths = trace.files["path"].tolist()
    if image is not None and image.facts.backing_file:
        name = image.facts.backing_file.encode("utf-8", "replace")
        behind = os.path.join(os.path.dirname(paths[image.file]), name)
        paths.append(os.path.normpath(behind))
    return frozenset(paths)


def _copies(
    trace: Trace, image: TracedImage, devices: list[Device], now: tuple[Estimate, ...]
) -> tuple[list[Option], list[str]]:
    """Copies of the image, and why some are left out."""
    options: list[Option] = []
    notes: list[str] = []
    unknown = _unknown(trace)
    if unknown:
        notes.append(f"other layouts: {unknown}")
    for layout in () if unknown else LAYOUTS:
        if _is_already(image, layout):
            continue
        why = _left_out(trace, image, layout)
        if why:
            notes.append(why)
            continue
        try:
            changed = requests(on_layout(trace, image, layout))
        except ColdseekError as error:
            notes.append(f"other layouts: {error}")
            break
        costs = tuple(estimate(project(changed, device)) for device in devices)
        options.append(_option(layout.key, layout.name, now, costs, layout.convert))
    placed = trace.extents["file"].isin(image.files).any()
    if placed and image.by_itself and not unknown:  # a copy of one file is no copy of a chain
        changed = requests(defragmented(trace, image))
        costs = tuple(estimate(project(changed, device)) for device in devices)
        options.append(_option("defragmented", "a copy in one run", now, costs))
    return options, notes


def _unknown(trace: Trace) -> str:
    """Why it is not known what this start reads of an image on any layout; "": it is.

    A copy is projected from every read of the image, so all have to be known, and of a run that did what it
    was to do. The data of a VMDK image that is a descriptor by itself lies in other files, its extents.
    """
    meta = trace.meta
    if meta.lost_events:
        return f"{show_plural(meta.lost_events, 'event')} of the recording were lost"
    if meta.partial.startswith(NOT_READY):
        return f"the recorded run was {meta.partial}"
    if meta.exit_status and not meta.partial and not _says_by_status(meta):
        status = show_status(meta.exit_status)
        return f"the recorded run ended with exit status {status}, and may have read too little"
    if words := unread(meta):
        return words
    if any(in_pieces(meta, number) for number in meta.images):
        return "the image lies in several files (VMDK), and which of its data is in which is not known"
    if any(map(_is_extent, meta.images.values())):
        return "of a VMDK an extent was read without its descriptor, which names all of the disk"
    for number, image in meta.images.items():
        if image.backing_file and _is_cut_off(trace, number):
            name = show_path(image.backing_file)
            return f"nothing is known of what lies behind the image, in {name}"
    return ""


def _is_cut_off(trace: Trace, number: int) -> bool:
    """Whether the trace has nothing of the file behind an image though the run looked up where data lies:
    that file is remote, or of a kind that is not followed. What reads no table of that, as `qemu-img info`,
    needs none behind it on any layout either."""
    if any(image.in_front == number and not image.part for image in trace.meta.images.values()):
        return False
    reads = trace.reads()
    reads = reads[(reads["file"] == number).to_numpy(bool)]
    kinds = set(structure_of(reads, trace.structures))
    return bool(kinds & {"L2 table", "grain table"}) or DATA in roles_of(kinds)


def _is_extent(image: ImageFacts) -> bool:
    """Whether a file is an extent of a VMDK whose descriptor is not known: none stands in it."""
    return image.subformat in ("SPARSE", "COWD", "SESPARSE") and not image.create_type and not image.part


def _says_by_status(meta: Meta) -> bool:
    """Whether the exit status is the answer and not a failure: qemu-img(1) ends a check that found leaked
    clusters with 3, and a comparison of images that differ with 1."""
    words = tuple(meta.command[1:2])
    return (words, meta.exit_status) in ((("check",), 3), (("compare",), 1))


def _read_aheads(
    trace: Trace, cold: Cold, devices: list[Device], now: tuple[Estimate, ...]
) -> Iterator[Option]:
    """The same start with another read-ahead of the kernel, of all devices alike."""
    disk, read_ahead_kb = _read_ahead_now(trace, cold)
    for size_kb in READ_AHEADS_KB:
        if size_kb == read_ahead_kb:
            continue
        changed = requests(trace, read_ahead_kb=size_kb)
        costs = tuple(estimate(project(changed, device)) for device in devices)
        size = show_bytes(size_kb * 1024)
        setting = ("blockdev", "--setra", str(size_kb * 2), f"/dev/{disk}") if disk else ()
        yield _option(f"read-ahead-{size_kb}k", f"read-ahead {size}", now, costs, setting=setting)


def _read_ahead_now(trace: Trace, cold: Cold) -> tuple[str, int]:
    """The disk that most requests are of, "" if it is not known, and its read-ahead in KiB."""
    asked = cold.requests["device"].value_counts()
    device = trace.meta.host.device(str(asked.index[0]) if len(asked) else "")
    return device.disk or "", known(device.read_ahead_kb, READ_AHEAD_KB)


def estimate(one: Projection) -> Estimate:
    """Of a projection, what is shown."""
    return Estimate(one.device, one.requests, one.bytes, one.seconds, one.low_s, one.high_s, one.start_s)


def in_one_piece(one: Projection, device: Device) -> Estimate:
    """What the same bytes would take as one sequential read; see `Projection.sequential_s`."""
    wait = one.sequential_s
    whole = None if one.start_s is None else one.start_s - one.seconds + wait
    pieces = min(one.requests, -(-one.bytes // READ_AHEAD))
    return Estimate(
        one.device, pieces, one.bytes, wait, wait * device.low_ratio, wait * device.high_ratio, whole
    )


def both(first: Projection, second: Projection) -> Estimate:
    """One after the other: a prefetch and the start behind it."""
    return Estimate(
        first.device, first.requests + second.requests, first.bytes + second.bytes,
        first.seconds + second.seconds, first.low_s + second.low_s, first.high_s + second.high_s,
        None if second.start_s is None else first.seconds + second.start_s,
    )  # fmt: skip


def prefetched(trace: Trace) -> tuple[Cold, Cold]:
    """What `coldseek prefetch` asks for before the start - names and inodes, then all of the files, queued
    in the order of the device - and what the start then still asks for.

    Names and inodes are asked for one by one, as files are looked up, unless the trace holds the pages of
    the device that they lie in: these are in the plan, and root reads them first, queued too.
    """
    stretches = plan(trace, metadata=False)
    size = stretches["size"].to_numpy(np.int64)
    counts = np.maximum(-(-size // _PREFETCHED), 1)
    if float(counts.sum(dtype=np.float64)) > MAX_MADE:
        raise ColdseekError(f"to prefetch this start would take more than {MAX_MADE:,} reads")
    row = np.repeat(np.arange(len(size)), counts)
    start = (np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)) * _PREFETCHED
    pieces = pd.DataFrame(
        {
            "read": np.full(len(row), -1),
            "file": stretches["file"].to_numpy(np.int32)[row],
            "offset": stretches["offset"].to_numpy(np.int64)[row] + start,
            "size": np.minimum(size[row] - start, _PREFETCHED),
            "time_ns": np.zeros(len(row), np.int64),
            "needed_ns": np.zeros(len(row), np.int64),
        }
    )
    placed = place(pieces, trace.files, trace.extents, trace.meta.host)
    looked_up = requests(trace)  # before anything of a file can be asked for
    own = looked_up.requests[looked_up.requests["own"].to_numpy(bool)]
    if looked_up.metadata == "observed":
        own = own.sort_values(["device", "device_offset"], kind="stable").assign(group=0)
    else:
        own = own.assign(group=np.arange(len(own)))
    own = own.assign(issued_s=0.0, needed_s=0.0)
    queued = placed.requests.assign(own=False, handed=False, issued_s=0.0, needed_s=0.0, group=len(own))
    queued = pd.concat([own, queued], ignore_index=True) if len(own) else queued
    first = dataclasses.replace(looked_up, requests=queued, placed=placed.known, warm_s=None)
    return first, requests(trace, resident=stretches, lookups=False)


def _left_out(trace: Trace, image: TracedImage, layout: Layout) -> str:
    """Why a copy of this layout is not projected; "": it is."""
    if image.facts.encryption:
        return f"{layout.name}: the image is encrypted, and a copy would need its key"
    if not layout.cluster and trace.meta.command[1:2] == ("check",):
        return "raw: qemu-img check finds nothing to check in it"
    return ""


def _is_already(image: TracedImage, layout: Layout) -> bool:
    if not layout.cluster:
        return image.format == "raw"
    alike = image.format == "qcow2" and image.cluster == layout.cluster
    return alike and image.facts.extended_l2 == layout.extended and len(image.files) == 1


def _option(
    key: str, name: str, now: tuple[Estimate, ...], costs: tuple[Estimate, ...],
    convert: tuple[str, ...] = (), setting: tuple[str, ...] = (),
) -> Option:  # fmt: skip
    saves = 1 - costs[0].seconds / now[0].seconds if costs and now[0].seconds else 0.0
    return Option(key, name, convert, costs, saves, setting)


def _gains(option: Option, now: tuple[Estimate, ...]) -> bool:
    return any(
        then.seconds <= (1 - LEAST_SAVED) * before.seconds and before.seconds > 0
        for then, before in zip(option.costs, now, strict=True)
    )


def _faster(cold: Cold, now: tuple[Estimate, ...], presets: list[Device]) -> tuple[Estimate, ...] | None:
    """For each device the slowest of the presets that is faster by far; itself where there is none. A remote
    one can be in the place of no disk, and is none of them."""
    own = [device for device in presets if not device.remote]
    known = sorted((estimate(project(cold, device)) for device in own), key=lambda one: -one.seconds)
    found = [
        next((one for one in known if one.seconds <= _FASTER * before.seconds), before) for before in now
    ]
    same = all(one is before for one, before in zip(found, now, strict=True))
    return None if same else tuple(found)
