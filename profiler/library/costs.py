"""What a recorded start comes to: summed up, simulated, projected, and what would help."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, overload

from profiler.library.arguments import Named, device_of, devices_of, several, trace_of
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    import pandas as pd

    from profiler.analysis.advice.options import Advice
    from profiler.analysis.simulation.projection import Cold
    from profiler.analysis.simulation.projections import Projection, Projections
    from profiler.devices.model import Device
    from profiler.report.summary import Summary
    from profiler.trace import Trace

ADVISED_ON = ("hdd-7200", "sata-ssd", "nvme")
"""As `coldseek advise` does: they differ most."""


@words_of_python()
def summarise(
    trace: Trace | Named, devices: Device | Named | Iterable[Device | Named] | None = None, copies: int = 0
) -> Summary:
    """Everything that a report shows, in one object.

    trace: a trace, or the name of its file. devices: to project on; None: the usual presets. copies: starts
    at once; 0: as many as the untraced runs were of. Sizes are in bytes, times in seconds.

    Raises UsageError for a device that there is not, and as `load` does.

    >>> summary = coldseek.summarise(trace)
    >>> summary.totals.reads, summary.totals.bytes, summary.totals.seeks
    (64, 262144, 64)
    >>> summary.to_frame()[["path", "reads", "seeks"]]
                  path  reads  seeks
    0  /vm/disk0.qcow2     64     64
    """
    from profiler.report.summarise import summarise as work_out

    return work_out(trace_of(trace), None if devices is None else devices_of(devices, list), copies)


@words_of_python()
def simulate(
    trace: Trace | Named, *, resident: pd.DataFrame | None = None, read_ahead_kb: int | None = None
) -> pd.DataFrame:
    """What has to come from the device if nothing is cached at the start: one row a request, in order.

    trace: a trace, or the name of its file. resident: what was cached all the same: columns file, offset,
    size (bytes). read_ahead_kb: of all devices; None: as the trace says, or the kernel's 128.

    Columns: read (row of `trace.reads()` that caused it; -1: none), file, offset, size (bytes), time_ns
    (when it was issued), needed_ns (when somebody first touches it; 2**62: nobody does), folio (bytes that
    lie together in memory).

    Follows Linux, mm/readahead.c. Raises NoMemoryError for more requests than there is memory for.

    >>> len(coldseek.simulate(trace)), len(coldseek.simulate(trace, read_ahead_kb=0))
    (64, 64)
    """
    from profiler.analysis.simulation.page_cache import simulate as follow

    return follow(trace_of(trace), resident=resident, read_ahead_kb=read_ahead_kb)


@overload
def project(  # type: ignore[overload-overlap]
    trace: Trace | Named | Cold, device: Device | Named, copies: int = 1, *, own: str | Iterable[str] = ()
) -> Projection: ...
@overload
def project(
    trace: Trace | Named | Cold,
    device: Iterable[Device | Named] | None = None,
    copies: int = 1,
    *,
    own: str | Iterable[str] = (),
) -> Projections: ...
@words_of_python()
def project(
    trace: Trace | Named | Cold,
    device: Device | Named | Iterable[Device | Named] | None = None,
    copies: int = 1,
    *,
    own: str | Iterable[str] = (),
) -> Projection | Projections:
    """What a cold start would cost on another device, as `coldseek project` tells.

    trace: a trace, or the name of its file. device: a Device, the name of a preset, or a device file, and it
    gives a Projection; several of these, or None for all presets, and it gives Projections. copies: so many
    starts at once. own: names of the files that each of them has for itself.

    `seconds` is how long the program waits for the device, `low_s` to `high_s` the band that real devices
    of this kind are expected in. How it is worked out is in docs/how-it-works.md.

    Raises UsageError for a device that there is not and copies below 1, ColdseekError for too many
    requests, and as `load` does.

    >>> result = coldseek.project(trace, "hdd-7200")
    >>> result.low_s < result.seconds < result.high_s
    True
    >>> several = coldseek.project(trace, ["sata-ssd", "nvme"])
    >>> several.to_frame()["device"].tolist()
    ['sata-ssd', 'nvme']
    """
    from profiler.analysis.simulation.projection import Cold, requests
    from profiler.analysis.simulation.projection import project as work_out
    from profiler.analysis.simulation.projections import Projections
    from profiler.devices.loading import presets

    cold = trace if isinstance(trace, Cold) else requests(trace_of(trace), own=several(own) or None)
    if device is None or _are_several(device):
        return Projections(work_out(cold, one, copies) for one in devices_of(device, presets))
    return work_out(cold, device_of(device), copies)  # type: ignore[arg-type]


def _are_several(device: object) -> bool:
    return isinstance(device, Iterable) and not isinstance(device, str) and not hasattr(device, "__fspath__")


@words_of_python()
def advise(trace: Trace | Named, devices: Device | Named | Iterable[Device | Named] | None = None) -> Advice:
    """What would make a start faster, projected, as `coldseek advise` tells; nothing is run.

    trace: a trace, or the name of its file. devices: to project on; None: a hard disk, a SATA SSD and NVMe.
    `options` are those that gain, most first: `saves` is the share of the time on the first device.

    Raises UsageError for a device that there is not, and as `load` does.

    >>> advice = coldseek.advise(trace, "hdd-7200")
    >>> [option.key for option in advice.options][:1], advice.options[0].saves > 0.5
    (['in-order'], True)
    """
    from profiler.analysis.advice.options import advise as work_out
    from profiler.analysis.cost.costs import costs
    from profiler.analysis.simulation.projection import requests
    from profiler.devices.loading import find, presets

    start = trace_of(trace)
    cold = requests(start)
    wanted = devices_of(devices, lambda: [find(name) for name in ADVISED_ON])
    return work_out(start, wanted, presets(), cold=cold, found=costs(start, start.reads(), cold))
