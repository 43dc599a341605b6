"""Logs of strace, and what a hostile hand could make of them: for the tests and for `scripts/fuzz-logs`.

A case is a log as files, name -> bytes: one, or a family of strace -ff. It begins with a real log
(tests/data/strace) or with one that is made here, of lines that each may be true, and is changed in bytes,
lines, words and stretches, dressed as logs get on their way, and packed.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import reading
from profiler.errors import ColdseekError
from profiler.files.traces import load, save
from profiler.report import json as report_json
from profiler.report import text as report_text
from profiler.report.summarise import summarise
from profiler.trace import Trace
from profiler.validity import validate

FOLDER = Path(__file__).resolve().parent / "data" / "strace"
NAMES = tuple(
    sorted(
        str(path.relative_to(FOLDER))
        for path in FOLDER.rglob("*.strace*")
        if path.is_file() and path.stat().st_size < 100_000
    )
)

Number = Callable[[int], int]
"""Gives the next whole number below another."""
Case = dict[str, bytes]


@cache
def content(name: str) -> bytes:
    """One of NAMES."""
    return (FOLDER / name).read_bytes()


def usual() -> Case:
    """One as strace writes it, to load all that reading it takes."""
    return {"log": content("f-yy-ttt-T.strace")}


# -- logs that are made -----------------------------------------------------------------------------------

_NUMBERS = (
    b"0", b"-1", b"1", b"3", b"4", b"7", b"255", b"4096", b"65536", b"2147483647", b"2147483648",
    b"4294967295", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"0x7fffffffffffffff", b"0xffffffffffffffff", b"0777", b"-9223372036854775808",
    b"1e9", b"1.5", b"99999999999999999999999", b"9" * 400, b"9" * 10_000, b"-0", b"", b"NULL", b"AT_FDCWD",
)  # fmt: skip
_STRINGS = (
    b'""', b'"/d/a"', b'"/d/b"...', b'"a"', b'"../x"', b'"' + b"n" * 300 + b'"', b'"\\0\\377\\x41"',
    b'"\\""', b'"\\\\"', b'"a, 9) = 9"', b'"/' + b"long/" * 1000 + b'"', b'"', b"0x7ffe12", b"[...]",
    b'"\x1b[31m"', b'"\xff\xfe"',
)  # fmt: skip
_CALLS = (
    b'openat(AT_FDCWD, %s, O_RDONLY|O_CLOEXEC) = %n', b'open(%s, O_RDWR|O_APPEND) = %n',
    b'creat(%s, 0600) = %n', b'openat(%d, %s, O_RDONLY) = %n',
    b'openat2(AT_FDCWD, %s, {flags=O_RDONLY, resolve=0}, 24) = %n', b'read(%d, %s, %n) = %n',
    b'pread64(%d, %s, %n, %n) = %n', b'write(%d, %s, %n) = %n', b'pwrite64(%d, %s, %n, %n) = %n',
    b'lseek(%d, %n, SEEK_SET) = %n', b'lseek(%d, %n, SEEK_CUR) = %n',
    b'readv(%d, [{iov_base=%s, iov_len=%n}, {iov_base=%s, iov_len=%n}], 2) = %n',
    b'preadv2(%d, [{iov_base=%s, iov_len=%n}], 1, %n, 0) = %n', b'_llseek(%d, %n, [%n], SEEK_SET) = 0',
    b'close(%d) = 0', b'close_range(%n, %n, 0) = 0', b'close_range(%n, %n, CLOSE_RANGE_CLOEXEC) = 0',
    b'dup(%d) = %n', b'dup2(%d, %n) = %n', b'dup3(%d, %n, O_CLOEXEC) = %n', b'fcntl(%d, F_DUPFD, %n) = %n',
    b'fcntl(%d, F_SETFL, O_RDONLY|O_DIRECT) = 0', b'fcntl(%d, F_SETFD, FD_CLOEXEC) = 0',
    b'mmap(NULL, %n, PROT_READ|PROT_EXEC, MAP_PRIVATE, %d, %n) = 0x7f0000000000',
    b'fadvise64(%d, %n, %n, POSIX_FADV_WILLNEED) = 0', b'readahead(%d, %n, %n) = 0',
    b'sendfile(%d, %d, [%n] => [%n], %n) = %n', b'splice(%d, [%n], %d, NULL, %n, 0) = %n',
    b'copy_file_range(%d, [%n => %n], %d, NULL, %n, 0) = %n',
    b'io_submit(0x7f, 1, [{aio_data=%n, aio_lio_opcode=IOCB_CMD_PREAD, aio_fildes=%d, aio_buf=%s, '
    b'aio_nbytes=%n, aio_offset=%n}]) = %n',
    b'io_getevents(0x7f, 1, 8, [{data=%n, obj=0x5, res=%n, res2=0}], NULL) = %n',
    b'recvmsg(%d, {msg_control=[{cmsg_len=24, cmsg_type=SCM_RIGHTS, cmsg_data=[%n, %n]}], '
    b'msg_flags=0}, 0) = %n',
    b'pipe2([%n, %n], 0) = 0', b'socketpair(AF_UNIX, SOCK_STREAM, 0, [%n, %n]) = 0',
    b'eventfd2(0, 0) = %n', b'clone(child_stack=NULL, flags=SIGCHLD) = %t', b'vfork() = %t',
    b'unshare(CLONE_FILES) = 0', b'clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = %t',
    b'clone3({flags=%n}, 88) = %t', b'execve(%s, [%s, %s], 0x7ffe /* 3 vars */) = 0', b'chdir(%s) = 0',
    b'fchdir(%d) = 0', b'rename(%s, %s) = 0', b'renameat2(%d, %s, %d, %s, 0) = 0', b'unlink(%s) = 0',
    b'exit_group(%n) = ?', b'ptrace(PTRACE_TRACEME) = -1 EPERM (Operation not permitted)',
    b'brk(NULL) = 0x55', b'futex(0x1, 0) = 0', b'io_uring_setup(8, {flags=IORING_SETUP_SQPOLL}) = %n',
    b'io_uring_enter(%d, %n, %n, 0, NULL, 8) = %n', b'pidfd_getfd(%d, %n, 0) = %n',
    b'read(%d, %s, %n) = -1 EIO (Input/output error)',
    b'read(%d, %s, %n) = ? ERESTARTSYS (To be restarted)',
)  # fmt: skip
_BESIDE = (
    b"+++ exited with 0 +++", b"+++ killed by SIGKILL +++", b"--- SIGCHLD {si_signo=SIGCHLD} ---", b"???",
    b"", b"+++ superseded by execve in pid %t +++", b"strace: Process %t attached",
    b" > /lib/x.so(read+0x1) [0x2]", b" | 00000  7f 45 4c 46 |",
    b"% time     seconds  usecs/call     calls    errors syscall",
    b" 30.00    0.000012           4         3         1 read",
    b"100.00    0.000036                     5 total",
)  # fmt: skip
_ANNOTATIONS = (
    b"", b"", b"</d/a>", b"</d/b>", b"</d/a>(deleted)", b"<pipe:[7]>", b"<socket:[8]>", b"</dev/sda>",
    b"</d/a\\76>", b"<TCP:[1.1.1.1:1->2.2.2.2:2]>", b"</d/x<char 1:3>>", b"<anon_inode:[eventfd]>", b"</",
    b"<" + b"x" * 500 + b">",
)  # fmt: skip
_PREFIXES: tuple[Callable[[int, int], bytes], ...] = (
    lambda task, us: b"",
    lambda task, us: b"%d " % task,
    lambda task, us: b"[pid %5d] " % task,
    lambda task, us: b"%d 17953752%02d.%06d " % (task, us // 10**6 % 100, us % 10**6),
    lambda task, us: (
        b"%d %02d:%02d:%02d.%06d " % (task, us // 3600 % 24, us // 60 % 60, us % 60, us % 10**6)
    ),
    lambda task, us: b"%d %02d:%02d:%02d " % (task, us // 3600 % 24, us // 60 % 60, us % 60),
    lambda task, us: b"%d      0.%06d " % (task, us % 10**6),
    lambda task, us: b"     0.%06d " % (us % 10**6),
    lambda task, us: b"17953752%02d.%06d [pid %d] " % (us // 10**6 % 100, us % 10**6, task),
    lambda task, us: b"%d<comm> 1795375217.%06d " % (task, us % 10**6),
)
_SLOT = re.compile(rb"%([sdnt])")


def generated(number: Number) -> bytes:
    """A log mostly of one layout, of calls that each may be true."""
    prefix = _PREFIXES[number(len(_PREFIXES))]
    annotated, duration = number(2), number(2)
    tasks = [7] if number(2) else [7, 7, 8, 9, 10, 11]
    time_us, lines = number(86_400), []
    begun: dict[int, tuple[bytes, bytes]] = {}

    def word(found: re.Match[bytes]) -> bytes:
        kind = found[1]
        if kind == b"s":
            return _STRINGS[number(len(_STRINGS) if number(4) == 0 else 5)]
        if kind == b"t":
            return b"%d" % (8 + number(4))
        if kind == b"d":
            name = _ANNOTATIONS[number(len(_ANNOTATIONS))] if annotated else b""
            return b"%d" % number(6) + name
        return (
            _NUMBERS[number(len(_NUMBERS))] if number(8) == 0 else b"%d" % number(8192 if number(2) else 8)
        )

    for _ in range(1 + number(80)):
        task = tasks[number(len(tasks))]
        time_us += (0, 1, 50, 40_000)[number(4)]
        how = _PREFIXES[number(len(_PREFIXES))] if number(40) == 0 else prefix
        before, after = how(task, time_us), b" <0.000123>" if duration else b""
        if task in begun and number(3):
            name, rest = begun.pop(task)
            lines.append(before + b"<... %b resumed>" % name + rest + after)
            continue
        if number(12) == 0:
            lines.append(before + _SLOT.sub(word, _BESIDE[number(len(_BESIDE))]))
            continue
        call = _SLOT.sub(word, _CALLS[number(len(_CALLS))])
        place = call.find(b", ")
        if number(6) == 0 and place > 0:
            begun[task] = (call.partition(b"(")[0], call[place + 2 :])
            lines.append(before + call[: place + 2] + b" <unfinished ...>")
        else:
            lines += [before + call + after] * (1, 1, 1, 1, 30)[number(5)]
    return b"\n".join(lines * (1, 1, 1, 20)[number(4)]) + b"\n"


# -- changes ----------------------------------------------------------------------------------------------

_SIGNS = (
    b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b'"', b"'", b"\\", b"<", b">", b"(", b")", b"[", b"]", b"{",
    b"}", b", ", b" = ", b" = ?", b"=>", b"|", b"/*", b"*/", b"%s", b"\x1b", b"\x1b[0m", b"\x85", b"\xa0",
    b"\xff", b"\xc3", b"\xe2\x80\x9c", b"\xef\xbb\xbf", b"&lt;", b"&#55555;", b" <unfinished ...>",
    b" <unfinished ...>\n", b" <detached ...>", b"<... read resumed>", b"9" * 30, b"\0" * 3000,
    b" " * 3000, b"(deleted)", b" (INJECTED)", b"/../", b"-1", b"+++", b"---",
)  # fmt: skip
_NUMERAL = re.compile(rb"-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?)")
_QUOTED = re.compile(rb'"(?:[^"\\\n]|\\.)*"')
_WORD = re.compile(rb"[a-zA-Z_]\w*")
_NAMED = re.compile(rb"(?<!\d)\d{1,20}<[^<>\n]{0,4096}>|\b[0-9]{1,3}(?=[,)])")


def _bytes(log: bytes, number: Number) -> bytes:
    at, length = number(len(log) + 1), (0, 1, 1, 3, 20, 500)[number(6)]
    kind = number(3)
    new = bytes([number(256)]) if kind == 0 else _SIGNS[number(len(_SIGNS))] if kind == 1 else b""
    return log[:at] + new + log[at + length :]


def _lines(log: bytes, number: Number) -> bytes:
    lines = log.split(b"\n")
    one, other = number(len(lines)), number(len(lines))
    kind = number(7)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        del lines[one : one + 1 + number(3)]
    elif kind == 2:
        lines[one:one] = [lines[other]] * (1 + number((2, 3, 300)[number(3)]))
    elif kind == 3:
        lines[one] = lines[one][: number(len(lines[one]) + 1)]
    elif kind == 4:
        lines[one] = lines[one][number(len(lines[one]) + 1) :]
    elif kind == 5:
        lines[one : one + 2] = [b"".join(lines[one : one + 2])]
    else:
        lines.reverse()
    return b"\n".join(lines)


def _words(log: bytes, number: Number) -> bytes:
    pattern = (_NUMERAL, _NUMERAL, _QUOTED, _WORD, _NAMED)[number(5)]
    start = number(len(log) + 1)
    found = pattern.search(log, start) or pattern.search(log)
    if found is None:
        return log
    if pattern is _NUMERAL:
        new = _NUMBERS[number(len(_NUMBERS))]
    elif pattern is _QUOTED:
        new = _STRINGS[number(len(_STRINGS))]
    elif pattern is _NAMED:
        new = b"%d" % number(8) + _ANNOTATIONS[number(len(_ANNOTATIONS))]
    else:
        new = _WORD.findall(_CALLS[number(len(_CALLS))])[0]
    if number(6) == 0:  # everywhere
        return log.replace(found[0], new, 2000)
    return log[: found.start()] + new + log[found.end() :]


def _stretches(log: bytes, number: Number) -> bytes:
    at, length, to = number(len(log) + 1), number((40, 400, 4000)[number(3)]), number(len(log) + 1)
    piece = log[at : at + length]
    kind = number(4)
    if kind == 0:
        return log[:to] + piece + log[to:]
    if kind == 1:
        return log[:at] + log[at + length :]
    if kind == 2:
        return log[:to] + piece * (1 + number(50)) + log[to:]
    return log[:to]


_CHANGES = (_bytes, _lines, _lines, _words, _words, _words, _stretches)


def changed(log: bytes, number: Number) -> bytes:
    """A log with one change."""
    return _CHANGES[number(len(_CHANGES))](log, number)


# -- dresses ----------------------------------------------------------------------------------------------


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


_DRESSES: tuple[Callable[[int, bytes], bytes], ...] = (
    lambda n, line: json.dumps({"log": _text(line) + "\n", "stream": "stderr", "time": "x"}).encode(),
    lambda n, line: json.dumps({"MESSAGE": _text(line), "PRIORITY": "6"}, ensure_ascii=False).encode(),
    lambda n, line: b'{"log": "\\ud800\\udc00\\udead' + json.dumps(_text(line))[1:].encode() + b"}",
    lambda n, line: b"2026-11-22T19:20:17.%09dZ stderr F " % n + line,
    lambda n, line: b"Nov 22 19:20:%02d host strace[%d]: " % (n % 60, n % 7) + line,
    lambda n, line: b"[pod/a-b/c] " + line,
    lambda n, line: b"web_1  | " + line,
    lambda n, line: b"%6d\t" % n + line,
    lambda n, line: b"> " * (1 + n % 2) + line,
    lambda n, line: b"    " + line,
    lambda n, line: b"\x1b[3%dm" % (n % 8) + line + b"\x1b[0m",
    lambda n, line: b"run 0x%08x step %d: " % (n * 77, n) + line,
    lambda n, line: line.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b'"', b"&quot;"),
    lambda n, line: line.replace(b'"', "\u201c".encode()),
    lambda n, line: line + b"\r",
)


def _dressed(log: bytes, number: Number) -> bytes:
    dress = _DRESSES[number(len(_DRESSES))]
    lines = log.removesuffix(b"\n").split(b"\n")
    return b"\n".join(dress(place + 1, line) for place, line in enumerate(lines)) + b"\n"


def _zstd(log: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(log))


_PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress, lzma.compress, bz2.compress, _zstd,
    lambda log: gzip.compress(log[:300]) + gzip.compress(b"") * 50 + gzip.compress(log[300:]),
    lambda log: log.decode("latin1").encode("utf-16"),
    lambda log: log.decode("latin1").encode("utf-16-be"),
    lambda log: b"\xef\xbb\xbf" + log,
)  # fmt: skip
_TASK = re.compile(rb"(\d{1,7}) ")


def packed(log: bytes, number: Number) -> bytes:
    """A log as it may be packed, and then damaged."""
    log = _PACKERS[number(len(_PACKERS))](log)
    for _ in range(number(3)):
        log = _bytes(log, number) if number(2) else log[: number(len(log) + 1)]
    return log


def mutated(number: Number) -> Case:
    """A log with up to a dozen changes, or a family of logs."""
    log = generated(number) if number(2) else content(NAMES[number(len(NAMES))])
    if number(8) == 0:
        log = generated(number) + log
    for _ in range(number(4)):
        log = changed(log, number)
    while number(5) == 0:
        log = _dressed(log, number)
    for _ in range(number(10)):
        log = changed(log, number)
    log = log[: 20_000 if number(16) else 400_000]  # short ones make more of them
    if number(8) == 0:
        return _family(log, number)
    if number(6) == 0:
        log = packed(log, number)
    return {"log": log}


def _family(log: bytes, number: Number) -> Case:
    """A file for each task, as of strace -ff."""
    files: dict[int, list[bytes]] = {}
    for line in log.split(b"\n"):
        found = _TASK.match(line)
        task = int(found[1]) if found is not None else number(4)
        if len(files) > 40:
            task = 1
        files.setdefault(task, []).append(line[found.end() :] if found is not None else line)
    made = {f"log.{task}": b"\n".join(lines) + b"\n" for task, lines in files.items()}
    for name in list(made):
        if number(20) == 0:
            made[name] = _PACKERS[number(len(_PACKERS))](made[name])
    if number(20) == 0:
        made["other.1"] = b""
    return made


# -- what holds of each -----------------------------------------------------------------------------------


def check(case: Case, thorough: bool = False) -> Trace | None:
    """A case is read without harm: to a sound trace, or None, where a line says why there is none. thorough:
    the slow way through the log comes to the same, and the trace is saved, loaded and reported."""
    with tempfile.TemporaryDirectory(prefix="coldseek-logs-") as folder:
        paths = [os.path.join(folder, name) for name in case]
        for path, log in zip(paths, case.values(), strict=True):
            Path(path).write_bytes(log)
        trace = _read(paths, True)
        if thorough:
            assert_alike(trace, _read(paths, False))
        if trace is None:
            return None
        assert_sound(trace)
        if thorough:
            file = os.path.join(folder, "trace")
            save(trace, file)
            assert_alike(load(file), trace)
            assert_reported(trace)
    return trace


def _read(paths: list[str], fast: bool) -> Trace | None:
    try:
        return reading.read(paths, Log(fast=fast))
    except ColdseekError as error:
        assert str(error).isprintable() and len(str(error)) < 2000, "one line, whatever the log holds"
        return None


def assert_sound(trace: Trace) -> None:
    validate(trace)
    meta, events = trace.meta, trace.events
    for words in (*meta.notes, meta.partial):
        assert "\n" not in words and "\x1b" not in words and len(words) < 3000
    assert meta.wall_s is None or 0 <= meta.wall_s < 2**63 / 1e9
    assert meta.exit_status is None or 0 <= meta.exit_status <= 255
    assert events["errno"].between(0, 4095).all()
    assert events["size"].isna().eq(events["size"].isna() | (events["errno"] != 0)).all()


def assert_alike(one: Trace | None, other: Trace | None) -> None:
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    assert dataclasses.asdict(one.meta) == dataclasses.asdict(other.meta)
    pd.testing.assert_frame_equal(one.files, other.files)
    for column in one.events:  # an empty category has no order to compare
        mine, others = one.events[column], other.events[column]
        assert (
            mine.astype("str").equals(others.astype("str"))
            if mine.dtype == "category"
            else mine.equals(others)
        )


def assert_reported(trace: Trace) -> None:
    """The report counts what the trace holds."""
    summary = summarise(trace)
    reads, writes = trace.reads(), trace.writes()
    words = report_text.report(summary, 80).plain
    assert "\x1b" not in words
    found = json.loads(report_json.dumps(report_json.report(summary)))
    assert found["totals"]["reads"] == len(reads)
    assert found["totals"]["bytes"] == int(reads["size"].sum())
    assert found["totals"]["writes"] == len(writes)
    assert found["totals"]["written_bytes"] == int(writes["size"].sum())
    assert found["totals"]["ends_of_file"] == len(trace.ends_of_file())
    assert found["totals"]["unknown_offsets"] == int(reads["offset"].isna().sum())
    assert found["totals"]["files"] == reads["file"].nunique()
    with contextlib.redirect_stdout(io.StringIO()):
        report_text.write(report_text.report(summary, 80), io.StringIO())
