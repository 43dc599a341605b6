"""The names of containers, as docker, podman, containerd, CRI-O, LXC and systemd-nspawn keep them.

Everything is read from their own files: no daemon is asked while it is observed, as that would make it read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

ID = re.compile(r"[0-9a-f]{12,64}")
_IN_A_GROUP = re.compile(r"(?:(?P<runtime>[a-z-]+)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_MONITOR = (
    "conmon"  # libpod-conmon-ID.scope is the program that looks after the container, not the container
)

_DOCKER = ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker")
_DOCKER_SETTINGS = "/etc/docker/daemon.json"
_DOCKER_SOCKET = "/var/run/docker.sock"
_PODMAN = "/var/lib/containers/storage"
_PODMAN_LISTS = ("containers.json", "volatile-containers.json")
_CONTAINERD = "/run/containerd/io.containerd.runtime.v2.task"
_NAMING = ("nerdctl/name", "io.kubernetes.cri.container-name", "io.kubernetes.container.name")
"""Annotations of a container's config.json that hold its name: nerdctl's, containerd's CRI, CRI-O."""

_MOST_BYTES = 16 * 2**20  # of a file that is read for a name
_AGAIN_S = 0.2  # a container without a name so far is looked up again after this
_ASK_S = 2.0  # the longest to wait for docker's answer


def ids_in(group: str) -> list[str]:
    """The whole IDs of containers in a control group's path, outermost first."""
    found = []
    for part in group.split("/"):
        match = _IN_A_GROUP.fullmatch(part)
        if match and _MONITOR not in (match["runtime"] or ""):
            found.append(match["id"])
    return found


class Names:
    """Names and IDs of the containers of this machine. root: where its file system begins."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._docker = _docker_roots(root)
        self._found: dict[str, frozenset[str]] = {}
        self._missing: dict[str, float] = {}
        self._lists: dict[str, tuple[int, dict[str, set[str]]]] = {}

    def of(self, identity: str) -> frozenset[str]:
        """The names of the container with this whole ID; empty: none are known (yet)."""
        known = self._found.get(identity)
        if known is not None:
            return known
        now = time.monotonic()
        if now - self._missing.get(identity, -_AGAIN_S) < _AGAIN_S:
            return frozenset()
        names = frozenset(
            (*self._docker_names(identity), *self._podman_names(identity), *self._oci(identity))
        )
        if names:
            self._found[identity] = names
        else:
            self._missing[identity] = now
        return names

    def exists(self, name: str) -> bool:
        """Whether there is a container of this name or (short) ID, running or not."""
        identities = set(self._identities())
        if name in identities or any(name in self.of(one) for one in identities):
            return True
        return bool(ID.fullmatch(name)) and any(one.startswith(name) for one in identities)

    def is_task_of_containerd(self, space: str, name: str) -> bool:
        """Whether containerd has a container of this name in this namespace of its own now."""
        place = os.path.join(self._root, _CONTAINERD[1:], space, name)
        return "/" not in space + name and name not in ("", ".", "..") and os.path.isdir(place)

    def _identities(self) -> Iterator[str]:
        for root in self._docker:
            yield from _names_in(os.path.join(root, "containers"))
        for path in self._podman_lists():
            yield from self._listed(path)
        tasks = os.path.join(self._root, _CONTAINERD[1:])
        for space in _names_in(tasks):
            yield from _names_in(os.path.join(tasks, space))

    def _docker_names(self, identity: str) -> Iterator[str]:
        for root in self._docker:
            found = _json(os.path.join(root, "containers", identity, "config.v2.json"))
            if isinstance(found, dict) and isinstance(found.get("Name"), str):
                yield found["Name"].removeprefix("/")

    def _podman_names(self, identity: str) -> Iterator[str]:
        for path in self._podman_lists():
            yield from self._listed(path).get(identity, ())

    def _podman_lists(self) -> Iterator[str]:
        storage = os.path.join(self._root, _PODMAN[1:])
        for driver in _names_in(storage):
            if driver.endswith("-containers"):
                yield from (os.path.join(storage, driver, name) for name in _PODMAN_LISTS)

    def _listed(self, path: str) -> dict[str, set[str]]:
        """ID -> names of one of podman's lists, read again when it has changed."""
        try:
            changed = os.stat(path).st_mtime_ns
        except OSError:
            return {}
        if self._lists.get(path, (None, {}))[0] != changed:
            self._lists[path] = changed, _listed(_json(path))
        return self._lists[path][1]

    def _oci(self, identity: str) -> Iterator[str]:
        tasks = os.path.join(self._root, _CONTAINERD[1:])
        for space in _names_in(tasks):
            found = _json(os.path.join(tasks, space, identity, "config.json"))
            notes = found.get("annotations") if isinstance(found, dict) else None
            if isinstance(notes, dict):
                yield from (notes[key] for key in _NAMING if isinstance(notes.get(key), str))


def _listed(found: Any) -> dict[str, set[str]]:
    listed: dict[str, set[str]] = {}
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            names = one.get("names")
            texts = (name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
            listed.setdefault(one["id"], set()).update(texts)
    return listed


def ask_docker(name: str, environment: dict[str, str] | None = None) -> str:
    """The whole ID of docker's container of that name, asked over its socket; "": no such one, or no
    answer."""
    host = (os.environ if environment is None else environment).get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        return ""
    connection = _Local(host.removeprefix("unix://") or _DOCKER_SOCKET)
    try:
        connection.request("GET", f"/containers/{quote(name, safe='')}/json")
        found = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
    identity = found.get("Id") if isinstance(found, dict) else None
    return identity if isinstance(identity, str) and ID.fullmatch(identity) else ""


class _Local(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ASK_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ASK_S)
        self.sock.connect(self._path)


def _docker_roots(root: str) -> list[str]:
    """The folders that docker may keep its containers in: the usual ones, the one of its settings, and those
    that running daemons were told."""
    found = [os.path.join(root, place[1:]) for place in _DOCKER]
    settings = _json(os.path.join(root, _DOCKER_SETTINGS[1:]))
    if isinstance(settings, dict) and isinstance(settings.get("data-root"), str):
        found.append(settings["data-root"])
    for name in _names_in("/proc") if root == "/" else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/comm", "rb") as source:
                if source.read() == b"dockerd\n":
                    with open(f"/proc/{name}/cmdline", "rb") as line:
                        words = line.read().decode("utf-8", "surrogateescape").split("\0")
                    found += told_roots(words)
    return list(dict.fromkeys(found))


def told_roots(words: Sequence[str]) -> list[str]:
    """The data roots in the arguments of a dockerd."""
    found: list[str] = []
    for at, word in enumerate(words):
        if word in ("--data-root", "-g", "--graph"):
            found += words[at + 1 : at + 2]
        elif word.startswith(("--data-root=", "--graph=")):
            found.append(word.partition("=")[2])
    return [path for path in found if path.startswith("/")]


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _json(path: str) -> Any:
    """What a file of JSON holds; None where it is none, is not there, or is too large."""
    try:
        with open(path, "rb") as source:
            text = source.read(_MOST_BYTES + 1)
        return json.loads(text) if len(text) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
