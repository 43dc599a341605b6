"""qcow2, versions 2 and 3, after QEMU's docs/interop/qcow2.txt."""

from profiler.images.readers.qcow2.header import MAGIC, marked_dirty
from profiler.images.readers.qcow2.reader import KINDS, read

__all__ = ["KINDS", "MAGIC", "marked_dirty", "read"]
