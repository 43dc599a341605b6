"""Read into the page cache what a recorded start needs, before it starts.

This is a plan of coldseek: a program, and behind it, in comments, what to read. It needs nothing but Python.

    PLAN                    read all of it, and say what that took
    PLAN --budget 20MiB     read at most so much, what the start needs first
    PLAN --budget 1.5s      read at most so long
    PLAN --beside           return at once and read while the start runs
    PLAN --quiet            say nothing but errors

A file that vanished or changed since the start was recorded is left out and counted. Nothing but regular
files and block devices is opened, and only to be read.
"""

# Each module that is imported is read from the disk before the first file of the plan is. These are part of
# the interpreter itself (os, stat: frozen since Python 3.11). So: no annotations module, no dataclasses, no
# threading.
import _thread
import errno
import os
import stat
import sys
import time

MYPY = False
if MYPY:  # for type checkers only, so annotations are in quotes
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    Stretch = tuple[
        int, int, int, int
    ]  # place among the files, offset, size, first: us until it is first used
    File = tuple[bytes, str, str, int | None, int | None, int | None, bool]  # as `profiler.plan.KnownFile`
    Facts = os.stat_result

FORMAT = "coldseek.plan/2"
BEGIN = b"#= "
METADATA = "metadata"  # the kind of a device that is read for the file system on it

AT_ONCE = 32  # threads, so requests that are queued: as many as SATA takes (NCQ)
AT_ONCE_BESIDE = 4  # beside a start, whose own requests are to find room in the queue
PIECE = 2 * 2**20  # bytes announced and read at a time: what the kernel makes of one (force_page_cache_ra)
ROUND = 8 * 2**20  # bytes of which the order of the device is kept where what is needed first comes first

MOST_BYTES = 256 * 2**20  # of a plan: some ten million stretches
_MOST_LINE = 2**16  # a path has 4096 bytes at most, each three characters
_LARGEST = 2**62
_SHOWN = 3


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
    stretches = [_stretch(source.readline(_MOST_LINE), len(files)) for _ in range(counts[1])]
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


def _stretch(line: bytes, files: int) -> "Stretch":
    mark, *numbers = line.split()
    file, offset, size, first = (_number(word) for word in numbers)
    if mark != b"#r" or file >= files:
        raise ValueError("no stretch")
    return file, offset, size, first


def _number(word: "bytes | str", least: int = 0) -> int:
    if len(word) > 20:
        raise ValueError("too large")
    number = int(word)
    if not least <= number <= _LARGEST:
        raise ValueError("too large")
    return number


def _unquoted(text: str) -> bytes:
    first, *rest = ("" if text == "-" else text).split("%")
    return first.encode("ascii") + b"".join(
        bytes([int(part[:2], 16)]) + part[2:].encode("ascii") for part in rest
    )


def difference(file: "File", facts: "Facts") -> str:
    """How a file differs from what was recorded of it, in words; "": not at all. facts: of `os.fstat`,
    now."""
    _, kind, device, inode, size, mtime_ns, written = file
    if kind == METADATA:
        is_same = stat.S_ISBLK(facts.st_mode) and _device(facts.st_rdev) == device
        return "" if is_same else "is another device"
    if None in ((inode,) if written else (inode, size, mtime_ns)) or not device:
        return "is not known well enough (the trace does not say what it was)"
    if stat.S_ISBLK(facts.st_mode):
        is_same = facts.st_ino == inode and device in (_device(facts.st_rdev), _device(facts.st_dev))
        return "" if is_same else "is another device"
    if not stat.S_ISREG(facts.st_mode):
        return "is no regular file any more"
    if facts.st_ino != inode or _device(facts.st_dev) != device:
        return "is another file of that name"
    if written:
        return ""
    if facts.st_size != size:
        return f"had {size} bytes and has {facts.st_size}"
    return "" if facts.st_mtime_ns == mtime_ns else "was written to"


def look(file: "File") -> "tuple[int | None, str]":
    """A descriptor of the file that cannot read it yet, and ""; or None, and why it is not to be read."""
    try:
        place = os.open(file[0], os.O_PATH | os.O_CLOEXEC)  # looks only: open(2)
    except (FileNotFoundError, NotADirectoryError):
        return None, "is gone"
    except (OSError, ValueError) as error:
        return None, f"cannot be looked at ({getattr(error, 'strerror', None) or 'no such name'})"
    why = difference(file, os.fstat(place))
    if why:
        os.close(place)
        return None, why
    return place, ""


def open_known(file: "File") -> "tuple[int | None, str]":
    """A descriptor of the file, and ""; or None, and why it is not read.

    What is opened is what was looked at: to open a terminal, a pipe or the kernel's log does something.
    """
    place, why = look(file)
    if place is None:
        return None, why
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{place}", flags), ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    finally:
        os.close(place)


def chosen(stretches: "Sequence[Stretch]", size: "int | None" = None) -> "list[Stretch]":
    """Of these stretches those that the start needs first, of at most `size` bytes in all; in their old
    order."""
    if size is None:
        return list(stretches)
    kept = set()
    for place in sorted(range(len(stretches)), key=lambda place: stretches[place][3]):
        size -= stretches[place][2]
        if size < 0:
            break
        kept.add(place)
    return [stretch for place, stretch in enumerate(stretches) if place in kept]


def rounds(stretches: "Sequence[Stretch]") -> "Iterator[list[Stretch]]":
    """The stretches in rounds: what is needed first in the first round, each in the order of the plan."""
    order = sorted(range(len(stretches)), key=lambda place: stretches[place][3])
    size, pending = 0, []
    for place in order:
        pending.append(place)
        size += stretches[place][2]
        if size >= ROUND:
            yield [stretches[place] for place in sorted(pending)]
            size, pending = 0, []
    if pending:
        yield [stretches[place] for place in sorted(pending)]


class Reading:
    """The files of a plan that are being read, each opened once, from its first piece to its last.

    got: bytes that are in the page cache now. left_out: place of a file -> why it was not read.
    """

    def __init__(
        self,
        files: "Sequence[File]",
        stretches: "Sequence[Stretch]",
        at_once: int = AT_ONCE,
        until: "float | None" = None,
        on_read: "Callable[[int], None] | None" = None,
    ) -> None:
        """until: the time (`time.monotonic`) at which no further piece is begun; None: none."""
        self.files, self.got = files, 0
        self.left_out: dict[int, str] = {}
        self._until, self._on_read, self._at_once = until, on_read, at_once
        self._lock, self._stopped = _thread.allocate_lock(), False
        self._failed: Exception | None = None
        self._locks = [_thread.allocate_lock() for _ in files]  # one each: to open one waits for the device
        self._open: dict[int, tuple[int | None, str]] = {}
        self._pieces: dict[int, int] = {}
        for file, _, size, _ in stretches:
            self._pieces[file] = self._pieces.get(file, 0) - (-size // PIECE)
        self._work = iter(self._all_pieces(stretches))

    def run(self) -> "Reading":
        """Read it all, several pieces at once."""
        threads = min(self._at_once, sum(self._pieces.values()))
        ended = [_thread.allocate_lock() for _ in range(threads)]
        try:
            for lock in ended:
                lock.acquire()
                _thread.start_new_thread(self._reader, (lock,))
            for lock in ended:
                lock.acquire()  # which the thread releases in the end
        finally:
            self._stopped = True
        for descriptor, _ in self._open.values():
            if descriptor is not None:
                os.close(descriptor)
        if self._failed:
            raise self._failed
        return self

    def _all_pieces(self, stretches: "Sequence[Stretch]") -> "Iterator[tuple[int, int, int]]":
        for file, offset, size, _ in stretches:
            for begin in range(offset, offset + size, PIECE):
                yield file, begin, min(PIECE, offset + size - begin)

    def _reader(self, ended: "_thread.LockType") -> None:
        try:
            nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            while not self._stopped:
                with self._lock:
                    file, offset, size = next(self._work, (-1, 0, 0))
                if file < 0:
                    break
                self._piece(file, offset, size, nowhere)
            os.close(nowhere)
        except Exception as error:  # in a thread nobody would see it
            self._failed, self._stopped = error, True
        finally:
            ended.release()

    def _piece(self, file: int, offset: int, size: int, nowhere: int) -> None:
        is_late = self._until is not None and time.monotonic() >= self._until
        got, why = 0, ""
        descriptor: int | None = None
        if not is_late:
            with self._locks[file]:
                if file not in self._open:
                    self._open[file] = open_known(self.files[file])
                descriptor, why = self._open[file]
            if descriptor is not None:
                try:
                    got = bring(descriptor, offset, size, nowhere)
                except OSError as error:
                    why = f"cannot be read ({error.strerror})"
        with self._lock:
            self.got += got
            if why:
                self.left_out[file] = why
            self._pieces[file] -= 1
            descriptor = None if self._pieces[file] else self._open.pop(file, (None, ""))[0]
        if descriptor is not None:
            os.close(descriptor)
        if got and self._on_read:
            self._on_read(got)


def bring(descriptor: int, offset: int, size: int, nowhere: int) -> int:
    """Have a piece in the page cache, and wait until it is there; gives its bytes, fewer at the end of the
    file.

    It is announced first: the kernel then makes requests as large as the device takes, for those pages that
    are not there. The announcement alone promises nothing. So it is sent to `nowhere`, /dev/null opened for
    writing, which waits for each page, and copies none.
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
    files: "Sequence[File]",
    stretches: "Sequence[Stretch]",
    size: "int | None" = None,
    seconds: "float | None" = None,
    beside: bool = False,
    on_read: "Callable[[int], None] | None" = None,
) -> "tuple[int, dict[int, str]]":
    """Read the stretches, those of metadata first: without it no other file can be opened. Gives the bytes
    that are there now, and why files were left out: their place among `files` -> words.

    size, seconds: the budget, None for none; with one, and beside a start, what is needed first comes first.
    """
    until = None if seconds is None else time.monotonic() + seconds
    at_once = AT_ONCE_BESIDE if beside else AT_ONCE
    mounted = _mounted() & {file[2] for file in files if file[1] != METADATA}
    left_out = {
        place: "holds no file system of the files that are to be read"
        for place, file in enumerate(files)
        if file[1] == METADATA and file[2] not in mounted
    }
    own = [
        stretch for stretch in stretches if files[stretch[0]][1] == METADATA and stretch[0] not in left_out
    ]
    rest = chosen([stretch for stretch in stretches if files[stretch[0]][1] != METADATA], size)
    got = 0
    ordered = rounds(rest) if beside or until is not None else [rest]
    for part in (own, *ordered):
        reading = Reading(files, part, at_once, until, on_read).run()
        got += reading.got
        left_out.update(reading.left_out)
    return got, left_out


def too_large(stretches: "Sequence[Stretch]") -> str:
    """Why they do not fit in memory, in words; "": they do. The first would be gone before it is used."""
    size = sum(stretch[2] for stretch in stretches)
    with open("/proc/meminfo", "rb") as source:
        for line in source:
            if line.startswith(b"MemAvailable:") and size > int(line.split()[1]) * 1024:
                free = int(line.split()[1]) // 1024
                return (
                    f"{size >> 20} MiB do not fit in memory, of which {free} MiB are available; use --budget"
                )
    return ""


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
            if not 0 < number < 1e6:
                break
            return (int(number * bytes_each), None) if bytes_each else (None, number)
    raise ValueError("a budget is a number with its unit, as 20MiB or 1.5s")


def step_aside() -> bool:
    """Go on as a process of its own, that holds nothing open that somebody waits for; the caller's ends.
    Gives whether this is the one that goes on."""
    if os.fork():
        return False
    os.setsid()
    empty = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(empty, descriptor)
    return True


def _mounted() -> "set[str]":
    """The devices of mounted file systems, as "major:minor" (proc_pid_mountinfo(5)). Reads no disk."""
    with open("/proc/self/mountinfo", "rb") as source:
        return {line.split(b" ", 3)[2].decode() for line in source}


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _main(words: "Sequence[str]") -> int:
    """Run as a program. Gives its exit status: 0, 1 where nothing could be read, 2 for wrong usage."""
    name = os.path.basename(__file__)
    size = seconds = None
    rest = list(words)
    flags = {flag for flag in ("--beside", "--quiet", "-q") if flag in rest}
    rest = [word for word in rest if word not in flags]
    if rest in (["--help"], ["-h"]):
        print((__doc__ or "").replace("PLAN", name))
        return 0
    try:
        if len(rest) == 2 and rest[0] == "--budget":
            size, seconds = budget(rest[1])
        elif rest:
            raise ValueError(f"no such option: {rest[0]!a}; see --help")
        with open(__file__, "rb") as source:
            files, stretches = decode(source)
    except ValueError as error:
        return _complain(name, f"{error}", 2)
    why = too_large(chosen(stretches, size))
    if why:
        return _complain(name, why, 1)
    if "--beside" in flags and not step_aside():
        return 0
    before = fetched()
    got, left_out = prefetch(files, stretches, size, seconds, "--beside" in flags)
    if not flags & {"--quiet", "-q"}:
        after = fetched()
        disk = (
            "" if before is None or after is None else f", {(after - before) / 2**20:.1f} MiB from the disk"
        )
        print(f"{name}: {got / 2**20:.1f} MiB{disk}, in {age():.2f} s with its own start", file=sys.stderr)
        for place in sorted(left_out)[:_SHOWN]:
            print(f"{name}: left out: {os.fsdecode(files[place][0])!a} {left_out[place]}", file=sys.stderr)
        if len(left_out) > _SHOWN:
            print(f"{name}: left out: {len(left_out)} of {len(files)} files in all", file=sys.stderr)
    return 0 if got or not stretches else _complain(name, "nothing of it could be read; record it again", 1)


def _complain(name: str, words: str, status: int) -> int:
    print(f"{name}: {words}", file=sys.stderr)
    return status


if __name__ == "__main__":
    try:
        sys.exit(_main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
