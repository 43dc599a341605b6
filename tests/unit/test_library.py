"""What people pass to the library, and what it says where that makes no sense: in words of Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import report_cases
from conftest import ROOT
from made import seed_2010, trace
from test_layers import MODULES, part

import coldseek
from profiler.library.keywords import in_python

SHORT = 200
"""Characters of a result in one line."""


@pytest.fixture(scope="module")
def start() -> coldseek.Trace:
    return report_cases.check()


# ---- names stand for what they name ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_name_stands_for_a_trace(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    path, seed = tmp_path / "seed.trace.parquet", seed_2010()
    coldseek.save(seed, kind(path))
    named = kind(path)
    assert coldseek.summarise(named).totals == coldseek.summarise(seed).totals
    assert coldseek.project(named, "hdd-7200") == coldseek.project(seed, "hdd-7200")
    assert len(coldseek.simulate(named)) == len(coldseek.simulate(seed))
    assert coldseek.advise(named, "nvme").now == coldseek.advise(seed, "nvme").now
    assert coldseek.compare(named, seed).first.summary.totals.reads == 1935
    assert coldseek.prefetch_plan(named) == coldseek.prefetch_plan(seed)
    assert coldseek.page(named).document.startswith("<!doctype html>")
    assert coldseek.plot(named, kind="gaps").axes


def test_a_device_is_a_name_or_a_path_or_a_device(tmp_path: Path) -> None:
    seed, disk = seed_2010(), coldseek.device("hdd-7200")
    file = tmp_path / "mine.toml"
    file.write_text((ROOT / "profiler" / "devices" / "presets" / "hdd-7200.toml").read_text("utf-8"))
    wanted = coldseek.project(seed, disk).seconds
    assert {coldseek.project(seed, one).seconds for one in ("hdd-7200", disk, file, str(file))} == {wanted}
    mixed = coldseek.project(seed, ["nvme", disk, file])
    assert [one.device for one in mixed] == ["nvme", "hdd-7200", "mine"]
    presets = [device.name for device in coldseek.presets()]
    assert [one.device for one in coldseek.project(seed)] == presets
    assert [one.device for one in coldseek.project(seed, coldseek.presets())] == presets
    assert [one.device for one in coldseek.summarise(seed, "nvme").projections] == ["nvme"]


def test_a_number_of_a_device_can_be_another(start: coldseek.Trace) -> None:
    slow, fast = (coldseek.device("hdd-7200", rpm=rpm) for rpm in (5400, 15_000))
    assert coldseek.project(start, fast).seconds < coldseek.project(start, slow).seconds
    assert slow.title.endswith(", with rpm 5400")


@pytest.mark.parametrize(("file", "kind"), [("blkparse.log", "blktrace"), ("perf.log", "perf")])
def test_a_log_tells_what_it_is(file: str, kind: str) -> None:
    log = ROOT / "tests" / "data" / "block_logs" / file
    by_itself, named = coldseek.import_log(log), coldseek.import_log(str(log), kind=kind)
    assert len(by_itself.layer("device")) == len(named.layer("device")) > 0
    assert coldseek.project(by_itself, "nvme").requests > 0
    with pytest.raises(coldseek.UsageError, match="one log of"):
        coldseek.import_log(log, log)


# ---- what is wrong is told in one line, with the remedy --------------------------------------------------

FAULTS: dict[str, tuple[Callable[[coldseek.Trace], object], str]] = {
    "a command as a text": (
        lambda _: coldseek.record("ls -l '/a b'"), "a list of words, such as ['ls', '-l', '/a b']",
    ),
    "a text that is no shell's": (lambda _: coldseek.record("ls '"), "such as ['ls', '/']"),
    "bytes": (lambda _: coldseek.record(b"ls /"), "a list of words, such as ['ls', '/']"),
    "no words": (lambda _: coldseek.record([]), "no command to run"),
    "an empty word": (lambda _: coldseek.compare([""]), "no command to run"),
    "a number": (lambda _: coldseek.record(["ls", 3]), "texts or paths"),  # type: ignore[list-item]
    "a NUL byte": (lambda _: coldseek.check(["ls", "a\0b"]), "NUL byte"),
    "a cache state": (lambda _: coldseek.record(["ls"], cache="colld"), "there are cold, warm and keep"),
    "evict": (lambda _: coldseek.record(["ls"], evict="all"), "use evict with cache='cold'"),
    "until": (lambda _: coldseek.record(["ls"], until="tpc:1"), "until: no condition 'tpc:1'"),
    "stop": (lambda _: coldseek.record(["ls"], stop=True), "stop=True ends what runs"),
    "seconds": (lambda _: coldseek.record(["ls"], seconds=-1), "seconds is -1; it takes seconds"),
    "not a number": (lambda _: coldseek.record(["ls"], timeout=float("nan")), "timeout is nan"),
    "runs": (lambda _: coldseek.compare(["ls"], runs=0), "runs is 0; give a number from 1 to 1000"),
    "copies": (lambda _: coldseek.compare(["ls"], copies=0), "copies is 0; give a number from 1 to 256"),
    "own": (lambda _: coldseek.compare(["ls"], own="*.img"), "use it with copies"),
    "before": (lambda _: coldseek.compare(["ls"], before="a '"), "before"),
    "one trace": (lambda _: coldseek.compare("a.trace.parquet"), "takes two traces, or a command"),
    "runs of traces": (lambda t: coldseek.compare(t, t, runs=3), "hold the times"),  # type: ignore[call-overload]
    "a layer": (lambda t: t.layer("devices"), "no layer named 'devices'; there are syscall, cache, device"),
    "a layer seen": (lambda t: t.saw("nonsense"), "no layer named 'nonsense'"),
    "a device": (lambda t: coldseek.project(t, "hdd-720"), "did you mean hdd-7200"),
    "no devices": (lambda t: coldseek.project(t, []), "name one, such as 'hdd-7200'"),
    "a number for a device": (lambda t: coldseek.project(t, 3), "not int"),  # type: ignore[call-overload]
    "rpm": (lambda _: coldseek.device("hdd-7200", rpm=-1), "rpm = -1 is not a number from 300 to 100000"),
    "rpm of flash": (lambda _: coldseek.device("nvme", rpm=7200), "nvme has no rpm; it has "),
    "a trace": (lambda _: coldseek.summarise(3), "not int"),  # type: ignore[arg-type]
    "a list of traces": (lambda t: coldseek.summarise([t]), "not list"),  # type: ignore[arg-type]
    "a file to load": (lambda _: coldseek.load(3), "not int"),  # type: ignore[arg-type]
    "a missing file": (lambda _: coldseek.summarise("none.trace.parquet"), "No such file"),
    "a picture": (lambda t: coldseek.plot(t, kind="pie"), "no picture named pie"),
    "a suffix": (lambda t: coldseek.plot(t, output="a.gif"), ".png or .svg"),
    "no trace": (lambda _: coldseek.prefetch_plan(), "there is no trace"),
    "least": (lambda t: coldseek.prefetch_plan(t, least=2), "least is 2, and there is one trace"),
    "least of two": (lambda t: coldseek.prefetch_plan(t, t, least=3), "least 3: there are 2 traces"),
    "order": (lambda t: coldseek.prefetch_plan(t, order="size"), "not one of device, time"),
    "budget": (lambda t: coldseek.prefetch(t, budget="much"), "budget='much'"),
    "a baseline": (lambda _: coldseek.check(["true"], baseline="no.json"), "check(..., update=True)"),
    "a limit": (lambda _: coldseek.check(["true"], limits={"reeds": "+5%"}), "cannot read the limit"),
    "an export": (lambda t: coldseek.export(t, to="pdf", output="a.pdf"), "no export named 'pdf'"),
    "a log": (lambda _: coldseek.import_log("a.log", kind="dtrace"), "there are "),
    "no log": (lambda _: coldseek.import_log(), "no log"),
    "a table": (lambda t: t.to_frame("eventz"), "did you mean events?"),
    "calibrate": (lambda _: coldseek.calibrate(".", seconds=0), "from 1 to 3600"),
    "a device file": (lambda _: coldseek.calibrate(".", output="mine"), "does not end in .toml"),
    "a target": (lambda _: coldseek.attach("nobody"), "nobody"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_mistake_is_told_in_one_line_that_names_no_option(
    name: str, start: coldseek.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, words = FAULTS[name]
    with pytest.raises(coldseek.ColdseekError) as error:
        call(start)
    told = str(error.value)
    assert words in told and "\n" not in told and not re.search(r"(?<![\w-])--[a-z]", told)
    assert not list(tmp_path.iterdir())


NO_OPTIONS_OF_OURS = {"--mount-proc"}


def raised() -> Iterator[tuple[Path, str]]:
    """The words of every error that is raised below the command line, without what is put into them."""
    for module in MODULES:
        if part(module) in ("cli", "__main__", "pytest_plugin", "runner_main"):
            continue
        for node in ast.walk(ast.parse(module.read_bytes())):
            is_error = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")
            if is_error or isinstance(node, ast.Raise):
                for value in ast.walk(node):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield module, value.value


def test_no_error_from_below_names_an_option_in_python() -> None:
    options = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
    named = [(module, words) for module, words in raised() if options.search(words)]
    assert len(named) > 5  # they were looked for rightly
    left = {option for _, words in named for option in options.findall(in_python(words))}
    assert left <= NO_OPTIONS_OF_OURS


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("use sudo, or --evict files", "use sudo, or evict='files'"),
        ("--evict all drops everything", "evict='all' drops everything"),
        ("120 s have passed (--for)", "120 s have passed (seconds)"),
        ("write it anew with coldseek check --update", "write it anew with check(..., update=True)"),
        ("--in 3: there are 2 traces", "least 3: there are 2 traces"),
        ("use --as-root to run it as root", "use owner=None to run it as root"),
        ("ls --color: command not found", "ls --color: command not found"),
        ("file--until: no such file", "file--until: no such file"),
    ],
)
def test_options_become_parameters(words: str, wanted: str) -> None:
    assert in_python(words) == wanted


# ---- results ---------------------------------------------------------------------------------------------


def results(start: coldseek.Trace) -> dict[str, Any]:
    return {
        "trace": start,
        "summary": coldseek.summarise(start),
        "projection": coldseek.project(start, "hdd-7200"),
        "comparison": coldseek.compare(start, start),
        "side": coldseek.compare(start, start).first,
        "advice": coldseek.advise(start),
    }


def test_a_result_is_short_in_a_line(start: coldseek.Trace) -> None:
    for name, result in results(start).items():
        assert len(repr(result)) <= SHORT and "\n" not in repr(result), name


def test_what_a_trace_says_of_itself_is_escaped() -> None:
    said = repr(trace([(0, 0, 4096)], command=("a\x1b[31m\n", "b" * 1000)))
    assert said.startswith("<Trace of a\\x1b[31m\\x0a bbb") and len(said) <= SHORT


def test_an_empty_trace_has_all_results(start: coldseek.Trace) -> None:
    empty = trace()
    for name, result in results(empty).items():
        assert repr(result), name
        if hasattr(result, "to_frame"):
            assert list(result.to_frame().columns) or name == "summary", name


def test_results_are_tables(start: coldseek.Trace) -> None:
    found = results(start)
    summary = found["summary"].to_frame()
    assert summary["path"].tolist() == [file.path.decode() for file in found["summary"].files]
    assert summary["reads"].sum() == sum(file.reads for file in found["summary"].files)
    assert str(summary["reads"].dtype) == "Int64"
    projection = found["projection"].to_frame().iloc[0]
    assert projection["seconds"] == found["projection"].seconds and projection["device"] == "hdd-7200"
    sides = found["comparison"].to_frame()
    assert sides["name"].tolist() == [found["comparison"].first.name, found["comparison"].second.name]
    advice = found["advice"].to_frame()
    assert len(advice) == 3 * (1 + len(found["advice"].options))


def test_what_is_not_known_is_null_and_not_zero() -> None:
    frame = coldseek.compare(seed_2010(), seed_2010()).to_frame()
    assert frame["median_s"].isna().all() and str(frame["median_s"].dtype) == "Float64"
    assert coldseek.project(seed_2010(), "nvme").to_frame()["start_s"].isna().all()


def test_a_table_in_a_notebook_is_no_markup() -> None:
    start = trace([(0, 0, 4096)], [b"/<script>alert(1)</script>"])
    for result in (coldseek.summarise(start), coldseek.project(start), coldseek.compare(start, start)):
        assert "<table" in result._repr_html_() and "<script" not in result._repr_html_()


def test_a_comparison_holds_its_traces_for_the_page() -> None:
    cold, warm = seed_2010(cache="cold"), seed_2010(cache="warm")
    both = coldseek.compare(warm, cold)
    assert both.traces[0] is cold and both.traces[1] is warm
    assert coldseek.page(both).document.count("<!doctype html>") == 1


def test_a_picture_and_a_page_are_saved_whole(tmp_path: Path, start: coldseek.Trace) -> None:
    figure = coldseek.plot(start, output=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG" == figure._repr_png_()[:4]  # type: ignore[attr-defined]
    page = coldseek.page(start, output=tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == page.document
