"""Commands that only ask: which daemon starts the program that a `docker run` or a `virsh start` names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from profiler.capture.watch.whom.asked import OFF, Answer, Asked, Running, arguments, listed, split
from profiler.capture.watch.whom.processes import parse_users
from profiler.capture.watch.whom.targets import Target, parse
from profiler.capture.watch.whom.wrappers import unwrapped
from profiler.errors import UsageError


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
