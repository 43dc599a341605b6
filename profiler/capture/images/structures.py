"""What lies where in the disk images that a run read: taken right after it, as the image may change later.

Only files that the traced program itself read are opened, read-only and without locks: whatever an image
names as its backing file, nothing else is touched.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import pandas as pd

from profiler.calls import LARGEST
from profiler.capture.images.files import Identity, as_disks, asked, open_known
from profiler.capture.images.remote import remote
from profiler.facts.images import ImageFacts, from_facts
from profiler.images import formats
from profiler.images.chain import Link, Opened, chain
from profiler.images.map import MAX_RANGES, Map
from profiler.images.readers import raw
from profiler.images.source import take
from profiler.trace import DATA_KINDS, STRUCTURE_COLUMNS, Trace, empty_table, host_paths, read_bytes
from profiler.units import show_count, show_path

MAX_PROBED = 64
"""Of so many files, those with the most bytes read, the first bytes are looked at."""


def structures(trace: Trace) -> tuple[pd.DataFrame, dict[int, ImageFacts], tuple[str, ...]]:
    """The structures of the disk images that were read: a table of `trace.STRUCTURE_COLUMNS`; facts of each
    image as of `Meta.images`; and notes.

    An image is a file that is one by its bytes, the image that the run is about (`meta.image`), one that a
    command of QEMU names, both of which may be raw, and whatever these name as their backing or data file,
    if the program read it. The guest's offsets are given for the parts of each that were read. A file is
    looked at only if it is still the one that was read.
    """
    order = read_bytes(trace).index
    named = os.fsencode(trace.meta.image)
    places = host_paths(trace.files)
    first = [file for file in order if named in (trace.files["path"].iloc[file], places[file])]
    known: dict[Identity, int] = {}
    for file in [*first, *order]:
        row = trace.files.iloc[file]
        if row["kind"] in DATA_KINDS and row["inode"] is not pd.NA and row["device"]:
            known.setdefault((row["device"], int(row["inode"])), int(file))
    declared = as_disks(trace.meta)
    notes: dict[str, None] = {}
    maps: dict[Identity, tuple[bool, Map]] = {}
    fronts: dict[Identity, tuple[Identity, bool]] = {}
    with ExitStack() as stack:

        def open_(path: bytes) -> Opened | None:
            found = open_known(path, known)
            if found is None:
                return None
            stack.enter_context(closing(found))
            return Opened(found, os.fsdecode(path), found.identity)

        def behind(name: str, image: str) -> Opened | str:
            # of a file that the program did not read nothing needs to be known, nor is anything said of it
            folder = os.path.dirname(image) if image else trace.meta.cwd
            return open_(os.fsencode(os.path.join(folder, name))) or ""

        for identity, file in list(known.items())[:MAX_PROBED]:
            path, shown = places[file], trace.files["path"].iloc[file]
            opened = open_(path)
            if opened is None or opened.identity != identity or identity in maps:
                continue
            format = _told(opened, path)
            about = named in (path, shown) or identity in declared
            if format == "raw" and not about and not raw.is_disk(opened.image):
                continue
            try:
                links, more = chain(opened, behind, lambda one: asked(trace, known[one.identity]))  # type: ignore[index]
            except (ArithmeticError, LookupError, MemoryError, ValueError) as error:
                # not to be expected; but a map is not worth the trace
                notes[f"the structures of {show_path(shown)} could not be read: {type(error).__name__}"] = (
                    None
                )
                continue
            notes.update(dict.fromkeys(more))
            for number, link in enumerate(links):
                _keep(maps, link, declared=number > 0)
                if link.front is not None:
                    front = links[link.front].opened.identity
                    fronts.setdefault(link.opened.identity, (front, link.part))  # type: ignore[arg-type]
    _by_id(maps, fronts)
    made, cut = _table([(known[identity], found) for identity, (_, found) in maps.items()])
    for identity, (_, found) in maps.items():
        shown = show_path(trace.files["path"].iloc[known[identity]])
        notes.update(dict.fromkeys(f"{shown}: {note}" for note in found.notes))
    images: dict[int, ImageFacts] = {}
    for one, (_, found) in maps.items():
        front, part = fronts.get(one, (None, False))
        images[known[one]] = _image_facts(found, None if front is None else known[front], part)
    return made, images, (*remote(trace), *notes, *cut)


def _told(opened: Opened, path: bytes) -> str:
    """The format of a file that was read. Its end is looked at only where that may be that of an image."""
    whole = opened.image.size % formats.PROBE_BYTES == 0 or path.lower().endswith(b".dmg")
    return formats.told(opened.image) if whole else formats.probe(take(opened.image, 0, formats.PROBE_BYTES))


def _by_id(maps: dict[Identity, tuple[bool, Map]], fronts: dict[Identity, tuple[Identity, bool]]) -> None:
    """Find what is behind images that know it by an ID alone (VDI) among the files that were read."""
    ids = {found.facts.get("id"): one for one, (_, found) in reversed(maps.items())}
    for one, (_, found) in maps.items():
        parent = ids.get(found.facts.get("parent_id")) if not found.backing else None
        if parent is not None and parent != one and not _is_behind(one, parent, fronts):
            fronts.setdefault(parent, (one, False))


def _is_behind(one: Identity, front: Identity, fronts: dict[Identity, tuple[Identity, bool]]) -> bool:
    seen = set()
    while one in fronts and one not in seen:
        seen.add(one)
        one = fronts[one][0]
        if one == front:
            return True
    return False


def _image_facts(found: Map, front: int | None, part: bool) -> ImageFacts:
    """What the image says of itself, and who is in front of it."""
    # an image may claim more than a trace can hold
    facts = {
        name: min(value, LARGEST) if type(value) is int else value for name, value in found.facts.items()
    }
    image = from_facts({"format": found.format, **facts}) or ImageFacts(found.format)
    return dataclasses.replace(image, in_front=front, part=part)


def _keep(maps: dict[Identity, tuple[bool, Map]], link: Link, declared: bool) -> None:
    """What the image in front of a file says of its format counts more than the file's own bytes."""
    identity: Identity = link.opened.identity  # type: ignore[assignment]
    if identity not in maps or (declared and not maps[identity][0]):
        maps[identity] = (declared, link.map)


def _table(maps: list[tuple[int, Map]]) -> tuple[pd.DataFrame, Iterator[str]]:
    """The maps as one table, and what of them did not fit."""
    tables, notes, left = [empty_table(STRUCTURE_COLUMNS)], [], MAX_RANGES
    for file, found in maps:
        rows, whole = found.places(left)
        if not whole:
            notes.append("the guest's offsets are left out of the structures: there are too many of them")
        if len(rows) > left:
            notes.append(f"the structures are known for the first {show_count(MAX_RANGES)} ranges only")
            rows = rows.iloc[:left]
        rows.insert(0, "file", np.full(len(rows), file, np.int32))
        tables.append(rows)
        left -= len(rows)
    return pd.concat(tables, ignore_index=True).astype(STRUCTURE_COLUMNS), iter(dict.fromkeys(notes))
