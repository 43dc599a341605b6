"""Probes that stand in for events, made for the kernel that runs here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from conftest import need

from profiler.capture.kernel.probed import stand_ins
from profiler.capture.kernel.probed.stand_ins import DIRECT, FAULTED, LOOKED_UP


@pytest.fixture(autouse=True)
def _described() -> None:
    need(os.path.exists("/sys/kernel/btf/vmlinux"), "needs a kernel that describes its types")


def test_of_the_running_kernel_the_members_that_are_needed_are_known() -> None:
    fetched = stand_ins._fetched()
    # linux/fs.h: the file is the first member since Linux 4.13
    assert "+0($arg1)" in fetched[LOOKED_UP, "filemap_read"]
    assert {event for event, _ in fetched} == {LOOKED_UP, DIRECT, FAULTED}


@pytest.mark.parametrize(("functions", "probed"), [
    (["filemap_read"], {LOOKED_UP: 1}),
    (["filemap_read", "filemap_splice_read", "__iomap_dio_rw"], {LOOKED_UP: 2, DIRECT: 1}),
])  # fmt: skip
def test_probes_stand_in_for_what_it_has_not(
    functions: list[str], probed: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At all of the functions that there are, with the same fields at each."""
    monkeypatch.setattr(stand_ins, "_functions", lambda: frozenset(functions))
    (tmp_path / "events").mkdir()  # in place of tracefs, with no event in it
    (tmp_path / "kprobe_events").touch()
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = stand_ins.for_reads(root)
    finally:
        os.close(root)
    assert {event: len(probes) for event, probes in found.items()} == probed
    assert [words.split()[0] for probes in found.values() for words in probes] == functions
    for probes in found.values():
        fields = {tuple(re.findall(r" (\w+)=\S+?(:\w+)(?= |$)", words)) for words in probes}
        assert len(fields) == 1 and len(fields.pop()) >= 5
