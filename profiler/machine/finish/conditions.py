"""What `--until` can wait for, read from its words.

Imports next to nothing: the process that looks out (see lookout.py) shall be small.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from profiler.errors import UsageError
from profiler.units import show_path

KINDS = ("end", "exit", "tcp:HOST:PORT", "unix:PATH", "http://URL", "file:PATH[~REGEX]", "output:REGEX")
_MOST_CHARACTERS = 4096  # of a condition, as of a path (limits.h: PATH_MAX)


@dataclass(frozen=True)
class Condition:
    """text: as it was given. kind: end, exit, tcp, unix, http, file, line (of a file) or output.

    path: of unix, file and line, absolute; an abstract socket begins with @. addresses: of tcp, packed, 4 or
    16 bytes each as hexadecimal digits; (): any. pattern: of line and output. host, port, target, secure: of
    http, and the port of tcp.
    """

    text: str
    kind: str
    path: str = ""
    addresses: tuple[str, ...] = ()
    host: str = ""
    port: int = 0
    target: str = ""
    secure: bool = False
    pattern: str = ""

    @property
    def looked_for(self) -> bool:
        """Whether somebody has to look for it; the end of processes is known to who runs them."""
        return self.kind not in ("end", "exit")

    @property
    def expression(self) -> re.Pattern[bytes]:
        """The pattern, for bytes."""
        return re.compile(os.fsencode(self.pattern))


def parse(text: str) -> Condition:
    """The condition that these words mean. Paths are taken from where this process stands.

    Raises UsageError.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"--until: a condition has at most {_MOST_CHARACTERS} characters")
    if text in ("end", "exit"):
        return Condition(text, text)
    kind, colon, rest = text.partition(":")
    reader = _READERS.get(kind)
    if reader is None or not colon:
        raise UsageError(f"--until: no condition {show_path(text)!r}; there are {', '.join(KINDS)}")
    try:
        return Condition(text=text, **reader(rest, kind))
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"--until {show_path(text)}: {show_path(str(error))}") from error


def _tcp(rest: str, _: str) -> dict[str, Any]:
    host, colon, digits = rest.rpartition(":")
    if not colon:
        raise ValueError("give it as tcp:HOST:PORT, such as tcp:127.0.0.1:80; tcp:*:80 is any address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return {"kind": "tcp", "host": host, "port": _port(digits), "addresses": _addresses(host)}


def _port(digits: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        raise ValueError(f"{digits!r} is no port; it is a number from 1 to 65535")
    return int(digits)


def _addresses(host: str) -> tuple[str, ...]:
    """Those of a host, packed as hexadecimal digits; of any host none."""
    if host in ("", "*"):
        return ()
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return (socket.inet_pton(family, host).hex(),)
        except (OSError, UnicodeError):
            continue
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError("the host has no address; name one of this machine's, such as 127.0.0.1") from error
    return tuple(
        dict.fromkeys(
            socket.inet_pton(family, str(address[0]).partition("%")[0]).hex()
            for family, _, _, _, address in found
            if family in (socket.AF_INET, socket.AF_INET6)
        )
    )


def _path(text: str) -> str:
    if not text:
        raise ValueError("it names no file")
    if "\0" in text:
        raise ValueError("no name of a file holds the character 0")
    try:
        return os.path.abspath(text)
    except FileNotFoundError:
        raise ValueError("the current directory is gone; give the whole path") from None


def _unix(rest: str, _: str) -> dict[str, Any]:
    if rest.startswith("@") and len(rest) > 1:
        return {"kind": "unix", "path": rest}
    return {"kind": "unix", "path": _path(rest)}


def _http(rest: str, kind: str) -> dict[str, Any]:
    if re.search(r"[\x00-\x20\x7f-\U0010ffff]", rest):
        raise ValueError("a URL has no spaces and ASCII characters only; write others as %20")
    parts = urlsplit(f"{kind}:{rest}")
    if not parts.hostname or parts.username is not None:
        raise ValueError(f"give it as {kind}://HOST[:PORT]/PATH, without a user's name")
    secure = kind == "https"
    port = parts.port
    if port == 0:
        raise ValueError("'0' is no port; it is a number from 1 to 65535")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return {"kind": "http", "host": parts.hostname, "port": port or (443 if secure else 80),
            "target": target, "secure": secure}  # fmt: skip


def _file(rest: str, _: str) -> dict[str, Any]:
    path, tilde, pattern = rest.partition("~")
    if not tilde:
        return {"kind": "file", "path": _path(path)}
    return {"kind": "line", "path": _path(path), "pattern": _pattern(pattern)}


def _output(rest: str, _: str) -> dict[str, Any]:
    return {"kind": "output", "pattern": _pattern(rest)}


def _pattern(text: str) -> str:
    if not text:
        raise ValueError("the regular expression is missing")
    re.compile(os.fsencode(text))
    return text


_READERS = {"tcp": _tcp, "unix": _unix, "http": _http, "https": _http, "file": _file, "output": _output}
