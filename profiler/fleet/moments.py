"""From when on, as a command line says it."""

from __future__ import annotations

import datetime
import re

from profiler.errors import UsageError
from profiler.units import show_path

_AGO = re.compile(r"([0-9]{1,6})([dh])")


def since(words: str, now: datetime.datetime) -> datetime.datetime:
    """Of "7d" or "12h", days or hours before `now`, or of a date with or without a time, which is in UTC
    unless it names its zone: the moment in UTC, without a zone. Raises UsageError."""
    try:
        if ago := _AGO.fullmatch(words):
            unit = "days" if ago[2] == "d" else "hours"
            moment = now - datetime.timedelta(**{unit: int(ago[1])})
        else:
            moment = datetime.datetime.fromisoformat(words)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{show_path(words)} is no time; say 7d, 12h, 2026-11-01 or 2026-11-01T06:00"
        ) from error
