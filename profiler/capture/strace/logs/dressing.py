"""What a log has been dressed in on its way: colours, quotation marks of a mail, times of a container's log,
line numbers, HTML. It is learnt from the first lines and taken off all of them; most logs have none of it.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from profiler.units import show_path

SAMPLE_LINES = 400
_MOST = 0.75  # of the sample has to be dressed alike
_LONGEST = 200  # bytes of what is put before a line
_LAYERS = 6  # one in the other, at most: a log of a container in a mail, say

# -- what strace writes itself -----------------------------------------------------------------------------

_TIME = rb"(?:\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{1,10}\.\d{1,9}|\d{9,10})"
_PID = rb"(?:\[pid +\d{1,12}(?:<[^\n>]{0,64}>)?\]|\d{1,12}(?:<[^\n>]{0,64}>)?)"
_CONTEXT_BODY = rb"(?:\w+_u:\w+_r:)?\w+_t(?::s\d[\w:.,-]{0,80})?(?:!![^\]\s]{1,200})?"
_TEXT = rb"(?:[a-z_]\w*\(|<\.\.\. \w+ resumed>|\+\+\+ (?:exited|killed|superseded)|--- (?:SIG|stopped))"
_BARE = re.compile(
    rb"(?:" + _PID + rb"\s+(?:\[(?=[^\]]*[g-z_])[^\[\]\n]{1,400}\]\s+)?)?(?: *" + _TIME + rb"\s+)?"
    rb"(?:\(\+ +\d+(?:\.\d+)?\) )?(?:\[ *\d{1,6}\] )?(?:\[[0-9a-f?]{8,16}\] )?" + _TEXT
)
_TIME_THEN_PID = re.compile(rb" *" + _TIME + rb" +" + _PID + rb" +" + _TEXT)
_ANYWHERE = re.compile(rb"(?<![\w.])" + _TEXT)
_WHOLE = re.compile(rb"\w+\(.*\) += |<(?:unfinished \.\.\.|\.\.\. \w+ resumed)>|\+\+\+ ")

# -- what is put before it ---------------------------------------------------------------------------------

_CLOCK = rb"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[AP]M)?"
_ZONE = rb"(?: ?(?:[A-Z]{3,4}\b|Z\b|[+-]\d\d:?\d\d\b))?"
_WEEKDAY = rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? +)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_DATE = (
    rb"(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d?[-/.]\d\d?[-/.]\d{4}|\d\d-\d\d|\d{8}"
    rb"|" + _MONTH + rb" {1,2}\d{1,2}(?:,? \d{4})?|\d{1,2}[ -/]" + _MONTH + rb"(?:[ -/]\d{4})?)"
)
_DATETIME = (
    rb"(?:" + _WEEKDAY + _MONTH + rb" {1,2}\d{1,2} " + _CLOCK + _ZONE + rb" 20\d\d"
    rb"|" + _WEEKDAY + rb"?" + _DATE + rb"(?:T|[ ,]+|:)"
    rb"(?:" + _CLOCK + rb"|\d{6}(?:[.,]\d{1,9})?)" + _ZONE + rb")"
)


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
    Layer(
        "the time of the container's log",
        rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7,9}(?:Z|[+-]\d\d:\d\d)(?: (?:stdout|stderr) [FP])?[ \t]+",
    ),
    Layer(
        "what the system's log puts before it",
        rb"(?:<\d{1,3}>)?" + _DATETIME + rb" [\w.-]{1,80} [^\s:(\[]{1,80}(?:\[\d+\])?: ",
    ),
    Layer("what the system's log puts before it", rb"[\w.-]+ [\w./@-]{1,80}\[\d+\]: "),
    Layer(
        "a time",
        rb"(?:<\d{1,3}>1? ?)?"
        rb"(?:\[" + _DATETIME + rb"\]|\(" + _DATETIME + rb"\)|" + _DATETIME + rb"):?[ \t]+",
    ),
    Layer("a time", rb"\[[ \d]{1,10}\d\.\d{1,9}\] "),
    Layer("a time", rb"\[" + _CLOCK + rb"\][ \t]+(?:: )?"),
    Layer("a time", _TIME + rb"[ \t]+(?!" + _PID + rb" +" + _TEXT + rb")"),
    Layer("the name of the service", rb"[\w.@-]{1,80} +\| "),
    Layer("the level of a log", rb"\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR)\]?[:|]?[ \t]+"),
    Layer("the number of the line", rb"[ \t]*[\[(]?(\d{1,9})(?:[ \t]*[:|)\].]|[ \t])[ \t]*", _counts),
    Layer("the mark of a quotation", rb"(?:[>|#:;*][ \t]?)+"),
    Layer("an indent", rb"[ \t]++(?![ \t\d]*+(?<=\d)\.\d)"),
)

# -- what is done to the text as a whole -------------------------------------------------------------------

_COLOUR = re.compile(
    rb"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|[\]_P^X][^\x07\x1b\n]*(?:\x07|\x1b\\)|_?bk;[^\x07\x1b\n]*\x07)"
)
_ENTITY = re.compile(rb"&(?:quot|lt|gt|amp|apos|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
_TAG = re.compile(rb"</?(?:pre|code|br|p|div|span|b|i|tt|td|tr)\b[^<>\n]{0,200}>")
_ENTITY_OUTSIDE = re.compile(rb"&lt;(?:unfinished \.\.\.|\.\.\. \w+ resumed|/[^\n]{1,400}?|\d+\.\d+)&gt;")
_QUOTES = re.compile(rb"\xe2\x80[\x9c\x9d\x9e\x9f]|\xc2[\xab\xbb]")
_TYPESET = {"…": b"...", "\u00a0": b" ", "–": b"-", "—": b"--", "‑": b"-", "−": b"-"}
_QUOTES_1252 = re.compile(rb"[\x93\x94]")
_SIGNS_1252 = {b"\x85": b"...", b"\xa0": b" ", b"\x96": b"-", b"\x97": b"--"}
_TIME_FIRST = re.compile(
    rb"^( *" + _TIME + rb" +)"
    rb"(\[pid +\d+(?:<[^\n>]{0,64}>)?\] +|\d{1,12}(?:<[^\n>]{0,64}>)? +(?=" + _TEXT + rb"))",
    re.MULTILINE,
)  # fmt: skip
_CONTEXT = re.compile(rb" \[" + _CONTEXT_BODY + rb"\](?=[ ,)\]}]|$)", re.MULTILINE)

Step = Callable[[bytes], bytes]


@dataclass
class Undresser:
    """Takes off what the lines of one log are dressed in. notes: what that was, a few words each; known once
    `learn` has seen the first lines."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def learn(self, head: bytes) -> bytes:
        """Look at the log's first lines, whole ones; gives them without it."""
        head = b"\n".join(head.split(b"\n")[:SAMPLE_LINES])
        for look in (_of_json, _of_colours, _of_html, _of_typesetting):
            found = look(head)
            if found is not None:
                step, words = found
                self._take(step, words)
                head = step(head)
        for _ in range(_LAYERS):
            lines = [line for line in head.split(b"\n") if _ANYWHERE.search(line)]
            layer = _outermost(lines)
            if layer is None:
                break
            step = _replacer(re.compile(rb"^(?:" + layer.pattern + rb")", re.MULTILINE), b"")
            self._take(step, layer.words)
            head = step(head)
        for pattern, by in ((_TIME_FIRST, rb"\2\1"), (_CONTEXT, b"")):
            if pattern.search(head):
                step = _replacer(pattern, by)
                self._take(step, "")
                head = step(head)
        return head

    def __call__(self, lines: bytes) -> bytes:
        """The same lines without it."""
        for step in self.steps:
            lines = step(lines)
        return lines

    def _take(self, step: Step, words: str) -> None:
        self.steps.append(step)
        if words and words not in self.notes:
            self.notes.append(words)


def _replacer(pattern: re.Pattern[bytes], by: bytes) -> Step:
    return lambda text: pattern.sub(by, text)


# -- the text as a whole -----------------------------------------------------------------------------------

Look = tuple[Step, str] | None


def _of_json(head: bytes) -> Look:
    """Docker's files and journalctl -o json have an object a line."""
    lines = [line for line in head.splitlines() if line.strip()]
    found = sum(_message(line) is not None for line in lines)
    return (_unpacked, "the container's JSON") if found and found >= _MOST * len(lines) else None


def _message(line: bytes) -> bytes | None:
    if not line.startswith(b"{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    names = ("log", "MESSAGE", "message", "msg")
    text = next((record[name] for name in names if isinstance(record.get(name), str)), None)
    return None if text is None else str(text).removesuffix("\n").encode("utf-8", "surrogatepass")


def _unpacked(text: bytes) -> bytes:
    lines = ((line, _message(line)) for line in text.split(b"\n"))
    return b"\n".join(line if message is None else message for line, message in lines)


def _of_colours(head: bytes) -> Look:
    """If any line is a call only without them: programs have their own."""
    dressed = [line for line in head.splitlines() if b"\x1b" in line]
    found = any(_WHOLE.search(_COLOUR.sub(b"", line)) for line in dressed)
    return (_replacer(_COLOUR, b""), "colours") if found else None


def _of_html(head: bytes) -> Look:
    """Quotation marks are not always written as a sign of HTML, "<" and ">" are."""
    lines = head.splitlines()
    quoted = sum(b"&quot;" in line or b"&#34;" in line or b"&#x22;" in line for line in lines)
    if (quoted and quoted >= head.count(b'"')) or _ENTITY_OUTSIDE.search(head):
        return _plain, "the signs of HTML"
    return None


def _plain(text: bytes) -> bytes:
    text = _TAG.sub(b"", text)
    return _ENTITY.sub(lambda found: html.unescape(found[0].decode()).encode("utf-8", "replace"), text)


def _of_typesetting(head: bytes) -> Look:
    """What word processors and blogs make of plain signs; strace writes ASCII, whatever the names are."""
    calls = b"\n".join(line for line in head.splitlines() if _ANYWHERE.search(line))
    if _QUOTES.search(calls):
        return _typed, "typographic quotes"
    if _QUOTES_1252.search(calls) and not _is_utf8(calls):
        return _typed_1252, "typographic quotes"
    return (_typed, "") if "\u00a0".encode() in head else None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _typed(text: bytes) -> bytes:
    text = _QUOTES.sub(b'"', text)
    for sign, plain in _TYPESET.items():
        text = text.replace(sign.encode(), plain)
    return text


def _typed_1252(text: bytes) -> bytes:
    text = _QUOTES_1252.sub(b'"', text)
    for sign, plain in _SIGNS_1252.items():
        text = text.replace(sign, plain)
    return text


# -- the beginnings of lines -------------------------------------------------------------------------------


def _outermost(lines: Sequence[bytes]) -> Layer | None:
    """What most lines begin with and strace does not write; None: nothing. Numbers that count are no process
    ids, even where strace might have written such."""
    if not lines:
        return None
    bare = sum(bool(_BARE.match(line) or _TIME_THEN_PID.match(line)) for line in lines)
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
    return _alike(lines)


def _has_pids(lines: Sequence[bytes], pattern: re.Pattern[bytes]) -> bool:
    return all(_BARE.match(pattern.sub(b"", line, count=1)) for line in lines)


_RUN = re.compile(rb"[a-f]*+\d[0-9a-f]{7,}+(?![0-9a-z])|\d+|[ \t]+")


def _alike(lines: Sequence[bytes]) -> Layer | None:
    """What stands before strace's own part, alike in most lines but for its numbers."""
    shapes: Counter[bytes] = Counter()
    first: dict[bytes, bytes] = {}
    for line in lines:
        end = _own_start(line)
        if end:
            shape = _shape(line[:end])
            shapes[shape] += 1
            first.setdefault(shape, line[:end])
    if not shapes:
        return None
    shape, count = shapes.most_common(1)[0]
    if count < _MOST * len(lines):
        return None
    return Layer(f"'{show_path(first[shape].strip())}'", shape)


def _own_start(line: bytes) -> int:
    """Where strace's own part begins; 0: at once, or nowhere."""
    for end in range(1, min(len(line), _LONGEST)):
        before = line[end - 1 : end]
        if before.isalnum() or before in b"_.,/[(<":
            continue
        if _BARE.match(line, end) or _TIME_THEN_PID.match(line, end):
            return end
    return 0


def _shape(text: bytes) -> bytes:
    """A regular expression for texts that differ from this in numbers only."""
    made, at = b"", 0
    for found in _RUN.finditer(text):
        made += re.escape(text[at : found.start()])
        run = found[0]
        made += rb"[ \t]+" if run.isspace() else rb"\d+" if run.isdigit() else rb"[0-9a-f]+"
        at = found.end()
    return made + re.escape(text[at:])
