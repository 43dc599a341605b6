"""What a recorded start reads, brought in before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.library.arguments import Named, trace_of
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.machine.page_cache.prefetch import Prefetched
    from profiler.plan import Plan
    from profiler.trace import Trace

ORDERS = ("device", "time")


@words_of_python()
def prefetch_plan(
    *traces: Trace | Named, order: str = "device", least: int | None = None, save: Named | None = None
) -> Plan:
    """What to bring into the page cache before a start; nothing is read.

    traces: of one start, or names of their files; of several, what `least` of them read (None: 2). order:
    "device", by place on the device, or "time", as the start read it. save: write it there, as
    `coldseek prefetch --save` does: a program that needs Python alone.

    Raises UsageError for parameters that make no sense, ColdseekError where it cannot be saved, and as
    `load` does.

    >>> plan = coldseek.prefetch_plan(trace)
    >>> len(plan.files), plan.size
    (1, 262144)
    """
    if not traces:
        raise UsageError("there is no trace; give one of the start, or several")
    if order not in ORDERS:
        raise UsageError(f"order is {order!r}, not one of {', '.join(ORDERS)}")
    from profiler import plan as plans

    plan = _planned([trace_of(trace) for trace in traces], order, least)
    if save is not None:
        plans.save(plan, os.fspath(save))
    return plan


@words_of_python()
def prefetch(
    *starts: Trace | Plan | Named,
    order: str = "device",
    least: int | None = None,
    budget: str = "",
    beside: bool = False,
) -> Prefetched:
    """Bring in what a recorded start reads, before it starts, as `coldseek prefetch` does.

    starts: one Plan or the name of its file; or traces of one start, or names of their files. order, least:
    as of `prefetch_plan`. budget: read at most so much, or so long, of what the start needs first: "20MiB",
    "1.5s". beside: for while the start runs: fewer requests at once, and what is needed first comes first.

    Gives `bytes`, which are in the page cache now, `from_disk` of them that were not before, and `changed`:
    files that were left out, as they are not what they were.

    Raises UsageError for parameters that make no sense, ColdseekError where all files have changed, or for
    more than fits in memory.

    >>> coldseek.prefetch(trace)
    Traceback (most recent call last):
    profiler.errors.ColdseekError: changed since the trace was recorded: /vm/disk0.qcow2 ...
    """
    from profiler import plan as plans
    from profiler.machine.page_cache.prefetch import Budget
    from profiler.machine.page_cache.prefetch import prefetch as read
    from profiler.runner import budget as parsed

    try:
        limit = Budget(*parsed(budget)) if budget else Budget()
    except ValueError as error:
        raise UsageError(f"budget={budget!r}: {error}") from error
    first = starts[0] if starts else None
    if isinstance(first, plans.Plan):
        plan = first
    elif isinstance(first, str | os.PathLike) and plans.is_plan(os.fspath(first)):
        plan = plans.load(os.fspath(first))
    else:
        return read(prefetch_plan(*starts, order=order, least=least), limit, beside)  # type: ignore[arg-type]
    if len(starts) > 1 or order != "device" or least is not None:
        raise UsageError("a plan has its order already, and stands alone; give traces")
    return read(plan, limit, beside)


def _planned(starts: Sequence[Trace], order: str, least: int | None) -> Plan:
    from profiler.analysis.simulation.prefetch import plan, written
    from profiler.analysis.starts import Starts
    from profiler.plan import plan_of

    if len(starts) > 1:
        return plan_of(*Starts(starts).plan(order, least or 2))
    if least not in (None, 1):
        raise UsageError(f"least is {least}, and there is one trace; give several of the same start")
    return plan_of(plan(starts[0], order), starts[0].files, written(starts[0]))
