"""One trace of a fleet, in whatever process or on whatever machine that comes to be: place in, row out."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection
from dataclasses import dataclass

from profiler.analysis.fleet.facts import facts_of
from profiler.devices.model import Device
from profiler.errors import ColdseekError, TraceFormatError
from profiler.facts.fleet import DAMAGED, FAILED, MOST_TEXT, UNREADABLE, Facts, Place, Row
from profiler.files.traces import load
from profiler.fleet.places import read
from profiler.units import show_path


@dataclass(frozen=True)
class Task:
    """A trace to look at. known: contents of this size that are in the catalogue already."""

    place: Place
    known: Collection[str] = ()


@dataclass(frozen=True)
class Asked:
    """What is to be made of each trace; see `facts_of`. model: as of `model_of`."""

    devices: tuple[Device, ...]
    advice: bool
    model: str


@dataclass(frozen=True)
class Known:
    """A place whose contents are in the catalogue already."""

    place: Place
    content: str


def examine(task: Task, asked: Asked) -> Row | Known:
    """The row of a trace. What cannot be read, or is no trace, is a row too, with the reason."""
    place, content = task.place, ""
    try:
        data = read(place.name)
        content = hashlib.sha256(data).hexdigest()
        if content in task.known:
            return Known(place, content)
        facts = facts_of(load(io.BytesIO(data)), asked.devices, asked.advice)
        return Row(Place(place.name, len(data), place.changed_ns), content, asked.model, facts)
    except TraceFormatError as error:
        return _without(place, content, asked, DAMAGED, str(error))
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        return _without(place, content, asked, UNREADABLE, words)
    except (ColdseekError, MemoryError) as error:
        return _without(place, content, asked, UNREADABLE, str(error) or "out of memory")
    except Exception as error:  # one trace out of thousands ends nothing
        return _without(place, content, asked, FAILED, f"{type(error).__name__}: {error}")


def lost(task: Task, asked: Asked, why: str) -> Row:
    """The row of a trace whose examination never came back."""
    return _without(task.place, "", asked, FAILED, why)


def _without(place: Place, content: str, asked: Asked, failure: str, reason: str) -> Row:
    return Row(place, content, asked.model, Facts(), failure, show_path(reason)[:MOST_TEXT])
