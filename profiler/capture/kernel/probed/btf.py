"""Where the members of the kernel's structures lie, as the running kernel tells it (BTF).

Written for Linux: Documentation/bpf/btf.rst, include/uapi/linux/btf.h. Pure: bytes in, offsets out.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection
from typing import NamedTuple

from profiler.errors import ColdseekError

_HEADER = struct.Struct("=HBBIIIII")  # struct btf_header: magic, version, flags, hdr_len, and two sections
_TYPE_WORDS = 3  # struct btf_type: the name's place, info, size or type
_MEMBER = struct.Struct("=III")  # struct btf_member: the name's place, type, offset
_MAGIC = 0xEB9F
_STRUCT, _UNION = 4, 5
_SAME = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type_tag: the type that they name
# What follows a btf_type, by its kind (BTF_KIND_*): words, and words for each of the `vlen` elements that
# info counts. Of kind 0 there is none.
_AFTER = (
    None, (1, 0), (0, 0), (3, 0), (0, 3), (0, 3), (0, 2), (0, 0), (0, 0), (0, 0),
    (0, 0), (0, 0), (0, 0), (0, 2), (1, 0), (0, 3), (0, 0), (1, 0), (0, 0), (0, 3),
)  # fmt: skip
_DEEPEST = 8  # structures without a name, and const and its kin, within each other


class _Compound(NamedTuple):
    """A structure or union in the bytes: where its members begin, how many, and whether their offsets share
    their words with the widths of bit fields (kind_flag)."""

    at: int
    members: int
    packed: bool


class Structures:
    """The structures that are wanted, of a kernel's BTF. names: of structures. Raises ColdseekError if the
    bytes are no BTF that is known here."""

    def __init__(self, data: bytes, names: Collection[str]) -> None:
        self._data = data
        if len(data) < _HEADER.size:
            raise _strange("it is too short")
        magic, _, _, length, types_at, types_bytes, texts_at, texts_bytes = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise _strange("it does not begin as BTF does")
        self._texts_at, self._texts_end = length + texts_at, length + texts_at + texts_bytes
        begin, end = length + types_at, length + types_at + types_bytes
        if max(end, self._texts_end) > len(data):
            raise _strange("it ends too early")
        # by the number of the type: a structure or union, the number of the type that it is; 0 is void
        self._all: list[_Compound | int | None] = [None]
        self._named: dict[str, _Compound] = {}
        self._read(begin, end, {self._place_of(name): name for name in names})

    def _place_of(self, name: str) -> int:
        """Where the name lies among the texts, each of which is there once; -1: nowhere."""
        found = self._data.find(b"\0%b\0" % name.encode(), self._texts_at, self._texts_end)
        return found + 1 - self._texts_at if found >= 0 else -1

    def _read(self, begin: int, end: int, wanted: dict[int, str]) -> None:
        words = array("I", self._data[begin : end - (end - begin) % 4])  # of 4 bytes, as on all Linux
        at = 0
        while at < len(words):
            if at + _TYPE_WORDS > len(words):
                raise _strange("a type ends too early")
            name, info = words[at], words[at + 1]
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            after = _AFTER[kind] if kind < len(_AFTER) else None
            if after is None:
                raise _strange(f"it has types of the kind {kind}")
            at += _TYPE_WORDS
            found: _Compound | int | None = words[at - 1] if kind in _SAME else None
            if kind in (_STRUCT, _UNION):
                found = _Compound(begin + 4 * at, count, bool(info >> 31))
                if kind == _STRUCT and name in wanted:
                    self._named.setdefault(wanted[name], found)
            self._all.append(found)
            at += after[0] + after[1] * count
        if at > len(words):
            raise _strange("a type ends too early")

    def offset(self, name: str, member: str) -> int:
        """Where a member of a structure begins, in bytes from the structure's beginning; it may lie in
        structures and unions without a name. Raises ColdseekError where there is none."""
        place = self._place_of(member)
        bits = self._find(self._named[name], place, _DEEPEST) if name in self._named and place >= 0 else None
        if bits is None or bits % 8:
            raise ColdseekError(f"this kernel's struct {name} has no {member}")
        return bits // 8

    def _find(self, where: _Compound, member: int, depth: int) -> int | None:
        for number in range(where.members):
            name, kind, offset = _MEMBER.unpack_from(self._data, where.at + number * _MEMBER.size)
            bits = offset & 0xFFFFFF if where.packed else offset
            if name == member:
                return int(bits)
            inner = self._compound(kind) if name == 0 and depth else None
            within = None if inner is None else self._find(inner, member, depth - 1)
            if within is not None:
                return int(bits) + within
        return None

    def _compound(self, number: int) -> _Compound | None:
        """The structure or union that a type is."""
        for _ in range(_DEEPEST):
            found = self._all[number] if number < len(self._all) else None
            if not isinstance(found, int):
                return found
            number = found
        return None


def _strange(why: str) -> ColdseekError:
    return ColdseekError(f"the kernel's description of its types makes no sense: {why}")
