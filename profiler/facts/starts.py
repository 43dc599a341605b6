"""Several cold runs of one start, in numbers: what is kept as a baseline, and what is held against it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from profiler.errors import BaselineError
from profiler.facts.values import Json, mapping, number, text, texts
from profiler.files import json_values
from profiler.units import show_path

SCHEMA = "coldseek.baseline/1"
MOST_BYTES = 64 * 2**20
"""A larger file is not read: a start of 100,000 files has a baseline of some 15 MB."""
MOST_PARTS, MOST_RUNS, MOST_QUANTITIES = 200_000, 1000, 1000
_MOST = 2**62

Part = tuple[bytes, str]
"""A file, and the structure in it ("": it is no image)."""


@dataclass(frozen=True)
class Program:
    """The executable. path: as it was found. size: bytes. sha256: of its contents, "": not known."""

    path: str = ""
    size: int | None = None
    sha256: str = ""


UNKNOWN = Program()


@dataclass(frozen=True)
class Image:
    """A disk image that is read. size, virtual_size, cluster_size: bytes; None: not known."""

    path: str
    format: str
    size: int | None = None
    virtual_size: int | None = None
    cluster_size: int | None = None


@dataclass(frozen=True)
class Start:
    """runs: how many. quantities: name -> a value for each run, None: not known. parts: what of which file
    reached the device: requests and bytes, the medians over the runs; 0, 0 of what fewer than half of them
    read. machine: what the numbers depend on, name -> words. version: of coldseek."""

    command: tuple[str, ...] = ()
    exit_status: int | None = None
    runs: int = 0
    quantities: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    parts: Mapping[Part, tuple[int, int]] = field(default_factory=dict)
    program: Program = UNKNOWN
    images: tuple[Image, ...] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def dumps(start: Start) -> str:
    """As JSON whose lines can be compared: sorted, a quantity or a file on each."""
    made = {
        "schema": SCHEMA,
        "coldseek": start.version,
        "command": [_text(word) for word in start.command],
        "exit_status": start.exit_status,
        "runs": start.runs,
        "program": {name: _plain(value) for name, value in asdict(start.program).items()},
        "machine": {name: _text(value) for name, value in sorted(start.machine.items())},
        "images": [{name: _plain(value) for name, value in asdict(image).items()} for image in start.images],
        "quantities": {name: list(start.quantities[name]) for name in sorted(start.quantities)},
        "files": [_part(*item) for item in sorted(start.parts.items())],
    }
    lines = [f' "{name}": {_lines(value)}' for name, value in made.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {_json(name)}: {_json(item)}" for name, item in value.items()) + "\n }"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {_json(item)}" for item in value) + "\n ]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _plain(value: Any) -> Any:
    return _text(value) if isinstance(value, str) else value


def _text(words: str) -> str:
    """Bytes that are no UTF-8 as \\xNN."""
    return words.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _part(part: Part, counts: tuple[int, int]) -> Json:
    path, structure = part
    shown = path.decode("utf-8", "backslashreplace")
    made: Json = {"path": shown}
    if shown.encode() != path:
        made["path_hex"] = path.hex()
    if structure:
        made["structure"] = _text(structure)
    return made | {"requests": counts[0], "bytes": counts[1]}


def loads(content: bytes, name: str) -> Start:
    """A baseline of this content; it may come from anybody. name: of the file, for what is said of it.
    Raises BaselineError for what is none."""
    try:
        values = json_values.loads(content)
    except (ValueError, RecursionError) as error:
        raise _bad(name, "it is no JSON") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, str) and schema.startswith("coldseek.baseline/"):
            raise _bad(name, f"its schema {schema!r:.60} is of another coldseek")
        raise _bad(name, "it is no baseline of coldseek")
    if why := json_values.fault(values):
        raise _bad(name, why)
    runs = number(values, "runs", MOST_RUNS)
    if not runs:
        raise _bad(name, "it is of no runs")
    quantities = mapping(values.get("quantities"))
    if len(quantities) > MOST_QUANTITIES:
        raise _bad(name, "it has too many quantities")
    for quantity, numbers in quantities.items():
        if not isinstance(numbers, list) or len(numbers) > MOST_RUNS or not all(map(_is_value, numbers)):
            raise _bad(name, f"its quantity {quantity!r:.60} is no list of numbers")
    return Start(
        texts(values, "command"),
        number(values, "exit_status", 255),
        runs,
        {quantity: tuple(numbers) for quantity, numbers in quantities.items()},
        _parts(values.get("files"), name),
        _program(mapping(values.get("program"))),
        _images(values.get("images")),
        {key: word for key, word in mapping(values.get("machine")).items() if isinstance(word, str)},
        text(values, "coldseek") or "",
    )


def _is_value(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value) and 0 <= value < _MOST)


def _parts(rows: Any, name: str) -> dict[Part, tuple[int, int]]:
    if not isinstance(rows, list) or len(rows) > MOST_PARTS:
        raise _bad(name, "its files are no list, or too many")
    made: dict[Part, tuple[int, int]] = {}
    for row in map(mapping, rows):
        path, encoded = text(row, "path"), text(row, "path_hex")
        requests, size = (number(row, key, _MOST) for key in ("requests", "bytes"))
        try:
            path_bytes = bytes.fromhex(encoded) if encoded is not None else (path or "").encode()
        except ValueError:
            path_bytes = b""
        if not path_bytes or requests is None or size is None:
            raise _bad(name, "a file in it has no path, requests or bytes")
        made[path_bytes, text(row, "structure") or ""] = requests, size
    return made


def _program(values: Json) -> Program:
    return Program(text(values, "path") or "", number(values, "size", _MOST), text(values, "sha256") or "")


def _images(rows: Any) -> tuple[Image, ...]:
    return tuple(
        Image(
            text(row, "path") or "",
            text(row, "format") or "",
            *(number(row, key, _MOST) for key in ("size", "virtual_size", "cluster_size")),
        )
        for row in map(mapping, rows if isinstance(rows, list) else ())
    )


def _bad(name: str, why: str) -> BaselineError:
    return BaselineError(f"{show_path(name)}: {show_path(why)}; write it anew with coldseek check --update")
