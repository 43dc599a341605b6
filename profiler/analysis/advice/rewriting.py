"""The same start on another layout: a trace changed to what it would read elsewhere, to be projected as any
other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from profiler.analysis.advice.copied import CopyReads, as_qcow2, as_raw
from profiler.analysis.advice.image_reads import ImageReads, reads_of
from profiler.analysis.advice.layouts import Layout
from profiler.analysis.advice.traced_image import TracedImage
from profiler.analysis.simulation.placement import LAST, SPACE
from profiler.errors import ColdseekError
from profiler.trace import EXTENT_COLUMNS, FILE_COLUMNS, Trace, table
from profiler.units import show_plural

_KEPT_EVENTS = ("open", "close", "lseek")
_GONE = b"(reads that the copy does not need)"


def on_layout(trace: Trace, image: TracedImage, layout: Layout) -> Trace:
    """The same start on a copy of the image with this layout.

    The image's events are the reads that it would make of the copy; a read that the copy does not need moves
    to a file that costs nothing, so that the program's own time stays what it was. Data that lies in holes
    of the file is zeros, which a copy does not hold.

    Raises ColdseekError where it is not known what a read is of, or where the guest has data that was read,
    or for more than MAX_MADE reads.
    """
    found = reads_of(trace, image)
    if found.unlabelled:
        raise ColdseekError(
            f"what they are of is not known of {show_plural(found.unlabelled, 'read')} of the image "
            f"({image.format or 'of no known format'}), so another layout cannot be projected"
        )
    if found.unplaced:
        raise ColdseekError(
            f"where the guest has them is not known of {show_plural(found.unplaced, 'read')} of data, so "
            f"another layout cannot be projected"
        )
    if layout.cluster:
        made, size = as_qcow2(trace, image, layout, found)
    else:
        made, size = as_raw(image, found)
    return _with(trace, image, found, made, size)


def _with(trace: Trace, image: TracedImage, found: ImageReads, made: CopyReads, size: int) -> Trace:
    """The trace with `made` in place of the image's reads."""
    events, gone = trace.events, len(trace.files)
    of_image = events["file"].isin(image.files).to_numpy(bool)
    kept = np.flatnonzero(~of_image | events["op"].isin(_KEPT_EVENTS).to_numpy(bool))
    unneeded = np.setdiff1d(np.arange(len(found.row)), made.source)
    row = np.concatenate([kept, found.row[made.source], found.row[unneeded]])
    order = np.argsort(row, kind="stable")
    frame = events.iloc[row].reset_index(drop=True)
    new = slice(len(kept), len(kept) + len(made.source))
    rest = slice(new.stop, len(row))
    file = frame["file"].to_numpy(np.int32).copy()
    file[: len(kept)][of_image[kept]] = image.file
    file[new], file[rest] = image.file, gone
    columns: dict[str, Any] = {"file": file}
    for name, values, dtype in (
        ("offset", made.offset, "Int64"), ("size", made.size, "Int64"), ("requested", made.size, "int64"),
    ):  # fmt: skip
        column = frame[name].array.copy()
        column[new] = values.astype(np.int64)
        columns[name] = pd.Series(column, dtype=dtype)
    frame = frame.assign(**columns).iloc[order].reset_index(drop=True)
    files = trace.files.copy()
    files.loc[image.file, "size"] = min(size, SPACE)
    extra = {
        **dict.fromkeys(FILE_COLUMNS, pd.NA),
        "file": gone,
        "path": _GONE,
        "host_path": b"",
        "device": "",
        "kind": "regular",
    }
    files = pd.concat([files, table(FILE_COLUMNS, [extra | {"filesystem": "tmpfs"}])], ignore_index=True)
    others = ~trace.structures["file"].isin(image.files).to_numpy(bool)
    return dataclasses.replace(
        trace,
        events=frame,
        files=files.astype(FILE_COLUMNS),
        extents=_one_run(trace, image, size),
        structures=trace.structures[others].reset_index(drop=True),
    )


def _one_run(trace: Trace, image: TracedImage, size: int) -> pd.DataFrame:
    """The extents with the copy in one, from where the image begins on the device."""
    extents = trace.extents
    others = extents[~extents["file"].isin(image.files).to_numpy(bool)]
    own = extents[(extents["file"] == image.file).to_numpy(bool)]
    if not len(own):
        return others.reset_index(drop=True)
    row = {
        "file": image.file, "logical": 0, "physical": int(own["physical"].min()),
        "length": max(min(size, SPACE), 1), "flags": LAST,
    }  # fmt: skip
    more = table(EXTENT_COLUMNS, [row])
    return pd.concat([others, more], ignore_index=True) if len(others) else more


def defragmented(trace: Trace, image: TracedImage) -> Trace:
    """The same start with each file of the image in one run on its device, behind where it begins now; holes
    stay holes."""
    extents = trace.extents.copy()
    for number in image.files:
        rows = (extents["file"] == number).to_numpy(bool)
        if rows.any():
            base = min(int(extents["physical"][rows].min()), SPACE)
            extents.loc[rows, "physical"] = base + np.minimum(extents["logical"][rows], SPACE)
    return dataclasses.replace(trace, extents=extents)
