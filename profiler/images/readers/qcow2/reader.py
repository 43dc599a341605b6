"""The map of a qcow2 image: every cluster of the file, and for each run of data its place in the guest's
disk."""

from __future__ import annotations

import struct

from profiler.images.build import Builder
from profiler.images.map import Map
from profiler.images.readers.qcow2.bitmaps import claim_bitmaps
from profiler.images.readers.qcow2.header import SMALLEST, Header, facts_of, header_of
from profiler.images.readers.qcow2.mapping import Mapping
from profiler.images.readers.qcow2.refcounts import claim_refcounts, compare_refcounts
from profiler.images.readers.qcow2.snapshots import claim_snapshots
from profiler.images.runs import Runs, Wanted
from profiler.images.source import Image, text

KINDS = (
    "header", "L1 table", "L2 table", "refcount table", "refcount block", "snapshot table",
    "snapshot L1 table", "bitmap directory", "bitmap table", "bitmap data", "encryption header",
    "compressed cluster", "data cluster", "leaked cluster",
)  # fmt: skip
_FOLDS = ("leaked cluster", "compressed cluster", "data cluster")


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a qcow2 image. wanted: of which parts of the file the guest's offsets are asked for (bytes;
    None: of all). Raises nothing: what is wrong with the image becomes a note.
    """
    notes: list[str] = []
    header = header_of(image, notes)
    if header is None:
        builder = Builder(image, KINDS, _FOLDS, wanted=wanted)
        builder.claim("header", 0, min(image.size, SMALLEST))
        builder.notes.update(dict.fromkeys(notes))
        builder.lacks("nothing but the header is labelled, as it cannot be made out")
        return builder.finish("qcow2", {})
    builder = Builder(image, KINDS, _FOLDS, unit=header.cluster, wanted=wanted)
    builder.notes.update(dict.fromkeys(notes))
    facts = facts_of(header)
    builder.claim("header", 0, header.cluster)
    mapping = Mapping(image, builder, header)
    active = mapping.claim_l1("L1 table", *header.l1)
    facts["active_l2_tables"] = active
    blocks = claim_refcounts(image, builder, header)
    facts["snapshots"], facts["snapshot_names"] = claim_snapshots(image, builder, header, mapping)
    facts["bitmaps"], facts["bitmap_names"] = claim_bitmaps(image, builder, header)
    _encryption(builder, header)
    outside = Runs()
    facts |= mapping.claim_data(active, outside)
    compare_refcounts(image, builder, header, blocks, facts)
    return builder.finish(
        "qcow2",
        facts,
        backing=header.backing,
        backing_format=text(header.extensions.get("backing format", b"")[:256]),
        data_file=text(header.extensions.get("data file", b"")[:4096]) if header.external else "",
        outside=outside.placed(),
    )


def _encryption(builder: Builder, header: Header) -> None:
    raw = header.extensions.get("encryption header")
    if raw is None:
        if header.crypt == 2:
            builder.note("the image is encrypted, but there is no pointer to its encryption header")
        return
    if len(raw) < 16:
        builder.note("the pointer to the encryption header is too short")
        return
    offset, length = struct.unpack_from(">QQ", raw)
    if offset % header.cluster:
        builder.note(f"the encryption header at offset {offset:,} does not start where a cluster does")
        return
    builder.claim("encryption header", offset, length)
