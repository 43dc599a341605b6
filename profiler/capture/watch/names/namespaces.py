"""The mount namespaces that are looked at: what is mounted in each, and told as soon as that changes.

A namespace is held (by its open mountinfo) as long as a watched process is in it, and no longer: what is
mounted there could not be let go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from profiler.capture.watch.names.mounts import UNMARKED, Mount, below, elsewhere, joined, parsed
from profiler.capture.watch.names.overlay import open_within

_CHUNK = 1 << 20
_MOST_BYTES = 64 << 20  # 100,000 mounts, which is what a namespace may have (fs.mount-max)


@dataclass(slots=True)
class Namespace:
    """process: one that was in it when it was first met. root: where that one's root is, in our words.
    source: its mountinfo; ready for poll(2) when that has changed."""

    process: int
    root: bytes
    source: int
    mounts: dict[int, Mount] = field(default_factory=dict)  # by number

    def read(self) -> bool:
        """Take what is mounted now; whether that could be read."""
        try:
            os.lseek(self.source, 0, os.SEEK_SET)
            parts, length = [], 0
            while length < _MOST_BYTES and (part := os.read(self.source, _CHUNK)):
                parts.append(part)
                length += len(part)
        except OSError:
            return False
        self.mounts = {mount.number: mount for mount in parsed(b"".join(parts))}
        return True


class Namespaces:
    """Ours, and those of other processes. mark: called with a descriptor on each file system that appears;
    watch, unwatch: called with descriptors of mountinfo to poll."""

    def __init__(
        self,
        mark: Callable[[int], None],
        watch: Callable[[int], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._mark, self._watch, self._unwatch = mark, watch, unwatch
        self._known: dict[int, Namespace] = {}  # by the namespace's own inode
        self._private: set[int] = set()  # numbers of mounts that are in none of them
        self.unreadable = 0
        self.own = self._meet(os.getpid(), _inode(os.getpid()) or 0)
        self._own = next(iter(self._known), 0)

    def close(self) -> None:
        for inode in list(self._known):
            self._forget(inode)

    def follow(self, processes: Iterable[int]) -> None:
        """Look at the namespaces of these processes, ours, and no others."""
        met = {self._own}
        for process in processes:
            inode = _inode(process)
            if inode is None:
                continue
            met.add(inode)
            if inode not in self._known:
                self._meet(process, inode)
        for inode in self._known.keys() - met:
            self._forget(inode)

    def changed(self, source: int) -> None:
        """The mounts of which this is the mountinfo have changed."""
        for namespace in list(self._known.values()):
            if namespace.source == source:
                self._refresh(namespace)

    def is_private(self, number: int, task: int) -> bool:
        """Whether a mount that a task has used just now is in no namespace, as far as can be told: overlayfs
        opens the files of its layers through mounts of its own (linux: clone_private_mount)."""
        if number in self._private:
            return True
        if self.find(number, task) is not None:
            return False
        if (inode := _inode(task)) is not None and inode in self._known:
            self._private.add(number)  # another mount that gets the number later is told of by `changed`
        return True

    def find(self, number: int, task: int) -> tuple[Namespace, Mount] | None:
        """The mount of this number, which a task has used just now."""
        for namespace in list(self._known.values()):
            if mount := namespace.mounts.get(number):
                return namespace, mount
        # of a namespace that is not followed, or one that has changed a moment ago
        inode = _inode(task) if task else None
        if inode is None:
            return None
        known = self._known.get(inode)
        if known is not None:
            self._refresh(known)
            mount = known.mounts.get(number)
            return (known, mount) if mount else None
        try:
            found = _opened(task)
        except OSError:
            return None
        os.close(found.source)
        mount = found.mounts.get(number)
        return (found, mount) if mount else None

    def on_host(self, mount: Mount, path: bytes) -> bytes:
        """What we call a file at this path of a mount; b"" if we do not reach it."""
        return elsewhere(list(self.own.mounts.values()), mount.device, joined(mount.root, path)) or b""

    def reached(self, mount: Mount, within: bytes, identity: tuple[int, int]) -> bytes:
        """What we call the file of this device and inode in a mount that is not ours; b"" if we do not reach
        it."""
        name = self.on_host(mount, within)
        if name:
            with contextlib.suppress(OSError, ValueError):
                status = os.stat(name, follow_symlinks=False)
                if (status.st_dev, status.st_ino) == identity:
                    return name
        return b""

    def points(self, device: int) -> list[bytes]:
        """Where a file system is mounted, as far as is known; in our own namespace first."""
        return [
            mount.point
            for namespace in list(self._known.values())
            for mount in namespace.mounts.values()
            if mount.device == device
        ]

    def _meet(self, process: int, inode: int) -> Namespace:
        try:
            found = _opened(process)
        except OSError:
            self.unreadable += 1
            return Namespace(process, b"/", -1)
        if process != os.getpid() and _inode(process) != inode:
            os.close(found.source)  # gone on to another meanwhile: met there the next time
            return found
        self._known[inode] = found
        self._mark_all(found, process, found.mounts.values())
        self._watch(found.source)
        return found

    def _refresh(self, namespace: Namespace) -> None:
        before = namespace.mounts
        if namespace.read():
            self._private -= namespace.mounts.keys()
            fresh = [mount for mount in namespace.mounts.values() if before.get(mount.number) != mount]
            self._mark_all(namespace, namespace.process, fresh)

    def _mark_all(self, namespace: Namespace, process: int, mounts: Iterable[Mount]) -> None:
        mounts = [mount for mount in mounts if mount.kind not in UNMARKED]
        if not mounts:
            return
        try:
            root = os.open(f"/proc/{process}/root", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            self.unreadable += 1
            return
        try:
            for mount in mounts:
                try:
                    place = open_within(root, mount.point, links=True)
                except OSError:
                    continue  # hidden by another mount, or gone again
                try:
                    self._mark(place)
                finally:
                    os.close(place)
        finally:
            os.close(root)

    def _forget(self, inode: int) -> None:
        namespace = self._known.pop(inode)
        self._unwatch(namespace.source)
        with contextlib.suppress(OSError):
            os.close(namespace.source)


def inside(namespace: Namespace, mount: Mount, link: bytes) -> bytes | None:
    """The path within a mount of what d_path, as we see it, calls `link`."""
    point = joined(namespace.root, mount.point)
    return below(link, point)


def _opened(process: int) -> Namespace:
    """Raises OSError."""
    root = os.readlink(b"/proc/%d/root" % process)
    source = os.open(f"/proc/{process}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    found = Namespace(process, root, source)
    if not found.read():
        os.close(source)
        raise OSError
    return found


def _inode(process: int) -> int | None:
    try:
        return os.stat(f"/proc/{process}/ns/mnt").st_ino
    except OSError:
        return None
