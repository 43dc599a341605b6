"""What a command names that is no file: on another machine, or behind the socket of a server."""

from __future__ import annotations

import re

from profiler.images.names import REMOTE, named
from profiler.trace import Trace, read_bytes
from profiler.units import show_count, show_path

_REMOTE_WORD = re.compile(rf"(?:.*[=,])?((?:{'|'.join(sorted(REMOTE))})(?:\+\w+)?:(?:[^,]|,,){{1,200}})")


def remote(trace: Trace) -> list[str]:
    """A note on each place that the command names by one of QEMU's protocols, and what was read of files."""
    words = (_REMOTE_WORD.fullmatch(word[:4096]) for word in trace.meta.command[:1000])
    names = list(dict.fromkeys(match.group(1) for match in words if match))
    if not names:
        return []
    local = read_bytes(trace)
    read = f"the run read {show_count(len(local))} local files, {show_count(int(local.sum()))} bytes"
    return [
        f"{show_path(name)} is remote ({named(name).remote}): none of its reads are in this trace; {read}"
        for name in names[:5]
    ]
