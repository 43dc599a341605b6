"""Every command by a real run of it, and every bad input by its one line and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, coldseek, need, need_root, need_tool

from profiler.files.traces import load
from profiler.units import show_bytes

PYTHON = sys.executable


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a small program."""
    where = tmp_path_factory.mktemp("trace") / "python.trace.parquet"
    done = coldseek("record", "-o", where, "--", PYTHON, "-S", "-c", "import json")
    assert done.returncode == 0, done.stderr
    return where


# -- every command ---------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    done = coldseek("--help")
    assert done.returncode == 0
    for name in (
        "open",
        "record",
        "attach",
        "import",
        "report",
        "plot",
        "compare",
        "project",
        "replay",
        "export",
        "prefetch",
        "advise",
        "devices",
        "calibrate",
        "doctor",
    ):
        assert f"\n  {name} " in done.stdout
        assert coldseek(name, "--help").returncode == 0
    assert "..." not in done.stdout.partition("\nCommands:\n")[2]  # none was too long for its line
    assert coldseek("--version").stdout.startswith("coldseek ")


def test_record_leaves_the_program_alone(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    command = [
        PYTHON,
        "-m",
        "profiler",
        "record",
        "-o",
        where,
        "--",
        "sh",
        "-c",
        "cat; echo err >&2; exit 7",
    ]
    done = subprocess.run(command, cwd=ROOT, input="in", capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout == "in"
    assert "err\n" in done.stderr
    assert load(where).meta.exit_status == 7


def test_everything_behind_the_dashes_is_the_command_s(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "-q", "-o", where, "--", "echo", "--help", "-o", "--", "x")
    assert done.stdout == "--help -o -- x\n"
    assert done.stderr == ""
    assert load(where).meta.command == ("echo", "--help", "-o", "--", "x")
    assert coldseek("record", "-q", "-o", where, "echo", "--cache").stdout == "--cache\n"


@pytest.mark.parametrize("tracer", ["ptrace", "strace"])
def test_record_with_each_tracer_says_which_and_why(tracer: str, tmp_path: Path) -> None:
    if tracer == "strace":
        need_tool("strace")
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "--tracer", tracer, "-o", where, "--", "true")
    assert f"tracer {tracer}: " in done.stderr
    assert load(where).meta.tracer == tracer


@pytest.mark.alone
@pytest.mark.parametrize("tracer", ["ptrace", "strace"])
def test_runs_for_the_sake_of_their_files_are_not_heard(tracer: str, tmp_path: Path) -> None:
    """A warm record and a comparison run the program more often than the user asked for."""
    if tracer == "strace":
        need_tool("strace")
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "--cache", "warm", "--tracer", tracer, "-o", where, "--", "echo", "once")
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert load(where).meta.cache == "warm"
    done = coldseek("compare", "--runs", 1, "--tracer", tracer, "--format", "json", "--", "echo", "once")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cold"]["report"]["trace"]["tracer"] == tracer
    assert told["warm"]["report"]["totals"]["reads"] > 0


@pytest.mark.alone
def test_a_cold_record_is_proved_cold(tmp_path: Path, disk_directory: Path) -> None:
    data = disk_directory / "data"
    data.write_bytes(os.urandom(4 << 20))
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "--cache", "cold", "-o", where, "--", "cksum", data)
    assert done.returncode == 0
    meta = load(where).meta
    assert meta.cache == "cold", meta.notes
    assert meta.resident_before_bytes is not None
    assert meta.resident_checked_bytes is not None
    assert meta.resident_checked_bytes >= 4 << 20
    assert meta.device_read_bytes is not None
    assert meta.device_read_bytes >= 4 << 20
    done = coldseek("record", "--cache", "warm", "-o", where, "--", "cksum", data)
    meta = load(where).meta
    assert meta.cache == "warm", meta.notes
    assert meta.device_read_bytes == 0


def test_record_counts_as_the_report_does(tmp_path: Path) -> None:
    """What is read of proc is on no disk."""
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "-o", where, "--", "cat", "/proc/self/status", "/proc/version", "/etc/passwd")
    assert done.returncode == 0, done.stderr
    totals = json.loads(coldseek("report", where, "--format", "json").stdout)["totals"]
    assert len(load(where).reads()) >= totals["reads"] + 2
    assert f": {totals['reads']} reads, {show_bytes(totals['bytes'])}; see" in done.stderr


def test_report_as_text_and_json(trace: Path, tmp_path: Path) -> None:
    text = coldseek("report", trace)
    assert text.returncode == 0
    assert max(len(line) for line in text.stdout.splitlines()) <= 80
    assert len(text.stdout.splitlines()) <= 45
    told = json.loads(coldseek("report", trace, "--format", "json").stdout)
    assert told["schema"] == "coldseek.report/1"
    assert told["totals"]["reads"] == len(load(trace).reads())
    assert sum(told["patterns"].values()) == told["totals"]["reads"]
    into = tmp_path / "report.json"
    assert coldseek("report", trace, "--format", "json", "-o", into).stdout == ""
    assert json.loads(into.read_text()) == told


def test_plots(trace: Path, tmp_path: Path) -> None:
    for kind in ("offsets", "gaps", "cost"):
        for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
            into = tmp_path / (kind + suffix)
            done = coldseek("plot", trace, trace, "--kind", kind, "-o", into)
            assert done.returncode == 0, done.stderr
            assert into.read_bytes().startswith(start)


@pytest.mark.alone
def test_compare_runs_a_program_both_ways(disk_directory: Path, tmp_path: Path) -> None:
    data = disk_directory / "data"
    data.write_bytes(os.urandom(8 << 20))
    done = coldseek("compare", "--runs", 2, "--format", "json", "-o", tmp_path, "--", "cat", data)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == "coldseek.compare/1"
    assert len(told["cold"]["wall_s"]) == len(told["warm"]["wall_s"]) == 2
    assert told["ratio"] == pytest.approx(told["cold"]["median_s"] / told["warm"]["median_s"])
    assert told["cold"]["report"]["trace"]["cache"] == "cold", done.stderr
    assert told["warm"]["report"]["trace"]["cache"] == "warm", done.stderr
    assert all(run["device_read_bytes"] >= 8 << 20 for run in told["cold"]["runs"])
    assert all(run["device_read_bytes"] < 1 << 20 for run in told["warm"]["runs"])
    traces = tmp_path / "cold.trace.parquet", tmp_path / "warm.trace.parquet"
    assert json.loads(coldseek("compare", *traces, "--format", "json").stdout)["ratio"] == told["ratio"]
    again = coldseek("compare", *traces)
    assert again.returncode == 0
    assert "cold 2" in again.stdout


def test_project_and_devices(trace: Path) -> None:
    names = [line.split()[0] for line in coldseek("devices").stdout.splitlines()]
    assert {"iops-120", "hdd-7200", "sata-ssd", "nvme", "nas-1g"} <= set(names)
    told = json.loads(
        coldseek("project", trace, "--device", "iops-120", "--copies", 4, "--format", "json").stdout
    )
    assert told["schema"] == "coldseek.project/1"
    (one,) = told["projections"]
    assert one["device"] == "iops-120"
    assert one["low_s"] <= one["seconds"] <= one["high_s"]


def test_doctor_tells_of_every_tracer_and_method() -> None:
    done = coldseek("doctor")
    for name in ("ptrace", "strace", "drop_caches", "fadvise", "cachestat", "mincore"):
        assert f"  {name} " in done.stdout
    assert done.returncode == (0 if "NO:" not in done.stdout else 1)


def test_import_of_an_strace_log(tmp_path: Path) -> None:
    log = tmp_path / "x.strace"
    log.write_text(
        '10 openat(AT_FDCWD, "/a", O_RDONLY) = 3\n10 pread64(3, ""..., 10, 4096) = 10\n10 garbage\n'
    )
    done = coldseek("import", "strace", log, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "garbage" in done.stderr
    assert len(load(tmp_path / "x.trace.parquet").reads()) == 1


@pytest.mark.alone
@pytest.mark.parametrize("way", ["info", "check", "map", "read", "vm"])
def test_open_in_every_way(way: str, disk_directory: Path) -> None:
    qemu_img = need_tool("qemu-img")
    image = disk_directory / "small.qcow2"
    subprocess.run(
        [qemu_img, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k,preallocation=metadata",
         image, "64M"], check=True,
    )  # fmt: skip
    out = disk_directory / "out"
    done = coldseek("open", image, "--by", way, "--runs", 1, "-o", out)
    assert done.returncode == 0, done.stderr
    for name in ("cold.trace.parquet", "warm.trace.parquet", "structures.png", "offsets.png", "gaps.png",
                 "cost.png", "report.txt", "report.json", "report.html"):  # fmt: skip
        assert (out / name).stat().st_size > 0
    cold = load(out / "cold.trace.parquet")
    assert cold.meta.image == str(image.resolve())
    assert cold.meta.cache == "cold", cold.meta.notes
    assert cold.meta.measured.cold[0].wall_s > 0
    assert (cold.reads()["path"] == os.fsencode(image.resolve())).any()
    assert len(cold.extents) > 0
    for line in (str(out / "structures.png"), str(out / "cold.trace.parquet"), "cold waits", "more  "):
        assert line in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 100 + len(str(out))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("qcow2", ["-c"]), ("vhdx", []), ("vmdk", []), ("vmdk", ["-o", "subformat=streamOptimized"]),
        ("vpc", []), ("vdi", []), ("raw", []),
    ],
)  # fmt: skip
def test_every_image_can_be_opened_by_map(form: str, options: list[str], disk_directory: Path) -> None:
    """As text, `qemu-img map` refuses compressed clusters, and some formats altogether."""
    qemu_img, raw, image = need_tool("qemu-img"), disk_directory / "raw", disk_directory / "image"
    raw.write_bytes(os.urandom(1 << 20) + bytes(1 << 20))
    subprocess.run([qemu_img, "convert", "-f", "raw", "-O", form, *options, raw, image], check=True)
    done = coldseek("open", image, "--with", "map", "--runs", 1, "-o", disk_directory / "out")
    assert done.returncode == 0, done.stderr
    meta = load(disk_directory / "out/cold.trace.parquet").meta
    assert (meta.command[1], meta.exit_status) == ("map", 0)
    assert "FAILED" not in done.stdout and "Every run" not in done.stdout


def test_open_says_by_and_understands_the_former_word() -> None:
    words = " ".join(coldseek("open", "--help").stdout.split())
    assert "--by info|check|map|read|vm" in words and "--with TARGET" in words
    done = coldseek("open", "missing.qcow2", "--with", "check")
    assert "missing.qcow2" in done.stderr  # it was not taken for a target


def test_a_hostile_name_stays_one_line(disk_directory: Path) -> None:
    folder = disk_directory / "a\nb\x1b[31m\u202e[bold]$x$"
    folder.mkdir()
    data = folder / os.fsdecode(b"data\xff, = \\")
    data.write_bytes(bytes(100_000))
    where = disk_directory / "t.trace.parquet"
    assert coldseek("record", "-o", where, "--", "cat", data).returncode == 0
    found = load(where)
    assert os.fsencode(data.resolve()) in set(found.files["path"])
    done = coldseek("report", where, "--full")
    shown = done.stdout + coldseek("report", where).stdout
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "a\\x0ab\\x1b[31m" in done.stdout.replace("\n            ", "")
    json.loads(coldseek("report", where, "--format", "json").stdout)
    done = coldseek("plot", where, "--file", data, "-o", disk_directory / "x.png")
    assert done.returncode == 0, done.stderr


# -- bad input -------------------------------------------------------------------------------------


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("coldseek: tracer ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def bad(tmp_path: Path, trace: Path) -> Path:
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "noise").write_bytes(os.urandom(20_000))
    (tmp_path / "cut.trace.parquet").write_bytes(trace.read_bytes()[:-100])
    (tmp_path / "bad.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(500))
    return tmp_path


def test_bad_images(bad: Path) -> None:
    need_tool("qemu-img")
    one_line(coldseek("open", bad / "missing"), 125, "missing", "no such file")
    one_line(coldseek("open", bad), 125, "directory")
    one_line(coldseek("open", bad / "bad.qcow2"), 125, "bad.qcow2", "qemu-img refuses")
    one_line(coldseek("open", bad / "text", "--by", "check"), 125, "--by map")
    one_line(coldseek("open", "/dev/null"), 125, "neither a file nor a block device")
    one_line(coldseek("open", ""), 2, "empty name")
    one_line(coldseek("open", bad / "text", "--by", "nonsense"), 2, "nonsense")
    os.mkfifo(bad / "fifo")
    one_line(coldseek("open", bad / "fifo"), 125, "neither a file nor a block device")
    (bad / "loop").symlink_to("loop")
    refused = coldseek("open", bad / "loop")
    one_line(refused, 125, "symbolic links")
    assert "sudo" not in refused.stderr  # no other user could read it
    (bad / "image").write_bytes(bytes(4096))
    one_line(coldseek("open", bad / "image", "-o", "/proc/no"), 2, "/proc/no", "another place with -o")


def test_an_image_behind_itself_is_refused(tmp_path: Path) -> None:
    """qemu-img map, check and convert never end with it."""
    need_tool("qemu-img")
    image = tmp_path / "a.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", image, image], check=True)
    for way in ("check", "map", "read"):
        one_line(coldseek("open", image, "--by", way), 125, "qemu-img refuses", "infinite loop")


def test_commands_that_cannot_run(bad: Path) -> None:
    into = bad / "t.trace.parquet"
    for tracer in ("ptrace", "strace"):
        if tracer == "strace":
            need_tool("strace")
        for arguments, code in (
            (["no-such-program"], 127),
            ([""], 127),
            ([bad / "text"], 126),
            ([bad], 126),
            ([bad / "no"], 127),
        ):
            done = coldseek("record", "--tracer", tracer, "-o", into, "--", *arguments)
            one_line(done, code, str(arguments[0]))
            assert not into.exists()
    one_line(coldseek("compare", "--", "no-such-program"), 127, "no-such-program")


def test_bad_traces(bad: Path, trace: Path) -> None:
    for command in (["report"], ["project"]):
        one_line(coldseek(*command, bad / "noise"), 125, "noise", "coldseek record")
        one_line(coldseek(*command, bad / "cut.trace.parquet"), 125, "cut.trace.parquet")
        one_line(coldseek(*command, bad / "missing"), 125, "missing")
        one_line(coldseek(*command, bad), 125, str(bad))
    one_line(coldseek("plot", bad / "noise", "-o", bad / "x.png"), 125, "noise")
    one_line(coldseek("plot", trace, "-o", bad / "x.gif"), 2, ".png")
    one_line(coldseek("plot", trace, "-o", bad / "no" / "x.png"), 125, "no directory")
    one_line(coldseek("compare", trace, bad / "missing.trace.parquet"), 2, "two traces")
    one_line(coldseek("project", trace, "--device", "hdd7200"), 2, "hdd-7200")
    one_line(coldseek("project", trace, "--device", bad / "text"), 125)


def test_bad_logs(bad: Path) -> None:
    into = bad / "t.trace.parquet"
    one_line(coldseek("import", "strace", bad / "empty", "-o", into), 125, "empty")
    one_line(coldseek("import", "strace", bad / "noise", "-o", into), 125, "noise")
    one_line(coldseek("import", "strace", bad / "missing", "-o", into), 125, "missing")
    one_line(coldseek("import", "strace", bad, "-o", into), 125, str(bad))


def test_results_replace_nothing_but_results(bad: Path, trace: Path) -> None:
    """Root could replace even a device: /dev/null is a likely name behind -o."""
    log, link, pipe = bad / "log", bad / "link", bad / "pipe"
    log.write_text('openat(AT_FDCWD, "/a", O_RDONLY) = 3\n')
    os.mkfifo(pipe)
    link.symlink_to(pipe)

    def there() -> list[tuple[int, int]]:
        return sorted((path.lstat().st_ino, path.lstat().st_mtime_ns) for path in bad.iterdir())

    before = there()
    for special in (link, pipe):
        one_line(coldseek("record", "-o", special, "--", "true"), 125, str(special), "no regular file")
        one_line(coldseek("report", trace, "-o", special), 125, str(special), "no regular file")
    one_line(coldseek("import", "strace", log, "-o", log), 125, str(log), "is read")
    one_line(coldseek("report", trace, "-o", trace), 125, str(trace), "is read")
    assert there() == before
    link.unlink()
    link.symlink_to(log)
    one_line(coldseek("import", "strace", log, "-o", link), 125, str(link), "is read")
    assert coldseek("report", trace, "-o", link).returncode == 0
    assert (link.is_symlink(), "coldseek report" in log.read_text()) == (True, True)


def test_wrong_usage_exits_with_2() -> None:
    for words in (
        "bogus",
        "record",
        "record --bogus -- true",
        "record --tracer none -- true",
        "record --cache hot -- true",
        "compare --runs 0 -- true",
    ):
        done = coldseek(*words.split())
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr


def test_a_full_disk_keeps_what_was_recorded(tmp_path: Path) -> None:
    need_root()
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", small]).returncode == 0
    need(mounted, "a tmpfs cannot be mounted here")
    try:
        done = coldseek("record", "-o", small / "t.trace.parquet", "--", PYTHON, "-c", "import json")
        one_line(done, 125, "No space left", "kept as")
        kept = done.stderr.rsplit("kept as ", 1)[1].strip()
        assert len(load(kept).reads()) > 0
        os.unlink(kept)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_words_that_find_no_room_do_not_keep_a_program_from_running(tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    for arguments, code in ((["sh", "-c", "exit 7"], 7), (["no-such-program"], 127)):
        command = [PYTHON, "-m", "profiler", "record", "-o", where, "--", *arguments]
        with open("/dev/full", "w") as full:
            assert subprocess.run(command, cwd=ROOT, stderr=full).returncode == code
    assert load(where).meta.exit_status == 7


def test_a_home_that_takes_no_files_is_no_matter(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    done = subprocess.run(
        [PYTHON, "-m", "profiler", "plot", trace, trace, "-o", picture], cwd=ROOT, capture_output=True,
        text=True, env={"PATH": os.environ["PATH"], "HOME": "/proc", "COLUMNS": "200"},
    )  # fmt: skip
    assert (done.stderr, done.returncode) == (f"coldseek: plot: {picture}\n", 0)


def test_a_closed_pipe_is_no_error(trace: Path) -> None:
    command = f"{PYTHON} -m profiler report {trace} --format json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("coldseek repo", ["report"]), ("coldseek open a.qcow2 --by v", ["vm"])],
)
def test_shell_completion_works(typed: str, completed: list[str]) -> None:
    done = subprocess.run(
        [PYTHON, "-m", "profiler"], cwd=ROOT, capture_output=True, text=True,
        env={
            **os.environ, "_COLDSEEK_COMPLETE": "complete_bash",
            "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")),
        },
    )  # fmt: skip
    assert done.stdout.split() == completed
