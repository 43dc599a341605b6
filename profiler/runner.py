"""Read into the page cache what a recorded start needs, before it starts.

This is a plan of coldseek: a program, and behind it, in comments, what to read. It needs nothing but Python.

    PLAN                    read all of it, and say what that took
    PLAN --budget 20MiB     read at most so much, what the start needs first
    PLAN --budget 1.5s      read at most so long
    PLAN --beside & START   read while the start runs, when no processor is needed otherwise
    PLAN --quiet            say nothing but errors

A file that vanished or changed since the start was recorded is left out and counted. Nothing but regular
files and block devices is opened, and only to be read.
"""

# Each module that is imported is itself read from the disk first. These are part of the interpreter (os and
# stat: frozen since Python 3.11); __future__, dataclasses and threading are not.
import _thread
import errno
import os
import stat
import time

MYPY = False
if MYPY:  # for type checkers only, so annotations are in quotes
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    # place among the files, offset, size, and us from the begin of the start to the first use
    Stretch = tuple[int, int, int, int]
    File = tuple[bytes, str, str, int | None, int | None, int | None, bool]  # as `profiler.plan.KnownFile`

FORMAT = "coldseek.plan/2"
BEGIN = b"#= "
METADATA = "metadata"  # the kind of a device that is read for the file system on it

AT_ONCE = 32  # threads, so requests that are queued: as many as SATA takes (NCQ)
AT_ONCE_BESIDE = 4  # beside a start, whose own requests are to find room in the queue
PIECE = 2**20  # bytes announced and read at a time: of more, only what one request may hold is announced
ROUND = 8 * 2**20  # bytes of which the order of the device is kept where what is needed first comes first

MOST_BYTES = 256 * 2**20  # of a plan: some ten million stretches
_MOST_LINE = 2**16  # a path has 4096 bytes at most, each three characters
_LARGEST = 2**62


def decode(source: "BinaryIO") -> "tuple[list[File], list[Stretch]]":
    """The files and the stretches of a plan; source: it, opened for reading bytes. Raises ValueError for
    what is no plan, is damaged, or says what cannot be."""
    left = MOST_BYTES
    for line in iter(lambda: source.readline(_MOST_LINE), b""):
        left -= len(line)
        if line.startswith(BEGIN) or left < 0:
            break
    else:
        line = b""
    words = line.split()
    if left < 0 or len(words) != 4 or words[1] != FORMAT.encode():
        raise ValueError("no plan")
    counts = [_number(word) for word in words[2:]]
    if sum(counts) > MOST_BYTES // 8:
        raise ValueError("more than any plan holds")
    files = [_file(source.readline(_MOST_LINE)) for _ in range(counts[0])]
    stretches = []
    for _ in range(counts[1]):
        mark, *numbers = source.readline(_MOST_LINE).split()
        file, offset, size, first = map(_number, numbers)
        if mark != b"#r" or file >= len(files):
            raise ValueError("no stretch")
        stretches.append((file, offset, size, first))
    if source.read(1):
        raise ValueError("something behind its end")
    return files, stretches


def _file(line: bytes) -> "File":
    mark, kind, device, inode, size, mtime_ns, written, path = line.decode("ascii").split()
    if mark != "#f" or written not in ("0", "1"):
        raise ValueError("no file")
    numbers = [None if word == "-" else _number(word) for word in (inode, size)]
    time_ns = None if mtime_ns == "-" else _number(mtime_ns, -_LARGEST)  # files may be older than 1970
    names = (os.fsdecode(_unquoted(word)) for word in (kind, device))
    return (_unquoted(path), *names, *numbers, time_ns, written == "1")  # type: ignore[return-value]


def _number(word: "bytes | str", least: int = 0) -> int:
    if len(word) > 20:
        raise ValueError("too large")
    number = int(word)
    if not least <= number <= _LARGEST:
        raise ValueError("too large")
    return number


def _unquoted(text: str) -> bytes:
    first, *rest = ("" if text == "-" else text).split("%")
    parts = (bytes([int(part[:2], 16)]) + part[2:].encode("ascii") for part in rest)
    return first.encode("ascii") + b"".join(parts)


def difference(file: "File", facts: os.stat_result) -> str:
    """How a file differs from what was recorded, in words; "": not at all. facts: of it, as it is now."""
    _, kind, device, inode, size, mtime_ns, written = file
    is_disk, names = stat.S_ISBLK(facts.st_mode), (_device(facts.st_rdev), _device(facts.st_dev))
    if kind == METADATA:
        return "" if is_disk and device == names[0] else "is another device"
    if None in ((inode,) if written else (inode, size, mtime_ns)) or not device:
        return "is not known well enough (the trace does not say what it was)"
    if is_disk:
        return "" if facts.st_ino == inode and device in names else "is another device"
    if not stat.S_ISREG(facts.st_mode):
        return "is no regular file any more"
    if facts.st_ino != inode or device != names[1]:
        return "is another file of that name"
    if not written and facts.st_size != size:
        return f"had {size} bytes and has {facts.st_size}"
    return "" if written or facts.st_mtime_ns == mtime_ns else "was written to"


def open_known(file: "File", only_look: bool = False) -> "tuple[int | None, str]":
    """A descriptor of the file, and ""; or None, and why it is not read. only_look: it cannot read.

    What is opened is what was looked at: to open a terminal, a pipe or the kernel's log does something.
    """
    try:
        place = os.open(file[0], os.O_PATH | os.O_CLOEXEC)  # looks only: open(2)
    except (FileNotFoundError, NotADirectoryError):
        return None, "is gone"
    except (OSError, ValueError) as error:
        return None, f"cannot be looked at ({getattr(error, 'strerror', None) or 'no such name'})"
    descriptor, why = None, difference(file, os.fstat(place))
    try:
        if not why:
            flags = os.O_PATH if only_look else os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC)
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    os.close(place)
    return descriptor, why


def chosen(stretches: "Sequence[Stretch]", size: "int | None") -> "list[Stretch]":
    """What the start needs first of these stretches, `size` bytes at most, None for all; in their old
    order."""
    if size is None:
        return list(stretches)
    kept = {}
    for place in _by_need(stretches):
        file, offset, whole, first = stretches[place]
        kept[place] = (file, offset, min(whole, size), first)
        size -= kept[place][2]
        if size <= 0:
            break
    return [kept[place] for place in sorted(kept)]


def rounds(stretches: "Sequence[Stretch]") -> "Iterator[list[Stretch]]":
    """The stretches in rounds of some ROUND bytes: what is needed first in the first one, each in the old
    order."""
    size, places = 0, []
    for place in _by_need(stretches):
        places.append(place)
        size += stretches[place][2]
        if size >= ROUND:
            yield [stretches[place] for place in sorted(places)]
            size, places = 0, []
    yield [stretches[place] for place in sorted(places)]


def _by_need(stretches: "Sequence[Stretch]") -> "list[int]":
    return sorted(range(len(stretches)), key=lambda place: stretches[place][3])


class Reading:
    """Pieces of files that are read, several at once; each file is opened once, from its first piece to its
    last.

    until: the time (`time.monotonic`) from which no piece is begun. got: bytes that are in the page cache
    now. left_out: place of a file -> why it was not read.
    """

    def __init__(self, files: "Sequence[File]", stretches: "Sequence[Stretch]", until: "float | None"):
        self.got = 0
        self.left_out: dict[int, str] = {}
        self._files, self._until, self._stopped = files, until, False
        self._failed: Exception | None = None
        self._lock = _thread.allocate_lock()
        self._opening = [_thread.allocate_lock() for _ in files]  # to open one waits for the device
        self._open: dict[int, tuple[int | None, str]] = {}
        self._left: dict[int, int] = {}  # pieces of a file
        for file, _, size, _ in stretches:
            self._left[file] = self._left.get(file, 0) - (-size // PIECE)
        self._work = (
            (file, begin, min(PIECE, offset + size - begin))
            for file, offset, size, _ in stretches
            for begin in range(offset, offset + size, PIECE)
        )

    def run(self, at_once: int) -> None:
        """Read it all."""
        ended = [_thread.allocate_lock() for _ in range(min(at_once, sum(self._left.values())))]
        try:
            for lock in ended:
                lock.acquire()
                _thread.start_new_thread(self._reader, (lock,))
            for lock in ended:
                lock.acquire()  # which the thread releases in the end
        finally:
            self._stopped = True
        if self._failed:
            raise self._failed

    def _reader(self, ended: "_thread.LockType") -> None:
        try:
            nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            while not self._stopped and (self._until is None or time.monotonic() < self._until):
                with self._lock:
                    piece = next(self._work, None)
                if piece is None:
                    break
                self._piece(*piece, nowhere)
            os.close(nowhere)
        except Exception as error:  # in a thread nobody would see it
            self._failed, self._stopped = error, True
        finally:
            ended.release()

    def _piece(self, file: int, offset: int, size: int, nowhere: int) -> None:
        with self._opening[file]:
            if file not in self._open:
                self._open[file] = open_known(self._files[file])
            descriptor, why = self._open[file]
        got = 0
        if descriptor is not None:
            try:
                got = bring(descriptor, offset, size, nowhere)
            except OSError as error:
                why = f"cannot be read ({error.strerror})"
        with self._lock:
            self.got += got
            if why:
                self.left_out[file] = why
            self._left[file] -= 1
            is_last = not self._left[file]
        if is_last and descriptor is not None:
            os.close(descriptor)


def bring(descriptor: int, offset: int, size: int, nowhere: int) -> int:
    """Have a piece in the page cache, and wait until it is there; gives its bytes, fewer at the end of the
    file.

    It is announced first: the kernel makes requests as large as the device takes, for those pages that are
    not there. That promises nothing. So it is sent to `nowhere`, /dev/null opened for writing, which waits
    for each page, and copies none.
    """
    os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
    got = 0
    while got < size:
        try:
            count = os.sendfile(nowhere, descriptor, offset + got, size - got)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            count = len(os.pread(descriptor, size - got, offset + got))  # a file system that cannot send
        if count == 0:
            break
        got += count
    return got


def prefetch(
    files: "Sequence[File]", stretches: "Sequence[Stretch]", size: "int | None", seconds: "float | None",
    beside: bool,
) -> "tuple[int, dict[int, str]]":  # fmt: skip
    """Read the stretches, those of metadata first: without it no other file can be opened. Gives the bytes
    that are there now, and why files were left out: their place among `files` -> words.

    size, seconds: the budget, None for none; with one, and beside a start, what is needed first comes first.
    """
    until = None if seconds is None else time.monotonic() + seconds
    with open("/proc/self/mountinfo", "rb") as source:  # proc_pid_mountinfo(5)
        mounted = {line.split(b" ", 3)[2].decode() for line in source}
    mounted &= {file[2] for file in files if file[1] != METADATA}
    left_out = {
        place: "holds no file system of the files that are to be read"
        for place, file in enumerate(files)
        if file[1] == METADATA and file[2] not in mounted
    }
    devices = {place for place, file in enumerate(files) if file[1] == METADATA}
    own = [stretch for stretch in stretches if stretch[0] in devices and stretch[0] not in left_out]
    rest = chosen([stretch for stretch in stretches if stretch[0] not in devices], size)
    got = 0
    for part in (own, *(rounds(rest) if beside or until is not None else [rest])):
        reading = Reading(files, part, until)
        reading.run(AT_ONCE_BESIDE if beside else AT_ONCE)
        got += reading.got
        left_out.update(reading.left_out)
    return got, left_out


def too_large(stretches: "Sequence[Stretch]") -> str:
    """Why they do not fit in memory, in words; "": they do. The first would be gone before it is used."""
    size = sum(stretch[2] for stretch in stretches) >> 20
    with open("/proc/meminfo", "rb") as source:
        free = next(
            (int(line.split()[1]) >> 10 for line in source if line.startswith(b"MemAvailable:")), size
        )
    words = f"{size} MiB do not fit in memory, of which {free} MiB are available; use --budget"
    return words if size > free else ""


def fetched() -> "int | None":
    """Bytes that this process has had read from devices, None where the kernel does not count them
    (proc_pid_io(5))."""
    try:
        with open("/proc/self/io", "rb") as source:
            return next((int(line.split()[1]) for line in source if line.startswith(b"read_bytes:")), None)
    except OSError:
        return None


def age() -> float:
    """Seconds since this process was started, to the kernel's tick (10 ms); proc_pid_stat(5), field 22."""
    with open("/proc/self/stat", "rb") as source:
        begun = int(source.read().rpartition(b")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK")


def budget(words: str) -> "tuple[int | None, float | None]":
    """A budget, "20MiB" or "1.5s", as (bytes, None) or (None, seconds). Raises ValueError."""
    for unit, bytes_each in (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30), ("s", None)):
        if words.endswith(unit):
            number = float(words[: -len(unit)])
            if 0 < number < 1e6:
                return (int(number * bytes_each), None) if bytes_each else (None, number)
    raise ValueError("a budget is a number with its unit, as 20MiB or 1.5s")


def step_aside() -> bool:
    """Go on as a process of its own, that holds nothing open that somebody waits for; the caller's ends.
    Gives whether this is the one that goes on."""
    if os.fork():
        return False
    os.setsid()
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # sched(7)
    except OSError:  # in some containers; it reads all the same
        os.nice(19)
    empty = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(empty, descriptor)
    return True


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"
