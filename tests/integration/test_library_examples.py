"""What the documents of the library show: the example of every public name, the tasks of docs/library.md."""

from __future__ import annotations

import collections
import contextlib
import doctest
import inspect
import io
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, need_root, need_tracer

import coldseek

# some empty the page cache of what they read, and say whether it was
pytestmark = pytest.mark.alone

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WITHOUT_EXAMPLE = {"__version__"}


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods of a class that are its own or of `Trace`'s part for people."""
    for name, value in inspect.getmembers(kind, lambda item: inspect.isroutine(item)):
        if not name.startswith("_") and ">>>" in (value.__doc__ or ""):
            yield f"{kind.__name__}.{name}", value


def examples() -> Iterator[tuple[str, Any]]:
    for name in coldseek.__all__:
        thing = getattr(coldseek, name)
        yield name, thing
        if inspect.isclass(thing):
            yield from methods(thing)


EXAMPLES = dict(examples())


@pytest.fixture
def trace() -> coldseek.Trace:
    """The trace of the examples: 64 reads of 4 KiB, 8 MiB apart."""
    offsets = [number * 2**23 for number in range(64)]
    return coldseek.Trace.from_frame(
        pd.DataFrame({"path": "/vm/disk0.qcow2", "offset": offsets, "size": 4096, "time_ns": range(64)})
    )


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in WITHOUT_EXAMPLE])
def test_every_public_name_has_an_example_that_is_true(
    name: str, trace: coldseek.Trace, disk_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "attach":
        need_root()
        need_tracer("kernel")
    monkeypatch.chdir(disk_directory)
    words = inspect.getdoc(EXAMPLES[name]) or ""
    known = {"coldseek": coldseek, "trace": trace, "pd": pd, "np": np, "pathlib": pathlib}
    test = doctest.DocTestParser().get_doctest(words, known, name, None, None)
    assert test.examples, f"{name} has no example"
    shown: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=shown.append)
    assert not result.failed, "".join(shown)


# ---- docs/library.md -------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "library.md").read_text("utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
BEGIN, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
TASKS = {section.splitlines()[0]: section for section in SECTIONS if BLOCK.search(section)}


def run(words: str, known: dict[str, Any]) -> None:
    """Run the code of a part of the page, and hold what it prints against what the page shows."""
    for code, wanted in BLOCK.findall(words):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/library.md", "exec"), known)
        assert printed.getvalue() == wanted


@pytest.fixture(scope="module")
def begun(small_image: pathlib.Path, cache_directory: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The begin of the page, run once, in a folder of its own on a disk."""
    with tempfile.TemporaryDirectory(dir=cache_directory) as folder, contextlib.chdir(folder):
        shutil.copy(small_image, "disk0.qcow2")
        known: dict[str, Any] = {}
        run(BEGIN, known)
        yield folder, known


def of_reads(found: dict[str, Any]) -> None:
    """Added up here by other means."""
    sizes = collections.Counter[str]()
    for path, size in zip(*(found["trace"].reads()[name] for name in ("path", "size")), strict=True):
        sizes[path.decode()] += size
    assert found["by_file"]["sum"].to_dict() == sizes
    assert found["patterns"].sum() == found["by_file"]["count"].sum() == len(found["reads"])


def of_structures(found: dict[str, Any]) -> None:
    """As many reads of each as qemu-img is known to make of this image: all blocks and tables."""
    image = found["summary"].image if "summary" in found else coldseek.summarise(found["trace"]).image
    told = {one.kind: one.reads for one in image.structures if one.reads}
    assert told == found["by_structure"]["count"].to_dict()
    assert found["by_structure"].loc["refcount block", "count"] >= 32


def of_times(found: dict[str, Any]) -> None:
    assert found["times"]["name"].tolist() == ["cold", "warm"]
    assert found["times"]["runs"].tolist() == [3, 3] and (found["times"]["median_s"] > 0).all()
    assert found["times"]["median_low_s"].isna().all() and found["cold_over_warm"] > 0


def of_costs(found: dict[str, Any]) -> None:
    seconds = found["costs"].set_index("device")["seconds"]
    assert seconds["hdd-7200"] > seconds["sata-ssd"] > seconds["nvme"] > 0
    assert (found["costs"]["low_s"] <= found["costs"]["seconds"]).all() and found["seconds"] > 0


def of_plan(found: dict[str, Any]) -> None:
    plan, fetched = found["plan"], found["fetched"]
    # a file system's own blocks are read from its device, which may be forbidden
    of_files = sum(size for file, _, size, _ in plan.stretches if plan.files[file].kind == "regular")
    ends = 4096 * len(plan.files)  # a plan is of whole pages, and what is behind an end cannot be read
    assert 0 < of_files - ends <= fetched.bytes <= plan.size and not fetched.changed
    assert pathlib.Path("check.plan").stat().st_mode & 0o100


def of_pictures(_: dict[str, Any]) -> None:
    assert pathlib.Path("offsets.png").read_bytes()[:4] == b"\x89PNG"
    assert pathlib.Path("both.html").read_text().startswith("<!doctype html>")


def of_a_record(found: dict[str, Any]) -> None:
    recorded = found["recorded"]
    assert recorded.meta.cache == "cold" or any(note.startswith("NOT ") for note in recorded.meta.notes)
    assert len(coldseek.load("one.trace.parquet").reads()) == len(recorded.reads()) > 32


def of_dear_files(found: dict[str, Any]) -> None:
    assert found["dearest"]["path"].iloc[0].endswith("/disk0.qcow2")
    assert (found["dearest"]["share"].dropna().between(0, 1)).all()


def of_advice(found: dict[str, Any]) -> None:
    assert found["options"]["option"].iloc[0] == "as it is"
    assert len(found["options"]) == 1 + len(found["advice"].options)


PROOFS = {
    "1": of_a_record, "2": of_reads, "3": of_dear_files, "4": of_times, "5": of_structures, "6": of_costs,
    "7": of_advice, "8": of_plan, "9": of_pictures,
}  # fmt: skip
"""Of each task, what is true after it; what the others print is on the page."""


@pytest.mark.parametrize("task", TASKS)
def test_the_code_of_a_task_does_it(task: str, begun: tuple[str, dict[str, Any]]) -> None:
    folder, known = begun
    with contextlib.chdir(folder):
        found = dict(known)
        if task.startswith("5."):
            found["reads"] = found["trace"].to_frame()  # as the second task has left it
        run(TASKS[task], found)
        proof = PROOFS.get(task.partition(".")[0])
        if proof is not None:
            proof(found)


def test_the_page_names_every_name() -> None:
    assert len(TASKS) >= 10
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("## Every name")[2]))
    assert listed == set(coldseek.__all__) - {"__version__"}
