"""Probes (kprobes) that stand in for events that a kernel has not got: before Linux 6.10, as in Debian 12,
no event tells which file a read is of, nor that a mapped file was read by a page fault.

Each buffered read of a file passes `filemap_read`, each with O_DIRECT on file systems that are made on iomap
`__iomap_dio_rw`, both with (struct kiocb *, struct iov_iter *); from Linux 6.3 on reads for splice and
sendfile pass `filemap_splice_read`, with (struct file *, loff_t *, struct pipe_inode_info *, size_t); each
page fault that asks the page cache `filemap_fault`, with (struct vm_fault *). What these point to is fetched
as the function is entered, from where the kernel says that its members lie. Linux: mm/filemap.c,
fs/iomap/direct-io.c and Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from profiler.capture.kernel import tracefs
from profiler.capture.kernel.probed.btf import Structures
from profiler.errors import ColdseekError

LOOKED_UP, DIRECT, FAULTED = "mm_filemap_get_pages", "iomap_dio_rw_begin", "mm_filemap_fault"
PLACES = {LOOKED_UP: "filemap", DIRECT: "iomap", FAULTED: "filemap"}
"""The events -> their systems. Of LOOKED_UP the stand-in has other fields: `pos`, `count` and `isize`
(bytes) in place of `index` and `last_index`."""
_READ, _SPLICED = "filemap_read", "filemap_splice_read"
_FUNCTIONS = {LOOKED_UP: (_READ, _SPLICED), DIRECT: ("__iomap_dio_rw",), FAULTED: ("filemap_fault",)}

_TYPES = "/sys/kernel/btf/vmlinux"
_STRUCTURES = (
    "kiocb", "iov_iter", "file", "address_space", "inode", "super_block", "vm_fault", "vm_area_struct",
)  # fmt: skip


def for_reads(root: int) -> dict[str, tuple[str, ...]]:
    """Event -> the probes that stand in for it, as `tracefs.Probes` has them: of LOOKED_UP and DIRECT those
    that this kernel has not. root: descriptor of tracefs' top directory. Raises ColdseekError, saying what
    else the kernel has not, where not every buffered read would be told."""
    lacking = _lacking(root, (LOOKED_UP, DIRECT))
    if LOOKED_UP not in lacking:
        return {}
    if _READ not in _functions():
        raise ColdseekError(f"it has no function {_READ} either")
    return _probes(lacking)


def for_faults(root: int) -> dict[str, tuple[str, ...]]:
    """The same of FAULTED; {} where the kernel has it, or takes no probe."""
    if not _lacking(root, (FAULTED,)):
        return {}
    try:
        found = _probes([FAULTED])
        tracefs.Probes(root, found).close()
    except ColdseekError:
        return {}
    return found


def _lacking(root: int, events: Iterable[str]) -> list[str]:
    return [event for event in events if not tracefs.has_event(root, f"{PLACES[event]}/{event}")]


def _probes(events: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Of the functions that there are."""
    known, fetched = _functions(), _fetched()
    found = {
        event: tuple(f"{name} {fetched[event, name]}" for name in _FUNCTIONS[event] if name in known)
        for event in events
    }
    return {event: probes for event, probes in found.items() if probes}


@functools.cache
def _functions() -> frozenset[str]:
    """Those of the functions in question that the kernel has."""
    wanted = {name.encode() for names in _FUNCTIONS.values() for name in names}
    try:
        with open("/proc/kallsyms", "rb") as source:
            # address, kind, name, and the module in brackets
            found = {fields[2] for line in source if len(fields := line.split()) > 2 and fields[2] in wanted}
    except OSError as error:
        raise ColdseekError(f"the names of its functions cannot be read ({error.strerror})") from error
    return frozenset(name.decode() for name in found)


@functools.cache
def _fetched() -> Mapping[tuple[str, str], str]:
    """What is fetched for each event at each function, in the kernel's words."""
    try:
        with open(_TYPES, "rb") as source:
            structures = Structures(source.read(), _STRUCTURES)
    except OSError as error:
        raise ColdseekError(f"it does not say how its types lie ({_TYPES}: {error.strerror})") from error

    def at(structure: str, member: str, pointer: str) -> str:
        return f"+{structures.offset(structure, member)}({pointer})"

    def inode_of(file: str) -> str:
        return at("address_space", "host", at("file", "f_mapping", file))

    def what(inode: str, prefix: str = "s_", number: str = "i_ino") -> str:
        device = at("super_block", "s_dev", at("inode", "i_sb", inode))
        return f"{prefix}dev={device}:u32 {number}={at('inode', 'i_ino', inode)}:u64"

    def where(inode: str, place: str, count: str) -> str:
        return f"isize={at('inode', 'i_size', inode)}:s64 pos={place}:s64 count={count}:u64"

    read, spliced = inode_of(at("kiocb", "ki_filp", "$arg1")), inode_of("$arg1")
    asked = where(read, at("kiocb", "ki_pos", "$arg1"), at("iov_iter", "count", "$arg2"))
    flags, page = at("kiocb", "ki_flags", "$arg1"), at("vm_fault", "pgoff", "$arg1")
    mapped = inode_of(at("vm_area_struct", "vm_file", at("vm_fault", "vma", "$arg1")))
    return {
        (LOOKED_UP, _READ): f"{what(read)} {asked}",
        (LOOKED_UP, _SPLICED): f"{what(spliced)} {where(spliced, '+0($arg2)', '$arg4')}",
        (DIRECT, "__iomap_dio_rw"): f"{what(read, '', 'ino')} {asked} ki_flags={flags}:u32",
        (FAULTED, "filemap_fault"): f"{what(mapped)} index={page}:u64",
    }
