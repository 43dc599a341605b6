"""A catalogue brought up to date: only what is new is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from profiler.facts.fleet import DAMAGED, Place, Row
from profiler.files import catalogues
from profiler.fleet.examine import Known, Task

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("content", "model", "trace", "places", "failure")
"""The columns that tell what is new."""

Entry = dict[str, Any]
"""Of `places`, or some columns of a row, as Python has them."""

_REUSED = ("", DAMAGED)
"""What became of a trace once and will again."""


@dataclass
class Index:
    """What a catalogue has of one model. by_place: (name, size, changed_ns) -> contents; by_size: bytes ->
    contents."""

    by_place: dict[tuple[str, int | None, int | None], str] = field(default_factory=dict)
    by_size: dict[int, set[str]] = field(default_factory=dict)


def index_of(table: pa.Table, model: str) -> Index:
    """table: with KEYS at least."""
    known = Index()
    for row in table.select(list(KEYS)).to_pylist():
        if row["model"] != model or row["failure"] not in _REUSED or not row["content"]:
            continue
        for place in row["places"] or ():
            key = (place["name"], place["size"], place["changed_ns"])
            known.by_place[key] = row["content"]
            if place["size"] is not None:
                known.by_size.setdefault(place["size"], set()).add(row["content"])
    return known


def tasks(places: Iterable[Place], index: Index) -> list[Task]:
    """Those of the places whose contents are not known by name, size and time."""
    return [
        Task(place, frozenset(index.by_size.get(place.size, ())) if place.size is not None else ())
        for place in places
        if place.changed_ns is None or (place.key, place.size, place.changed_ns) not in index.by_place
    ]


def merged(table: pa.Table, results: Sequence[Row | Known]) -> pa.Table:
    """The catalogue with these results. A row takes the place of those of the same contents, and of those of
    the same name that could not be read."""
    import pyarrow as pa

    rows = _once(result for result in results if isinstance(result, Row))
    contents = {row.content for row in rows} - {""}
    names = {result.place.key for result in results}
    old = table.select(list(KEYS)).to_pylist()
    kept = [row["content"] not in contents if row["content"] else row["trace"] not in names for row in old]
    both = pa.concat_tables([table.filter(pa.array(kept, pa.bool_())), catalogues.table_of(rows)])
    places = _places(old, results)
    entries = [
        places[row["content"]] if row["content"] else row["places"]
        for row in both.select(["content", "places"]).to_pylist()
    ]
    return _with_places(both, entries)


def _once(rows: Iterable[Row]) -> list[Row]:
    """A row for each contents, of the place whose name comes first; all of those that could not be read."""
    first: dict[str, Row] = {}
    for row in rows:
        key = row.content or f"\0{row.place.key}"
        if key not in first or row.place.key < first[key].place.key:
            first[key] = row
    return list(first.values())


def _places(
    old: Iterable[dict[str, Any]], results: Iterable[Row | Known]
) -> dict[str, list[dict[str, Any]]]:
    """Contents -> the places that they are known to lie at, each name once, by name."""
    by_content: dict[str, dict[str, Entry]] = {}
    for row in old:
        by_content.setdefault(row["content"], {}).update(
            {each["name"]: each for each in row["places"] or ()}
        )
    for result in results:
        entry = catalogues.place_json(result.place)
        by_content.setdefault(result.content, {})[entry["name"]] = entry
    return {content: [found[name] for name in sorted(found)] for content, found in by_content.items()}


def _with_places(table: pa.Table, entries: list[Any]) -> pa.Table:
    import pyarrow as pa

    names = [each[0]["name"] if each else None for each in entries]
    for column, values in (("places", entries), ("trace", names)):
        kind = catalogues.schema().field(column)
        table = table.set_column(table.column_names.index(column), kind, pa.array(values, kind.type))
    return table
