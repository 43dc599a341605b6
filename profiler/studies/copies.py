"""Several starts of one command at once: what `{n}` becomes in each, and which files that makes its own."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from profiler.facts.copies import CopiesFacts
from profiler.machine.finish.finish import Finish

PLACE = "{n}"
"""In the words of a command: the number of the copy, 1, 2 ..."""

MOST_COPIES = 256
"""A process each stands by for them."""

_PARTS = re.compile(r"[\s,;:=|&<>()'\"]+")  # what stands between names in a word, as in file=a.img,if=virtio
_NO_WORD = "[!0-9A-Za-z]"  # behind vm1 is not 0: vm10 is another's


def filled(words: Iterable[str], number: int) -> list[str]:
    """The words of the copy of this number."""
    return [word.replace(PLACE, str(number)) for word in words]


Named = Callable[[Sequence[str]], list[bytes]]


@dataclass(frozen=True)
class Copies:
    """`count` starts at once of `command`, with `before` and `after` around each; `{n}` in these is its
    number. finishes: when each is over, (): with its command. own: patterns of the files that each has for
    itself, as the user says; (): those that are named with `{n}`.

    The first is the one that is traced.
    """

    count: int
    command: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    finishes: tuple[Finish, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def numbers(self) -> range:
        return range(1, self.count + 1)

    def around(self, words: Sequence[str], number: int) -> list[str]:
        """What is run before or after this copy: a command without `{n}` is for all, and run once."""
        return filled(words, number) if number == 1 or any(PLACE in word for word in words) else []

    def files_of(self, number: int, first: Iterable[bytes], named: Named) -> list[bytes]:
        """What this copy reads that the first may not: the files that its command names, and those that are
        called as the first one's files, but for the number. named: the files that a command names."""
        found = named(filled(self.command, number))
        ways = [
            (
                re.compile(rb"(?<![^/])" + re.escape(_bare(part, 1)) + rb"(?![0-9A-Za-z])"),
                _bare(part, number),
            )
            for part in self._parts()
        ]
        for path in first:
            other = path
            for way, name in ways:
                other = way.sub(name.replace(b"\\", rb"\\"), other)
            if other != path and os.path.isfile(other):
                found.append(other)
        return list(dict.fromkeys(found))

    def facts(self, named: Named) -> CopiesFacts:
        """For `Meta.copies`; own: patterns of the first copy's own files (`analysis.simulation.sharing`).
        named: the files that a command names.

        A file is own if its name is, or begins with, what a word with `{n}` became, at the start of one of
        its parts; but not if that leads to the same file for two copies.
        """
        own = filled(self.own, 1)
        if not own:
            for part in self._parts():
                name = glob.escape(os.fsdecode(_bare(part, 1)))
                own += [name, name + _NO_WORD + "*"]
            first, second = (named(filled(self.command, number)) for number in (1, 2))
            shared = {_identity(path) for path in second}
            own += [glob.escape(os.fsdecode(path)) for path in first if _identity(path) not in shared]
        return CopiesFacts(self.count, self.command, tuple(dict.fromkeys(own)))

    def _parts(self) -> list[str]:
        """The names with `{n}` in the words of the command, and these words; not what is one file for
        all."""
        every = [part for word in self.command for part in (word, *_PARTS.split(word)) if PLACE in part]
        return [part for part in dict.fromkeys(every) if not _same(*(filled([part], n)[0] for n in (1, 2)))]


def _bare(part: str, number: int) -> bytes:
    """A name with its number, without the way to where it begins: it may be called otherwise there."""
    return os.fsencode(re.sub(r"^(\.{0,2}/)+", "", filled([part], number)[0]))


def _same(first: str, second: str) -> bool:
    """Whether these are two names of one file."""
    found = _identity(first)
    return isinstance(found, tuple) and found == _identity(second)


def _identity(path: str | bytes) -> object:
    """Device and inode; the name itself where there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino
