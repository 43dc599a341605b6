"""What a log has been dressed in on its way: colours, quotation marks of a mail, times of a container's log,
line numbers, HTML. It is learnt from the first lines and taken off all of them; most logs have none of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SAMPLE_LINES = 400
_MOST = 0.75  # of the sample has to be dressed alike
_LONGEST = 200  # bytes of what is the same before every line
_LAYERS = 5  # one in the other, at most: a log of a container in a mail, say

# what strace writes at the beginning of a line, and where its text proper begins
_OWN = rb"""
    (?: \[pid \s+ \d+ (?:<[^\n>]{0,64}>)? \] \s+ | \d{1,12} (?:<[^\n]{0,64}?>)? \s+ )?
    (?: \[ [^\[\]\s]{0,100}_[urt]\b [^\[\]\s]{0,200} \] \s+ )?              # --secontext
    (?: \d\d:\d\d:\d\d (?:\.\d{1,9})? \s+ | [ ]* \d{1,10} \.\d{1,9} \s+ | \d{9,10} \s+ )?
    (?: \( \+ [ ]+ \d+ (?:\.\d+)? \) \s+ )? (?: \[ [ ]* \d{1,6} \] \s+ )? (?: \[ [0-9a-f?]{8,16} \] \s+ )?
    (?: \w+ \( | <\.\.\.[ ]\w+[ ]resumed> | \+\+\+[ ](?:exited|killed|superseded)
      | ---[ ](?:SIG|stopped) | strace:[ ] )
"""
_BARE = re.compile(_OWN, re.VERBOSE)
_ANYWHERE = re.compile(rb"(?<![\w.])(?:\w+\(|<\.\.\. \w+ resumed>|\+\+\+ (?:exited|killed))")
_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"


@dataclass(frozen=True)
class Layer:
    """Something at the beginning of the lines. words: what it is. holds: whether what the lines have there
    is that, where its look alone does not tell."""

    words: str
    pattern: bytes
    holds: Callable[[Sequence[re.Match[bytes]]], bool] = lambda _: True


def _counts(found: Sequence[re.Match[bytes]]) -> bool:
    """Whether the numbers are those of lines: each is larger than the one before, most of them by one."""
    numbers = [int(match[1]) for match in found]
    steps = [after - before for before, after in pairwise(numbers)]
    if len(steps) < 2 or min(steps) <= 0:
        return False
    # grep -n leaves lines out
    marked = all(match[0].strip()[-1:] in b":|)." for match in found)
    return marked or steps.count(1) >= _MOST * len(steps)


_LAYERS_KNOWN = (
    Layer("the name of the pod", rb"\[pod/[^\]\n]{1,300}\] "),
    Layer("the time of the container's log", _ISO + rb"(?: (?:stdout|stderr) [FP])?[ \t]+"),
    Layer("what the system's log puts before it", _MONTH + rb" (?:[\w.-]+ )?[^\s:(]{1,80}?(?:\[\d+\])?: "),
    Layer("what the system's log puts before it", rb"[\w.-]+ [\w./@-]{1,80}\[\d+\]: "),
    Layer("a time", _MONTH + rb"[ \t]+"),
    Layer("a time", rb"\[[ \d]{1,10}\d\.\d{1,9}\] "),
    Layer("a time", rb"\[" + _ISO + rb"\][ \t]+"),
    Layer("the name of the service", rb"[\w.-]{1,80} +\| "),
    Layer("the level of a log", rb"\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR)\]?[:|]?[ \t]+"),
    Layer("the number of the line", rb"[ \t]*(\d{1,9})(?:[ \t]*[:|)\].]|[ \t])[ \t]*", _counts),
    Layer("the mark of a quotation", rb"(?:[>|#:;*][ \t]?)+"),
    Layer("an indent", rb"[ \t]+(?![ \t\d]*\d\.\d)"),
)

_COLOUR = re.compile(rb"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\))")
_ENTITY = re.compile(rb"&(?:quot|lt|gt|amp|apos|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
_QUOTES = re.compile(rb"\xe2\x80[\x9c\x9d\x9e\x9f]|\xc2[\xab\xbb]")
_ELLIPSIS, _HARD_SPACE = "…".encode(), "\u00a0".encode()
_TIME_FIRST = re.compile(
    rb"^(\d\d:\d\d:\d\d(?:\.\d{1,9})? +)(\[pid +\d+(?:<[^\n>]{0,64}>)?\] +)", re.MULTILINE
)
_COMM = re.compile(
    rb"^(?:(\[pid +\d{1,12})<[^\n]{0,64}?>(?=\] )|(\d{1,12})<[^\n]{0,64}?>(?= ))", re.MULTILINE
)
_CONTEXT_BODY = rb"(?:\w+_u:\w+_r:)?\w+_t(?::s\d[\w:.,-]{0,80})?(?:!![^\]\s]{1,200})?"
_CONTEXT = re.compile(rb" \[" + _CONTEXT_BODY + rb"\](?=[ ,)\]}]|$)", re.MULTILINE)

Step = Callable[[bytes], bytes]


@dataclass
class Undresser:
    """Takes off what the lines of one log are dressed in. notes: what that was, a few words each; known once
    `learn` has seen the first lines."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def learn(self, head: bytes) -> None:
        """Look at the log's first lines, whole ones."""
        lines = head.split(b"\n")[:SAMPLE_LINES]
        if sum(b"\x1b" in line for line in lines) > len(lines) // 2:
            self._replace_where(head, _COLOUR, b"", "colours")
        head = self(head)
        entities = sum(b"&quot;" in line or b"&#34;" in line for line in head.splitlines()[:SAMPLE_LINES])
        if entities and entities >= head.count(b'"'):
            self._take(_plain, "the signs of HTML")
        if _QUOTES.search(head) and b'"' not in head:
            self._take(lambda text: _QUOTES.sub(b'"', text).replace(_ELLIPSIS, b"..."), "typographic quotes")
        if _HARD_SPACE in head:
            self._take(lambda text: text.replace(_HARD_SPACE, b" "), "")
        head = self._learn_layers(self(head))
        self._replace_where(head, _TIME_FIRST, rb"\2\1", "")
        head = _TIME_FIRST.sub(rb"\2\1", head)
        self._replace_where(head, _COMM, rb"\1\2", "")
        self._replace_where(head, _CONTEXT, b"", "")

    def __call__(self, lines: bytes) -> bytes:
        """The same lines without it."""
        for step in self.steps:
            lines = step(lines)
        return lines

    def _take(self, step: Step, words: str) -> None:
        self.steps.append(step)
        if words:
            self.notes.append(words)

    def _replace_where(self, head: bytes, pattern: re.Pattern[bytes], by: bytes, words: str) -> None:
        if pattern.search(head):
            self._take(lambda text: pattern.sub(by, text), words)

    def _learn_layers(self, head: bytes) -> bytes:
        """Find what stands before strace's own text, layer by layer; gives the head without it."""
        for _ in range(_LAYERS):
            lines = [line for line in head.split(b"\n")[:SAMPLE_LINES] if _ANYWHERE.search(line)]
            layer = _outermost(lines)
            if layer is None:
                break
            pattern = re.compile(rb"^(?:" + layer.pattern + rb")", re.MULTILINE)
            self._take(_stripper(pattern), layer.words)
            head = pattern.sub(b"", head)
        return head


def _stripper(pattern: re.Pattern[bytes]) -> Step:
    return lambda text: pattern.sub(b"", text)


def _outermost(lines: Sequence[bytes]) -> Layer | None:
    """What most lines begin with and strace does not write; None: nothing. Numbers that count are no process
    ids, even where strace might have written such."""
    if not lines:
        return None
    bare = sum(bool(_BARE.match(line)) for line in lines)
    for layer in _LAYERS_KNOWN:
        pattern = re.compile(layer.pattern)
        found = [match for line in lines if (match := pattern.match(line)) and match.end()]
        if len(found) < max(_MOST * len(lines), 1) or not layer.holds(found):
            continue
        if layer.holds is _counts:
            if _has_pids(lines, pattern) or bare < len(lines) or len(found) == len(lines):
                return layer
        elif bare < _MOST * len(lines):
            return layer
    if bare >= _MOST * len(lines):
        return None
    return _constant(lines)


def _has_pids(lines: Sequence[bytes], pattern: re.Pattern[bytes]) -> bool:
    return all(_BARE.match(pattern.sub(b"", line, count=1)) for line in lines)


def _constant(lines: Sequence[bytes]) -> Layer | None:
    """The same text before every line, up to where all of them are strace's."""
    first, last = min(lines), max(lines)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    for end in range(1, min(length, _LONGEST) + 1):
        if not first[end - 1 : end].isalnum() and all(_BARE.match(line[end:]) for line in lines):
            same = first[:end]
            return Layer(f"'{same.decode('ascii', 'replace').strip()}'", re.escape(same))
    return None


def _plain(text: bytes) -> bytes:
    return _ENTITY.sub(lambda found: html.unescape(found[0].decode()).encode("utf-8", "replace"), text)
