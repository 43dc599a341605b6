"""What can be proved of the page cache here: by trying it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile

from profiler.machine.mounts import MEMORY_FILESYSTEMS, filesystem_of
from profiler.machine.page_cache.cache import DROP_CACHES, can_drop_all
from profiler.machine.page_cache.residency import PAGE, cachestat, is_root, look, mincore, residency
from profiler.machine.probe import Probe
from profiler.units import device_name, show_bytes


def probes() -> tuple[tuple[str, Probe], ...]:
    """For each way to empty or to look at the cache, whether it works here: tried on a file made for it."""
    try:
        with tempfile.TemporaryFile(dir=_directory_on_disk(), prefix="coldseek-") as sample:
            sample.write(os.urandom(_SAMPLE))
            sample.flush()
            os.fsync(sample.fileno())
            looked = [
                ("cachestat", _probe_cachestat(sample.fileno())),
                ("mincore", _probe_mincore(sample.fileno())),
            ]
            tried = [("fadvise", _probe_fadvise(sample.fileno())), *looked]
    except OSError as error:
        reason = f"no temporary file could be made to try it on: {os.strerror(error.errno or 0)}"
        failed = Probe(False, reason, "make room, or set TMPDIR")
        tried = [("fadvise", failed), ("cachestat", failed), ("mincore", failed)]
    return (("drop_caches", _probe_drop()), *tried)


def tells_of_others() -> bool:
    """Whether the kernel tells what is cached of files that are somebody else's: without that the start of
    an installed program cannot be proved cold. Tried on the C library's and the shell's files."""
    return bool(residency(path for path in (b"/bin/sh", b"/etc/passwd", b"/etc/ld.so.cache")).files)


_SAMPLE = 2**20  # bytes


def _directory_on_disk() -> str:
    """A directory for temporary files that is not in memory, if there is one: there, nothing can be
    evicted."""
    usual = tempfile.gettempdir()
    for place in (usual, "/var/tmp", "."):  # noqa: S108  (mkstemp makes the names)
        with contextlib.suppress(OSError):
            kind = filesystem_of(device_name(os.stat(place).st_dev), os.fsencode(place))
            if kind not in MEMORY_FILESYSTEMS and os.access(place, os.W_OK | os.X_OK):
                return place
    return usual


def _probe_drop() -> Probe:
    if can_drop_all():
        return Probe(True, f"{DROP_CACHES} may be written: cold starts are cold with names and inodes too")
    how, why = "run as root", "only root may"
    if is_root():
        how, why = "run outside of this container", "it is read-only here"
    elif os.geteuid() == 0:
        how, why = "run outside of this user namespace", "only root of the machine may"
    return Probe(False, why, f"{how}; without it each file is evicted by fadvise, names and inodes stay")


def _probe_fadvise(descriptor: int) -> Probe:
    before = look(b"", descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    after = look(b"", descriptor)
    if before is None or after is None:
        return Probe(
            False, "nothing tells what is cached, so it cannot be checked", "see cachestat and mincore"
        )
    if after.resident:
        return Probe(
            False,
            f"{show_bytes(after.resident)} of {show_bytes(_SAMPLE)} stayed cached",
            "set TMPDIR to a directory on a disk and try again",
        )
    return Probe(True, f"a written file of {show_bytes(before.resident)} was evicted, and that was checked")


def _probe_cachestat(descriptor: int) -> Probe:
    counts = cachestat(descriptor)
    if counts is None:
        why = os.strerror(ctypes.get_errno())
        return Probe(False, f"the kernel says: {why}", "Linux 6.5 or later has it; mincore serves as well")
    return Probe(True, _looked(counts[0]))


def _probe_mincore(descriptor: int) -> Probe:
    try:
        pages = mincore(descriptor, _SAMPLE)
    except OSError as error:
        return Probe(False, f"the kernel says: {os.strerror(error.errno or 0)}", "cachestat serves as well")
    return Probe(True, _looked(pages))


def _looked(pages: int) -> str:
    found = f"tells {show_bytes(pages * PAGE)} of {show_bytes(_SAMPLE)} cached"
    return found if tells_of_others() else f"{found}; of files you own or may write only"
