"""What the guest has in the disk images that a run read, at the places that it read: file systems, their
structures, their files.

The guest's disk is put together from the images by their own maps; nothing is mounted. Only files that the
traced program itself read are opened: where another one is needed, what lies in it is not known.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Hashable
from contextlib import ExitStack, closing

import numpy as np
import pandas as pd

from profiler.capture.images.files import Identity, asked, open_known
from profiler.images.chain import Link, Opened, chain
from profiler.images.guest.contents import Contents, contents
from profiler.images.guest.disk import Disk, layer, seen_now
from profiler.images.guest.pieces import touches
from profiler.images.runs import Wanted
from profiler.trace import CONTENT_COLUMNS, DATA_KINDS, MOST_ROWS, Trace, empty_table, host_paths
from profiler.units import show_count, show_path


def with_guest_files(trace: Trace) -> Trace:
    """A trace recorded just now, its `contents` with the paths of the guest's files."""
    return with_contents(trace, names=True)


def with_contents(trace: Trace, names: bool = False) -> Trace:
    """A trace captured just now whose `meta.images` is complete, with its `contents`: CONTENT_COLUMNS, of
    the parts of the images that were read. names: with the paths of the guest's files."""
    reader = _Reader(trace, names)
    tables, notes = [empty_table(CONTENT_COLUMNS)], dict.fromkeys(trace.meta.notes)
    left = MOST_ROWS["contents"]
    for number, image in trace.meta.images.items():
        if image.in_front is not None:
            continue
        shown = show_path(trace.files["path"].iloc[number])
        try:
            rows, more = reader.rows(number)
        except (ArithmeticError, LookupError, MemoryError, ValueError) as error:
            # not to be expected; but what the guest has is not worth the trace
            rows, more = [], (f"not read: {type(error).__name__}",)
        notes.update(dict.fromkeys(f"{shown}: what the guest has: {note}" for note in more))
        for found in rows:
            if len(found) > left:
                most = show_count(MOST_ROWS["contents"])
                notes[f"what the guest has is known at the first {most} places only"] = None
            tables.append(found.iloc[:left])
            left -= len(tables[-1])
    made = pd.concat(tables, ignore_index=True).astype(CONTENT_COLUMNS)
    return dataclasses.replace(
        trace, meta=dataclasses.replace(trace.meta, notes=tuple(notes)), contents=made
    )


class _Reader:
    """Reads the images of one trace."""

    def __init__(self, trace: Trace, names: bool) -> None:
        self._trace, self._names = trace, names
        self._places = host_paths(trace.files)
        self._known: dict[Identity, int] = {}
        for number in trace.meta.images:
            row = trace.files.iloc[number]
            if row["kind"] in DATA_KINDS and row["inode"] is not pd.NA and row["device"]:
                self._known.setdefault((row["device"], int(row["inode"])), number)

    def rows(self, top: int) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
        """The rows of each file of the chain in front of which is `top`, and notes."""
        parts = {number: asked(self._trace, number) for number in self._known.values()}
        with ExitStack() as stack:
            links = self._links(top, stack)
            if not links:
                return [], ()
            if links[0].map.facts.get("encryption"):
                return [], ("it is encrypted",)
            layers = [layer(link.opened.image, link.map) for link in links]
            numbers = [self._known[link.opened.identity] for link in links]  # type: ignore[index]
            size = links[0].map.facts.get("virtual_size") or 0
            disk = Disk(layers, size if type(size) is int else 0, _complete(links))
            wanted = disk.asked([parts[number] for number in numbers])
            if not len(wanted[0]):
                return [], ()
            found = contents(disk, wanted, self._names)
            return [
                _rows(disk, n, number, found, parts[number]) for n, number in enumerate(numbers)
            ], found.notes

    def _links(self, top: int, stack: ExitStack) -> list[Link]:
        """The files of one disk, each with its whole map."""

        def open_(path: bytes) -> Opened | None:
            found = open_known(path, self._known)
            if found is None:
                return None
            stack.enter_context(closing(found))
            format = self._trace.meta.images[self._known[found.identity]].format
            return Opened(seen_now(found, format), os.fsdecode(path), found.identity)

        def behind(name: str, image: str) -> Opened | str:
            folder = os.path.dirname(image) if image else self._trace.meta.cwd
            return open_(os.fsencode(os.path.join(folder, name))) or ""

        opened = open_(self._places[top])
        if opened is None or self._known[opened.identity] != top:  # type: ignore[index]
            return []
        declared = self._trace.meta.images[top].format
        links, _ = chain(opened, behind, format="raw" if declared == "raw" else None)
        found = {link.opened.identity for link in links}
        while (parent := self._by_id(links[-1], found, open_)) and parent.identity not in found:
            more, _ = chain(parent, behind)
            links += [link for link in more if link.opened.identity not in found]
            found |= {link.opened.identity for link in more}
        return links

    def _by_id(
        self, last: Link, found: set[Hashable], open_: Callable[[bytes], Opened | None]
    ) -> Opened | None:
        """What is behind an image that does not name it (VDI), if it was found among the files that were
        read."""
        front = self._known[last.opened.identity]  # type: ignore[index]
        for identity, number in self._known.items():
            image = self._trace.meta.images[number]
            if image.in_front == front and identity not in found and not image.part:
                return open_(self._places[number])
        return None


def _complete(links: list[Link]) -> bool:
    """Whether every file that one of them names is there."""
    named = 0
    for link in links:
        found = link.map
        named += bool(found.backing) or bool(found.facts.get("parent_id"))
        named += bool(found.data_file) + sum(extent.files for extent in found.extents)
    return len(links) > named  # the first is named by nobody


def _rows(disk: Disk, layer: int, file: int, found: Contents, parts: Wanted) -> pd.DataFrame:
    """What of the guest's disk lies where in one file, in the parts that were read."""
    starts, ends, row = disk.places(layer, found.starts, found.ends)
    some = touches(starts, ends, parts)
    starts, ends, row = starts[some], ends[some], row[some]
    made = {
        "file": np.full(len(starts), file, np.int32), "start": starts, "end": ends,
        "kind": found.kinds[row], "path": found.paths[row],
    }  # fmt: skip
    return pd.DataFrame(made).astype(CONTENT_COLUMNS)
