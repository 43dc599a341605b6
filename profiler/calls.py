"""The system calls that coldseek follows, one row a call: what its arguments are, and what it does to files.

Everything that has to know calls takes it from here: the operations of a trace, the seccomp filter, the
decoding of registers, the columns of a strace log, the events of the kernel's buffer, and the table in
docs/how-it-works.md. A new call that reads is a row, a test program, and a line of docs (CONTRIBUTING.md).

Names and arguments are those of the kernel (linux/syscalls.h), numbers those of its tables
(arch/x86/entry/syscalls/syscall_64.tbl, syscall_32.tbl, asm-generic/unistd.h).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

# linux/fcntl.h
F_DUPFD, F_SETFD, F_SETFL, F_DUPFD_CLOEXEC = 0, 2, 4, 1030
# asm-generic/ioctls.h
FIOCLEX, FIONCLEX = 0x5451, 0x5450
# asm-generic/mman-common.h
MAP_FIXED, MAP_ANONYMOUS = 0x10, 0x20
MADVICE = ("normal", "random", "sequential", "willneed")
"""The advice of madvise(2) on read-ahead, by its number."""

KINDS: dict[str, tuple[int, int]] = {
    "int": (1, 1),  # 32 bits, signed: what the upper half of the register holds is ignored by the kernel
    "uint": (1, 1),  # 32 bits
    "long": (1, 1),  # a word: sizes, counts, flags
    "ptr": (1, 1),
    "ptr:long": (1, 1),  # to a number as wide as a word
    "ptr:loff": (1, 1),  # to a number of 64 bits
    "loff": (1, 2),  # an offset of 64 bits
    "split": (2, 2),  # the same in two registers everywhere; on 64-bit machines the lower one is all of it
    "pages": (1, 1),  # an offset in units of 4096 bytes
}
"""Kind of an argument -> registers that it takes on 64-bit and on 32-bit machines."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call, by the kernel's name for it. kind: one of KINDS."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Move:
    """Data that a call moves from or to the file behind one of its descriptors.

    op: the operation in a trace. descriptor: the argument that names it. Where the data lie: at the number
    in the argument `offset`; at the number that `pointer` points to, which the call moves on; else, and
    where that pointer is NULL or that number -1 and `or_position` is set, at the descriptor's position,
    which moves on.
    """

    op: str
    descriptor: str
    offset: str = ""
    pointer: str = ""
    or_position: bool = False
    writes: bool = False


@dataclass(frozen=True, slots=True)
class When:
    """Which calls matter: those whose argument is one of `values`, or has none of `without` (bits)."""

    argument: str
    values: tuple[int, ...] = ()
    without: int = 0


@dataclass(frozen=True)
class Row:
    """A system call.

    x86_64, i386, generic: its number (generic: aarch64, riscv64 and all younger machines); None: there is
    none. moves: see `Move`. count: the argument that says how many bytes were asked for. vector: the
    argument that points to iovecs, whose number is the next argument. when: calls that do not fit are of no
    interest. former: other names of it in logs.
    """

    name: str
    x86_64: int | None
    i386: int | None
    generic: int | None
    signature: str
    moves: tuple[Move, ...] = ()
    count: str = ""
    vector: str = ""
    when: When | None = None
    former: tuple[str, ...] = ()

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """In the order of the manual page; an offset that lies in two registers is one argument."""
        words = [part.split() for part in self.signature.split(",") if part]
        return tuple(Argument(name, kind) for kind, name in words)

    def at(self, name: str) -> int:
        """Which argument has this name, from 0. Raises ValueError if there is none."""
        return [argument.name for argument in self.arguments].index(name)

    @property
    def self_contained(self) -> bool:
        """Whether arguments and result say it all: nothing has to be looked up in the program's memory."""
        return self.on_one_file and not self.vector

    @property
    def on_one_file(self) -> bool:
        """Whether it moves data, or a position, of one descriptor, its first argument."""
        pointed = any(move.pointer for move in self.moves)
        return (len(self.moves) == 1 and not pointed) or self.name == "lseek"


def _read(op: str, offset: str = "", or_position: bool = False) -> tuple[Move, ...]:
    return (Move(op, "fd", offset, or_position=or_position),)


def _write(op: str, offset: str = "", or_position: bool = False) -> tuple[Move, ...]:
    return (Move(op, "fd", offset, or_position=or_position, writes=True),)


_BUFFER, _VECTOR = "int fd, ptr buf, long count", "int fd, ptr vec, long vlen"
_BETWEEN = "int fd_in, ptr:loff off_in, int fd_out, ptr:loff off_out, long len, uint flags"
_SENDFILE = (Move("sendfile", "in_fd", pointer="offset"), Move("write", "out_fd", writes=True))
_FCNTL = When("cmd", (F_DUPFD, F_DUPFD_CLOEXEC, F_SETFD, F_SETFL))
_FILES = When("flags", without=MAP_ANONYMOUS)

CALLS: tuple[Row, ...] = (
    # that read or write, those that programs make most first: the seccomp filter compares in this order
    Row("pread64", 17, 180, 67, f"{_BUFFER}, loff pos", _read("pread64", "pos"), "count", former=("pread",)),
    Row("read", 0, 3, 63, _BUFFER, _read("read"), "count"),
    Row("lseek", 8, 19, 62, "int fd, long offset, uint whence"),
    Row("write", 1, 4, 64, _BUFFER, _write("write"), "count"),
    Row("preadv", 295, 333, 69, f"{_VECTOR}, split pos", _read("preadv", "pos"), vector="vec"),
    Row("readv", 19, 145, 65, _VECTOR, _read("readv"), vector="vec"),
    Row("preadv2", 327, 378, 286, f"{_VECTOR}, split pos, int flags", _read("preadv2", "pos", True),
        vector="vec"),
    Row("pwrite64", 18, 181, 68, f"{_BUFFER}, loff pos", _write("pwrite64", "pos"), "count",
        former=("pwrite",)),
    Row("writev", 20, 146, 66, _VECTOR, _write("writev"), vector="vec"),
    Row("pwritev", 296, 334, 70, f"{_VECTOR}, split pos", _write("pwritev", "pos"), vector="vec"),
    Row("pwritev2", 328, 379, 287, f"{_VECTOR}, split pos, int flags", _write("pwritev2", "pos", True),
        vector="vec"),
    Row("sendfile", 40, 187, 71, "int out_fd, int in_fd, ptr:long offset, long count", _SENDFILE, "count"),
    Row("sendfile64", None, 239, None, "int out_fd, int in_fd, ptr:loff offset, long count", _SENDFILE,
        "count"),
    Row("splice", 275, 313, 76, _BETWEEN, (
        Move("splice", "fd_in", pointer="off_in"),
        Move("write", "fd_out", pointer="off_out", writes=True),
    ), "len"),
    Row("copy_file_range", 326, 377, 285, _BETWEEN, (
        Move("copy_file_range", "fd_in", pointer="off_in"),
        Move("copy_file_range_to", "fd_out", pointer="off_out", writes=True),
    ), "len"),
    # that make, change or end descriptors
    Row("close", 3, 6, 57, "int fd"),
    Row("openat", 257, 295, 56, "int dfd, ptr filename, int flags, uint mode"),
    Row("open", 2, 5, None, "ptr filename, int flags, uint mode"),
    Row("creat", 85, 8, None, "ptr pathname, uint mode"),
    Row("openat2", 437, 437, 437, "int dfd, ptr filename, ptr how, long usize"),
    Row("open_by_handle_at", 304, 342, 265, "int mountdirfd, ptr handle, int flags"),
    Row("close_range", 436, 436, 436, "uint fd, uint max_fd, uint flags"),
    Row("dup", 32, 41, 23, "int fildes"),
    Row("dup2", 33, 63, None, "int oldfd, int newfd"),
    Row("dup3", 292, 330, 24, "int oldfd, int newfd, int flags"),
    Row("fcntl", 72, 55, 25, "int fd, uint cmd, long arg", when=_FCNTL),
    Row("fcntl64", None, 221, None, "int fd, uint cmd, long arg", when=_FCNTL),
    Row("ioctl", 16, 54, 29, "int fd, uint cmd, long arg",
        when=When("cmd", (FIOCLEX, FIONCLEX))),
    Row("recvmsg", 47, 372, 212, "int fd, ptr msg, uint flags"),
    Row("recvmmsg", 299, 337, 243, "int fd, ptr mmsg, uint vlen, uint flags, ptr timeout"),
    Row("recvmmsg_time64", None, 417, None, "int fd, ptr mmsg, uint vlen, uint flags, ptr timeout"),
    Row("pidfd_getfd", 438, 438, 438, "int pidfd, int fd, uint flags"),
    Row("_llseek", None, 140, None,
        "int fd, long offset_high, long offset_low, ptr:loff result, uint whence"),
    # that map files, or advise the kernel on them
    Row("mmap", 9, None, 222, "ptr addr, long len, long prot, long flags, int fd, long off", when=_FILES),
    Row("mmap2", None, 192, None, "ptr addr, long len, long prot, long flags, int fd, pages off",
        when=_FILES),
    Row("munmap", 11, 91, 215, "ptr addr, long len"),
    Row("fadvise64", 221, 250, 223, "int fd, loff offset, long len, int advice"),
    Row("fadvise64_64", None, 272, None, "int fd, loff offset, loff len, int advice"),
    Row("readahead", 187, 225, 213, "int fd, loff offset, long count"),
    Row("madvise", 28, 219, 233, "ptr start, long len_in, int behavior",
        when=When("behavior", tuple(range(len(MADVICE))))),
    # that ask to trace or to confine a process: asked by name where they matter (linux/ptrace.h: TRACEME,
    # ATTACH, SEIZE; linux/prctl.h: PR_SET_SECCOMP; linux/seccomp.h: SECCOMP_SET_MODE_STRICT)
    Row("ptrace", 101, 26, 117, "long request, long pid, long addr, long data",
        when=When("request", (0, 16, 0x4206))),
    Row("prctl", 157, 172, 167, "int option, long arg2, long arg3, long arg4, long arg5",
        when=When("option", (22,))),
    Row("seccomp", 317, 354, 277, "uint op, uint flags, ptr uargs", when=When("op", (0,))),
    # whose requests and results lie in the program's memory
    Row("io_setup", 206, 245, 0, "uint nr_reqs, ptr:long ctx"),
    Row("io_submit", 209, 248, 2, "long ctx_id, long nr, ptr iocbpp"),
    Row("io_getevents", 208, 247, 4, "long ctx_id, long min_nr, long nr, ptr events, ptr timeout"),
    Row("io_pgetevents", 333, 385, 292,
        "long ctx_id, long min_nr, long nr, ptr events, ptr timeout, ptr usig"),
    Row("io_pgetevents_time64", None, 416, None,
        "long ctx_id, long min_nr, long nr, ptr events, ptr timeout, ptr usig"),
    Row("io_uring_setup", 425, 425, 425, "uint entries, ptr params"),
    Row("io_uring_enter", 426, 426, 426,
        "int fd, uint to_submit, uint min_complete, uint flags, ptr argp, long argsz"),
    Row("io_uring_register", 427, 427, 427, "int fd, uint opcode, ptr arg, uint nr_args"),
    # that make tasks, or make them other programs
    Row("clone", 56, 120, 220, "long flags, ptr newsp"),
    Row("clone3", 435, 435, 435, "ptr uargs, long size"),
    Row("fork", 57, 2, None, ""),
    Row("vfork", 58, 190, None, ""),
    Row("unshare", 272, 310, 97, "long flags"),
    Row("execve", 59, 11, 221, "ptr filename, ptr argv, ptr envp"),
    Row("execveat", 322, 358, 281, "int fd, ptr filename, ptr argv, ptr envp, int flags"),
)  # fmt: skip
BY_NAME: dict[str, Row] = {row.name: row for row in CALLS}

AIO_OPS: dict[int, str] = {0: "aio_pread", 1: "aio_pwrite", 7: "aio_preadv", 8: "aio_pwritev"}
"""What an iocb asks for (linux/aio_abi.h, IOCB_CMD_*) -> operation."""
URING_OPS: dict[int, str] = {
    1: "uring_readv", 2: "uring_writev", 4: "uring_read_fixed", 5: "uring_write_fixed",
    22: "uring_read", 23: "uring_write", 30: "uring_splice", 49: "uring_read",
    60: "uring_readv_fixed", 61: "uring_writev_fixed",
}  # fmt: skip
"""What an io_uring request asks for (linux/io_uring.h, IORING_OP_*) -> operation."""

_MOVES = [move for row in CALLS for move in row.moves]
_RINGS = (*AIO_OPS.values(), *URING_OPS.values())
READ_OPS: tuple[str, ...] = tuple(dict.fromkeys((
    *(move.op for move in _MOVES if not move.writes), *(op for op in _RINGS if "write" not in op),
)))  # fmt: skip
WRITE_OPS: tuple[str, ...] = tuple(dict.fromkeys((
    *(move.op for move in _MOVES if move.writes), *(op for op in _RINGS if "write" in op),
)))  # fmt: skip

WITHOUT_EFFECT = frozenset((-512, -513, -514, -516, -9))
"""Results of calls that did nothing: restarts inside the kernel (linux/errno.h), after which the call is
made again, and EBADF: there is no file."""
MAX_RW_COUNT = 2**31
"""No call moves more bytes at once (linux/fs.h)."""
ERRORS = 4096
"""Error numbers are smaller (linux/err.h)."""
LARGEST = 2**63 - 1
"""No file has an offset above it (MAX_LFS_FILESIZE on 64-bit machines; linux/fs.h)."""
