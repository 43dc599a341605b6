"""The control group of a process, and the container or machine that it is of."""

from __future__ import annotations

import contextlib
import os
import re

_MOST_BYTES = 1 << 16
_SHORT = 12
"""Characters of an id: as docker ps, podman ps and crictl ps show it."""

_V1_TELLING = (b"name=systemd", b"pids", b"memory", b"cpu,cpuacct", b"cpu", b"devices", b"blkio", b"freezer")
"""Controllers of version 1, the most telling first: engines and systemd have a group in these, others not
in each."""

_ID = rb"[0-9a-f]{64}"
# a scope of systemd's, by the prefix that an engine gives it
_SCOPE = re.compile(rb"(?:docker|libpod|cri-containerd|crio|nerdctl|containerd)-(" + _ID + rb")\.scope\Z")
_BARE = re.compile(rb"(?:" + _ID + rb")\Z")
_MACHINE = re.compile(rb"machine-(.+)\.scope\Z")  # systemd-machined: machinectl and libvirt
_QEMU = re.compile(rb"(?:qemu|lxc)-\d+-(.+)\Z")  # libvirt: driver, number of the start, name
_SERVICE = re.compile(rb"systemd-nspawn@(.+)\.service\Z")
_LXC = re.compile(rb"(?:lxc\.payload[./]|lxc\.monitor[./])(.+)\Z")
_LXC_FOLDER = b"lxc"
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


def cgroup_of(pid: int) -> bytes:
    """The path of the control group of a process, as `path_of` picks it; b"" where that is not known."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup", "rb", buffering=0) as source:
        return path_of(source.read(_MOST_BYTES))
    return b""


def holds(disk: str, groups: bytes | None = None, root: str = "/sys/fs/cgroup") -> bool:
    """Whether a control group that this process is in holds a disk ("major:minor") to so many reads a second
    (io.max; of version 1 blkio.throttle.read_iops_device). False, too, where that may not be looked at.

    groups: the text of /proc/self/cgroup. root: where control groups are mounted.
    """
    if groups is None:
        try:
            with open("/proc/self/cgroup", "rb", buffering=0) as source:
                groups = source.read(_MOST_BYTES)
        except OSError:
            return False
    limit = re.compile(rb"^" + re.escape(disk.encode()) + rb" (?:.*\briops=)?[0-9]+", re.MULTILINE)
    for line in groups.splitlines():
        controllers, _, path = line.partition(b":")[2].partition(b":")
        if controllers and b"blkio" not in controllers.split(b","):
            continue
        file = "blkio.throttle.read_iops_device" if controllers else "io.max"
        folders = [part for part in os.fsdecode(path).split("/") if part not in ("", "..")]
        for mount in (os.fsdecode(controllers), "unified"):
            for depth in range(len(folders) + 1):
                place = os.path.join(root, mount, *folders[:depth], file)
                with contextlib.suppress(OSError), open(place, "rb") as source:
                    if limit.search(source.read(_MOST_BYTES)):
                        return True
    return False


def path_of(text: bytes) -> bytes:
    """The path in the text of /proc/PID/cgroup (cgroups(7)): of version 2 or, where that says no more than
    that there is a root, of the controller of version 1 that tells most; b"": there is none.

    A line: number of the hierarchy, ":", its controllers, ":", the path.
    """
    paths: dict[bytes, bytes] = {}
    for line in text.split(b"\n"):
        _, colon, rest = line.partition(b":")
        controllers, other, path = rest.partition(b":")
        if colon and other and path:
            paths.setdefault(controllers, path)
    telling = [paths[name] for name in (b"", *_V1_TELLING) if paths.get(name, b"/") != b"/"]
    return telling[0] if telling else next(iter(paths.values()), b"")


def container_of(cgroup: bytes) -> str:
    """The container or machine that a control group is of: its id in 12 characters, as the engines show it,
    or its name; "": of none that is known. Of one within the other the innermost.

    As systemd's scopes (docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, crio-ID.scope), as bare
    folders (/docker/ID, /kubepods/burstable/podUID/ID) of docker, podman, containerd and Kubernetes;
    lxc.payload.NAME and lxc/NAME; machine-qemu-1-NAME.scope and other machines of systemd-machined.
    """
    parts = [part for part in cgroup.split(b"/") if part]
    for at in range(len(parts) - 1, -1, -1):
        part, before = parts[at], parts[at - 1] if at else b""
        scope = _SCOPE.match(part)
        if scope is not None:
            return scope[1][:_SHORT].decode()
        if _BARE.match(part):
            return part[:_SHORT].decode()
        found = _MACHINE.match(part) or _SERVICE.match(part)
        if found is not None:
            name = _ESCAPED.sub(lambda escaped: bytes([int(escaped[1], 16)]), found[1])
            driver = _QEMU.match(name)
            return _text(driver[1] if driver is not None else name)
        lxc = _LXC.match(part)
        if lxc is not None:
            return _text(lxc[1])
        if before == _LXC_FOLDER:
            return _text(part)
    return ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
