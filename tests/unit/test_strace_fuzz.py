"""Logs that nobody would write: both paths through a log agree on all of them, and none does harm."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profiler.capture.strace import grammar, names
from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import reading
from profiler.errors import ColdseekError
from profiler.trace import Trace
from profiler.validity import validate

DATA = Path(__file__).resolve().parents[1] / "data" / "strace"
RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking whole logs takes minutes
)


def outcome(log: bytes, fast: bool) -> Trace | str:
    try:
        return reading.read([io.BytesIO(log)], Log(fast=fast))
    except ColdseekError as error:
        return str(error)


def check(log: bytes) -> None:
    """Both paths end in the same trace, which is valid, or the same error."""
    fast, general = outcome(log, True), outcome(log, False)
    if isinstance(fast, str) or isinstance(general, str):
        assert fast == general
        return
    assert fast.meta == general.meta
    pd.testing.assert_frame_equal(fast.files, general.files)
    pd.testing.assert_frame_equal(fast.events, general.events)
    validate(fast)
    assert all("\n" not in note and "\x1b" not in note for note in fast.meta.notes)


PREFIXES = {
    "bare": lambda task, time: f"{task} ",
    "absolute": lambda task, time: f"{task}  17953752{time // 10**6 % 100:02}.{time % 10**6:06} ",
    "clock": lambda task, time: (
        f"{task} {time // 3600 % 24:02}:{time // 60 % 60:02}:{time % 60:02}.{time % 10**6:06} "
    ),
    "relative": lambda task, time: f"{task}      0.{time % 10**6:06} ",
    "bracket": lambda task, time: f"[pid {task:5}] ",
    "none": lambda task, time: "",
}
DESCRIPTORS = st.sampled_from(
    ["3", "4", "5", "3</d/a>", "3</d/b>", "4</d/b>", "5<pipe:[7]>", "4</d/a>(deleted)"]
)
DATA_TEXT = st.sampled_from(
    ['""', '""...', r'"\0\1"...', '"a, 9) = 9"', r'"\", 1, 2) = 3"', "0x7ffe12", "[...]"]
)
SIZES = st.sampled_from([0, 1, 10, 4096, 999_999_999, 2**31, 2**40, 10**18, 2**62 + 5, 10**25])
SMALL = st.sampled_from([0, 1, 10, 4096])
BORING = [
    "futex(0x1, FUTEX_WAIT, 2, NULL) = 0",
    "brk(NULL) = 0x55",
    "rt_sigprocmask(SIG_BLOCK, NULL, [], 8) = 0",
]
TAILS = ["", "", "", " <0.000010>", " (INJECTED)", " <9.9>"]


@st.composite
def calls(draw: st.DrawFn) -> str:
    """One call, perhaps an impossible one, with `|` where it may be split."""
    descriptor, data = draw(DESCRIPTORS), draw(DATA_TEXT)
    size, result, offset = draw(SIZES), draw(SMALL | SIZES), draw(SIZES)
    return draw(
        st.sampled_from(
            [
                f"read({descriptor}, |{data}, {size}) = {result}",
                f"read({descriptor}, |{data}, {size}) = -1 EIO (Input/output error)",
                f"pread64({descriptor}, |{data}, {size}, {offset}) = {result}",
                f"write({descriptor}, {data}, {size}|) = {result}",
                f"pwrite64({descriptor}, {data}, {size}, {offset}|) = {result}",
                f"lseek({descriptor}, {offset}, SEEK_SET|) = {offset}",
                f"lseek({descriptor}, -{size}, SEEK_CUR|) = {result}",
                f"preadv({descriptor}, |[{{iov_base={data}, iov_len={size}}}], 1, {offset}) = {result}",
                'openat(AT_FDCWD, "/d/a", O_RDONLY|) = 3',
                'openat(AT_FDCWD, "/d/b", O_WRONLY|O_APPEND) = 4</d/b>',
                f"close({descriptor}|) = 0",
                f"dup2({descriptor}, 4|) = 4",
                f"fcntl({descriptor}, F_SETFL, O_RDONLY|O_DIRECT) = 0",
                "clone(child_stack=NULL, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 8",
                "clone(|child_stack=NULL, flags=SIGCHLD) = 9",
                "pipe2([5, 6], 0|) = 0",
                'execve("/bin/x", ["x"], 0x7 /* 2 vars */|) = 0',
                "exit_group(0|) = ?",
                *BORING,
            ]
        )
    )


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """A log of mostly sensible lines in mostly one layout."""
    style = draw(st.sampled_from(sorted(PREFIXES)))
    duration = draw(st.sampled_from(["", " <0.000123>"]))
    lines, time, open_calls = [], draw(st.integers(0, 86_399)), {}
    for _ in range(draw(st.integers(1, 60))):
        task = draw(st.sampled_from([7, 7, 7, 8, 9]))
        time += draw(st.sampled_from([0, 1, 50, 40_000]))
        other = draw(st.integers(0, 30))
        prefix = PREFIXES[draw(st.sampled_from(sorted(PREFIXES))) if other == 0 else style](task, time)
        tail = draw(st.sampled_from(TAILS)) if other == 1 else duration
        kind = draw(st.integers(0, 9))
        if task in open_calls and kind < 7:
            name, rest = open_calls.pop(task)
            lines.append(f"{prefix}<... {name} resumed>{rest}{tail}")
            continue
        call = draw(calls())
        begin, cut, rest = call.partition("|")
        if kind == 9 and cut:
            open_calls[task] = (call.partition("(")[0], rest)
            lines.append(f"{prefix}{begin} <unfinished ...>")
        elif kind == 8:
            lines.append(
                prefix + draw(st.sampled_from(["+++ exited with 0 +++", "--- SIGCHLD {} ---", "???", ""]))
            )
        else:
            lines += [prefix + call.replace("|", "", 1 if "O_" not in call else 0) + tail] * draw(
                st.sampled_from([1, 1, 9])
            )
    text = "\n".join(lines * draw(st.sampled_from([1, 1, 1, 30]))).encode()
    return text + draw(st.sampled_from([b"\n", b"", b"\n7 pread64(3, "]))


@RELAXED
@given(logs())
def test_both_paths_agree(log: bytes) -> None:
    check(log)


GOLDEN = [path.read_bytes() for path in sorted(DATA.glob("*.strace*")) if path.stat().st_size < 60_000]


@RELAXED
@given(st.data())
def test_mutated_real_logs(data: st.DataObject) -> None:
    log = bytearray(data.draw(st.sampled_from(GOLDEN)))
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(log)))
        length = data.draw(st.sampled_from([0, 1, 3, 20, 500]))
        other = data.draw(st.integers(0, len(log)))
        new = data.draw(
            st.binary(max_size=6)
            | st.sampled_from(
                [b"\n", b'"', b"<", b">", b"(", b")", b" = ", b", ", b"9" * 30, b" <unfinished ...>\n"]
            )
            | st.just(bytes(log[other : other + 200]))
        )
        log[at : at + length] = new
    check(bytes(log))


@RELAXED
@given(st.binary(max_size=3000))
def test_noise(log: bytes) -> None:
    check(log)


@RELAXED
@given(st.text(alphabet='read(3<>", 19)=\\n[]{}/. ?-+\n', max_size=400))
def test_noise_that_looks_like_calls(log: str) -> None:
    check(log.encode())


@RELAXED
@given(st.binary(max_size=200))
def test_values_of_any_bytes(text: bytes) -> None:
    for read in (grammar.number, grammar.vector_bytes, grammar.pointed, grammar.unescape,
                 grammar.string, grammar.strings, names.file_of):  # fmt: skip
        with contextlib.suppress(grammar.UnreadableError):
            read(text)


@RELAXED
@given(st.binary(max_size=100))
def test_names_survive_octal_escapes(name: bytes) -> None:
    escaped = b"".join(b"\\%03o" % byte for byte in name)
    assert grammar.unescape(escaped) == name
    assert grammar.unescape(b"".join(b"\\x%02x" % byte for byte in name)) == name


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.sampled_from(GOLDEN))
def test_the_size_of_pieces_makes_no_difference(size: int, log: bytes) -> None:
    whole, pieces = Log(), Log()
    whole.feed(log)
    for at in range(0, len(log), size):
        pieces.feed(log[at : at + size])
        if at % 5 == 0:
            pieces.flush()
    whole.finish()
    pieces.finish()
    assert whole.trace().meta == pieces.trace().meta
    pd.testing.assert_frame_equal(whole.trace().events, pieces.trace().events)


LONG = [
    b'"' + b"\\" * 200_000, b"1<" * 100_000, b"1<" * 9000 + b">" * 9000, b"[{(" * 50_000, b'"a"' * 100_000,
    b"/*" * 100_000, b" = " * 100_000, b"1<a>" * 100_000, b"\\" * 300_000, b", " * 50_000, b"<\n" * 5_000,
    b"aio_data=0, " * 50_000, b"{aio_lio_opcode=a, aio_fildes=3, aio_buf=[" * 10_000,
]  # fmt: skip
HEADS = [
    b"read(",
    b"7 pread64(3, ",
    b"7 1.5 writev(4<",
    b"io_submit(1, 1, [",
    b"<... read resumed>",
    b"--- ",
    b"",
]


@pytest.mark.parametrize("head", HEADS)
def test_texts_made_to_take_long(head: bytes) -> None:
    """Some 0.5 s; backtracking would take hours."""
    for text in LONG:
        outcome(head + text + b") = 1\n", True)
