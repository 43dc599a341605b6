"""The engine that stops nothing sees what the tracers see that stop; what it cannot know it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import expected_reads
import pytest
from conftest import ROOT, need, need_root, need_tool
from test_programs import EACH

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.capture.tracer import Tracer
from profiler.capture.watch.names import fanotify
from profiler.capture.watch.run import Watcher
from profiler.capture.watch.watcher import missing

pytestmark = pytest.mark.alone
CONTRACT = str(ROOT / "tests/programs/contract.py")


@pytest.fixture(autouse=True)
def _works() -> None:
    need_root()
    why = missing() or fanotify.fault()
    need(not why, why)


def test_the_23_reads_of_the_contract(tmp_path: Path) -> None:
    """All of them, of the right files, in order; the one offset that lies in the program's memory, and that
    the pages do not tell, is unknown."""
    (tmp_path / "a").write_bytes(os.urandom(65536))
    (tmp_path / "b").write_bytes(os.urandom(16384))
    told = subprocess.run([sys.executable, CONTRACT, str(tmp_path)], stdout=subprocess.PIPE, check=True)
    expected = json.loads(told.stdout)
    found = Watcher(None).record(Recording([sys.executable, CONTRACT, str(tmp_path)], silent=True))
    reads = found.reads()
    mine = reads[[os.path.dirname(path) == os.fsencode(tmp_path) for path in reads["path"]]]
    got = [
        [os.path.basename(path).decode(), offset, size]
        for path, offset, size in zip(
            mine["path"], mine["offset"].astype(object).where(mine["offset"].notna(), None), mine["size"],
            strict=True,
        )
    ]  # fmt: skip
    assert [[name, size] for name, _, size in got] == [[name, size] for name, _, size in expected]
    assert [offset for _, offset, _ in got[:22]] == [offset for _, offset, _ in expected[:22]]
    assert got[22][1] in (None, expected[22][1])
    assert len(mine["pid"].unique()) == 2 and len(mine["tid"].unique()) == 4
    assert found.meta.exit_status == 0 and found.meta.complete
    readers = found.tasks[found.tasks["tid"].isin(mine["tid"])]
    names = {sys.executable, os.path.realpath(sys.executable)}  # as it was executed, or as /proc has it
    assert set(readers["program"]) <= set(map(os.fsencode, names))


def test_every_read_of_an_image(seed_image: Path) -> None:
    command = [need_tool("qemu-img"), "check", "-q", str(seed_image)]
    image = os.fsencode(seed_image.resolve())
    kernel, _ = tracer.choose("kernel")
    counts = []
    for one in (kernel, Watcher(None)):
        reads = one.record(Recording(command, silent=True)).reads()
        mine = reads[[path == image for path in reads["path"]]]
        counts.append(Counter(zip(mine["offset"].tolist(), mine["size"].tolist(), strict=True)))
    assert counts[0] == counts[1]
    assert counts[0].total() > 20_000


@pytest.mark.full
@pytest.mark.parametrize(("program", "variant"), EACH)
def test_what_it_says_of_a_program_is_true(
    program: str, variant: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of no read it says another place than that which was read; where it is not sure it says none, or whole
    pages, or that there were reads of which nothing is known."""

    def choose(*_: object) -> tuple[Tracer, str]:
        return Watcher(None), ""

    monkeypatch.setattr(tracer, "choose", choose)
    with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory() as run:
        observed = expected_reads.observe(
            expected_reads.build(program, Path(built)), "kernel", Path(run), *variant.split()
        )
    assert "FAIL" not in capfd.readouterr().out
    wrong = [
        (path, offset, size)
        for path, offset, size in observed.extra
        if offset is not None and (offset % 4096 or size % 4096)
    ]
    assert not wrong
    meta = observed.trace.meta
    said = bool(meta.notes) or {"aio", "io_uring"}.intersection(meta.unseen)
    assert said or observed.missing.total() <= observed.extra.total()
