"""The layers of an overlay file system: a file seen there is one of a layer's, whose pages are read.

overlayfs opens the layer's file itself, of which nobody is told; so it is looked for, as overlayfs does,
from the uppermost layer down (docs.kernel.org/filesystems/overlayfs.html).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from profiler.capture.watch.names.mounts import below, unescaped

# linux/openat2.h
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT = 0x02, 0x04, 0x08, 0x10
_OPENAT2 = 437  # the same on all architectures
_HOW = struct.Struct("=QQQ")
_METACOPY = "trusted.overlay.metacopy"
_MOST_LAYERS = 500  # of the kernel's own (fs/overlayfs/params.h: OVL_MAX_STACK)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Layers:
    """Folders as whoever mounted them called them, the uppermost first."""

    upper: bytes | None
    lower: tuple[bytes, ...]

    @property
    def all(self) -> tuple[bytes, ...]:
        return self.lower if self.upper is None else (self.upper, *self.lower)


def layers(options: bytes) -> Layers:
    r"""The layers that a line of mountinfo names.

    Its options are separated by commas, `lowerdir` by colons, two of them before layers of data alone; in
    names the kernel has written these as \054 and the like, and whoever mounted has put backslashes before
    colons. Newer kernels may have one option for each layer: `lowerdir+`, `datadir+`.
    """
    upper: bytes | None = None
    lower: list[bytes] = []
    for option in options.split(b","):
        name, _, value = option.partition(b"=")
        if name == b"lowerdir":
            lower += _parts(unescaped(value))
        elif name in (b"lowerdir+", b"datadir+"):
            lower.append(unescaped(value))
        elif name == b"upperdir":
            upper = unescaped(value)
    return Layers(upper or None, tuple(part for part in lower if part)[:_MOST_LAYERS])


def _parts(value: bytes) -> list[bytes]:
    parts, at = [bytearray()], 0
    while at < len(value):
        one = value[at : at + 1]
        if one == b"\\" and at + 1 < len(value):
            at += 1
            parts[-1] += value[at : at + 1]
        elif one == b":":
            parts.append(bytearray())
        else:
            parts[-1] += one
        at += 1
    return [bytes(part) for part in parts]


def open_within(root: int, path: bytes, links: bool) -> int:
    """An O_PATH descriptor of a path below a folder, which is not left. links: symbolic links are followed,
    as if the folder were the root; otherwise there may be none. Raises OSError."""
    resolve = _IN_ROOT | _NO_MAGICLINKS if links else _BENEATH | _NO_SYMLINKS
    how = _HOW.pack(os.O_PATH | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW), 0, resolve)
    name = path.lstrip(b"/") or b"."
    if b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    found = int(
        _libc.syscall(ctypes.c_long(_OPENAT2), ctypes.c_long(root), name, how, ctypes.c_size_t(_HOW.size))
    )
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of the file of a layer: the size and the time that the overlay shows, and where the
    kernel tells it, device and inode of stat(2), which leave no doubt."""

    size: int
    mtime_ns: int
    identity: tuple[int, int] | None = None

    def is_met(self, status: os.stat_result) -> bool:
        if self.identity is not None:
            return self.identity == (status.st_dev, status.st_ino)
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


class Stack:
    """The layers of one overlay, found once. root: the folder that names are relative to ("/", or
    "/proc/PID/root" in another mount namespace); base: where names lie that do not begin with a slash, as
    docker's may. Nothing is kept open, as it could not be unmounted then. Raises OSError if the root is
    gone."""

    def __init__(self, layers: Layers, root: str, base: bytes) -> None:
        self.root = root
        self._has_upper = layers.upper is not None
        with _opened(root) as folder:
            self._folders = [
                _real(folder, name if name.startswith(b"/") else base + b"/" + name) for name in layers.all
            ]

    def __bool__(self) -> bool:
        return any(self._folders)

    def find(self, path: bytes, wanted: Wanted) -> tuple[int, bool] | None:
        """An O_PATH descriptor of the layer's file that is seen at this path, which is the caller's to
        close, and whether it is the upper layer's; None: it was not found. Raises OSError as above."""
        with _opened(self.root) as root:
            for number, folder in enumerate(self._folders):
                if folder is None:
                    return None  # what lies there would hide all below
                try:
                    found = open_within(root, folder + path, links=False)
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR):
                        continue
                    return None
                if wanted.is_met(os.fstat(found)) and not _is_data_below(found):
                    return found, self._has_upper and number == 0
                is_seen = wanted.identity is None and not _is_data_below(found)
                os.close(found)
                if is_seen:
                    return None
        return None


@contextlib.contextmanager
def _opened(root: str) -> Iterator[int]:
    folder = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _real(root: int, name: bytes) -> bytes | None:
    """The same folder's name without links, below the same root."""
    # upperdir may have kept the backslashes that it was given with
    for spelled in dict.fromkeys((name, name.replace(b"\\", b""))):
        with contextlib.suppress(OSError):
            folder = open_within(root, spelled, links=True)
            try:
                top, link = (os.readlink(b"/proc/self/fd/%d" % one) for one in (root, folder))
            finally:
                os.close(folder)
            return below(link, top)
    return None


def _is_data_below(descriptor: int) -> bool:
    """Whether a file of a layer has its attributes alone there, and its data in a lower one."""
    try:
        os.getxattr(f"/proc/self/fd/{descriptor}", _METACOPY)
    except OSError:
        return False
    return True
