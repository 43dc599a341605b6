"""What a client was asked: its words, told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiler.capture.watch.whom.targets import Target
from profiler.capture.watch.whom.wrappers import takes_next
from profiler.units import show_path

Answer = tuple[list[Target], str]
"""Targets, and one line for the user; "": nothing is to be said."""

OFF = "watched too; --with none turns that off"


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
            at += takes_next(word, letters, names)
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
        at += 1 + takes_next(word, letters, names)
    return "", []


@dataclass(frozen=True, slots=True)
class Running:
    """A process as far as it matters here. name: of its program, at most 15 bytes. user: the effective
    one."""

    pid: int
    name: str
    words: tuple[str, ...] = ()
    user: int = 0
