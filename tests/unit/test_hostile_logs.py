"""Logs that nobody would write: lines without end, families without end, links that lead in a circle."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from pathlib import Path

import pytest

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import family, reading
from profiler.errors import ColdseekError
from profiler.validity import validate

LONG = {
    "comments": "read(3, " + "/*a" * 300_000,
    "messages": 'recvmsg(3, "' + "cmsg_type=SCM_RIGHTS, cmsg_data=[" * 30_000 + '") = 0',
    "quotes in names": "readv(3, [" + ", ".join(['3<"' + '\\"' * 8000 + ">"] * 60) + "], 1) = 1",
    "quotes in a name": "execve(" + ", ".join(['3<"' + '\\"' * 8000 + ">"] * 61) + ") = 0",
    "a row of a summary": " 30.00 0.000012 " + "1" * 900_000 + "!",
    "an indent": " " * 900_000 + "1.1",
    "marks of colours": "\x1bbk;" * 250_000,
    "one number": "read(3, " + "9" * 900_000 + ") = 1",
    "zeros": "\0" * 900_000,
    "arguments": "read(" + "3, " * 300_000 + ") = ?",
}
HEADS = {
    "plain": "",
    "indented": "    ",
    "coloured": "\x1b[31m",
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", LONG)
def test_a_long_line_is_gone_through_once(name: str, head: str) -> None:
    usual = f'{HEADS[head]}pread64(3</d/a>, "", 1, 1) = 1\n' * 500
    log = usual + LONG[name] + "\n" + usual
    trace = reading.parse(io.BytesIO(log.encode("latin1")))
    validate(trace)
    assert len(trace.reads()) == 1000


def test_numbers_before_a_line_that_are_alike_but_for_their_letters() -> None:
    lines = (f"{'1a' * 60}{n}z-=-{'a1' * 30}: pread64(3</d/a>, ) = 1\n" for n in range(400))
    with pytest.raises(ColdseekError):
        reading.parse(io.BytesIO("".join(lines).encode()))


# -- what is no file ---------------------------------------------------------------------------------------


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """As of a shell's <(zcat LOG.gz)."""
    reads, writes = os.pipe()
    os.write(writes, b'pread64(3</d/a>, "", 1, 1) = 1\n')
    os.close(writes)
    try:
        assert len(reading.parse(f"/dev/fd/{reads}").reads()) == 1
    finally:
        os.close(reads)


def test_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('pread64(3</d/a>, "", 1, 1) = 1\n')
    (tmp_path / "log").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert len(reading.parse(tmp_path / "log").reads()) == 1
    with pytest.raises(ColdseekError, match="Too many levels of symbolic links; name a log"):
        reading.parse(tmp_path / "loop")


# -- families ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [True, False])
def test_a_family_of_more_files_than_can_be_open(
    timed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "_AT_ONCE", 7)  # 400 files: three rounds of merging
    for task in range(400):
        times = [f"1795375217.{n * 400 + task:06} " if timed else "" for n in range(5)]
        (tmp_path / f"log.{2 * task + 1}").write_text(
            "".join(f'{time}pread64(3</d/a>, "", 1, {n}) = 1\n' for n, time in enumerate(times))
        )
    (tmp_path / "log.9").write_bytes(gzip.compress((tmp_path / "log.9").read_bytes()))
    reads = reading.parse(*(tmp_path / f"log.{2 * task + 1}" for task in range(400))).reads()
    order = [(n, 2 * task + 1) for n in range(5) for task in range(400)]
    if not timed:
        order.sort(key=lambda one: one[1])
    assert list(zip(reads["offset"], reads["tid"], strict=True)) == order


def test_a_line_of_a_family_that_does_not_end(tmp_path: Path) -> None:
    usual = b'1795375217.000001 pread64(3</d/a>, "", 1, 1) = 1\n'
    (tmp_path / "log.1").write_bytes(usual + b"x" * (5 << 20) + b"\n" + usual)
    (tmp_path / "log.2").write_bytes(usual * 3)
    trace = reading.parse(tmp_path / "log.1", tmp_path / "log.2")
    assert len(trace.reads()) == 5
    assert sum(note.startswith("1 line could not be read; line 2: 1 xxx") for note in trace.meta.notes) == 1


def test_what_is_true_of_each_file_is_said_once(tmp_path: Path) -> None:
    for task in (1, 2, 3):
        log = 'pread64(3</d/a>, "", 1, 1) = 1\n' * 20
        (tmp_path / f"log.{task}").write_bytes(log.encode("utf-16"))
    notes = reading.parse(*(tmp_path / f"log.{task}" for task in (1, 2, 3))).meta.notes
    assert len(set(notes)) == len(notes)


def test_what_stands_before_the_lines_is_shown_without_its_escapes() -> None:
    lines = (f'\x1b[31m-{n}=- pread64(3</d/a>, "", 1, 1) = 1\n' for n in range(9))
    with contextlib.suppress(ColdseekError):
        log = Log()
        reading.read([io.BytesIO("".join(lines).replace("[31m", "]x").encode())], log)
    assert log.notes and all(note.isprintable() for note in log.notes)


def test_numbers_that_begin_with_0_are_octal_on_both_ways_through_a_log() -> None:
    log = 'pread64(07</d/a>, "", 010, 0777) = 1\npread64(7</d/a>, "", 10, 777) = 1\n' * 20
    for fast in (True, False):
        reads = reading.read([io.BytesIO(log.encode())], Log(fast=fast)).reads()
        assert reads["offset"].tolist() == [0o777, 777] * 20
        assert reads["handle"].nunique() == 1


def test_json_that_is_no_text() -> None:
    """Half a surrogate, as JSON may have it, and numbers of any length."""
    line = b'{"log": "pread64(3</d/a>, \\"\\ud800\\", 1, 1) = 1", "n": %b}\n'
    trace = reading.parse(io.BytesIO(line % b"1" * 1 + line % (b"9" * 10_000) + (line % b"2") * 3))
    assert len(trace.reads()) == 4
