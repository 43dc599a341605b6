"""Layouts of a disk image that `qemu-img convert` makes, with their geometry."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 2**10, 2**20

MAX_SLICE = 64 * KIB
"""QEMU reads an L2 table in pieces of this size at most (l2-cache-entry-size in docs/qcow2-cache.txt)."""


@dataclass(frozen=True)
class Layout:
    """How a copy is laid out: qcow2 with clusters of `cluster` bytes, or raw (0). name: short, for people.
    convert: options of `qemu-img convert` that make it."""

    key: str
    name: str
    cluster: int = 0
    extended: bool = False
    refcount_bits: int = 16

    @property
    def convert(self) -> tuple[str, ...]:
        if not self.cluster:
            return ("-O", "raw")
        size = f"{self.cluster // MIB}M" if self.cluster >= MIB else f"{self.cluster // KIB}k"
        return ("-O", "qcow2", "-o", f"cluster_size={size}" + (",extended_l2=on" if self.extended else ""))

    @property
    def entry(self) -> int:
        """Bytes of an entry of an L2 table."""
        return 16 if self.extended else 8

    @property
    def table_covers(self) -> int:
        """Bytes of the guest's disk that one L2 table maps: cluster**2 / 8, / 16 with extended entries."""
        return self.cluster // self.entry * self.cluster

    @property
    def slice_bytes(self) -> int:
        return min(self.cluster, MAX_SLICE)

    @property
    def block_covers(self) -> int:
        """Bytes of the file that one refcount block counts: cluster**2 * 8 / refcount_bits."""
        return self.cluster * 8 // self.refcount_bits * self.cluster


LAYOUTS = (
    Layout("raw", "raw"),
    Layout("cluster-64k", "64 KiB clusters", 64 * KIB),
    Layout("cluster-256k", "256 KiB clusters", 256 * KIB),
    Layout("cluster-2m", "2 MiB clusters", 2 * MIB),
    Layout("extended-l2", "extended L2", 64 * KIB, extended=True),
)
