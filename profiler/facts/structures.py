"""What the kinds of structures of disk images are for. The readers in `images` give the kinds."""

from __future__ import annotations

from collections.abc import Iterable

TABLE, DATA, FREE = ROLES = ("table", "data", "free")
"""table: it says where things lie, and what the image is. data: it holds what the guest wrote. free: nothing
in the image points to it."""

COMPRESSED = ("compressed cluster", "compressed grain")
UNALLOCATED = "unallocated"
"""What no structure of the image points to."""

_ROLES = {
    **dict.fromkeys((*COMPRESSED, "data cluster", "data", "data block", "payload block", "grain"), DATA),
    UNALLOCATED: FREE,
    "leaked cluster": FREE,
}


def roles_of(kinds: Iterable[str]) -> list[str]:
    """The role of each kind, one of ROLES; what is neither data nor free is a table."""
    return [_ROLES.get(kind, TABLE) for kind in kinds]
