"""Baselines of starts as files."""

from __future__ import annotations

import os

from profiler.errors import ColdseekError
from profiler.facts import starts
from profiler.facts.starts import Start
from profiler.files.reading import open_regular
from profiler.files.writing import replacing
from profiler.units import show_path


def load(path: str) -> Start | None:
    """A baseline; None where there is no file of this name. It may come from anybody. Raises BaselineError
    for what is no baseline, ColdseekError for what cannot be read."""
    shown = show_path(path)
    try:
        with open_regular(path) as file:
            content = file.read(starts.MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = os.strerror(getattr(error, "errno", 0) or 22)
        raise ColdseekError(f"cannot read {shown}: {why}; name another with --baseline") from error
    if len(content) > starts.MOST_BYTES:
        raise ColdseekError(
            f"{shown} is too large for a baseline; write it anew with coldseek check --update"
        )
    return starts.loads(content, path)


def save(start: Start, path: str) -> None:
    """Raises ColdseekError where it cannot be written."""
    with replacing(path) as file:
        file.write(starts.dumps(start).encode())
