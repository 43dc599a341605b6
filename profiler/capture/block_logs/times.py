"""Times as logs print them."""

from __future__ import annotations


def nanoseconds(seconds: bytes) -> int:
    """Seconds with a point, at most nine digits behind it, without what a float would round away."""
    whole, _, part = seconds.partition(b".")
    return int(whole) * 10**9 + int(part.ljust(9, b"0"))
