"""Logs as people have them: shapes that went wrong once, and others of their kinds."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from profiler.capture.strace.logs import reading
from profiler.capture.strace.logs.dressing import Undresser
from profiler.capture.strace.logs.packing import text_of
from profiler.errors import ColdseekError
from profiler.trace import Trace
from profiler.validity import validate

CASES = Path(__file__).resolve().parents[1] / "data" / "strace" / "cases"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CASES / "expected.json").read_text())
EXPECTED.pop("about")

PLAIN = """\
openat(AT_FDCWD, "/srv/vm/d.qcow2", O_RDONLY) = 3
pread64(3, "\\0"..., 4096, 0) = 4096
lseek(3, 1048576, SEEK_SET) = 1048576
read(3, "\\0"..., 4096) = 4096
close(3) = 0
exit_group(0) = ?
+++ exited with 0 +++
"""
READS = [("/srv/vm/d.qcow2", 0, 4096), ("/srv/vm/d.qcow2", 1048576, 4096)]


def reads(trace: Trace) -> list[tuple[str, int | None, int]]:
    rows = trace.reads()
    missing = rows["offset"].isna()
    return [
        (path.decode("utf8", "replace"), None if gone else int(offset), int(size))
        for path, offset, size, gone in zip(rows["path"], rows["offset"], rows["size"], missing, strict=True)
    ]


def of(log: bytes | str) -> Trace:
    data = log.encode() if isinstance(log, str) else log
    trace = reading.parse(io.BytesIO(data))
    validate(trace)
    return trace


@pytest.mark.parametrize("name", [name for name, case in EXPECTED.items() if "refused" not in case])
def test_a_log_as_it_was_sent(name: str) -> None:
    expected = EXPECTED[name]
    trace = reading.parse(CASES / f"{name}.strace")
    validate(trace)
    found = reads(trace)
    assert [row[1:] for row in found] == [tuple(row[1:]) for row in expected["reads"]]
    assert all(path in ("", row[0]) for row, (path, *_) in zip(found, expected["reads"], strict=True))
    if "files" in expected:
        assert len(set(trace.reads()["file"])) == expected["files"]
    if expected.get("times") is False:
        assert trace.meta.wall_s is None
    if "tasks" in expected:
        assert sorted(set(trace.reads()["tid"])) == expected["tasks"]
    if expected.get("complete"):
        assert trace.meta.partial == ""
    assert set(expected.get("unseen", ())) <= set(trace.meta.unseen)
    assert all(word in " ".join(trace.meta.notes) for word in expected.get("notes", ()))


def imported(*arguments: str | Path) -> tuple[str, int]:
    """What `coldseek import strace` fails with, "" where it does not, and its exit status."""
    importers = import_module("profiler.cli.commands.import_log").importers
    done = CliRunner().invoke(importers, ["strace", *map(str, arguments)])
    if isinstance(done.exception, ColdseekError):
        return str(done.exception), done.exception.exit_code
    return "" if done.exception is None else repr(done.exception), done.exit_code


@pytest.mark.parametrize("name", [name for name, case in EXPECTED.items() if "refused" in case])
def test_a_log_of_another_tool_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    words, status = imported(CASES / f"{name}.strace", "-o", tmp_path / "none.trace.parquet")
    assert status == 125
    assert "\n" not in words
    assert EXPECTED[name]["refused"] in words
    assert "strace -f -y -ttt -T -o LOG COMMAND" in words
    assert not (tmp_path / "none.trace.parquet").exists()


OTHER_TOOLS = {
    "ltrace": 'strlen("x") = 1\nmalloc(32) = 0x55\nopen@SYS("/a", 0) = 3\n+++ exited (status 0) +++\n',
    "truss": 'open("/a",O_RDONLY,00)\t\t = 3 (0x3)\nread(3,"x",4096)\t\t = 4096 (0x1000)\n',
    "perf trace": "     0.000 ( 0.012 ms): cat/12 openat(dfd: CWD, filename: 0x7ff) = 3\n"
    "     0.020 ( 0.002 ms): cat/12 read(fd: 3</a>, buf: 0x7f, count: 4096) = 4096\n",
    "sysdig": "1 12:00:00.123456789 0 cat (12) > read fd=3(<f>/a) size=4096\n"
    "2 12:00:00.123456799 0 cat (12) < read res=4096 data=x\n",
}


@pytest.mark.parametrize("tool", OTHER_TOOLS)
def test_other_tools_are_known_by_their_lines(tool: str) -> None:
    with pytest.raises(ColdseekError, match=f"is a log of {tool}; .*strace -f -y -ttt -T"):
        of(OTHER_TOOLS[tool])


def test_a_summary_behind_the_calls_is_no_reason_to_refuse_them() -> None:
    summary = (
        "% time     seconds  usecs/call     calls    errors syscall\n"
        + "  0.00    0.000000           0         1           read\n" * 30
    )
    assert reads(of(PLAIN + summary)) == READS


def lines(prefix: str, text: str = PLAIN) -> str:
    return "".join(prefix.format(n=number) + line + "\n" for number, line in enumerate(text.splitlines(), 1))


PREFIXES = [
    "> ", ">> ", "| ", "    ", "\t", "{n:6}\t", "{n}: ", "{n:4} | ", "{n:03d}) ",
    "2026-11-25T12:00:00.{n:09d}Z ", "2026-11-25 12:00:0{n} ", "2026-11-25T12:00:00.{n:09d}Z stderr F ",
    "Nov 25 12:00:0{n} ",
    "Nov 25 12:00:0{n} host app[12]: ", "2026-11-25T12:00:00+0000 host app[12]: ", "web-1  | ",
    "[pod/web-5d/app] 2026-11-25T12:00:00.{n:09d}Z ", "[   12.00000{n}] ", "INFO: ",
    "[2026-11-25T12:00:00Z] ", "> {n:5} ", "my-host# ", "{n}:    ",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("own", ["", "[pid  4242] ", "4242 ", "4242 12:00:00.123456 "])
def test_what_was_put_before_each_line_is_taken_off_and_said(prefix: str, own: str) -> None:
    trace = of(lines(prefix, lines(own)))
    assert reads(trace) == READS
    assert "left out of each line" in " ".join(trace.meta.notes)
    assert not any("could not be read" in note for note in trace.meta.notes)
    assert (trace.meta.wall_s is not None) == (":" in own)
    assert set(trace.reads()["tid"]) == ({4242} if own else {0})


OWN = ["", "[pid  4242] ", "4242 ", "4242 12:00:00.123456 ", "12:00:00 ", "     0.000123 ",
       "1795375217.869244 ", "4242 1795375217.869244 "]  # fmt: skip


@pytest.mark.parametrize("own", OWN)
def test_what_strace_itself_writes_is_left_alone(own: str) -> None:
    text = lines(own)
    undresser = Undresser()
    undresser.learn(text.encode())
    assert undresser.notes == []
    assert undresser(text.encode()) == text.encode()
    assert reads(of(text)) == READS


def test_process_ids_are_no_line_numbers() -> None:
    text = "".join(f'{4240 + n} pread64(3</a>, ""..., 512, {n * 4096}) = 512\n' for n in (2, 0, 5, 1, 3, 0))
    assert sorted(set(of(text).reads()["tid"])) == [4240, 4241, 4242, 4243, 4245]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress,
                                  lambda data: pa.compress(data, "zstd", asbytes=True)])  # fmt: skip
def test_compressed_logs(pack: Any) -> None:
    packed = pack(PLAIN.encode())
    assert reads(of(packed)) == READS
    cut = []
    assert b"".join(text_of(io.BytesIO(packed[:-9]), cut.append, print)) != b"" or cut
    assert cut == ["the compressed log is cut off or damaged"]


def test_gzip_members_follow_each_other() -> None:
    half = len(PLAIN) // 2
    packed = gzip.compress(PLAIN[:half].encode()) + gzip.compress(PLAIN[half:].encode())
    assert reads(of(packed)) == READS


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    bomb = gzip.compress(bytes(60 << 20), 9)
    assert max(map(len, text_of(io.BytesIO(bomb), print, print))) <= 2 << 20


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, pa.Codec("zstd").compress])
def test_what_unpacks_to_more_than_a_log_does_is_refused(pack: Any) -> None:
    """A MB may hold 20 million lines, which would take minutes and gigabytes."""
    bomb = bytes(pack(bytes(65 << 20)))
    with pytest.raises(ColdseekError, match="if it is one, unpack it and name what comes out"):
        of(bomb)
    lines = b"".join(b'pread64(3, "", 1, %d) = 1\n' % (n * 2**41 // 3) for n in range(100_000))
    assert len(of(bytes(pack(lines))).events) == 100_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    assert reads(of(PLAIN.replace("\n", "\r\n").encode(encoding))) == READS


def test_html_and_typographic_quotes() -> None:
    assert reads(of(PLAIN.replace('"', "&quot;").replace("+++", "&#43;++"))) == READS
    assert reads(of(PLAIN.replace('"\\0"', "“\\0”").replace('"', "”").replace("...", "…"))) == READS


def test_names_of_arguments_in_split_calls() -> None:
    trace = of(
        '7 openat(dirfd=AT_FDCWD, pathname="/a", flags=O_RDONLY) = 3\n7 read(fd=3, <unfinished ...>\n'
        '8 close(fd=9) = -1 EBADF (Bad file descriptor)\n7 <... read resumed>buf="x"..., count=512) = 100\n'
        '7 preadv2(fd=3, iov=[{iov_base="x", iov_len=9}], iovcnt=1, offset=-1, flags=0) = 9\n'
    )
    assert reads(trace) == [("/a", 0, 100), ("/a", 100, 9)]


def test_a_word_where_a_number_belongs_is_not_zero() -> None:
    trace = of(PLAIN + 'read(FD_X, "", 10) = 10\nread(0, "", SOME) = 10\n')
    assert reads(trace) == READS
    assert any("2 lines could not be read" in note for note in trace.meta.notes)


def test_directories_that_paths_are_relative_to() -> None:
    trace = of(
        '7 chdir("/srv") = 0\n7 openat(AT_FDCWD, "a", O_RDONLY) = 3\n7 read(3, "x", 9) = 9\n'
        '7 open("/d", O_RDONLY|O_DIRECTORY) = 4\n7 fchdir(4) = 0\n'
        '7 open("b", O_RDONLY) = 5\n7 read(5, "x", 8) = 8\n'
        "7 fork() = 8\n8 close(3) = 0\n"
        '8 open("../e/c", O_RDONLY) = 3\n8 read(3, "x", 7) = 7\n'
    )
    assert reads(trace) == [("/srv/a", 0, 9), ("/d/b", 0, 8), ("/e/c", 0, 7)]


def test_temporary_files_without_a_name_are_files_of_their_own() -> None:
    trace = of(
        'open("/tmp", O_RDWR|O_TMPFILE, 0600) = 3\nopen("/tmp", O_RDWR|O_TMPFILE, 0600) = 4\n'
        'pread64(3, "x", 9, 0) = 9\npread64(4, "x", 9, 0) = 9\n'
    )
    assert len(set(trace.reads()["file"])) == 2


def test_a_name_that_is_used_again_is_another_file() -> None:
    trace = of(
        'open("/t", O_RDWR|O_CREAT, 0600) = 3\nread(3, "x", 9) = 9\nunlink("/t") = 0\n'
        'open("/t", O_RDWR|O_CREAT, 0600) = 4\nread(4, "x", 9) = 9\nrename("/t", "/u") = 0\n'
        'open("/u", O_RDONLY) = 5\nread(5, "x", 9) = 9\n'
    )
    rows = trace.reads()
    assert rows["file"].tolist() == [rows["file"][0], rows["file"][1], rows["file"][1]]
    assert rows["file"][0] != rows["file"][1]


def test_the_32nd_request_is_the_last_that_strace_shows() -> None:
    request = "{aio_lio_opcode=IOCB_CMD_PREAD, aio_fildes=3, aio_buf=0x7f, aio_nbytes=512, aio_offset=0}"
    shown = ", ".join([request] * 32)
    trace = of('open("/a", O_RDONLY) = 3\n' + f"io_submit(0x7f00, 64, [{shown}, ...]) = 64\n")
    assert "aio" in trace.meta.unseen
    assert any("32 requests of io_submit are not shown" in note for note in trace.meta.notes)


def test_without_lseek_offsets_are_doubtful() -> None:
    text = 'open("/a", O_RDONLY) = 3\nread(3, "x", 9) = 9\nread(3, "x", 9) = 9\nclose(3) = 0\n'
    assert any("no lseek" in note for note in of(text).meta.notes)
    assert not any("no lseek" in note for note in of(text + "brk(NULL) = 0x55\n").meta.notes)


def test_a_family_of_logs_is_one_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.10").write_text(
        '1.000000 execve("/bin/x", ["x"], 0x7 /* 1 var */) = 0\n'
        '1.100000 openat(AT_FDCWD, "/a", O_RDONLY) = 3\n'
        "1.200000 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 11\n"
        '1.500000 read(3, "x", 10) = 10\n1.600000 exit_group(0) = ?\n1.700000 +++ exited with 0 +++\n'
    )
    (tmp_path / "log.11").write_bytes(gzip.compress(
        b'1.300000 read(3, "x", 5) = 5\n1.400000 close(3) = 0\n1.450000 +++ exited with 0 +++\n'
    ))  # fmt: skip
    (tmp_path / "log.11").rename(tmp_path / "log.11.gz")
    trace = reading.parse(tmp_path / "log.10", tmp_path / "log.11.gz")
    assert reads(trace) == [("/a", 0, 5), ("/a", 5, 10)]
    assert trace.reads()["pid"].tolist() == [11, 10]
    assert trace.meta.partial == "" and "threads" not in trace.meta.unseen
    monkeypatch.chdir(tmp_path)
    assert imported("log.10", "log.11.gz") == ("", 0)
    assert (tmp_path / "log.trace.parquet").exists()
    (tmp_path / "other").write_text(PLAIN)
    words, status = imported("log.10", "other")
    assert status == 2 and "LOG.PID" in words


def test_a_family_without_times_says_that_its_order_is_not_known(tmp_path: Path) -> None:
    for pid in (10, 11):
        (tmp_path / f"log.{pid}").write_text(f'open("/{pid}", O_RDONLY) = 3\nread(3, "x", 9) = 9\n')
    trace = reading.parse(tmp_path / "log.11", tmp_path / "log.10")
    assert reads(trace) == [("/10", 0, 9), ("/11", 0, 9)]
    assert any("in which order" in note for note in trace.meta.notes)


def test_offsets_up_to_the_largest() -> None:
    far = 2**63 - 1 - 4096
    trace = of(
        f'open("/a", O_RDONLY) = 3\npread64(3, "x", 9, {far}) = 9\nlseek(3, {far}, SEEK_SET) = {far}\n'
        'read(3, "x", 4096) = 4096\nread(3, "x", 4096) = 4096\nread(3, "x", 4096) = 4096\n'
    )
    assert reads(trace)[:2] == [("/a", far, 9), ("/a", far, 4096)]
    assert [offset for _, offset, _ in reads(trace)[3:]] == [None]  # no file is as long as that
