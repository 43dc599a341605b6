"""Lists of what a start reads, for tools that bring it in before: caches, images of containers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from profiler.analysis.simulation.prefetch import ranges
from profiler.report.export.rows import as_text
from profiler.trace import Trace


def _in_order(trace: Trace) -> list[bytes]:
    """Paths of the files whose pages were touched, in the order of the first touch."""
    touched, _ = ranges(trace)
    return list(dict.fromkeys(trace.files["path"].iloc[touched["file"].to_numpy(np.int64)]))


def paths_with_nul(trace: Trace) -> Iterator[bytes]:
    """Each path, as it is, and a NUL behind it: vmtouch -0 -b (vmtouch.c, 1.3)."""
    for path in _in_order(trace):
        yield path + b"\0"


def paths_of_lines(trace: Trace) -> Iterator[bytes]:
    """A line a path (nydus-image: --prefetch-policy fs reads them from stdin). A path with a line end in it
    cannot stand in such a list, and is left out."""
    for path in _in_order(trace):
        if b"\n" not in path:
            yield path + b"\n"


def stargz(trace: Trace) -> Iterator[bytes]:
    """The record of eStargz's optimizer: JSON, a line a file. Which layer of an image a file is in no trace
    tells, so `layerIndex` is left out. Paths are those that the program has, relative to its root, as
    text."""
    for path in _in_order(trace):
        yield json.dumps({"path": as_text(path).lstrip("/")}).encode() + b"\n"


def soci(trace: Trace) -> Iterator[bytes]:
    """What soci create and convert take as --prefetch-files-json: a JSON array of paths, blanks around which
    are dropped (awslabs/soci-snapshotter: cmd/soci/commands/internal/prefetch.go). A path that begins or
    ends with one, or is no UTF-8, cannot stand in it, and is left out."""
    paths = [path.decode("utf-8", "surrogateescape") for path in _in_order(trace)]
    fitting = [path for path in paths if path == path.strip() and path.isprintable()]
    yield json.dumps(fitting, indent=1).encode() + b"\n"
