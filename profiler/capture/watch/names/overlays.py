"""Files of overlays, and the files of their layers that they are."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from typing import NamedTuple

from profiler.capture.calls.event_log import Recorder
from profiler.capture.watch.names.mounts import Mount, joined
from profiler.capture.watch.names.namespaces import Namespace, Namespaces, inside
from profiler.capture.watch.names.overlay import Stack, Wanted, layers
from profiler.capture.watch.names.seen import Seen
from profiler.trace import FileFacts

_STACKS = 8  # overlays whose layers are kept open


class Layer(NamedTuple):
    """The file of a layer that one of an overlay is. device, inode: as the kernel knows them. name: what we
    call it, b"" if we cannot tell. is_upper: whether it is the upper layer's."""

    device: int
    inode: int
    name: bytes
    is_upper: bool


class Overlays:
    """The overlays of one run. To be called with the namespaces locked."""

    def __init__(self, recorder: Recorder, namespaces: Namespaces) -> None:
        self._recorder = recorder
        self._namespaces = namespaces
        self._lower: dict[int, tuple[Namespace, Mount, bytes]] = {}  # files that may yet be copied up
        self._copied: dict[tuple[int, bytes], tuple[int, object]] = {}  # overlay, path -> number, its key
        self._stacks: OrderedDict[int, Stack | None] = OrderedDict()
        self._devices: dict[int, int] = {}  # of stat(2) -> of the kernel, where they differ (btrfs)

    def in_kernel(self, seen: Seen) -> int:
        """The device as the kernel's events have it."""
        return self._devices.get(seen.kernel_device, seen.kernel_device)

    def seen_here(self, seen: Seen) -> Mount | None:
        """The overlay that a file was opened on, where it is mounted in our own namespace, too."""
        mounts = self._namespaces.own.mounts.values()
        return next((m for m in mounts if m.device == seen.kernel_device and m.kind == b"overlay"), None)

    def number(self, mount: Mount, within: bytes | None, key: object, facts: FileFacts) -> int:
        """The number of a file of an overlay. Copied up it has another birth time, and is the same file."""
        place = mount.device, joined(mount.root, within or b"/")
        number, before = self._copied.get(place, (-1, None))
        if number >= 0 and before != key:
            known = self._recorder.files[number]
            if (known.path, known.device, known.inode) == (facts.path, facts.device, facts.inode):
                self._recorder.rename(before, key)
                self._lower.pop(number, None)
        number = self._recorder.file(key, facts)
        if within is not None:
            self._copied[place] = number, key
        return number

    def is_lower(self, file: int) -> bool:
        """Whether a file may yet be copied up."""
        return file in self._lower

    def stays_lower(self, file: int, namespace: Namespace, mount: Mount, within: bytes) -> None:
        """A file is one of a lower layer for now."""
        self._lower[file] = namespace, mount, within

    def copied_up(self, file: int, seen: Seen) -> Layer | None:
        """A file of a lower layer is one of the upper as soon as it was opened to be written: that; None
        where it was not."""
        namespace, mount, within = self._lower[file]
        layer = self.layer(namespace, mount, within, Wanted(seen.size, seen.mtime_ns), 0)
        if layer is None or not layer.is_upper:
            return None
        del self._lower[file]
        return layer

    def layer(
        self, namespace: Namespace, mount: Mount, within: bytes, wanted: Wanted, task: int
    ) -> Layer | None:
        """The file of a layer that one of an overlay is; None where it cannot be told."""
        if not mount.options:
            return None
        place = joined(mount.root, within)
        held = None
        for _ in range(2):
            if mount.device not in self._stacks:
                self._find_stack(namespace, mount, task)
            stack = self._stacks[mount.device]
            try:
                held = stack.find(place, wanted) if stack else None
                break
            except OSError:
                del self._stacks[mount.device]  # whose root it was has ended
        if held is None:
            return None
        descriptor, is_upper = held
        try:
            seen = Seen(descriptor)
            link = os.readlink(b"/proc/self/fd/%d" % descriptor)
        finally:
            os.close(descriptor)
        known = self._namespaces.find(seen.mount, task)
        device = seen.kernel_device
        name = b""
        if known is not None:
            device = self._devices[seen.kernel_device] = known[1].device
            if known[0] is self._namespaces.own:
                name = link
            elif (rest := inside(known[0], known[1], link)) is not None:
                name = self._namespaces.reached(known[1], rest, seen.identity)
        return Layer(device, seen.inode, name, is_upper)

    def _find_stack(self, namespace: Namespace, mount: Mount, task: int) -> None:
        """The layers of an overlay, whose names mean something where it was mounted: here, or where it is
        seen."""
        if len(self._stacks) >= _STACKS:
            self._stacks.popitem(last=False)
        self._stacks[mount.device] = None
        is_ours = any(ours.device == mount.device for ours in self._namespaces.own.mounts.values())
        places = [f"/proc/{process}/root" for process in (task, namespace.process) if process]
        # docker's names are relative to the folder that holds one for each container, with the mount point
        bases = [os.path.dirname(os.path.dirname(point)) for point in self._namespaces.points(mount.device)]
        base = next((folder for folder in bases if folder != b"/"), b"/")
        for place in ["/", *places] if is_ours else [*places, "/", "/proc/1/root"]:
            with contextlib.suppress(OSError):
                if stack := Stack(layers(mount.options), place, base):
                    self._stacks[mount.device] = stack
                    return
