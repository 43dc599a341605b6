"""Looks whether a condition holds: each is asked again and again, and opens nothing of the program's."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator

from profiler.machine.finish.conditions import Condition
from profiler.machine.finish.lines import Lines, fed

Probe = Callable[[], bool]

_LISTENS_TCP = b"0A"  # TCP_LISTEN (linux: net/tcp_states.h)
_ACCEPTS = 0x10000  # __SO_ACCEPTCON (linux/net.h), of the flags in /proc/net/unix
_SOCK_DIAG, _BY_FAMILY, _DUMP, _FAILED, _DONE = 4, 20, 0x301, 2, 3  # linux/netlink.h, sock_diag.h
_PIECE = 1 << 16
_MOST_A_LOOK = 1 << 20  # bytes of a file; the rest at the next look
_ANSWER_S = 2.0
_HEAD_BYTES = 4096  # an answer's first line is looked for in so many


class Network:
    """The tables of sockets in /proc, of the network namespace that a process is in; where it has none that
    can be looked at, of the one that it was in before, or of this process's own. pid: 0: not known yet."""

    def __init__(self) -> None:
        self.pid = 0
        self._space = self._own = ""
        with contextlib.suppress(OSError):
            self._own = os.readlink("/proc/self/ns/net")
        self._files: dict[str, int] = {}

    def lines(self, table: str) -> Iterator[bytes]:
        """The lines of a table such as "tcp", without its first."""
        self._follow()
        file = self._files.get(table, -1)
        if file < 0:
            who = self.pid if self._space else "self"
            with contextlib.suppress(OSError):
                file = os.open(f"/proc/{who}/net/{table}", os.O_RDONLY | os.O_CLOEXEC)
            if file < 0:  # without IPv6, say
                return
            self._files[table] = file
        os.lseek(file, 0, os.SEEK_SET)
        rest, first = b"", True
        while piece := os.read(file, _PIECE):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole[1:] if first else whole
            first = False

    def listeners(self) -> Iterator[tuple[bytes, int]]:
        """Address, packed, and port of all that listen by TCP. The kernel is asked for these alone where it
        can be: the tables in /proc are walked through whole, which takes some ten milliseconds."""
        self._follow()
        found = _diagnosed() if self._space in ("", self._own) else None
        yield from self._in_tables() if found is None else found

    def _in_tables(self) -> Iterator[tuple[bytes, int]]:
        for table in ("tcp", "tcp6"):
            for line in self.lines(table):
                words = line.split(None, 4)
                if len(words) < 4 or words[3] != _LISTENS_TCP:
                    break  # those that listen come first (linux: net/ipv4/tcp_ipv4.c)
                address, _, port = words[1].partition(b":")
                yield _unpacked(address), int(port, 16)

    def _follow(self) -> None:
        if self.pid:
            with contextlib.suppress(OSError):
                space = os.readlink(f"/proc/{self.pid}/ns/net")
                if space != self._space:
                    for file in self._files.values():
                        os.close(file)
                    self._files, self._space = {}, space


def _diagnosed() -> list[tuple[bytes, int]] | None:
    """The listeners of this process's namespace, by sock_diag(7); None: the kernel does not tell."""
    found = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as line:
            line.settimeout(_ANSWER_S)
            for family, length in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
                asked = struct.pack("=BBxxI48x", family, socket.IPPROTO_TCP, 1 << int(_LISTENS_TCP, 16))
                line.send(struct.pack("=IHHII", 16 + len(asked), _BY_FAMILY, _DUMP, 1, 0) + asked)
                ended = False
                while not ended:
                    answer, at = line.recv(_PIECE), 0
                    while at + 16 <= len(answer):
                        size, kind = struct.unpack_from("=IH", answer, at)
                        if kind == _FAILED or size < 16:
                            return None
                        if kind == _DONE:
                            ended = True
                            break
                        (port,) = struct.unpack_from("!H", answer, at + 20)  # struct inet_diag_msg
                        found.append((answer[at + 24 : at + 24 + length], port))
                        at += size + 3 & ~3
    except (OSError, struct.error):
        return None
    return found


def listens_tcp(network: Network, condition: Condition) -> Probe:
    """Whether somebody listens at the address and port. One who listens at any address does so at each."""
    wanted = {bytes.fromhex(address) for address in condition.addresses}
    mapped = {b"\0" * 10 + b"\xff\xff" + address for address in wanted if len(address) == 4}
    every = {bytes(16)} | ({bytes(4)} if any(len(one) == 4 for one in wanted) else set())
    counted = wanted | mapped | every

    def look() -> bool:
        return any(
            port == condition.port and (not wanted or address in counted)
            for address, port in network.listeners()
        )

    return look


def _unpacked(digits: bytes) -> bytes:
    """An address as /proc has it, in words of the machine's own order."""
    raw = bytes.fromhex(digits.decode())
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))


def listens_unix(network: Network, condition: Condition) -> Probe:
    """Whether a socket of this name listens. A name that a program gave without a directory counts if it
    means the same from where this process stands."""
    wanted = os.fsencode(condition.path)
    last = os.path.basename(wanted)
    here = os.getcwdb()

    def look() -> bool:
        for line in network.lines("unix"):
            words = line.split(None, 7)
            if len(words) < 8 or not words[7].endswith(last) or not int(words[3], 16) & _ACCEPTS:
                continue
            name = words[7]
            if name == wanted:
                return True
            if wanted[:1] != b"@" and name[:1] != b"@":
                full = os.path.join(here, name)
                if os.path.basename(full) == last and _folder(full) == _folder(wanted):
                    return True
        return False

    return look


def _folder(path: bytes) -> bytes:
    return os.path.realpath(os.path.dirname(path))


Facts = tuple[int, int, int, int, int]


def _facts(path: str) -> Facts | None:
    """What changes where a file is made or written to; None: there is no such file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def file_there(condition: Condition) -> Probe:
    """Whether the file is there, made or changed since now."""
    before = _facts(condition.path)

    def look() -> bool:
        now = _facts(condition.path)
        return now is not None and now != before

    return look


class FileLine:
    """Whether a line written to a file since now matches; called as a `Probe`.

    A file that is replaced or made shorter is read from its start. It is never waited for, and nothing but
    regular files is opened.
    """

    def __init__(self, condition: Condition) -> None:
        self._path = condition.path
        self._lines = Lines([condition.expression])
        facts = _facts(self._path)
        self._file = facts[:2] if facts else None
        self._place = facts[2] if facts else 0

    def __call__(self) -> bool:
        facts = _facts(self._path)
        if facts is None:
            return False
        if facts[:2] != self._file or facts[2] < self._place:
            self._file, self._place = facts[:2], 0
            self._lines.clear()
        return facts[2] > self._place and self._read()

    def _read(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != self._file:
                return False
            last = self._place + _MOST_A_LOOK
            while self._place < last and (piece := os.pread(file, _PIECE, self._place)):
                self._place += len(piece)
                if fed(self._lines, piece):
                    return True
        except OSError:
            return False
        finally:
            os.close(file)
        return False


def answers(condition: Condition) -> tuple[bool, int]:
    """Whether a web server answers with 2xx or 3xx, and when it did on the monotonic clock. Takes up to some
    seconds; certificates are not looked at, as nothing is sent or believed."""
    with contextlib.suppress(OSError, ValueError):
        plain = socket.create_connection((condition.host, condition.port), timeout=_ANSWER_S)
        with plain:
            line = plain if not condition.secure else _wrapped(plain, condition.host)
            with line:
                where = f"[{condition.host}]" if ":" in condition.host else condition.host
                line.sendall(
                    f"GET {condition.target} HTTP/1.0\r\nHost: {where}:{condition.port}\r\n"
                    f"User-Agent: coldseek\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
                )
                head, until = b"", time.monotonic() + _ANSWER_S
                while b"\n" not in head and len(head) < _HEAD_BYTES and time.monotonic() < until:
                    piece = line.recv(_HEAD_BYTES)
                    if not piece:
                        break
                    head += piece
                now = time.monotonic_ns()
                words = head.split(b"\n")[0].split()
                good = len(words) > 1 and words[0].startswith(b"HTTP/") and len(words[1]) == 3
                return good and words[1][:1] in (b"2", b"3") and words[1].isdigit(), now
    return False, 0


def _wrapped(plain: socket.socket, host: str) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
