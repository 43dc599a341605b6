"""Small logs, each with one thing that real logs hold."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pytest

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import reading
from profiler.errors import ColdseekError
from profiler.trace import Trace
from profiler.validity import validate


def parse(text: str | bytes) -> Trace:
    """The trace of a log, after it has been seen that both paths through it agree."""
    data = text.encode("latin1") if isinstance(text, str) else text
    fast, general = (reading.read([io.BytesIO(data)], Log(fast=fast)) for fast in (True, False))
    assert fast.meta == general.meta
    assert fast.events.equals(general.events)
    assert fast.files.equals(general.files)
    validate(fast)
    return fast


def reads(trace: Trace) -> list[tuple[str, int | None, int]]:
    """(path, offset, size) of each read."""
    found = trace.reads()
    offsets = [None if missing else int(offset) for missing, offset in
               zip(found["offset"].isna(), found["offset"].fillna(0), strict=True)]  # fmt: skip
    paths = [path.decode("latin1") for path in found["path"]]
    return list(zip(paths, offsets, found["size"].tolist(), strict=True))


OPEN = 'openat(AT_FDCWD, "/d/a", O_RDONLY) = 3\n'


def test_open_read_seek() -> None:
    trace = parse(
        OPEN
        + 'read(3, "", 10) = 10\nlseek(3, 100, SEEK_SET) = 100\nread(3, "", 10) = 4\nread(3, "", 9) = 0\n'
    )
    assert reads(trace) == [("/d/a", 0, 10), ("/d/a", 100, 4)]
    assert len(trace.ends_of_file()) == 1


@pytest.mark.parametrize(
    ("annotation", "path", "kind"),
    [
        ("/d/a", b"/d/a", "regular"),
        (r"/d/a\76b", b"/d/a>b", "regular"),
        ("/d/a>b", b"/d/a>b", "regular"),  # older versions do not escape it
        ("/d/a, b = 3", b"/d/a, b = 3", "regular"),
        (r"/d/\"q\"\n\303\344", b'/d/"q"\n\xc3\xe4', "regular"),
        (r"\x2f\x64\xff", b"/d\xff", "regular"),
        ("/d/a (deleted)", b"/d/a (deleted)", "regular"),
        ("/dev/sda1", b"/dev/sda1", "block"),
        ("/dev/mapper/x", b"/dev/mapper/x", "block"),
        ("/dev/nvme0n1p1", b"/dev/nvme0n1p1", "block"),
        ("/dev/pts/0<char 136:0>", b"/dev/pts/0", "character"),
        ("/srv/disk<block 8:0>", b"/srv/disk", "block"),
        ("/dev/null", b"/dev/null", "character"),
        ("/dev/shm/x", b"/dev/shm/x", "regular"),
        ("pipe:[12]", b"pipe:[12]", "pipe"),
        ("socket:[12]", b"socket:[12]", "socket"),
        ("TCP:[127.0.0.1:80->127.0.0.1:9]", b"TCP:[127.0.0.1:80->127.0.0.1:9]", "socket"),
        ("anon_inode:[eventfd]", b"anon_inode:[eventfd]", "anonymous"),
        ("anon_inode:inotify", b"anon_inode:inotify", "anonymous"),
    ],
)  # fmt: skip
def test_names_of_descriptors(annotation: str, path: bytes, kind: str) -> None:
    trace = parse(f'pread64(3<{annotation}>, "", 10, 0) = 10\n')
    assert trace.files["path"].tolist() == [path]
    assert trace.files["kind"].tolist() == [kind]
    assert len(trace.reads()) == (kind in ("regular", "block"))


def test_deleted_files() -> None:
    trace = parse(
        'openat(AT_FDCWD</d>, "a", O_RDONLY) = 3</d/a>\nread(3</d/a>, "", 10) = 10\n'
        'read(3</d/a>(deleted), "", 10) = 10\nread(3</d/a (deleted)>, "", 10) = 10\n'
        'read(4</d/a>(deleted), "", 1) = 1\n'
    )
    assert reads(trace)[:3] == [("/d/a", 0, 10), ("/d/a", 10, 10), ("/d/a", 20, 10)]
    assert reads(trace)[3:] == [("/d/a (deleted)", None, 1)]  # another file may have the name by now
    assert trace.meta.cwd == "/d"


def test_split_calls() -> None:
    trace = parse(
        '7 1795375217.000000 openat(AT_FDCWD, "/d/a", O_RDONLY) = 3 <0.000010>\n'
        "7 1795375217.100000 pread64(3,  <unfinished ...>\n"
        '8 1795375217.150000 pread64(3, "a"..., 4, 8) = 4 <0.000001>\n'
        '7 1795375217.200000 <... pread64 resumed>"\\1, 9) = 9"..., 4096, 8192) = 4096 <0.100000>\n'
        "7 1795375217.300000 pread64(3,  <unfinished ...>\n"
        '7 1795375217.400000 <... pread64 resumed> "x"..., 4096, 0) = 100 <0.100001>\n'
        "7 1795375217.500000 read(3, <unfinished ...>\n"
        '7 1795375217.600000 <... read resumed>"", 5) = 5 <0.1>\n'
        "7 1795375217.700000 read(3,  <unfinished ...>\n"
    )
    assert reads(trace) == [("/d/a", 8192, 4096), ("/d/a", 8, 4), ("/d/a", 0, 100), ("/d/a", 0, 5)]
    events = trace.reads()
    assert events["time_ns"].tolist() == [100_000_000, 150_000_000, 300_000_000, 500_000_000]
    assert trace.meta.started_at == "2026-11-22T19:20:17+00:00"
    assert events["duration_ns"].tolist() == [100_000_000, 1000, 100_001_000, 100_000_000]
    assert "1 call had not ended when the log does" in trace.meta.notes


def test_split_calls_without_T_last_until_they_are_resumed() -> None:
    trace = parse(
        "7 10:00:00.000000 " + OPEN + "7 10:00:01.000000 read(3,  <unfinished ...>\n"
        "8 10:00:02.000000 futex(0x1, FUTEX_WAIT <unfinished ...>\n"
        '7 10:00:03.500000 <... read resumed>"", 5) = 5\n'
    )
    assert trace.reads()["duration_ns"].tolist() == [2_500_000_000]


def test_calls_of_one_time_stay_in_the_order_of_their_ends() -> None:
    """Also where only one of them is a line of the kind that is read many at a time."""

    def at(time_us: int, task: int, text: str) -> str:
        return f"{task} 1795377720.{time_us:06} {text}\n"

    def whole(first_us: int, last_us: int, task: int) -> str:
        return "".join(at(n, task, f'pread64(3, "", 9, {n}) = 9') for n in range(first_us, last_us))

    begin, end = "pread64(3,  <unfinished ...>", '<... pread64 resumed>"", 9, 1000) = 9'
    head = at(1, 1, OPEN[:-1]) + whole(2, 4, 2) + whole(4, 6, 3) + at(6, 1, begin) + at(7, 1, end)
    head += (
        whole(8, 200, 3) + at(200, 1, begin) + at(200, 2, "readv(3,  <unfinished ...>") + whole(201, 990, 3)
    )
    ends = [(1, end), (2, '<... readv resumed>[{iov_base="", iov_len=9}], 1) = 7')]
    for order, sizes in ((ends, [9, 7]), (ends[::-1], [7, 9])):
        found = parse(head + "".join(at(990 + n, *one) for n, one in enumerate(order))).reads()
        assert found["size"][found["time_ns"] == 199_000].tolist() == sizes
    one, two = whole(1000, 1001, 3), at(1000, 3, 'readv(3, [{iov_base="", iov_len=9}], 1) = 7')
    for log, sizes in ((one + two, [9, 7]), (two + one, [7, 9])):
        assert parse(at(1, 1, OPEN[:-1]) + whole(2, 900, 3) + log).reads()["size"].tolist()[-2:] == sizes


def test_a_descriptor_that_was_a_pipe_becomes_a_file() -> None:
    """After so many reads of the pipe that they are passed over unseen, and with the same text."""
    pipe = "pipe2([3, 4], 0) = 0\n" + 'read(3, "", 9) = 9\nwrite(4, "", 9) = 9\n' * 1000
    data = "close(3) = 0\n" + OPEN + 'read(3, "", 9) = 9\n' * 1000 + "close(3) = 0\npipe2([3, 5], 0) = 0\n"
    trace = parse(
        pipe + data + 'read(3, "", 9) = 9\n' * 1000 + "close(3) = 0\n" + OPEN + 'read(3, "", 5) = 5\n'
    )
    assert reads(trace) == [("/d/a", 9 * n, 9) for n in range(1000)] + [("/d/a", 0, 5)]


def test_a_call_that_began_before_the_log() -> None:
    trace = parse('7 <... pread64 resumed>"", 4, 0) = 4\n7 pread64(3, "", 4, 8) = 4\n')
    assert len(trace.reads()) == 1
    assert "1 call ended whose beginning is not in the log" in trace.meta.notes


def test_errors_and_restarts() -> None:
    trace = parse(
        OPEN + "read(3, 0x7ff, 10) = -1 EIO (Input/output error)\n"
        'read(3, "", 5) = ? ERESTARTSYS (To be restarted)\n'
        'openat(AT_FDCWD, "/no", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        'pread64(3, "", 5, -1) = -1 EINVAL (Invalid argument)\nread(3, "", 5) = 3 (INJECTED)\n'
        'read(3, "", 5) = 5\n'
    )
    assert reads(trace) == [("/d/a", 0, 5)]
    assert trace.events["errno"].tolist() == [0, 5, 2, 22, 0]


def test_midnight() -> None:
    trace = parse(
        OPEN.replace("openat", "23:59:59.900000 openat") + '23:59:59.950000 read(3, "", 1) = 1\n'
        '00:00:00.100000 read(3, "", 1) = 1\n'
    )
    assert trace.events["time_ns"].tolist() == [0, 50_000_000, 200_000_000]
    assert trace.meta.wall_s == pytest.approx(0.2)


def test_relative_times_add_up() -> None:
    trace = parse(
        "     0.000000 " + OPEN + '     0.000100 brk(NULL) = 0x1\n     0.000200 read(3, "", 1) = 1\nnoise\n'
        '     0.000300 read(3, "", 1) = 1\n'
    )
    assert trace.events["time_ns"].tolist() == [0, 300_000, 600_000]


def test_unreadable_lines_are_counted_and_shown() -> None:
    trace = parse(
        "7 " + OPEN + '7 read(3, \x1b[31m\n7 read(3, "", 99999999999999999999999) = 1\nwhat?\n\xff\xfe\n'
    )
    note = trace.meta.notes[0]
    assert note.startswith("4 lines could not be read; the first, line 2: 7 read(3, \\x1b[31m; line 3")
    assert "\x1b" not in note


def test_hostile_numbers() -> None:
    huge = "9" * 10_000
    trace = parse(
        OPEN + f'pread64(3, "", 1, {huge}) = 1\nlseek(3, 1, SEEK_SET) = {huge}\n{huge} read(3, "", 1) = 1\n'
        f'pread64(3, "", 1, {2**63 + 1}) = 1\n4294967296 1.0 read(3, "", 1) = 1\n'
        f'1{"0" * 30}.0 read(3, "", 1) = 1\n'
        f'lseek(3, 0, SEEK_END) = {2**63}\nread(3, "", 1) = {2**40}\nread({huge}, "", 1) = 1\n'
        f'read(3, "", 1) = -99999\nread(3, "", 1) = 1 <{huge}.1>\nread(3, "", {2**63}) = 1\n'
    )
    assert [size for _, _, size in reads(trace)] == [1, 1]
    assert trace.reads()["requested"].tolist() == [1, 2**63 - 1]
    assert trace.meta.notes[0].startswith("9 lines could not be read") or trace.meta.notes[0].startswith(
        "10 lines"
    )


def test_a_line_without_end() -> None:
    data = OPEN.encode() + b"x" * (5 << 20) + b"\n" + b'read(3, "", 7) = 7\n'
    trace = parse(data)
    assert reads(trace) == [("/d/a", 0, 7)]
    assert trace.meta.notes[0].startswith("1 line could not be read; line 2: xxxx")
    assert parse(OPEN.encode() + b"x" * (5 << 20)).meta.partial == "the log ends in a line without end"


def test_long_lines_of_data_are_read() -> None:
    data = r"\0\"\377" * 60_000
    assert reads(parse(OPEN + f'read(3, "{data}", 180000) = 180000\n' * 3))[2] == ("/d/a", 360_000, 180_000)


def test_forks_threads_and_execs() -> None:
    trace = parse(
        '7 execve("/bin/x", ["x", "a b", "\\303\\244"], 0x7ff /* 3 vars */) = 0\n'
        "7 " + OPEN + '7 openat(AT_FDCWD, "/d/b", O_RDONLY|O_CLOEXEC) = 4\n'
        "7 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 8\n"
        "8 close(3) = 0\n"
        '8 openat(AT_FDCWD, "/d/c", O_RDONLY) = 3\n'
        '7 read(3, "", 1) = 1\n8 read(3, "", 2) = 2\n8 read(4, "", 3) = 3\n7 read(4, "", 1) = 1\n'
        "7 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, child_tid=0x7f}, 88 <unfinished ...>\n"
        '9 read(3, "", 4) = 4\n'
        "7 <... clone3 resumed> => {parent_tid=[9]}, 88) = 9\n"
        '9 lseek(3, 50, SEEK_SET) = 50\n7 read(3, "", 5) = 5\n'
        '8 execve("/bin/y", ["y"], 0x7ff /* 3 vars */) = 0\n8 read(3, "", 6) = 6\n8 read(4, "", 6) = 6\n'
        "8 +++ exited with 1 +++\n7 exit_group(2) = ?\n9 +++ exited with 2 +++\n7 +++ exited with 2 +++\n"
    )
    assert reads(trace) == [
        ("/d/a", 0, 1), ("/d/c", 0, 2), ("/d/b", 0, 3), ("/d/b", 3, 1), ("/d/a", 1, 4), ("/d/a", 50, 5),
        ("/d/c", 2, 6),  # and nothing from the descriptor that exec has closed
    ]  # fmt: skip
    assert trace.meta.command == ("x", "a b", "ä")
    assert trace.meta.exit_status == 2
    assert trace.meta.partial == ""
    assert trace.reads().loc[4, ["pid", "tid"]].tolist() == [7, 9]


def test_killed_and_cut_off() -> None:
    assert parse("7 " + OPEN + "7 +++ killed by SIGKILL +++\n").meta.exit_status == 137
    assert parse("7 " + OPEN + "7 +++ killed by SIGSEGV (core dumped) +++\n").meta.exit_status == 139
    assert parse("7 " + OPEN + '7 pread64(3, "", 40').meta.partial == "the log is cut off in its last line"
    assert parse("7 " + OPEN).meta.partial == "the log ends before the program does"


def test_names_in_the_log_win_over_what_was_missed() -> None:
    trace = parse(
        'openat(AT_FDCWD, "a", O_RDONLY) = 3</d/a>\nread(3</d/a>, "", 5) = 5\nread(3</d/b>, "", 5) = 5\n'
        'pread64(3</d/b>, "", 5, 70) = 5\nread(3</d/a>, "", 5) = 5\n'
    )
    assert reads(trace) == [("/d/a", 0, 5), ("/d/b", None, 5), ("/d/b", 70, 5), ("/d/a", None, 5)]


def test_pipes_in_a_log_without_names() -> None:
    trace = parse(
        'pipe2([3, 4], O_CLOEXEC) = 0\neventfd2(0, 0) = 5\nread(3, "", 1) = 1\nread(5, "", 8) = 8\n'
        'read(6, "", 8) = 8\n'
    )
    assert len(trace.events) == 1  # of descriptor 6, which may be anything: counted, and said to be so
    assert reads(trace) == [("(descriptor 6 of process 0: not named in the log)", None, 8)]
    assert "may be of pipes or sockets" in " ".join(trace.meta.notes)


def test_vectors_and_transfers() -> None:
    trace = parse(
        OPEN + 'openat(AT_FDCWD, "/d/o", O_WRONLY|O_CREAT, 0666) = 4\n'
        'preadv(3, [{iov_base="iov_len=9", iov_len=2}, {iov_base="", iov_len=3}], 2, 7) = 4\n'
        'readv(3, [{"ab", 2}, {"c"..., 300}], 2) = 3\n'
        "sendfile(4, 3, [100] => [150], 60) = 50\nsendfile(4, 3, NULL, 60) = 60\n"
        "copy_file_range(3, [10] => [14], 4, NULL, 9223372035781033984, 0) = 4\n"
        "splice(3, [10] => [12], 5, NULL, 4, 0) = 2\n_llseek(3, 0, [500], SEEK_SET) = 0\n"
        'preadv2(3, [{iov_base="", iov_len=8}], 1, -1, 0) = 8\n'
    )
    assert reads(trace) == [
        ("/d/a", 7, 4), ("/d/a", 0, 3), ("/d/a", 100, 50), ("/d/a", 3, 60), ("/d/a", 10, 4), ("/d/a", 10, 2),
        ("/d/a", 500, 8),
    ]  # fmt: skip
    assert trace.reads()["requested"].tolist()[:2] == [5, 302]
    assert trace.writes()["size"].tolist() == [50, 60, 4]


def test_asynchronous_reads() -> None:
    trace = parse(
        OPEN + "io_submit(0x7f, 2, [{aio_data=0x1, aio_lio_opcode=IOCB_CMD_PREAD, aio_fildes=3, aio_buf=0x5,"
        " aio_nbytes=4096, aio_offset=8192}, {aio_data=0x2, aio_lio_opcode=IOCB_CMD_PREADV, aio_fildes=3,"
        ' aio_buf=[{iov_base="", iov_len=10}, {iov_base="", iov_len=20}], aio_offset=0}]) = 2\n'
        "io_getevents(0x7f, 1, 2, [{data=0x2, obj=0x6, res=30, res2=0}], NULL) = 1\n"
    )
    assert reads(trace) == [("/d/a", 0, 30)]
    assert trace.events["requested"].tolist() == [0, 4096, 30]
    assert "completions" in trace.meta.unseen


def test_io_uring_and_mmap_are_said_to_be_unseen() -> None:
    trace = parse(OPEN + "io_uring_enter(4, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 1\n")
    assert {"io_uring", "mmap", "exec", "readahead"} <= set(trace.meta.unseen)


@pytest.mark.parametrize(
    "data", [b"", b"\n\n\n", b"hello\nworld\n", bytes(range(256)) * 50, b"\x1f\x8bnot gzip"]
)
def test_what_is_no_log(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no\nlog"
    path.write_bytes(data)
    with pytest.raises(ColdseekError) as caught:
        reading.parse(path)
    assert "no\\x0alog" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_compressed_log_that_is_cut_off_loses_no_more_than_that() -> None:
    text = OPEN + "".join(
        f'pread64(3, "", 4096, {number * 7919 % 100_003}) = 1\n' for number in range(20_000)
    )
    packed = gzip.compress(text.encode())[:-5000]
    there = zlib.decompressobj(wbits=31).decompress(packed)
    trace = reading.parse(io.BytesIO(packed))
    assert len(trace.reads()) == there.count(b"\n") - 1 > 10_000
    assert trace.meta.partial == "the compressed log is cut off or damaged"
    with pytest.raises(ColdseekError, match="nothing can be read: the compressed log is cut off"):
        reading.parse(io.BytesIO(packed[:15]))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ColdseekError, match=r"cannot read .*; name a log"):
            reading.parse(path)


def test_injected_is_said_after_the_result_not_in_what_was_read(tmp_path: Path) -> None:
    """A read of these very words is a read, in a short line too; one that never came to the kernel is
    none."""
    log = tmp_path / "log"
    log.write_text(
        '10 openat(AT_FDCWD, "/a", O_RDONLY) = 7\n'
        '10 read(7, " (INJECTED),b", 4096) = 4096\n'
        '10 read(7, "x", 4096) = 4096 (INJECTED)\n'
        '10 read(7, "x", 4096) = -1 EIO (Input/output error) (INJECTED: error) <0.000012>\n'
    )
    for fast in (True, False):
        assert len(reading.read([str(log)], Log(fast=fast)).reads()) == 1
