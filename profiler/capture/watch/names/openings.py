"""Which files are opened, on all file systems that are marked, by whom and when; nobody is stopped.

The kernel puts a notification into a queue within open(2), with the file open once more for whoever reads it
(fanotify(7)). So a name is what the file had when the notification was read, not when it was opened: a file
that was renamed or removed meanwhile has the new name. Told are regular files; opens of block devices are
not (linux: fanotify_group_event_mask), nor those of file systems without data (mounts.UNMARKED).

Two things are not as they would be without us. A file system that is unmounted within a millisecond after an
open may be busy (EBUSY), as its notification is not read yet. And of what is opened right after its file
system was mounted nothing is told: nobody waits until that is marked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from array import array
from collections.abc import Collection, Iterable
from typing import Self

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import Recorder
from profiler.capture.watch.names import fanotify
from profiler.capture.watch.names.mounts import below
from profiler.capture.watch.names.namespaces import Namespaces, inside
from profiler.capture.watch.names.overlay import Wanted
from profiler.capture.watch.names.overlays import Overlays
from profiler.capture.watch.names.seen import Inner, Seen, identify
from profiler.units import show_plural

OPENING = np.dtype([("time_ns", "<i8"), ("tid", "<i4"), ("file", "<i4"), ("exec", "?"), ("batch", "<u4")])
"""An open. time_ns: CLOCK_MONOTONIC when it was told of, the open is earlier; tid: 0 if it has no number
here; file: the recorder's number, -1: not known; batch: those of one have been read at once."""

_PATIENCE_S = 10.0
_INNER_NS = 100_000_000  # both notifications of one open(2) have come by then


class Openings:
    """A thread that takes the notifications of opened files as soon as they come, and names the files.

    recorder: gets the files. skip: threads whose opens do not count, besides our own; one of ours that ends
    right after its open is not known as ours, its row is that of a thread which nobody follows. `lost`: how
    often the kernel had no memory for a notification; `failed`: files that could not be looked at, each an
    open without a name, or not told at all. Both are in `notes`, in words. To be used in a with statement;
    the rows stay afterwards. Raises ColdseekError on entering, if opens are not told here.
    """

    def __init__(self, recorder: Recorder, skip: Collection[int] = ()) -> None:
        self._recorder = recorder
        self.skip = skip
        self.lost = self.failed = self.unmarked = self.unplaced = 0
        self.failure = ""
        self._times, self._tids, self._files = array("q"), array("i"), array("i")
        self._execs, self._batches = array("b"), array("I")
        self._batch = 0
        self._met: dict[tuple[int, int, int, int], int] = {}
        self._inodes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._elsewhere: set[tuple[int, int]] = set()  # files and mounts that are not ours, looked at
        self._inner: dict[int, Inner] = {}  # the last of each thread, if that may be an overlay's own
        self._roots: dict[int, bytes] = {}  # of the tasks of a batch
        self._lock = threading.RLock()
        self._open = False

    def __enter__(self) -> Self:
        self._notifications = fanotify.begin()
        self._poll = select.epoll()
        self._ends, self._end = os.pipe()
        self._poll.register(self._notifications, select.EPOLLIN)
        self._poll.register(self._ends, select.EPOLLIN)
        self._namespaces = Namespaces(self._mark, self._watch, self._unwatch)
        self._overlays = Overlays(self._recorder, self._namespaces)
        self._thread = threading.Thread(target=self._run, name="openings", daemon=True)
        self._thread.start()
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take what has been told so far, and end. May be called again."""
        if not self._open:
            return
        self._open = False
        os.write(self._end, b"x")
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():  # in an open of a file whose server does not answer
            self.failure = "a file system does not answer"
            return
        self._namespaces.close()
        self._poll.close()
        for descriptor in (self._notifications, self._ends, self._end):
            os.close(descriptor)

    def follow(self, processes: Iterable[int]) -> None:
        """Mark the file systems that these processes have mounted, now and as long as they are among them.

        Those of our own namespace are marked anyway, and new ones as soon as they are mounted.
        """
        with self._lock:
            self._namespaces.follow(processes)

    def rows(self) -> npt.NDArray[np.void]:
        """The opens so far, of dtype OPENING, by time, and of one time in their order."""
        count = len(self._batches)  # the last to be written
        rows = np.zeros(count, OPENING)
        columns = (self._times, self._tids, self._files, self._execs, self._batches)
        for name, column in zip(OPENING.names or (), columns, strict=True):
            rows[name] = np.array(column[:count])
        return rows[np.argsort(rows["time_ns"], kind="stable")]

    def inodes(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Which file each inode of the kernel's is: (s_dev, i_ino) -> [(since when, the recorder's number)],
        by time."""
        return {inode: list(files) for inode, files in list(self._inodes.items())}

    def notes(self) -> list[str]:
        """What the names lack, in words."""
        words = []
        if self.failure:
            words.append(f"INCOMPLETE: files opened later have no names: {self.failure}")
        if self.lost:
            words.append(
                "INCOMPLETE: the kernel had no memory to tell of all opened files: names may be missing"
            )
        if self.failed:
            words.append(
                f"{show_plural(self.failed, 'opened file')} could not be looked at: names may be missing"
            )
        if self.unmarked or self._namespaces.unreadable:
            count = self.unmarked + self._namespaces.unreadable
            words.append(f"{show_plural(count, 'mount')} could not be watched: names may be missing there")
        return words

    # ---- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        # for the main thread, which waits for the program and would not hear of what is delivered here
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while True:
                ready = [descriptor for descriptor, _ in self._poll.poll()]
                for descriptor in ready:
                    if descriptor not in (self._notifications, self._ends):
                        with self._lock:
                            self._namespaces.changed(descriptor)
                self._take()
                if self._ends in ready:
                    self._put_inners(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
                    return
        except (OSError, MemoryError) as error:
            self.failure = str(error) or type(error).__name__

    def _take(self) -> None:
        """All notifications that are there."""
        while True:
            try:
                events = fanotify.read(self._notifications)
            except BlockingIOError:
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                self._put_inners(now - _INNER_NS)
                return
            except OSError:
                self.failed += 1  # whatever it is, of one file: the next read tells of the next
                continue
            if not events:
                return
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self._batch += 1
            self._roots.clear()
            own = {os.getpid()} | {thread.native_id for thread in threading.enumerate()}
            try:
                for event in events:
                    if event.mask & fanotify.OVERFLOWED:
                        self.lost += 1
                    elif event.tid not in own and event.tid not in self.skip:
                        self._note(now, event)
            finally:
                for event in events:
                    if event.descriptor >= 0:
                        os.close(event.descriptor)

    def _note(self, now: int, event: fanotify.Event) -> None:
        file = -1
        inner = self._inner.pop(event.tid, None)
        if event.descriptor >= 0:
            try:
                seen = Seen(event.descriptor)
                if self._is_private(event, seen):
                    self._keep_inner(now, event, seen)
                    return
                if inner is not None and not self._is_overlay(seen.mount):
                    self._put_inner(event.tid, inner)
                    inner = None
                file = self._file(now, event, seen, inner)
            except (OSError, ValueError):
                pass
        elif inner is not None:
            self._put_inner(event.tid, inner)
        self.failed += file < 0
        self._put(now, event.tid, file, bool(event.mask & fanotify.EXECUTED), self._batch)

    def _put(self, now: int, tid: int, file: int, is_exec: bool, batch: int) -> None:
        self._times.append(now)
        self._tids.append(tid)
        self._files.append(file)
        self._execs.append(is_exec)
        self._batches.append(batch)

    # ---- what overlayfs opens itself ----------------------------------------------------------------------

    def _is_private(self, event: fanotify.Event, seen: Seen) -> bool:
        if seen.mount in self._namespaces.own.mounts or seen.mount < 0:
            return False
        with self._lock:
            return self._namespaces.is_private(seen.mount, event.tid)

    def _is_overlay(self, number: int) -> bool:
        with self._lock:
            found = self._namespaces.find(number, 0)
        return found is None or found[1].kind == b"overlay"

    def _keep_inner(self, now: int, event: fanotify.Event, seen: Seen) -> None:
        """Newer kernels tell of the layer's file too, right before that of the overlay, which it belongs
        to. If none follows it was a mount that is not in the tree (fsmount(2), open_tree(2))."""
        known, facts = identify(event.descriptor, seen)
        facts.path = self._seen_by(event.tid, facts.path)
        is_exec = bool(event.mask & fanotify.EXECUTED)
        self._inner[event.tid] = Inner(now, self._batch, is_exec, seen, known, facts)

    def _put_inners(self, until_ns: int) -> None:
        for tid, inner in list(self._inner.items()):
            if inner.time_ns <= until_ns:
                self._put_inner(tid, self._inner.pop(tid))

    def _put_inner(self, tid: int, inner: Inner) -> None:
        file = self._recorder.file(inner.key, inner.facts)
        self._place(inner.time_ns, file, inner.seen.kernel_device, inner.seen.inode)
        self._put(inner.time_ns, tid, file, inner.is_exec, inner.batch)

    def _seen_by(self, task: int, link: bytes) -> bytes:
        """What a task calls a file that we call so: its root may be another (chroot(2)); what lies outside
        of that has our name."""
        root = self._roots.get(task)
        if root is None:
            root = b"/"
            if task:
                with contextlib.suppress(OSError):
                    root = os.readlink(b"/proc/%d/root" % task)
            self._roots[task] = root
        return below(link, root) or link

    # ---- which file it is ---------------------------------------------------------------------------------

    def _file(self, now: int, event: fanotify.Event, seen: Seen, inner: Inner | None) -> int:
        """The number of a file. Raises OSError."""
        key = (seen.device, seen.inode, *seen.made) if seen.made else None
        file = self._met.get(key) if key else None
        if file is None:
            file = self._name(now, event, seen, inner)
            if key:
                self._met[key] = file
        elif inner is not None:
            self._place(now, file, self._overlays.in_kernel(inner.seen), inner.seen.inode)
        elif seen.mount not in self._namespaces.own.mounts and (file, seen.mount) not in self._elsewhere:
            self._elsewhere.add((file, seen.mount))
            self._rename(file, event)
        elif self._overlays.is_lower(file):
            with self._lock:
                layer = self._overlays.copied_up(file, seen)
            if layer is not None:
                self._place(now, file, layer.device, layer.inode)
        return file

    def _rename(self, file: int, event: fanotify.Event) -> None:
        """A file that had a name of the host's is opened in a container: it is called as there. A daemon may
        have copied it for the container, and so opened it before."""
        facts = self._recorder.files[file]
        link = self._seen_by(event.tid, os.readlink(b"/proc/self/fd/%d" % event.descriptor))
        if not facts.host_path and link != facts.path:
            facts.host_path, facts.path = facts.path, link

    def _name(self, now: int, event: fanotify.Event, seen: Seen, inner: Inner | None) -> int:
        known, facts = identify(event.descriptor, seen)
        number = self._recorder.known(known)
        if number is not None and self._is_placed(number, seen):
            return number
        link = facts.path
        with self._lock:
            found = self._namespaces.find(seen.mount, event.tid)
            gone = found is None and self._overlays.seen_here(seen)
            if gone:  # a container that has ended meanwhile: its root is the overlay, which we see elsewhere
                found = self._namespaces.own, gone
            if found is None:
                facts.path = self._seen_by(event.tid, link)
                facts.host_path = b"" if facts.path == link else link
                number = self._recorder.file(known, facts)
                self._place(now, number, seen.kernel_device, seen.inode)
                return number
            namespace, mount = found
            facts.path = self._seen_by(event.tid, link)
            facts.filesystem = mount.kind.decode("utf-8", "replace")
            within = link if gone else inside(namespace, mount, link)
            own = self._namespaces.own.mounts.get(mount.number) is mount
            if mount.kind != b"overlay":
                if own:
                    facts.host_path = link
                elif within is not None:
                    facts.host_path = self._namespaces.reached(mount, within, seen.identity)
                facts.host_path = b"" if facts.host_path == facts.path else facts.host_path
                number = self._recorder.file(known, facts)
                self._place(now, number, mount.device, seen.inode)
                return number
            wanted = Wanted(seen.size, seen.mtime_ns, inner.seen.identity if inner else None)
            layer = (
                None if within is None else self._overlays.layer(namespace, mount, within, wanted, event.tid)
            )
            if layer is not None:
                facts.host_path = b"" if layer.name == facts.path else layer.name
            number = self._overlays.number(mount, within, known, facts)
            if layer is None or within is None:
                if inner is None:
                    self.unplaced += 1
                else:
                    self._place(now, number, self._overlays.in_kernel(inner.seen), inner.seen.inode)
                return number
            self._place(now, number, layer.device, layer.inode)
            if not layer.is_upper:
                self._overlays.stays_lower(number, namespace, mount, within)
            return number

    def _is_placed(self, file: int, seen: Seen) -> bool:
        places = self._inodes.get((seen.kernel_device, seen.inode), ())
        return any(number == file for _, number in places)

    def _place(self, now: int, file: int, device: int, inode: int) -> None:
        places = self._inodes.setdefault((device, inode), [])
        if not places or places[-1][1] != file:
            places.append((now, file))

    # ---- file systems -------------------------------------------------------------------------------------

    def _mark(self, place: int) -> None:
        self.unmarked += fanotify.mark(self._notifications, place) != 0

    def _watch(self, source: int) -> None:
        self._poll.register(source, select.EPOLLPRI | select.EPOLLERR)

    def _unwatch(self, source: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._poll.unregister(source)
