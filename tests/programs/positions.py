"""Moves descriptors in every way and tells where its reads really were: what they got says so itself.

Usage: positions.py SCENARIO DIRECTORY. DIRECTORY holds `data`, each 8 bytes of which are their own place in
the file. On stdout a JSON list of [file, offset, size], the reads in any order.
"""

import array
import fcntl
import json
import os
import random
import socket
import subprocess
import sys
import threading

SIZE = 1 << 20
NAME = "data"


def words(start, length):
    return b"".join(place.to_bytes(8, "little") for place in range(start, start + length, 8))


class Seen:
    """The reads of this process and, by a pipe, of its children."""

    def __init__(self):
        self.reads = []
        self.pipe = os.pipe()

    def take(self, got, name=NAME):
        if got:
            place = int.from_bytes(got[:8], "little")
            assert got == words(place, len(got))
            self.reads.append([name, place, len(got)])
        return got

    def in_child(self, work, wait=True):
        child = os.fork()
        if child:
            return os.waitpid(child, 0) if wait else child
        self.reads.clear()
        work()
        os.write(self.pipe[1], "".join(f"{name} {at} {size}\n" for name, at, size in self.reads).encode())
        os._exit(0)

    def all(self):
        os.close(self.pipe[1])
        with open(self.pipe[0]) as source:
            lines = [line.split() for line in source]
        return self.reads + [[name, int(at), int(size)] for name, at, size in lines]


def read_in_some_way(seen, chance, fd):
    length = 8 * chance.randrange(1, 600)
    way = chance.randrange(5)
    if way == 0:
        seen.take(os.read(fd, length))
    elif way == 1:
        seen.take(os.pread(fd, length, 8 * chance.randrange(SIZE // 8)))
    else:
        parts = [bytearray(length), bytearray(8 * chance.randrange(1, 9))]
        if way == 2:
            got = os.readv(fd, parts)
        elif way == 3:
            got = os.preadv(fd, parts, 8 * chance.randrange(SIZE // 8))
        else:
            got = os.preadv(fd, parts, -1, os.RWF_HIPRI)  # preadv2: -1 means the position
        seen.take(b"".join(parts)[:got])


def step(seen, chance, open_now, children):
    """One random thing with one random descriptor."""
    fd = chance.choice(open_now)
    what = chance.randrange(11)
    if what == 0:
        open_now.append(os.open(NAME, chance.choice([os.O_RDONLY, os.O_RDWR])))
    elif what == 1:
        open_now.append(os.dup(fd))
    elif what == 2:
        os.dup2(fd, chance.choice(open_now))
    elif what == 3:
        open_now.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, chance.randrange(200)))
    elif what == 4 and len(open_now) > 2:
        open_now.remove(fd)
        os.close(fd)
    elif what == 5:
        whence = chance.randrange(3)
        place = 8 * chance.randrange(SIZE // 8)
        now = os.lseek(fd, 0, os.SEEK_CUR) if chance.random() < 0.5 else 0
        os.lseek(fd, [place, -now, -place][whence], whence)
    elif what == 6 and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_RDWR:
        got = seen.take(os.read(fd, 64))
        if len(got) == 64:
            os.write(fd, words(int.from_bytes(got[:8], "little") + 64, 80))  # writes what is there
    elif what == 7 and children:
        seen.in_child(lambda: several(seen, chance, list(open_now), 10, False))
    elif what == 8 and children:
        thread = threading.Thread(target=several, args=(seen, chance, open_now, 10, False))
        thread.start()
        thread.join()
    else:
        read_in_some_way(seen, chance, fd)


def several(seen, chance, open_now, count, children):
    for _ in range(count):
        step(seen, chance, open_now, children)


def random_walk(seen):
    several(seen, random.Random(7), [os.open(NAME, os.O_RDONLY)], 600, True)


def append(seen):
    end = os.open("log", os.O_RDWR | os.O_APPEND | os.O_CREAT)
    other = os.open("log", os.O_RDWR)
    for number in range(20):
        os.write(end, words(number * 16, 16))
        assert os.read(end, 8) == b""  # at the end of the file now
        os.lseek(end, number * 16, os.SEEK_SET)
        seen.take(os.read(end, 8), "log")
        os.writev(other, [words(number * 16, 8), words(number * 16 + 8, 8)])
        os.lseek(other, -16, os.SEEK_CUR)
        seen.take(os.read(other, 16), "log")
    fcntl.fcntl(other, fcntl.F_SETFL, os.O_APPEND)
    os.lseek(other, 0, os.SEEK_SET)
    os.write(other, words(320, 8))
    os.lseek(other, 8, os.SEEK_SET)
    seen.take(os.read(other, 8), "log")
    fcntl.fcntl(other, fcntl.F_SETFL, 0)
    os.pwrite(other, words(0, 8), 0)  # leaves the position alone
    seen.take(os.read(other, 8), "log")
    os.write(other, words(24, 8))
    seen.take(os.read(other, 8), "log")


def shared_by_threads(seen):
    """All reads of one length: which of two threads that read at the same time was first nobody can see."""
    fd = os.open(NAME, os.O_RDONLY)
    got = [[] for _ in range(6)]

    def work(mine):
        while part := os.read(fd, 512):
            mine.append(part)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in got:
        for part in mine:
            seen.take(part)


def short_children(seen):
    fd = os.open(NAME, os.O_RDONLY)

    def work(number):
        seen.take(os.read(fd, 32))
        seen.take(os.pread(fd, 64, 8 * number))
        own = os.open(NAME, os.O_RDONLY)
        seen.take(os.read(own, 8 * number + 8))
        seen.take(os.read(own, 8))
        os.close(fd)
        assert os.open(NAME, os.O_RDONLY) == fd
        seen.take(os.read(fd, 16))

    for first in range(0, 200, 4):
        children = [seen.in_child(lambda n=n: work(n), wait=False) for n in range(first, first + 4)]
        for child in children:
            assert os.waitpid(child, 0)[1] == 0


def exec_closes(seen):
    """The new program reads what it inherited, at the position it has, and opens anew what exec closed."""
    kept, closed = os.open(NAME, os.O_RDONLY), os.open(NAME, os.O_RDONLY)
    os.lseek(closed, 4096, os.SEEK_SET)
    seen.take(os.read(kept, 80))
    seen.take(os.read(closed, 160))
    then = f"import os; os.read({kept}, 24); os.dup2(os.open({NAME!r}, 0), {closed}); os.read({closed}, 40)"
    subprocess.run([sys.executable, "-S", "-c", then], pass_fds=[kept], check=True)
    seen.reads += [[NAME, 80, 24], [NAME, 0, 40]]
    seen.take(os.read(kept, 48))
    seen.take(os.read(closed, 56))


def passed(seen, then=lambda fd: None, end=os.close):
    """A descriptor that came by a socket: nobody sees it arrive."""
    here, there = socket.socketpair()

    def send():
        fd = os.open(NAME, os.O_RDONLY)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        there.sendmsg([b"x"], [rights])

    for _ in range(3):  # the number is used again
        seen.in_child(send)
        _, messages, _, _ = here.recvmsg(1, socket.CMSG_SPACE(4))
        (fd,) = array.array("i", messages[0][2])
        seen.take(os.pread(fd, 800, 1600))
        os.lseek(fd, 240, os.SEEK_SET)
        seen.take(os.read(fd, 320))
        then(fd)
        seen.take(os.read(fd, 328))
        end(fd)


SCENARIOS = {
    "random_walk": random_walk,
    "append": append,
    "shared_by_threads": shared_by_threads,
    "short_children": short_children,
    "exec_closes": exec_closes,
    "passed": passed,
    "passed_and_copied": lambda seen: passed(seen, lambda fd: os.close(os.dup(fd))),
    "passed_and_replaced": lambda seen: passed(seen, end=lambda fd: os.dup2(0, fd)),
    "passed_and_closed_in_a_range": lambda seen: passed(seen, end=lambda fd: os.closerange(fd, fd + 9)),
}

if __name__ == "__main__":
    os.chdir(sys.argv[2])
    found = Seen()
    SCENARIOS[sys.argv[1]](found)
    print(json.dumps(found.all()))
