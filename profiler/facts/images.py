"""Disk images: what their headers say, and which of them stands in front of which."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from profiler.errors import TraceFormatError
from profiler.facts.values import Json, flag, mapping, number, text, texts
from profiler.files import json_values

_FORMAT = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
"""A name of QEMU's for a format: it is shown, and stands in commands that are to be copied."""

EXTERNAL_DATA = "external data file"
"""The feature of a qcow2 image whose data lies in another file."""


@dataclass(frozen=True)
class ImageFacts:
    """A disk image.

    format: the name that QEMU gives it. virtual_size, cluster_size: bytes; 0: it has none, or it is not
    known. in_front: number of the file that names it. part: it holds data of that one's own disk, as extents
    and external data files do, and not of one behind it. layers: how many images its chain has, itself
    included, as the headers said before the run; layers_complete: whether the last of them was reached.
    dirty_before: its header marked it as not closed cleanly before the run. extents: files that hold parts
    of its disk. parent_id: of what is behind it, where it knows that by an ID. header: whatever else
    the header says, as JSON has it.
    """

    format: str
    virtual_size: int = 0
    cluster_size: int = 0
    refcount_bits: int = 16
    extended_l2: bool = False
    features: tuple[str, ...] = ()
    snapshots: int = 0
    snapshot_names: tuple[str, ...] = ()
    bitmaps: int = 0
    bitmap_names: tuple[str, ...] = ()
    encryption: str = ""
    backing_file: str = ""
    parent_id: str = ""
    subformat: str = ""
    create_type: str = ""
    extents: int = 0
    in_front: int | None = None
    part: bool = False
    layers: int | None = None
    layers_complete: bool = True
    dirty_before: bool | None = None
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_is_elsewhere(self) -> bool:
        """Whether its data lies in another file, which it names."""
        return EXTERNAL_DATA in self.features


Images = Mapping[int, ImageFacts]
"""By the number of the file."""


def from_facts(facts: Mapping[str, Any]) -> ImageFacts | None:
    """An image as JSON has it (`to_json`); None for what is none: without a format, or with sizes and
    numbers that cannot be."""
    form = facts.get("format")
    if not isinstance(form, str) or not _FORMAT.fullmatch(form) or json_values.fault(dict(facts)):
        return None
    bounds = {"virtual_size": 2**64, "cluster_size": 2**32, "in_front": 2**31, "layers": 2**31}
    for name, end in bounds.items():
        if type(facts.get(name, 0)) is not int or not 0 <= facts.get(name, 0) < end:
            return None
    words = ("backing_file", "encryption", "parent_id", "subformat", "create_type")
    counts = ("virtual_size", "cluster_size", "snapshots", "bitmaps", "extents")
    complete = flag(facts, "layers_complete")
    bits = number(facts, "refcount_bits", 64)
    lists = ("features", "snapshot_names", "bitmap_names")
    known: Json = {name: text(facts, name) or "" for name in words}
    known |= {name: number(facts, name, 2**64) or 0 for name in counts}
    known |= {name: texts(facts, name) for name in lists}
    return ImageFacts(
        form,
        **known,
        refcount_bits=16 if bits is None else bits,
        extended_l2=bool(facts.get("extended_l2")),
        in_front=facts.get("in_front"),
        part=facts.get("part") is True,
        layers=facts.get("layers"),
        layers_complete=complete is not False,
        dirty_before=flag(facts, "dirty_before"),
        header={name: value for name, value in facts.items() if name not in _FIELDS},
    )


_FIELDS = frozenset(item.name for item in dataclasses.fields(ImageFacts)) - {"header"}
_DEFAULTS = dataclasses.asdict(ImageFacts(""))


def from_json(value: Any) -> dict[int, ImageFacts]:
    """The images of a trace as JSON has them, by the number of the file in decimal.
    Raises TraceFormatError for what is no image."""
    found = {}
    for name, facts in mapping(value).items():
        image = from_facts(facts) if isinstance(facts, dict) else None
        is_number = name.isascii() and name.isdecimal() and len(name) < 10
        if image is None or not is_number:
            raise TraceFormatError("meta.images holds no facts of these files; record it again")
        found[int(name)] = image
    return found


def _image_json(image: ImageFacts) -> Json:
    """The image as JSON has it: what its header says, and nothing else where nothing is known."""
    made = {name: getattr(image, name) for name in _FIELDS}
    kept = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in made.items()
        if name == "format" or value != _DEFAULTS[name]
    }
    return dict(image.header) | dict(sorted(kept.items()))


def to_json(images: Images) -> Json:
    """The images as JSON has them."""
    return {str(number): _image_json(image) for number, image in images.items()}
