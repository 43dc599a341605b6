"""Whom to watch besides the command: processes, services, containers, control groups, users, or all.

A target is a word of the command line (`Target`); `Watched` says, as often as it is asked, which tasks
belong to the targets now, and of a control group whether those who join it do.
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from profiler.capture.watch.whom import containers
from profiler.capture.watch.whom.processes import Process, Processes, read, tasks
from profiler.errors import ColdseekError, UsageError
from profiler.units import show_path

_ALONE = ("all", "none")
_NAMED = ("pid", "unit", "container", "cgroup", "user")
THERE_IS = "there are pid:N, unit:NAME, container:NAME, cgroup:PATH, user:NAME, all and none"

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")  # systemd.unit(5)
_UNIT_KINDS = (
    "service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope",
)  # fmt: skip
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")  # the rule of docker, podman and containerd

_MANAGER = "systemd"  # as PID 1, and for each user
_RUNTIMES = (
    "dockerd", "containerd", "containerd-shim", "conmon", "conmonrs", "podman", "crio", "lxd", "incusd",
)  # fmt: skip
"""Who starts containers, by the first 15 bytes of their names (proc_pid_comm(5))."""

_FIRST_CGROUP_NAMESPACE = 0xEFFF_FFFB  # PROC_CGROUP_INIT_INO of linux/proc_ns.h


@dataclass(frozen=True, slots=True)
class Target:
    """kind: pid, unit, container, cgroup, user, all or none. name: "" for the last two.

    coming: the command itself brings it about (see `clients`), so it need not be there yet.
    """

    kind: str
    name: str = ""
    coming: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def parse(text: str) -> Target:
    """The target that a word of the command line means. Raises UsageError if it means none."""
    if text in _ALONE:
        return Target(text)
    kind, colon, name = ("pid", ":", text) if _is_number(text) else text.partition(":")
    if not colon or kind not in _NAMED:
        raise UsageError(f"no target {show_path(text)!r}; {THERE_IS}")
    if not name or "\0" in name:
        raise UsageError(f"the target {show_path(text)!r} names nothing; {THERE_IS}")
    if kind == "pid":
        if not _is_number(name) or not int(name):
            raise UsageError(f"{show_path(name)!r} is no number of a process; 'ps -e' lists those there are")
        name = str(int(name))
    elif kind == "unit":
        name = _unit(name)
    elif kind == "container" and not _CONTAINER.fullmatch(name):
        raise UsageError(f"{show_path(name)!r} cannot be a container; give its name or ID alone")
    elif kind == "cgroup":
        name = _group(name)
    return Target(kind, name)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _unit(name: str) -> str:
    if not _UNIT.fullmatch(name):
        raise UsageError(
            f"{show_path(name)!r} cannot be a unit of systemd; 'systemctl list-units' names them"
        )
    return name if name.rpartition(".")[2] in _UNIT_KINDS and "." in name else f"{name}.service"


def _group(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if ".." in parts or "." in parts or "\n" in path:
        raise UsageError(
            f"{show_path(path)!r} cannot be a control group; /proc/PID/cgroup names that of a process"
        )
    return "/" + "/".join(parts)


class Watched:
    """The tasks that belong to targets. To be asked every few ms: what is known already is not read again.

    own: processes of coldseek itself, which never belong; it is kept, and may grow. Raises UsageError or
    ColdseekError for a target that cannot be.
    """

    def __init__(self, targets: Sequence[Target], own: Collection[int] = ()) -> None:
        self.targets = tuple(dict.fromkeys(targets))
        kinds = {target.kind for target in self.targets}
        if len(self.targets) > 1 and "none" in kinds:
            raise UsageError("the target none leaves no room for others; leave it out, or the others")
        self.everything = "all" in kinds
        self._own = own
        self._containers = containers.Names()
        self._grouped = bool(kinds & {"unit", "container", "cgroup"})
        self._starters = (_MANAGER,) * ("unit" in kinds) + _RUNTIMES * ("container" in kinds)
        self._nested = _in_cgroup_namespace()
        self._units = [target.name for target in self.targets if target.kind == "unit"]
        self._names = [target.name for target in self.targets if target.kind == "container"]
        self._paths = [_found_group(target.name) for target in self.targets if target.kind == "cgroup"]
        self._users = {_user(target.name) for target in self.targets if target.kind == "user"}
        self._line: dict[
            int, int
        ] = {}  # process -> start time, of the processes of pid:N and their descendants
        self._sure: dict[str, bool] = {}  # control group -> whether it belongs, where that does not change
        self._processes = Processes(groups=self._grouped, users=bool(self._users))
        self._table, changed = self._processes.look()
        for target in self.targets:
            if target.kind == "pid":
                pid = int(target.name)
                self._line[pid] = self._start_of(pid)
        self._descend(changed)
        for target in self.targets:
            if not target.coming:
                self._check(target)

    def look(self) -> dict[int, int]:
        """Task -> process, of all tasks that belong now."""
        self._again()
        own = self._own
        return {
            task: pid
            for pid, process in self._table.items()
            if pid not in own and self._belongs(process)
            for task in tasks(pid)
        }

    def anchors(self) -> dict[int, int]:
        """Task -> process, of tasks that do not belong but whose later children may: those who start units
        and containers. As of the last `look`."""
        if not self._starters:
            return {}
        return {
            task: pid
            for pid, process in self._table.items()
            if (process.name in self._starters or (pid == 1 and self._units))
            and pid not in self._own
            and not self._belongs(process)
            for task in tasks(pid)
        }

    def holds(self, cgroup: str) -> bool:
        """Whether a task that joins this control group belongs: a path as in the kernel's event
        cgroup_attach_task, from the root of its hierarchy."""
        return self.everything or (self._grouped and self._is_in(cgroup, self._nested))

    # -- who belongs ---------------------------------------------------------------------------------------

    def _again(self) -> None:
        self._table, changed = self._processes.look()
        if self._line:
            self._descend(changed)
            self._line = {
                pid: start
                for pid, start in self._line.items()
                if pid in self._table and self._table[pid].start == start
            }

    def _descend(self, changed: Iterable[Process]) -> None:
        """Add to the line those of the processes whose parent is in it."""
        left = [process for process in changed if self._line.get(process.pid) != process.start]
        while True:
            born = [one for one in left if self._line.get(one.parent, one.start + 1) <= one.start]
            if not born:
                return
            self._line.update((one.pid, one.start) for one in born)
            left = [one for one in left if one not in born]

    def _belongs(self, process: Process) -> bool:
        if self.everything or self._line.get(process.pid) == process.start:
            return True
        if self._users and not process.kernel and not self._users.isdisjoint(process.users):
            return True
        return self._grouped and any(self._is_in(group) for group in process.groups)

    def _is_in(self, group: str, nested: bool = False) -> bool:
        known = self._sure.get(group) if not nested else None
        if known is None:
            known = in_group(group, self._paths, nested) or in_unit(group, self._units, nested)
            asks = bool(self._names) and not known
            known = known or (asks and in_container(group, self._names, self._containers))
            # the name of a container may be told later than its control group is made
            if not nested and (known or not asks or not containers.ids_in(group)):
                self._sure[group] = known
                if len(self._sure) > 100_000:  # of groups that come and go
                    self._sure.clear()
        return known

    # -- what can be ---------------------------------------------------------------------------------------

    def _start_of(self, pid: int) -> int:
        if pid in self._own:
            raise UsageError(f"process {pid} is coldseek's own; name the one to watch")
        found = read(pid)
        if found is None:
            raise ColdseekError(f"there is no process {pid} (any more); 'ps -e' lists those there are")
        if pid not in self._table:
            process = _process_of(pid)
            if process:
                raise UsageError(f"task {pid} is a thread of process {process}; use pid:{process}")
            self._table[pid] = found
        return found.start

    def _check(self, target: Target) -> None:
        """Raise if there cannot be anything that belongs to a unit or a container."""
        if target.kind not in ("unit", "container"):
            return
        name = target.name
        if target.kind == "unit" and not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            groups = {group for one in self._table.values() for group in one.groups}
            if not any(in_unit(group, [name]) for group in groups):
                raise ColdseekError(
                    f"there is no unit {name}: systemd does not run here; use pid:N or cgroup:PATH"
                )
        if target.kind == "container" and not self._containers.exists(name):
            groups = {group for one in self._table.values() for group in one.groups}
            if any(in_container(group, [name], self._containers) for group in groups):
                return
            identity = containers.ask_docker(name)
            if not identity:
                raise ColdseekError(
                    f"there is no container {name}; 'docker ps -a' or 'podman ps -a' lists those there are, "
                    f"and cgroup:PATH takes any"
                )
            self._names.append(identity)


def in_group(group: str, paths: Iterable[str], nested: bool = False) -> bool:
    """Whether a control group is one of these, or below one. nested: they may be seen from below the root
    of the hierarchy, so that `group` may have more in front."""
    whole = f"{group.rstrip('/')}/"
    return any(
        whole.startswith(f"{path.rstrip('/')}/") or (nested and path != "/" and f"{path}/" in whole)
        for path in paths
    )


def in_unit(group: str, units: Iterable[str], nested: bool = False) -> bool:
    """Whether a control group is one of systemd's units or below it: of the system's or of a user's, not of
    a container's."""
    units = set(units)
    if not units:
        return False
    for part in group.split("/")[1:]:
        # systemd puts "_" before what might be taken for a file of the control group
        if part in units or (part.startswith("_") and part[1:] in units):
            return True
        above = part.endswith(".slice") or (part.startswith("user@") and part.endswith(".service"))
        if not above and not nested:
            return False
    return False


def in_container(group: str, names: Iterable[str], known: containers.Names) -> bool:
    """Whether a control group is that of one of these containers (name, or 12 digits of the ID or more), or
    below it."""
    names = list(names)
    parts = group.split("/")
    for identity in containers.ids_in(group):
        found = known.of(identity)
        if any(
            name in found or (containers.ID.fullmatch(name) and identity.startswith(name)) for name in names
        ):
            return True
    for name in names:
        wholes = (f"lxc.payload.{name}", f"machine-{_escaped(name)}.scope", f"systemd-nspawn@{name}.service")
        if any(part in wholes for part in parts):
            return True
        for space, part in itertools.pairwise(parts):
            if part == name and (space == "lxc" or (space and known.is_task_of_containerd(space, name))):
                return True
    return False


def _escaped(name: str) -> str:
    """As systemd-escape(1) does."""
    return name.replace("-", "\\x2d")


def _found_group(path: str) -> str:
    """The path of a control group from the root of its hierarchy, given as that or as a folder."""
    places = _mounted()
    for mounted, root in sorted(places, key=lambda place: -len(place[0])):
        if in_group(path, [mounted]) and os.path.isdir(path):
            return _group(root + path[len(mounted) :])
    for mounted, root in places:
        if in_group(path, [root]) and os.path.isdir(mounted + path[len(root.rstrip("/")) :]):
            return path
    raise ColdseekError(
        f"there is no control group {show_path(path)}; /proc/PID/cgroup names that of a process"
    )


def _mounted() -> list[tuple[str, str]]:
    """Where hierarchies of control groups are mounted, and which of their groups is there
    (proc_pid_mountinfo(5))."""
    found = []
    try:
        with open("/proc/self/mountinfo", "rb") as source:
            lines = source.read().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return []
    for line in lines:
        fields = line.split(" ")
        kind = fields[fields.index("-") + 1] if "-" in fields[6:] else ""
        if kind in ("cgroup", "cgroup2"):
            root = "/" if fields[3].startswith("/..") else fields[3]
            found.append((_unescaped(fields[4]), _unescaped(root)))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _user(name: str) -> int:
    if _is_number(name):
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise UsageError(
            f"there is no user {show_path(name)}; give a name of 'getent passwd', or a number"
        ) from None


def _in_cgroup_namespace() -> bool:
    """Whether control groups are seen from below the root: /proc says less of their paths than events do."""
    try:
        return os.stat("/proc/self/ns/cgroup").st_ino != _FIRST_CGROUP_NAMESPACE
    except OSError:
        return False


def _process_of(task: int) -> int:
    """The process that a thread is of; 0: not known, or its own."""
    try:
        with open(f"/proc/{task}/status", "rb") as source:
            for line in source:
                if line.startswith(b"Tgid:"):
                    process = int(line.split()[1])
                    return process if process != task else 0
    except (OSError, ValueError):
        pass
    return 0
