"""Coldseeks that empty the page cache take turns: what one drops is what another has just warmed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

_DROP_CACHES = "/proc/sys/vm/drop_caches"  # there is one for the machine, root alone may open it
_MOST_ABOVE = 1000  # processes above this one: parents form no rings, but numbers are used again


@contextlib.contextmanager
def turn(say: Callable[[str], None]) -> Iterator[None]:
    """To empty the cache in, and to measure what comes of that: no other coldseek of root's does meanwhile.

    A coldseek below this one, which it would wait for, goes on at once; so does whoever may not empty the
    cache of the machine. Left by an interrupt like any wait.
    """
    try:
        lock = os.open(_DROP_CACHES, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        if _take(lock, say):
            yield
            fcntl.flock(lock, fcntl.LOCK_UN)  # at once, even if a child has a copy of the descriptor
        else:
            yield
    finally:
        os.close(lock)


def _take(lock: int, say: Callable[[str], None]) -> bool:
    """Whether it is ours now; not so where one of the processes above has it."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    holder = _holder(lock)
    if holder in _above():
        return False
    who = f"process {holder}" if holder else "in another container"
    say(f"another coldseek ({who}) measures cold starts; waiting until it has")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return True


def _holder(lock: int) -> int:
    """Whose it is (proc_locks(5)); 0: nobody's that can be seen."""
    inode = str(os.fstat(lock).st_ino)
    with contextlib.suppress(OSError), open("/proc/locks") as source:
        for line in source:
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == inode:
                return max(0, int(words[4]))
    return 0


def _above() -> list[int]:
    """This process and those above it."""
    found = [os.getpid()]
    with contextlib.suppress(OSError, ValueError):
        while found[-1] > 1 and len(found) < _MOST_ABOVE:
            with open(f"/proc/{found[-1]}/stat", "rb") as source:
                found.append(int(source.read().rpartition(b")")[2].split()[1]))
    return found
