"""What a command waits for: where that is mostly a socket, the process behind it did the work.

Some ten times a second the command's threads are looked at, as the kernel tells of them: in which system
call each sleeps, and on which descriptor. If all of them sleep, and on a socket, who is at its other end is
looked up. Nothing is stopped, and what cannot be looked at is not guessed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import signal
import socket
import struct
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from profiler.capture.watch.whom.processes import children, parse_stat, tasks
from profiler.units import show_path, show_seconds

LOOK_S = 0.07
SHARE = 0.5
"""The least share of its time that a command waits for one other process to be worth saying. Our own."""

LEAST_S = 0.1
_DEEPEST = 8  # a command within commands: sudo, sh -c, timeout
_MOST_SOCKETS = 64  # of one process that are looked at
_TRIES = (1, 4, 16, 64)  # at which looks at a socket its other end is looked up, until it is found
_MOST_LOOKUPS = 256  # in a run: each reads what all processes have open

# asm/unistd_64.h, asm-generic/unistd.h
_X86_64 = {
    0: "read", 19: "read", 45: "read", 47: "read", 43: "read", 288: "read", 42: "read", 1: "read",
    44: "read",
    46: "read", 299: "read", 7: "poll", 271: "poll", 23: "select", 270: "select", 232: "epoll", 281: "epoll",
    441: "epoll", 61: "child", 247: "child", 34: "child",
    128: "child", 130: "child",
}  # fmt: skip
_GENERIC = {
    63: "read", 65: "read", 207: "read", 212: "read", 202: "read", 242: "read", 203: "read", 64: "read",
    206: "read", 211: "read", 243: "read", 73: "poll", 72: "select", 22: "epoll", 441: "epoll", 260: "child",
    95: "child", 133: "child", 137: "child",
}  # fmt: skip
"""Number of a system call -> how it names what it waits for: its first argument is the descriptor (read,
readv, recvfrom, recvmsg, recvmmsg, accept, connect, write and the sending ones), an array of them, or an
epoll; or it waits for a child or its signal
(wait4, waitid, pause, sigtimedwait, sigsuspend)."""

CALLS = {"x86_64": _X86_64, "aarch64": _GENERIC, "riscv64": _GENERIC}.get(platform.machine(), {})

_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h
_SHOW_NAME, _SHOW_PEER = 1, 4  # linux/unix_diag.h
_NAME, _PEER = 0, 2
_ERROR = 2  # NLMSG_ERROR


_TOLD = " watches it too"


def is_told(note: str) -> bool:
    """Whether a note of a trace is `Waits.told`."""
    return note.endswith(_TOLD)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a socket. place: the socket's name, such as /run/docker.sock."""

    pid: int
    name: str
    place: str


class Waits:
    """While entered, a thread looks at the process `main` and says afterwards (`told`) what it waited for.

    known: processes that are watched anyway, so that nothing is to be said of them.
    """

    def __init__(self, main: int, known: Collection[int] = ()) -> None:
        self._main, self._known = main, known
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="waits", daemon=True)
        self._began = self._ended = 0.0
        self._waited: dict[Peer, float] = {}
        self._sockets: dict[int, _Socket] = {}
        self._lookups = 0
        self._once: set[int] = set()

    def __enter__(self) -> Waits:
        self._began = self._ended = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def told(self) -> str:
        """One sentence on the process that the command mostly waited for, and how to watch it too; "" where
        there is none, or where that is not known."""
        spent = self._ended - self._began
        if not self._waited:
            return ""
        peer = max(self._waited, key=lambda one: self._waited[one])
        waited = min(self._waited[peer], spent)
        if waited < max(LEAST_S, SHARE * spent) or peer.pid in self._known:
            return ""
        return (
            f"of {show_seconds(spent)} the command waited {show_seconds(waited)} for "
            f"{show_path(peer.place)}, behind which is {show_path(peer.name)} "
            f"(pid {peer.pid}): --with pid:{peer.pid}{_TOLD}"
        )

    def _watch(self) -> None:
        # for the main thread, which waits for the program and would not hear of what is delivered here
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        last = self._began
        while not self._over.wait(LOOK_S):
            try:
                peers = self._look()
            except (
                OSError,
                ValueError,
                IndexError,
                struct.error,
            ):  # it ends just now, or may not be looked at
                peers = []
            now = time.monotonic()
            if not os.path.exists(f"/proc/{self._main}"):
                break
            for peer in peers:
                self._waited[peer] = self._waited.get(peer, 0.0) + min(now - last, 2 * LOOK_S)
            last = self._ended = now

    def _look(self) -> list[Peer]:
        """Who the command waits for at this moment: it, or where it waits for a child, the youngest of
        those."""
        pid, seen = self._main, set[int]()
        found: list[Peer] = []
        for _ in range(_DEEPEST):
            waits = sleeping(pid)
            if waits is None:
                break
            inodes = {inode for how, *rest in waits for inode in _inodes(pid, how, *rest)}
            seen |= inodes
            found = [peer for inode in inodes if (peer := self._behind(pid, inode)) is not None]
            below = [] if found or not waits else children(pid)
            if not below:
                break
            pid = below[-1]
        self._once = seen
        return list(dict.fromkeys(found))

    def _behind(self, pid: int, inode: int) -> Peer | None:
        """Who is behind a socket, if it is waited for longer and is none of the command's own."""
        if inode not in self._once:
            return None  # a short question is not worth looking
        known = self._sockets.setdefault(inode, _Socket())
        known.looks += 1
        # a server may take a connection only after a while
        if known.peer is None and known.looks in _TRIES and self._lookups < _MOST_LOOKUPS:
            self._lookups += 1
            found = _peer(pid, inode)
            known.peer = found if found is not None and not _is_below(found.pid, self._main) else None
        return known.peer


@dataclass(slots=True)
class _Socket:
    """A socket that was waited for. looks: how often."""

    peer: Peer | None = None
    looks: int = 0


# -- how a process sleeps ----------------------------------------------------------------------------------


def sleeping(pid: int) -> list[tuple[str, int, int]] | None:
    """How each thread of a process sleeps that waits for a descriptor or a child: (way of `CALLS`, first
    and second argument); None: one of them runs, or waits for a device. Raises OSError: hidden."""
    found = []
    for task in tasks(pid):
        with open(f"/proc/{pid}/task/{task}/syscall", "rb") as source:
            words = source.read().split()
        if words[0] == b"running":
            return None
        with open(f"/proc/{pid}/task/{task}/stat", "rb") as source:
            state = source.read().rpartition(b")")[2].split()[0]
        if state not in b"S":
            return None
        how = CALLS.get(int(words[0]))
        if how is not None and len(words) > 2:
            found.append((how, int(words[1], 16), int(words[2], 16)))
    return found


def _is_below(pid: int, above: int) -> bool:
    """Whether a process descends from another."""
    for _ in range(100):
        if pid == above:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as source:
                pid = parse_stat(source.read()).parent
        except (OSError, ValueError, IndexError):
            return False
        if pid <= 1:
            return False
    return False


def _inodes(pid: int, how: str, first: int, second: int) -> Iterator[int]:
    """The sockets that a thread waits for."""
    for descriptor in list(descriptors(pid, how, first, second))[:_MOST_SOCKETS]:
        with contextlib.suppress(OSError):
            inode = socket_of(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            if inode:
                yield inode


def descriptors(pid: int, how: str, first: int, second: int) -> Iterator[int]:
    if how == "read":
        yield first & 0xFFFF_FFFF
    elif how == "poll":
        count = min(second, 1024)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            held = os.pread(memory.fileno(), count * 8, first)  # struct pollfd of poll(2)
        yield from (number for number, _, _ in struct.iter_unpack("<ihh", held[: len(held) // 8 * 8]))
    elif how == "epoll":
        with open(f"/proc/{pid}/fdinfo/{first & 0xFFFF_FFFF}", "rb") as source:
            lines = [line.split() for line in source if line.startswith(b"tfd:")]
        yield from (int(line[1]) for line in lines)
    elif how == "select":
        yield from (int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def socket_of(link: str) -> int:
    """The inode in the name of a socket's descriptor, "socket:[123]"; 0: it is none."""
    inside = link[8:-1] if link.startswith("socket:[") and link.endswith("]") else ""
    return int(inside) if inside.isdigit() else 0


# -- who is at the other end -------------------------------------------------------------------------------


def _peer(pid: int, inode: int) -> Peer | None:
    """Who has the other end of a socket of a process; None: nobody here, or not known."""
    other, place = unix_end(inode)
    if not other:
        other, place = tcp_end(pid, inode)
    owner = owner_of(other, pid) if other else 0
    if not owner:
        return None
    try:
        with open(f"/proc/{owner}/comm", "rb") as source:
            name = source.read().decode("utf-8", "surrogateescape").rstrip("\n")
    except OSError:
        return None
    return Peer(owner, name, place or "a socket without a name")


def unix_end(inode: int) -> tuple[int, str]:
    """The other end of a unix socket, and the name that either has; (0, ""): there is none."""
    found = _asked(inode)
    if found is None or not found[0]:
        return 0, ""
    there = _asked(found[0])
    name = (there[1] if there else b"") or found[1]
    shown = name.rstrip(b"\0") if not name.startswith(b"\0") else b"@" + name[1:]
    return found[0], shown.decode("utf-8", "surrogateescape")


def _asked(inode: int) -> tuple[int, bytes] | None:
    """The inode of the other end of a unix socket (0: none), and the socket's name, by sock_diag(7); None:
    no such socket."""
    body = struct.pack(
        "=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFF_FFFF, inode, _SHOW_NAME | _SHOW_PEER, *[0xFFFF_FFFF] * 2
    )
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as line:
            line.settimeout(0.5)
            line.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body)
            return parse_unix(line.recv(8192))
    except (OSError, struct.error):
        return None


def parse_unix(answer: bytes) -> tuple[int, bytes] | None:
    """Peer and name in one answer about a unix socket: nlmsghdr, unix_diag_msg, attributes. None: an error.
    Raises struct.error where it is cut off."""
    length, kind = struct.unpack_from("=IH", answer)
    if kind in (_ERROR, 3):
        return None
    peer, name, at, end = 0, b"", 32, min(length, len(answer))
    while at + 4 <= end:
        size, attribute = struct.unpack_from("=HH", answer, at)
        held = answer[at + 4 : at + size]
        if size < 4:
            break
        if attribute == _PEER:
            (peer,) = struct.unpack_from("=I", held)
        elif attribute == _NAME:
            name = held
        at += (size + 3) & ~3
    return peer, name


def tcp_end(pid: int, inode: int) -> tuple[int, str]:
    """The other end of a TCP connection within this machine, and its address; (0, ""): there is none."""
    lines = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}", "rb") as source:
            lines += source.read().splitlines()[1:]
    return other_end(lines, inode)


def other_end(lines: Collection[bytes], inode: int) -> tuple[int, str]:
    """As `_tcp`, from the lines of /proc/net/tcp and tcp6 (proc_pid_net(5))."""
    ends: dict[tuple[str, str], int] = {}
    wanted = None
    for line in lines:
        fields = line.split()
        if len(fields) < 10 or not fields[9].isdigit():
            continue
        with contextlib.suppress(ValueError):
            near, far = _address(fields[1]), _address(fields[2])
            ends[near, far] = int(fields[9])
            if int(fields[9]) == inode:
                wanted = far, near
    return (ends.get(wanted, 0), wanted[0]) if wanted is not None else (0, "")


def _address(text: bytes) -> str:
    """ "127.0.0.1:80" from its words in the order of the machine's bytes: 0100007F:0050."""
    held, _, port = text.partition(b":")
    words = bytes.fromhex(held.decode())
    packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    shown = str(mapped or address)
    return f"[{shown}]:{int(port, 16)}" if ":" in shown else f"{shown}:{int(port, 16)}"


def owner_of(inode: int, but: int) -> int:
    """The process that has a socket open, other than the one that asks; 0: none that can be looked at. Of
    several that were forked with it, the first."""
    wanted = f"socket:[{inode}]"
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == but:
            continue
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == wanted:
                        return pid
    return 0
