"""The grammar of one line of strace's output: bytes in, parts out. Pure; every text may be hostile.

17018 1795375217.869244 pread64(4</images/disk0.qcow2>, ""..., 4096, 8392704) = 4096 <0.000084>
`- prefix: whose, when -'`- name -'`------------------ arguments ------------------'  `- result -'
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from profiler import calls
from profiler.calls import LARGEST
from profiler.capture.calls import flags

LIMIT = LARGEST
"""Numbers above it are no offsets: a line that holds one where it matters is not readable."""
LARGEST_PID = 2**31 - 1
LARGEST_REAL_PID = 2**22  # linux/threads.h, PID_MAX_LIMIT
_LARGEST_SECONDS = 8_999_999_999  # still fits into 63 bits as ns


class UnreadableError(ValueError):
    """A line, or a part of one, that is not what strace prints."""


@dataclass(slots=True)
class Stamp:
    """A time as printed. style: "absolute" (-ttt), "relative" (-r), "clock" (-t, -tt; since midnight);
    ns.
    """

    style: str
    ns: int


@dataclass(slots=True)
class Prefix:
    """What stands before the text proper. task: None if the line does not say; end: where the text
    begins.
    """

    task: int | None
    bracketed: bool
    stamp: Stamp | None
    end: int


@dataclass(slots=True)
class CallText:
    """One finished call. names, result_name: annotations (-y) of descriptors, without the "<".

    args: the texts between the commas. result: None where strace prints "?". duration_ns: -1 without -T.
    """

    name: str
    args: list[bytes]
    result: int | None
    duration_ns: int
    names: dict[int, bytes] = field(default_factory=dict)
    result_name: bytes = b""


# -- prefix ------------------------------------------------------------------------------------------------

_COMM = rb"(?: <[^<>\n]{0,64}> )?"  # -Y: what the task calls itself
_PREFIX = re.compile(
    rb"""
    (?: \[pid \s+ (?P<bracket>\d{1,12}) """
    + _COMM
    + rb""" \] \s+ | (?P<bare>\d{1,12}) """
    + _COMM
    + rb""" \s+ )?
    (?: \[ (?=[^\]]*[g-z_]) [^\[\]\s]{1,400} (?: [ ] \( \w{1,20} \) )? \] \s+ )?   # --secontext
    (?: (?P<clock>\d\d:\d\d:\d\d) (?: \. (?P<clock_part>\d{1,9}) )? \s+
      # without a fraction it is a time only where it is as long, or padded as wide, as strace prints it
      | [ ]* (?P<seconds>\d{1,12} (?=\.) | \d{9,12} | (?<=[ ]{5})\d | (?<=[ ]{4})\d\d | (?<=[ ]{3})\d{3})
        (?: \. (?P<part>\d{1,9}) )? \s+ )?
    (?: \[pid \s+ (?P<late_bracket>\d{1,12}) """
    + _COMM
    + rb""" \] \s+
      | (?P<late>\d{1,12}) """
    + _COMM
    + rb""" \s+ (?=[a-z_]\w*\(|<\.\.\.|\+\+\+|---) )?        # logs that were put together by their times
    (?: \( \+ [ ]+ \d{1,12} (?: \. \d{1,9} )? \) \s+ )?   # -r beside -t
    (?: \[ [ ]* \d{1,6} \] \s+ )?                         # -n: number of the call
    (?: \[ [0-9a-f?]{8,16} \] \s+ )?                      # -i: instruction pointer
    """,
    re.VERBOSE,
)
_NS = (10**9, 10**8, 10**7, 10**6, 10**5, 10**4, 10**3, 100, 10, 1)


def split_prefix(line: bytes) -> Prefix:
    """Whose line it is and when; raises UnreadableError for numbers that are no process ids or times."""
    head = _PREFIX.match(line)
    if head is None:  # every part is optional
        raise UnreadableError
    task, stamp = None, None
    bracket, bare, clock, clock_part, seconds, part, late_bracket, late = head.groups()
    if (clock or seconds) and not bracket and (late_bracket or late):
        if bare:
            raise UnreadableError
        bracket, bare = late_bracket, late
    if bracket or bare:
        task = int(bracket or bare)
        if bare and not clock and not seconds and task > LARGEST_REAL_PID:
            seconds, task = bare, None  # --timestamps=unix,s, and no process ids
        elif task > LARGEST_PID:
            raise UnreadableError
    if clock:
        hours, minutes, rest = (int(text) for text in clock.split(b":"))
        stamp = Stamp("clock", _ns(hours * 3600 + minutes * 60 + rest, clock_part))
    elif seconds:
        whole = int(seconds)
        if whole > _LARGEST_SECONDS:
            raise UnreadableError
        stamp = Stamp("absolute" if whole >= 10**8 else "relative", _ns(whole, part))
    return Prefix(task, bracket is not None, stamp, head.end())


def _ns(seconds: int, part: bytes | None) -> int:
    return seconds * 10**9 + (int(part) * _NS[len(part)] if part else 0)


# -- calls -------------------------------------------------------------------------------------------------

_RESULT = re.compile(
    rb"""
    \s* = [ ] (?: \? (?: [ ] [A-Z][A-Z0-9_]* )? | (?P<number>-?(?:0x[0-9a-f]{1,16}|\d{1,20})) (?![\w.]) )
    """,
    re.VERBOSE,
)
_ERROR = re.compile(rb"[ ]([A-Z][A-Z0-9]+)(?![\w])")
_DURATION = re.compile(rb"[ ]<(\d{1,9})(?:\.(\d{1,9}))?>\s*\Z")
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PIECE = re.compile(rb"(?:[^\"<>\[\]{}(),/]++|" + STRING + rb"|/\*[^*]*+\*/|/)++", re.DOTALL)
_OPENING, _CLOSING = b"[{(", b"]})"
# What can follow an annotation. Recent versions escape "<" and ">" in names; older ones do not.
_AFTER = rb"(?:[ ]?\(deleted\))?(?=,|\)|\]|\}|\s|\Z|<|;)"
_PLAIN_NAME = re.compile(rb"<[^<>]*+(?:<[^<>]*+>)?>" + _AFTER)
_NAME_END = re.compile(rb">" + _AFTER)
_LONGEST_NAME = 4 * 4096 + 100  # PATH_MAX bytes, each an octal escape
_DESCRIPTOR = re.compile(rb"-?\d{1,10}\Z")
_ARGUMENT_NAME = re.compile(rb"\A[a-z_][a-z0-9_]*=")  # -N

_ERRORS = {name.encode(): number for number, name in errno.errorcode.items()} | {b"ENOTSUPP": 524}


def split_call(name: str, text: bytes, start: int) -> CallText:
    """The call whose arguments begin at `start` of `text`, right after the opening bracket.

    Raises UnreadableError if the text is not a whole call with a result.
    """
    call = CallText(name, [], None, -1)
    place = _split_args(text, start, call)
    result = _RESULT.match(text, place)
    if result is None:
        raise UnreadableError
    number = result["number"]
    end = result.end()
    if number is not None:
        call.result = int(number, 16 if b"x" in number else 10)
        if call.result == -1:
            error = _ERROR.match(text, end)
            if error is not None:
                call.result = -_ERRORS.get(error[1], 22)
        elif abs(call.result) > LIMIT and b"x" not in number:
            raise UnreadableError
        if text[end : end + 1] == b"<":
            close = _annotation_end(text, end)
            call.result_name = text[end + 1 : close]
    duration = _DURATION.search(text, max(end, len(text) - 40))
    if duration is not None:
        call.duration_ns = _ns(int(duration[1]), duration[2])
    return call


def _split_args(text: bytes, place: int, call: CallText) -> int:
    """Fill in `args` and `names`; gives the place after the closing bracket."""
    depth = 0
    begin = place
    length = len(text)
    while place < length:
        piece = _PIECE.match(text, place)
        if piece is not None:
            place = piece.end()
            if place == length:
                break
        character = text[place : place + 1]
        if character == b"," and depth == 0:
            call.args.append(text[begin:place].strip())
            begin = place + 1
        elif character == b"<":
            close = _annotation_end(text, place)
            number = _DESCRIPTOR.search(text, max(begin, place - 12), place)
            if number is not None:
                call.names[int(number[0])] = text[place + 1 : close]
            elif text[max(0, place - 8) : place] == b"AT_FDCWD":
                call.names[-100] = text[place + 1 : close]
            place = close
            continue
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            if depth == 0:
                if character != b")":
                    raise UnreadableError
                if place > begin or call.args:
                    call.args.append(text[begin:place].strip())
                call.args[:] = [_ARGUMENT_NAME.sub(b"", argument) for argument in call.args]
                return place + 1
            depth -= 1
        elif character == b'"':
            raise UnreadableError  # a string that does not end
        place += 1
    raise UnreadableError


def _annotation_end(text: bytes, place: int) -> int:
    """The end of `<name>` or `<name>(deleted)` that begins at `place`."""
    end = _PLAIN_NAME.match(text, place, place + _LONGEST_NAME) or _NAME_END.search(
        text, place, place + _LONGEST_NAME
    )
    if end is None:
        raise UnreadableError
    return end.end()


# -- values ------------------------------------------------------------------------------------------------

_NUMBER = re.compile(rb"(-?)(?:0x([0-9a-fA-F]{1,16})|(0[0-7]{1,20})|(\d{1,20}))(?!\w)")
_FLAGS: dict[bytes, int] = {
    **{name.encode(): getattr(os, name) for name in dir(os) if name.startswith("O_")},
    **{name.encode(): number for number, name in enumerate(("SEEK_SET", "SEEK_CUR", "SEEK_END"))},
    **{
        name.encode(): getattr(flags, name)
        for name in dir(flags)
        if name.startswith(("CLONE_", "CLOSE_RANGE_"))
    },
    b"MAP_ANONYMOUS": calls.MAP_ANONYMOUS,
    b"O_DIRECT": flags.O_DIRECT,
    b"F_DUPFD": calls.F_DUPFD,
    b"F_DUPFD_CLOEXEC": calls.F_DUPFD_CLOEXEC,
    b"F_SETFD": calls.F_SETFD,
    b"F_SETFL": calls.F_SETFL,
    b"FD_CLOEXEC": flags.FD_CLOEXEC,
    b"F_GETFD": 1,
    b"F_GETFL": 3,
    b"NULL": 0,
    b"AT_FDCWD": -100,
    **{
        b"POSIX_FADV_" + name: number
        for number, name in enumerate(
            (b"NORMAL", b"RANDOM", b"SEQUENTIAL", b"WILLNEED", b"DONTNEED", b"NOREUSE")
        )
    },
}
_OTHER_COMMAND = -1  # of fcntl and the like: none of those that matter


def number(text: bytes) -> int:
    """An argument as the kernel saw it, as far as it matters: numbers, flags, NULL; other texts are 0.

    Numbers above LIMIT become LIMIT: some programs ask for as much as there is. Raises UnreadableError for
    what begins like a number and is none of 64 bits.
    """
    if text[:1] in b'"[{':
        return 0
    value = 0
    for word in text.split(b" ", 1)[0].split(b"|"):
        digits = _NUMBER.match(word)
        if digits is not None:
            sign, hexadecimal, octal, decimal = digits.groups()
            known = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
            if known >= 2**64:
                raise UnreadableError
            known = min(known, LIMIT) * (-1 if sign else 1)
        elif word[:1].isdigit():
            raise UnreadableError
        else:
            known = _FLAGS.get(word, _OTHER_COMMAND if word.startswith(b"F_") else 0)
        value |= known
    return value


def plain_number(text: bytes) -> int:
    """An argument that is a number and nothing else, or NULL or AT_FDCWD. Raises UnreadableError: which
    number another word stands for is not known."""
    if not _PLAIN.match(text):
        raise UnreadableError
    return number(text)


_PLAIN = re.compile(rb"-?(?:0x[0-9a-fA-F]{1,16}|\d{1,20})(?:<|\Z| )|(?:NULL|AT_FDCWD)(?:<|\Z)")
# what is escaped outside a string, in names, is passed over: else each quotation mark there would be looked
# at as the beginning of a string
_LENGTH = re.compile(STRING + rb"(?:\.\.\.)?+(?:, (\d{1,12})\})?|iov_len=(\d{1,12})|\\.", re.DOTALL)


def vector_bytes(text: bytes) -> int:
    """Sum of the lengths in `[{iov_base="..", iov_len=2}, ..]` or, from older versions, `[{"..", 2},
    ..]`.
    """
    lengths = (length_of[1] or length_of[2] for length_of in _LENGTH.finditer(text))
    return sum(int(length) for length in lengths if length)


_POINTED = re.compile(rb"\[(\d{1,19})(?:\] => \[| => )?(\d{1,19})?\]")


def pointed(text: bytes) -> tuple[int, int | None] | None:
    """`[N]` or `[N] => [M]` (or `[N => M]`): the number pointed to before and, if printed, after; None:
    NULL.
    """
    values = _POINTED.match(text)
    if values is None:
        return None
    return int(values[1]), int(values[2]) if values[2] else None


_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}


def unescape(text: bytes) -> bytes:
    """The bytes that strace shows as `text`."""
    return _ESCAPE.sub(_unescaped, text) if b"\\" in text else text


def _unescaped(escape: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = escape.groups()
    if octal:
        return bytes((int(octal, 8) & 255,))
    if hexadecimal:
        return bytes((int(hexadecimal, 16),))
    return _LETTERS.get(letter, letter)


_WHOLE_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"|\\.', re.DOTALL)  # the latter as in _LENGTH


def string(text: bytes) -> bytes:
    """The bytes of a quoted argument; b"" if there is none."""
    return next(_strings(text), b"")


def strings(text: bytes) -> list[bytes]:
    """The bytes of every quoted text in an array of them."""
    return list(_strings(text))


def _strings(text: bytes) -> Iterator[bytes]:
    quoted = (match[1] for match in _WHOLE_STRING.finditer(text))
    return (unescape(shown) for shown in quoted if shown is not None)
