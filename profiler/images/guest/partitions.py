"""The partitions of a disk: the table of an MBR with its chain of extended ones, and a GPT."""

from __future__ import annotations

import struct

from profiler.images.source import Image, take

Layers = list[tuple[int, int, str]]
"""Start, end (bytes), kind."""

TABLE = "partition table"

_SECTOR = 512
_MAX_LOGICAL = 128  # partitions in the chain of an extended one
_MAX_GPT = 1024
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE


def partitions(image: Image, notes: list[str]) -> tuple[Layers, list[tuple[int, int]]]:
    """The partition tables, and where the partitions start and end; notes on what is wrong with them. No
    table: the disk has no partitions."""
    first = _mbr(take(image, 0, _SECTOR))
    if first is None:
        return [], []
    if any(kind == _PROTECTIVE for kind, _, _ in first):
        found = _gpt(image, notes)
        if found:
            return found
    tables: Layers = [(0, _SECTOR, TABLE)]
    partitions: list[tuple[int, int]] = []
    for kind, start, sectors in first:
        if kind in _EXTENDED:
            _logical(image, start, tables, partitions, notes)
        else:
            partitions.append((start * _SECTOR, (start + sectors) * _SECTOR))
    past = sum(end > image.size for _, end in partitions)
    if past:
        notes.append(f"partitions that run past the end of the image: {past}")
    return tables, [(start, end) for start, end in partitions if start < image.size]


def _mbr(sector: bytes) -> list[tuple[int, int, int]] | None:
    """Type, first sector and number of sectors of the partitions; None where this is no partition table.

    A boot sector of a file system has the same signature: but what would be the states of the partitions
    there is neither 0 nor 0x80.
    """
    if len(sector) < _SECTOR or sector[510:] != b"\x55\xaa":
        return None
    rows = [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * number) for number in range(4)]
    if any(state not in (0, 0x80) for state, *_ in rows):
        return None
    used = [(kind, start, sectors) for _, kind, start, sectors in rows if kind and start and sectors]
    return used or None


def _logical(
    image: Image, outer: int, tables: Layers, partitions: list[tuple[int, int]], notes: list[str]
) -> None:
    """Follow the chain of tables within an extended partition, each naming a partition and the next one."""
    at, seen = outer, {0}
    while at not in seen and len(seen) <= _MAX_LOGICAL:
        seen.add(at)
        rows = _mbr(take(image, at * _SECTOR, _SECTOR))
        if rows is None:
            break
        tables.append((at * _SECTOR, (at + 1) * _SECTOR, TABLE))
        following = None
        for kind, start, sectors in rows[:2]:
            if kind in _EXTENDED:
                following = outer + start
            else:
                partitions.append(((at + start) * _SECTOR, (at + start + sectors) * _SECTOR))
        if following is None:
            return
        at = following
    notes.append("the chain of extended partitions does not end as it should")


def _gpt(image: Image, notes: list[str]) -> tuple[Layers, list[tuple[int, int]]] | None:
    for sector in (512, 4096):
        header = take(image, sector, 92)
        if len(header) == 92 and header[:8] == b"EFI PART":
            break
    else:
        notes.append("the partition table points to a GPT that is not there")
        return None
    tables: Layers = [(0, _SECTOR, TABLE), (sector, 2 * sector, TABLE)]
    backup, entries, count, size = (
        struct.unpack_from("<Q", header, 32)[0],
        struct.unpack_from("<Q", header, 72)[0],
        *struct.unpack_from("<II", header, 80),
    )
    if not 128 <= size <= 4096 or count > _MAX_GPT:
        notes.append(f"a GPT of {count:,} entries of {size:,} bytes is not possible")
        return tables, []
    tables.append((entries * sector, entries * sector + count * size, TABLE))
    if take(image, backup * sector, 8) == b"EFI PART":
        tables.append((backup * sector, (backup + 1) * sector, TABLE))
        other = take(image, backup * sector + 72, 8)
        if len(other) == 8:
            place = int.from_bytes(other, "little") * sector
            tables.append((place, place + count * size, TABLE))
    else:
        notes.append("the second copy of the GPT is not where the first says")
    raw = take(image, entries * sector, count * size)
    partitions = []
    for at in range(0, len(raw) - 127, size):
        first, last = struct.unpack_from("<QQ", raw, at + 32)
        if any(raw[at : at + 16]) and first <= last and first * sector < image.size:
            partitions.append((first * sector, (last + 1) * sector))
    return tables, partitions
