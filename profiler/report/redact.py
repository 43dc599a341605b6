"""A trace that may be shown to others: arguments, users and what lies outside of system folders renamed.

The same name becomes the same stand-in wherever it stands in a trace, so a path of an argument is still
that of a file. Stand-ins are numbered in the order in which names come: of one trace they are always the
same, and nothing can be told from them.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from typing import Any

from profiler.facts import copies, host, images, runs
from profiler.trace import Meta, Trace

SYSTEM = frozenset(
    b"bin boot dev lib lib32 lib64 libx32 proc sbin sys usr".split()
)  # fmt: skip
"""Folders at the top whose contents come with the system, and tell of nobody."""

OWN = (b"/usr/local/", b"/usr/src/", b"/dev/mapper/", b"/dev/disk/", b"/proc/self/cwd/")
"""But for these, which hold what the owner of the machine named."""

KNOWN = frozenset(
    os.path.join(b"/etc", name)
    for name in b"ld.so.cache ld.so.preload ld.so.conf nsswitch.conf passwd group hosts localtime "
    b"resolv.conf host.conf gai.conf locale.alias".split()
)
"""Files of /etc that every system has."""

TOP = frozenset(b"etc home media mnt opt root run srv tmp var".split())
"""Names at the top that every system has too; what is in them is renamed."""

SUFFIXES = frozenset(
    b".a .bin .cfg .conf .db .fd .gz .img .ini .iso .jar .js .json .log .pem .pkl .py .pyc .qcow .qcow2 "
    b".qed .raw .rom .sh .so .sock .sqlite .tar .toml .txt .vdi .vhd .vhdx .vmdk .xml .yaml .yml .zip "
    b".zst".split()
)
"""Kept behind a stand-in: what kind of file it is says why it is read."""

_MARKED = (b"pipe:", b"socket:", b"anon_inode:", b"[")
_OPTION = re.compile(r"--[a-z][a-z0-9-]*=?|-[A-Za-z0-9]")
_TOKEN = re.compile(r"[^\s,;:='\"()\[\]<>|&]+")


def redact(*traces: Trace) -> list[Trace]:
    """These traces, with the same stand-ins in all of them."""
    names = _Names()
    return [names.trace(one) for one in traces]


class _Names:
    """Names and their stand-ins."""

    def __init__(self) -> None:
        self._stand_ins: dict[bytes, bytes] = {}

    def trace(self, of: Trace) -> Trace:
        files = of.files.assign(
            path=[self.path(path) for path in of.files["path"]],
            host_path=[self.path(path) for path in of.files["host_path"]],
        )
        tasks = of.tasks.assign(
            name=[
                name if is_system(program) else self.name(name)
                for name, program in zip(of.tasks["name"], of.tasks["program"], strict=True)
            ],
            program=[self.path(program) for program in of.tasks["program"]],
            cgroup=[self.path(cgroup) for cgroup in of.tasks["cgroup"]],
            container=[self.text_name(name) for name in of.tasks["container"]],
        )
        waits = of.waits.assign(what=[self.path(what) for what in of.waits["what"]])
        contents = of.contents.assign(path=[self.path(path) for path in of.contents["path"]])
        made = {"files": files, "tasks": tasks, "waits": waits, "contents": contents}
        typed = {name: one.astype(getattr(of, name).dtypes.to_dict()) for name, one in made.items()}
        programs = [os.path.basename(path) for path in of.files["path"] if is_system(path)]
        return dataclasses.replace(of, meta=self.meta(of.meta, programs), **typed)

    def meta(self, of: Meta, programs: list[bytes]) -> Meta:
        """programs: names of files in system folders: a command of that name is none of the user's."""
        known = set(map(os.fsdecode, programs))
        words = tuple(
            word if number == 0 and word in known else self.argument(word)
            for number, word in enumerate(of.command)
        )
        return dataclasses.replace(
            of,
            command=words,
            cwd=self.text_path(of.cwd),
            image=self.text_path(of.image),
            images=images.from_json(self.values(images.to_json(of.images))),
            partial=self.words(of.partial),
            notes=tuple(map(self.words, of.notes)),
            targets=tuple(map(self.target, of.targets)),
            measured=runs.from_json(self.values(runs.to_json(of.measured)), of.exit_status),
            host=self.host(of.host),
            copies=copies.from_json(self.values(copies.to_json(of.copies))),
        )

    def host(self, of: host.Host) -> host.Host:
        renamed = host.from_json(self.values(host.to_json(of)))
        return dataclasses.replace(renamed, name=None if of.name is None else self.text_name(of.name))

    # -- names ----------------------------------------------------------------------------------------------

    def name(self, name: bytes) -> bytes:
        """A name by itself: of a file without its folders, of a user, of a container."""
        if name in (b"", b".", b".."):
            return name
        if name not in self._stand_ins:
            suffix = os.path.splitext(name)[1]
            kept = suffix if suffix in SUFFIXES else b""
            self._stand_ins[name] = b"name-%d%s" % (len(self._stand_ins) + 1, kept)
        return self._stand_ins[name]

    def path(self, path: bytes) -> bytes:
        if is_system(path) or path.startswith(_MARKED):
            return path
        parts = path.split(b"/")
        rooted = len(parts) > 1 and not parts[0] and parts[1] in TOP
        return b"/".join(
            part if rooted and place == 1 else self.name(part) for place, part in enumerate(parts)
        )

    def text_path(self, path: str) -> str:
        return os.fsdecode(self.path(os.fsencode(path)))

    def text_name(self, name: str) -> str:
        return os.fsdecode(self.name(os.fsencode(name)))

    def argument(self, word: str) -> str:
        """Options keep their names, not what is given with them."""
        option = _OPTION.match(word)
        if option is not None and (option.end() == len(word) or option[0].endswith("=")):
            rest = word[option.end() :]
            return option[0] + (self.text_path(rest) if rest else "")
        return self.text_path(word)

    def target(self, target: str) -> str:
        kind, colon, value = target.partition(":")
        return target if not colon or kind == "pid" else f"{kind}:{self.text_path(value)}"

    def words(self, text: str) -> str:
        """A sentence: what is a path in it, or is known as a name."""

        def renamed(found: re.Match[str]) -> str:
            word = found[0]
            body = word.rstrip(".!?")
            is_name = "/" in body or os.fsencode(body) in self._stand_ins
            return self.text_path(body) + word[len(body) :] if is_name else word

        return _TOKEN.sub(renamed, text)

    def values(self, value: Any) -> Any:
        """Facts as JSON has them; what runs wrote is left out."""
        return _mapped(value, self.words)


def is_system(path: bytes) -> bool:
    """Whether it lies in a folder that comes with the system."""
    parts = path.split(b"/", 2)
    inside = len(parts) > 2 and not parts[0] and parts[1] in SYSTEM
    return (inside and not path.startswith(OWN) and b"/../" not in path) or path in KNOWN


def _mapped(value: Any, words: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: "" if key == "stderr" else _mapped(item, words) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, words) for item in value]
    return words(value) if isinstance(value, str) else value
