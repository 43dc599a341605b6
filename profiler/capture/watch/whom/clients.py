"""Commands that only ask: which daemon starts the program that a `docker run` or a `virsh start` names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from profiler.capture.watch.whom.processes import parse_users
from profiler.capture.watch.whom.targets import Target, parse
from profiler.errors import UsageError
from profiler.units import show_path

Answer = tuple[list[Target], str]
"""Targets, and one line for the user; "": nothing is to be said."""

OFF = "watched too; --with none turns that off"


@dataclass(frozen=True, slots=True)
class Running:
    """A process as far as it matters here. name: of its program, at most 15 bytes. user: the effective
    one."""

    pid: int
    name: str
    words: tuple[str, ...] = ()
    user: int = 0


def daemons_of(command: Sequence[str]) -> Answer:
    """The daemons that do the work of a known client, found among the processes that run now, as targets,
    and one line that says so; ([], "") for any other command, ([], LINE) where there are none here."""
    return served(command, _processes(), os.environ, os.geteuid())


def served(
    command: Sequence[str],
    processes: Iterable[Running],
    environment: Mapping[str, str] | None = None,
    user: int = 0,
) -> Answer:
    """As `daemons_of`, of these processes. Daemons are root's, or the `user`'s who runs the command."""
    words = unwrapped(command)
    if not words:
        return [], ""
    client = os.path.basename(words[0])
    if client not in _CLIENTS:
        return [], ""
    asked = Asked(client, tuple(words[1:]), environment or {}, tuple(processes), user)
    return _CLIENTS[client](asked)


def coming(targets: Iterable[Target], command: Sequence[str]) -> list[Target]:
    """The targets, marked where the command names them: what it starts itself need not be there yet."""
    parts = {part for word in command for part in (word, word.rpartition("=")[2], f"{word}.service")}
    return [
        replace(one, coming=True) if one.kind in ("unit", "container") and one.name in parts else one
        for one in targets
    ]


# -- the command within its wrappers -----------------------------------------------------------------------

_WRAPPERS = {
    "sudo": (
        "ugpCrtTUDRha",
        ("user", "group", "prompt", "close-from", "role", "type", "chdir", "chroot", "host"),
        0,
    ),
    "doas": ("uCa", (), 0),
    "env": ("uC", ("unset", "chdir"), 0),
    "nice": ("n", ("adjustment",), 0),
    "ionice": ("cn", ("class", "classdata"), 0),
    "timeout": ("ks", ("kill-after", "signal"), 1),
    "nohup": ("", (), 0),
    "setsid": ("", (), 0),
    "stdbuf": ("ioe", ("input", "output", "error"), 0),
    "time": ("fo", ("format", "output"), 0),
    "chrt": ("TPD", ("sched-runtime", "sched-period", "sched-deadline"), 1),
    "taskset": ("", (), 1),
}  # fmt: skip
"""Programs that run another: letters and names of the options that take a value, and the arguments before
the command (their manuals)."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


def unwrapped(command: Sequence[str]) -> list[str]:
    """The command that wrappers such as sudo or timeout run in the end; [] where that cannot be told."""
    words = list(command)
    while words and (name := os.path.basename(words[0])) in _WRAPPERS:
        letters, names, before = _WRAPPERS[name]
        rest, at = words[1:], 0
        while at < len(rest) and (rest[at].startswith("-") or _is_assignment(name, rest[at])):
            word = rest[at]
            at += 1
            if word == "--":
                while at < len(rest) and _is_assignment(name, rest[at]):
                    at += 1
                break
            if name == "env" and word.startswith(("-S", "--split-string")):
                return []
            at += _takes_next(word, letters, names)
        words = rest[at + before :]
    return words


def _is_assignment(wrapper: str, word: str) -> bool:
    return wrapper in ("env", "sudo") and bool(_ASSIGNMENT.fullmatch(word))


def _takes_next(option: str, letters: str, names: Iterable[str]) -> bool:
    """Whether the value of an option is the word behind it. In `-xu`, u may take it; in `-ux`, x is it."""
    if option.startswith("--"):
        return option[2:] in names
    for at, letter in enumerate(option[1:], 2):
        if letter in letters:
            return at == len(option)
    return False


# -- what a client was asked -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A client with its arguments, and the processes among which its daemon may be."""

    client: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    processes: tuple[Running, ...]
    user: int

    def value(self, *names: str, within: Sequence[str] | None = None) -> str:
        """The value of an option such as -H or --host; "" if it is not given."""
        words = self.words if within is None else within
        for at, word in enumerate(words):
            if word == "--":
                break
            for name in names:
                if word == name:
                    return words[at + 1] if at + 1 < len(words) else ""
                glued = word.startswith(f"{name}=") if name.startswith("--") else word.startswith(name)
                if glued:
                    return word[len(name) :].removeprefix("=")
        return ""

    def running(self, names: Iterable[str]) -> list[Running]:
        """The daemons of these names, root's or the user's own: others could only pretend."""
        wanted = {name[:15] for name in names}
        return [one for one in self.processes if one.name in wanted and one.user in (0, self.user)]

    def served_by(self, daemons: Sequence[Running], more: Sequence[Target] = ()) -> Answer:
        """Daemons as targets, with what is to be watched besides."""
        targets = [Target("pid", str(one.pid)) for one in daemons]
        named = [f"{show_path(one.name)} (pid {one.pid})" for one in daemons]
        return [*targets, *more], f"{self.client} asks {listed(named)} to do the work: {OFF}"

    def unserved(self, who: str) -> Answer:
        told = f"{self.client} asks {who} to do the work, and none runs here"
        return [], f"{told}: only {self.client} itself is seen"

    def elsewhere(self, place: str) -> Answer:
        return [], (
            f"{self.client} asks {show_path(place)}, which is not this machine, to do the work: only "
            f"{self.client} itself is seen; run coldseek there"
        )


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def arguments(words: Sequence[str], letters: str, names: Iterable[str]) -> list[str]:
    """The words that are neither options nor their values. letters, names: of those that take a value."""
    names, at = set(names), 0
    found: list[str] = []
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return [*found, *words[at:]]
        if word.startswith("-") and word != "-":
            at += _takes_next(word, letters, names)
        else:
            found.append(word)
    return found


def split(words: Sequence[str], letters: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """The verb of a client, after its general options, and what follows it; ("", []) where there is none."""
    names, at = set(names), 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-"):
            return word, list(words[at + 1 :])
        at += 1 + _takes_next(word, letters, names)
    return "", []


# -- containers --------------------------------------------------------------------------------------------

_DOCKER_LETTERS, _DOCKER_NAMES = "cHlna", (
    "config", "context", "host", "log-level", "tlscacert", "tlscert", "tlskey", "namespace", "address",
    "url", "connection", "identity",
)  # fmt: skip
_CONTAINERD = ("containerd",)
_CRI = ("containerd", "crio")


def _docker(asked: Asked) -> Answer:
    host = asked.value("-H", "--host", within=_general(asked.words)) or asked.environment.get(
        "DOCKER_HOST", ""
    )
    if host and not host.startswith(("unix://", "/", "fd://", "npipe:")):
        return asked.elsewhere(host)
    engine = asked.running(("dockerd",))
    if not engine:
        return asked.unserved("dockerd")
    return asked.served_by([*engine, *asked.running(_CONTAINERD)], _containers(asked.words))


def _podman(asked: Asked) -> Answer:
    host = asked.value("--url", within=_general(asked.words)) or asked.environment.get("CONTAINER_HOST", "")
    remote = asked.client == "podman-remote" or {"--remote", "-r", "--remote=true"} & set(
        _general(asked.words)
    )
    if not remote and not host:
        return [], ""  # it forks its containers itself
    if host and not host.startswith("unix:"):
        return asked.elsewhere(host)
    found = [one for one in asked.running(("podman",)) if {"system", "service"} <= set(one.words)]
    return asked.served_by(found, _containers(asked.words)) if found else asked.unserved("podman's service")


def _containerd(asked: Asked) -> Answer:
    daemons = asked.running(_CRI if asked.client == "crictl" else _CONTAINERD)
    if not daemons:
        return asked.unserved("containerd or crio" if asked.client == "crictl" else "containerd")
    named = _containers(asked.words) if asked.client == "nerdctl" else []
    return asked.served_by(daemons, named)


def _general(words: Sequence[str]) -> list[str]:
    """The options in front of the verb."""
    _, rest = split(words, _DOCKER_LETTERS, _DOCKER_NAMES)
    verb = len(words) - len(rest) - 1
    return list(words[:verb] if rest or verb >= 0 else words)


def _containers(words: Sequence[str]) -> list[Target]:
    """The containers that a docker-like command names: their processes are in control groups of theirs."""
    verb, rest = split(words, _DOCKER_LETTERS, _DOCKER_NAMES)
    if verb == "container":
        verb, rest = split(rest, "", ())
    names: list[str] = []
    if verb in ("run", "create"):
        names = [word.partition("=")[2] for word in rest if word.startswith("--name=")]
        names += [rest[at + 1] for at, word in enumerate(rest[:-1]) if word == "--name"]
        names = names[:1]
    elif verb in ("start", "restart"):
        names = arguments(
            rest, "ts", ("detach-keys", "time", "timeout", "signal", "checkpoint", "checkpoint-dir")
        )
    elif verb == "exec":
        names = arguments(rest, "euw", ("env", "env-file", "user", "workdir", "detach-keys"))[:1]
    return _targets("container", names)


def _targets(kind: str, names: Iterable[str]) -> list[Target]:
    found = []
    for name in names:
        try:
            found.append(replace(parse(f"{kind}:{name}"), coming=True))
        except UsageError:
            continue  # the client will say so
    return list(dict.fromkeys(found))


# -- virtual machines --------------------------------------------------------------------------------------

_LIBVIRT = (
    "libvirtd", "virtqemud", "virtlxcd", "virtxend", "virtchd", "virtvboxd", "virtbhyved", "virtlogd",
    "virtlockd",
    "virtnetworkd", "virtstoraged", "virtnodedevd", "virtsecretd", "virtnwfilterd", "virtinterfaced",
    "virtproxyd",
)  # fmt: skip
_LIBVIRT_UNITS = ("libvirtd.service", "virtqemud.service", "virtstoraged.service")


def _libvirt(asked: Asked) -> Answer:
    place = asked.value("-c", "--connect") or asked.environment.get("LIBVIRT_DEFAULT_URI", "")
    scheme, _, rest = place.partition("://")
    if place and rest.split("/")[0] and scheme not in ("test", "esx"):
        return asked.elsewhere(place)
    daemons = asked.running(_LIBVIRT)
    if daemons:
        return asked.served_by(daemons)
    if _is_systemd(asked):
        targets = [Target("unit", unit, coming=True) for unit in _LIBVIRT_UNITS]
        return targets, (
            f"{asked.client} asks libvirtd or virtqemud to do the work, which systemd starts when asked: "
            f"{OFF}"
        )
    return asked.unserved("libvirtd or virtqemud")


# -- systemd -----------------------------------------------------------------------------------------------

_STARTS = (
    "start", "restart", "try-restart", "reload-or-restart", "try-reload-or-restart", "isolate",
    "condrestart",
    "force-reload",
)  # fmt: skip
_SYSTEMCTL_NAMES = (
    "type", "state", "property", "host", "machine", "lines", "output", "signal", "kill-who", "kill-whom",
    "root",
    "job-mode", "what", "when", "preset-mode", "image", "timestamp", "kill-value", "check-inhibitors",
)  # fmt: skip
_SYSTEMCTL_LETTERS = "tpHMnosP"


def _is_systemd(asked: Asked) -> bool:
    return any(one.pid == 1 and one.name == "systemd" for one in asked.processes)


def _systemctl(asked: Asked) -> Answer:
    words = arguments(asked.words, _SYSTEMCTL_LETTERS, _SYSTEMCTL_NAMES)
    verb, names = (words[0], words[1:]) if words else ("", [])
    if verb not in _STARTS and not (verb in ("enable", "reenable") and "--now" in asked.words):
        return [], ""
    place = asked.value("-H", "--host") or asked.value("-M", "--machine")
    if place:
        return asked.elsewhere(place)
    return _units(asked, [name for name in names if not set(name) & set("*?[")], "--user" in asked.words)


def _units(asked: Asked, names: Sequence[str], of_user: bool = False) -> Answer:
    targets = _targets("unit", names)
    if not targets:
        return [], ""
    managers = [one for one in asked.running(("systemd",)) if (one.pid != 1) == of_user]
    if of_user:
        managers = [one for one in managers if one.user == asked.user]
    who = "the user's systemd" if of_user else "systemd"
    if not managers:
        return asked.unserved(who)
    units = listed([target.name for target in targets])
    return targets, f"{asked.client} asks {who} (pid {managers[0].pid}) to start {units}: {OFF}"


def _machinectl(asked: Asked) -> Answer:
    words = arguments(
        asked.words, "pHMEnos", ("property", "uid", "setenv", "kill-whom", "signal", "host", "machine")
    )
    place = asked.value("-H", "--host") or asked.value("-M", "--machine")
    if place:
        return asked.elsewhere(place)
    if not words or words[0] not in ("start", "shell", "login"):
        return [], ""
    units = [f"systemd-nspawn@{name}.service" for name in words[1:] if name not in ("", ".host")]
    return _units(asked, [*(units if words[0] == "start" else units[:1]), "systemd-machined.service"])


# -- LXD and Incus -----------------------------------------------------------------------------------------


def _lxd(asked: Asked) -> Answer:
    daemon = "incusd" if asked.client == "incus" else "lxd"
    words = arguments(
        asked.words, "cdnpst", ("config", "device", "network", "profile", "storage", "type", "project")
    )
    remote = next((word.partition(":")[0] for word in words[1:2] if ":" in word), "")
    if words[:1] in (["start"], ["exec"], ["restart"]) and remote not in ("", "local"):
        return asked.elsewhere(remote)
    daemons = asked.running((daemon,))
    names = (
        words[1:] if words[:1] in (["start"], ["restart"]) else words[1:2] if words[:1] == ["exec"] else []
    )
    names = [name.removeprefix("local:") for name in names]
    return asked.served_by(daemons, _targets("container", names)) if daemons else asked.unserved(daemon)


_CLIENTS: dict[str, Callable[[Asked], Answer]] = {
    "docker": _docker, "docker-compose": _docker,
    "podman": _podman, "podman-remote": _podman,
    "nerdctl": _containerd, "ctr": _containerd, "crictl": _containerd,
    "virsh": _libvirt, "virt-install": _libvirt,
    "systemctl": _systemctl, "machinectl": _machinectl,
    "lxc": _lxd, "incus": _lxd,
}  # fmt: skip

CLIENTS = tuple(_CLIENTS)


# -- the processes that run now ----------------------------------------------------------------------------


def _processes() -> list[Running]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            parts = []
            for file in ("comm", "cmdline", "status"):
                with open(f"/proc/{name}/{file}", "rb") as source:
                    parts.append(source.read(65536))
        except OSError:
            continue
        comm, line, status = parts
        words = tuple(line.decode("utf-8", "surrogateescape").split("\0")[:-1])
        users = parse_users(status)
        if users:
            found.append(
                Running(int(name), comm.decode("utf-8", "surrogateescape").rstrip("\n"), words, users[-1])
            )
    return found
