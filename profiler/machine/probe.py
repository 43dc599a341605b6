"""Whether something works on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """Whether something works on this machine, in words: `why` it does or does not, and the `remedy` if
    not."""

    works: bool
    why: str
    remedy: str = ""
