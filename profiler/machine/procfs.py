"""What /proc tells of a stopped program: what its descriptors name, and what lies in its memory."""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
from dataclasses import dataclass
from typing import NamedTuple

from profiler.errors import ColdseekError
from profiler.trace import FileFacts
from profiler.units import device_name

_KINDS = {
    stat.S_IFREG: "regular", stat.S_IFBLK: "block", stat.S_IFDIR: "directory",
    stat.S_IFCHR: "character", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


HIDDEN = b": not accessible)"
"""How the name ends of a descriptor that cannot be looked at: of a program that is not dumpable, by others
than root (prctl(2), PR_SET_DUMPABLE; execve(2), of a program that may not be read)."""
_GONE = b": gone before it was looked at)"
AT_FDCWD = -100  # linux/fcntl.h
_STATX_BYTES, _STATX_BTIME, _BTIME_AT = 256, 0x800, 80  # linux/stat.h


REMEDY = "mount the right one (mount -t proc proc /proc; unshare has --mount-proc)"


def check() -> None:
    """Raise ColdseekError where /proc does not serve."""
    if why := fault():
        raise ColdseekError(f"{why}; {REMEDY}")


def fault() -> str:
    """Why what /proc tells of tasks is not to be believed; "" if it is: it may be that of another PID
    namespace, in which our numbers mean other tasks."""
    try:
        known = [os.readlink("/proc/self")]
        with open("/proc/self/status", "rb") as source:
            lines = [line.split() for line in source if line.startswith(b"NSpid:")]
    except OSError as error:
        return f"/proc cannot be read ({os.strerror(error.errno or 0)})"
    if lines:  # one from each namespace between that of /proc and ours: two may be alike by chance
        known = [word.decode() for word in lines[0][1:]]
    return "" if known == [str(os.getpid())] else "/proc is that of another PID namespace"


def kind_of(mode: int) -> str:
    """The kind of file (trace.FILE_KINDS) of a st_mode; eventfd, epoll and their like have no type at
    all."""
    return _KINDS.get(stat.S_IFMT(mode), "anonymous")


def describe(path: bytes, status: os.stat_result) -> FileFacts:
    """The facts of a file with this name and status; of a block device the device it is, not the one it is
    on."""
    kind = kind_of(status.st_mode)
    if path.startswith(b"/memfd:") and status.st_nlink == 0:
        kind = "anonymous"  # memfd_create(2): memory that can be read like a file
    return FileFacts(
        path=path,
        device=device_name(status.st_rdev if kind == "block" else status.st_dev),
        # some network file systems and FUSE use all 64 bits, for which a trace has no room
        inode=status.st_ino if status.st_ino < 2**63 else None,
        size=status.st_size if kind == "regular" else None,
        mtime_ns=max(0, status.st_mtime_ns),
        kind=kind,
    )


def identify(task: int, descriptor: int) -> tuple[object, FileFacts]:
    """A key for the file behind a descriptor, the same for all its names, and its facts."""
    link = f"/proc/{task}/fd/{descriptor}"
    try:
        path = os.readlink(os.fsencode(link))
        status = os.stat(link)
    except OSError as error:
        hidden = isinstance(error, PermissionError) or _is_invisible(task)
        why = HIDDEN if hidden else _GONE
        name = b"(descriptor %d of task %d%s" % (descriptor, task, why)
        return name, FileFacts(name)
    return _key(status, path, os.fsencode(link)), describe(path, status)


def _is_invisible(task: int) -> bool:
    """Whether a task is there that /proc does not show: it may be mounted with hidepid (proc(5))."""
    try:
        os.kill(task, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not os.path.exists(f"/proc/{task}")


def _key(status: os.stat_result, path: bytes, place: bytes) -> object:
    """What tells a file from all others: device and inode, and when that was made, as their numbers are used
    again as soon as a temporary file is gone. A name says nothing: a file may have several, by links and
    mounts. place: where the file is to be looked at."""
    kind = kind_of(status.st_mode)
    if kind == "block":
        return kind, status.st_rdev
    made = _made(place) if kind == "regular" else None
    return status.st_dev, status.st_ino, path if made is None else made


def _made(place: bytes) -> tuple[int, int] | None:
    """When a file was made (statx(2)): seconds and ns; None where its file system does not say."""
    held = ctypes.create_string_buffer(_STATX_BYTES)
    if _libc.statx(AT_FDCWD, place, 0, _STATX_BTIME, held) != 0:
        return None
    (mask,) = struct.unpack_from("<I", held)
    return struct.unpack_from("<qI", held, _BTIME_AT) if mask & _STATX_BTIME else None


def directory(task: int, descriptor: int) -> bytes:
    """What a task calls the directory behind a descriptor, or AT_FDCWD; b"": not known."""
    where = b"cwd" if descriptor & 0xFFFFFFFF == AT_FDCWD & 0xFFFFFFFF else b"fd/%d" % descriptor
    try:
        path = os.readlink(b"/proc/%d/" % task + where)
    except OSError:
        return b""
    return path if path.startswith(b"/") else b""


def identify_path(task: int, directory: int, path: bytes) -> tuple[object, FileFacts] | None:
    """The same of what a task means by `path`, relative to a directory's descriptor (AT_FDCWD: where it is);
    None if there is no such file now."""
    base = b"/proc/%d/" % task + (b"cwd" if directory == AT_FDCWD else b"fd/%d" % directory)
    place = b"/proc/%d/root" % task + path if path.startswith(b"/") else os.path.join(base, path)
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return identify(os.getpid(), descriptor)
    finally:
        os.close(descriptor)


def descriptors(task: int) -> list[int] | None:
    """The descriptors that a task has open now; None if it hides them."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{task}/fd"))
    except PermissionError:
        return None
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Mapping:
    """A stretch of a task's memory that is a file's: [start, end) addresses, bytes from the file's start,
    and a key and facts as of `identify`."""

    start: int
    end: int
    offset: int
    executable: bool
    key: object
    facts: FileFacts


class Line(NamedTuple):
    """A line of /proc/PID/maps that names a file: [start, end) addresses, bytes from the file's start, may
    it be executed; then what it says of the file: device, inode, path, which may be one no more."""

    start: int
    end: int
    offset: int
    executable: bool
    device: bytes
    inode: bytes
    path: bytes


def maps(task: int) -> list[Line] | None:
    """What a task has mapped that has a name with a slash, by address (proc_pid_maps(5)); None: it is not
    shown."""
    try:
        with open(f"/proc/{task}/maps", "rb", buffering=0) as source:
            words = [line.split(None, 5) for line in source.read().split(b"\n") if b"/" in line]
    except OSError:
        return None
    found = []
    for line in words:
        if len(line) == 6:
            start, _, end = line[0].partition(b"-")
            found.append(Line(int(start, 16), int(end, 16), int(line[2], 16), b"x" in line[1], *line[3:]))
    return found


def mappings(task: int) -> list[Mapping]:
    """What a task has mapped of files now, by address (proc_pid_maps(5)): right after exec these are its
    program and the loader."""
    found: list[Mapping] = []
    known: dict[bytes, tuple[object, FileFacts] | None] = {}
    for line in maps(task) or ():
        if line.path not in known:
            known[line.path] = mapped_file(task, line)
        named = known[line.path]
        if named is not None:
            found.append(Mapping(line.start, line.end, line.offset, line.executable, *named))
    return found


def mapped_file(task: int, line: Line) -> tuple[object, FileFacts] | None:
    """Key and facts of a mapped file; None: it cannot be reached.

    After chroot(2) its path is told as it is outside, in a container as it is inside. What is neither the
    device nor the inode of the mapping may be it all the same: btrfs and overlayfs tell others of a file.
    """
    found = None
    for place in (line.path, b"/proc/%d/root" % task + line.path):
        try:
            status = os.stat(place)
        except OSError:
            continue
        found = _key(status, line.path, place), describe(line.path, status)
        major, minor = os.major(status.st_dev), os.minor(status.st_dev)
        if (b"%02x:%02x" % (major, minor), b"%d" % status.st_ino) == (line.device, line.inode):
            break
    return found


def mapped(task: int) -> list[tuple[object, FileFacts]]:
    """The files that a task has mapped now, keys and facts as of `identify`."""
    return list({one.key: (one.key, one.facts) for one in mappings(task)}.values())


def position_and_flags(task: int, descriptor: int) -> tuple[int | None, int]:
    """Where the next read starts, and the open flags, from fdinfo; (None, 0) where it does not say."""
    try:
        with open(f"/proc/{task}/fdinfo/{descriptor}", "rb") as source:
            fields = dict(line.split(b":", 1) for line in source.read().splitlines()[:3])
        return int(fields[b"pos"]), int(fields[b"flags"], 8)
    except (OSError, KeyError, ValueError):
        return None, 0


def maker(task: int) -> int | None:
    """The process that has made a task: of a thread its own, else the parent; None: not known."""
    process = _status(task, b"Tgid")
    return process if process != task else _status(task, b"PPid")


def is_thread(task: int) -> bool:
    """Whether a task is not the first of its process; False where that is not known."""
    return _status(task, b"Tgid") not in (task, None)


def _status(task: int, field: bytes) -> int | None:
    try:
        with open(f"/proc/{task}/status", "rb") as source:
            fields = dict(line.split(b":", 1) for line in source)
        return int(fields[field])
    except (OSError, KeyError, ValueError):
        return None


def device_bytes_read(pid: int, tid: int) -> int | None:
    """What a thread has made storage devices read so far (proc_pid_io(5), read_bytes); None: not known.

    Of the thread alone: the numbers of a whole process hold those of the children it has waited for.
    """
    try:
        with open(f"/proc/{pid}/task/{tid}/io", "rb") as source:
            for line in source:
                if line.startswith(b"read_bytes:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def lost_privileges(pid: int) -> str:
    """The path of the program if it asks for privileges on exec and did not get them; else ""."""
    try:
        status = os.stat(f"/proc/{pid}/exe")
        path = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/status", "rb") as source:
            ids = {line.split()[0]: line.split()[2] for line in source if line[:4] in (b"Uid:", b"Gid:")}
    except OSError:
        return ""
    lost_user = status.st_mode & stat.S_ISUID and int(ids[b"Uid:"]) != status.st_uid
    lost_group = status.st_mode & stat.S_ISGID and int(ids[b"Gid:"]) != status.st_gid
    return path if lost_user or lost_group else ""


def same_open(task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
    """Whether descriptors of two tasks are one open file, position and all (kcmp(2), KCMP_FILE).

    False too where the kernel does not tell.
    """
    number = _KCMP.get(platform.machine())
    if number is None:
        return False
    # longs by hand: variadic arguments that are plain ints are passed as such
    arguments = (task, other, 0, descriptor, other_descriptor)
    return bool(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) == 0)


_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272}

_libc = ctypes.CDLL(None, use_errno=True)
