"""What a program writes, passed on to where it would have gone, and looked at on the way."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import select
import stat
import struct
import termios
import tty
from collections.abc import Callable
from dataclasses import dataclass

_PIECE = 1 << 14
_AT_ONCE = select.PIPE_BUF  # a pipe that takes anything takes so much without a wait (pipe(7))


@dataclass(frozen=True)
class Stream:
    """One way out of a program. numbers: its descriptors that it takes the place of. inside: what the
    program gets. source, sink: between which it is passed on. terminal: whether the sink is one."""

    numbers: tuple[int, ...]
    inside: int
    source: int
    sink: int
    terminal: bool


def make(sinks: dict[int, int], same: bool) -> list[Stream]:
    """Streams for a program's stdout and stderr. sinks: 1 and 2 -> where they are to go. same: the two are
    one open file, and stay one, so that what is written to both keeps its order. Raises OSError."""
    ways = [(tuple(sinks), sinks[min(sinks)])] if same else [((one,), sink) for one, sink in sinks.items()]
    made = []
    try:
        for numbers, sink in ways:
            terminal = os.isatty(sink)
            if terminal:
                source, inside = pty.openpty()
                tty.setraw(inside, termios.TCSANOW)  # the terminal itself does what it does to lines
                _resize(source, sink)
            else:
                source, inside = os.pipe()
            os.set_blocking(source, False)
            made.append(Stream(numbers, inside, source, sink, terminal))
    except OSError:
        for one in made:
            os.close(one.inside)
            os.close(one.source)
        raise
    return made


def one_file(first: int, second: int) -> bool:
    """Whether two descriptors lead to the same terminal, pipe or socket. Of a regular file each may have a
    position of its own."""
    a, b = os.fstat(first), os.fstat(second)
    return (a.st_dev, a.st_ino, a.st_rdev) == (b.st_dev, b.st_ino, b.st_rdev) and not stat.S_ISREG(a.st_mode)


class Relay:
    """Passes on from source to sink, never waiting for either. seen: called with each piece."""

    def __init__(self, source: int, sink: int, terminal: bool, seen: Callable[[bytes], None]) -> None:
        self.source, self.sink, self.terminal = source, sink, terminal
        self._seen = seen
        self._held = b""
        self.open = True

    def wants(self) -> tuple[int, int]:
        """Which descriptor to wait for, and for what of poll(2)."""
        return (self.sink, select.POLLOUT) if self._held else (self.source, select.POLLIN)

    def go_on(self) -> None:
        """Take or pass on one piece, after poll said that it can be done."""
        if self._held:
            try:
                written = os.write(self.sink, self._held[:_AT_ONCE])
            except BlockingIOError:
                return
            except OSError:  # nobody is there any more: the program shall learn of it
                self.close()
                return
            self._held = self._held[written:]
            return
        try:
            self._held = os.read(self.source, _PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # of a terminal whose other side nobody has: its end
                raise
            self._held = b""
        if self._held:
            self._seen(self._held)
        else:
            self.close()

    def resize(self) -> bool:
        """Give the program's terminal the size of the real one; whether that has changed."""
        return self.open and self.terminal and _resize(self.source, self.sink)

    def close(self) -> None:
        if self.open:
            self.open = False
            for end in (self.source, self.sink):
                with contextlib.suppress(OSError):
                    os.close(end)


_NO_SIZE = struct.pack("HHHH", 0, 0, 0, 0)


def _resize(source: int, sink: int) -> bool:
    with contextlib.suppress(OSError):
        wanted = fcntl.ioctl(sink, termios.TIOCGWINSZ, _NO_SIZE)
        if fcntl.ioctl(source, termios.TIOCGWINSZ, _NO_SIZE) != wanted:
            fcntl.ioctl(source, termios.TIOCSWINSZ, wanted)
            return True
    return False
