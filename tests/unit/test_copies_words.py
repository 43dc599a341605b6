"""What `{n}` becomes, and which files that makes a copy's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from made import trace

from profiler.analysis.simulation.sharing import own_files
from profiler.facts.runs import Run, runs_json
from profiler.studies.copies import Copies, filled
from profiler.studies.record import named_files
from profiler.studies.together import as_one


def none(_: Sequence[str]) -> list[bytes]:
    return []


def own(command: Sequence[str], *files: bytes, by: Sequence[str] = ()) -> list[bytes]:
    """The own files among these, as a trace of the first of three copies would say."""
    made = trace([], files, copies=Copies(3, tuple(command), own=tuple(by)).facts(none))
    return [path for path, one in zip(files, own_files(made), strict=False) if one]


def test_the_number_is_filled_in_wherever_it_stands() -> None:
    assert filled(["a", "{n}{n}", "x{n}.img", "{m}"], 12) == ["a", "1212", "x12.img", "{m}"]


def test_a_command_around_without_a_number_is_run_once_for_all() -> None:
    copies = Copies(3, ("x",), before=("rm", "-f", "a{n}"), after=("stop", "all"))
    assert [copies.around(copies.before, n) for n in copies.numbers] == [
        ["rm", "-f", f"a{n}"] for n in (1, 2, 3)
    ]
    assert [copies.around(copies.after, n) for n in copies.numbers] == [["stop", "all"], [], []]


@pytest.mark.parametrize(
    ("word", "mine", "not_mine"),
    [
        ("disk{n}.qcow2", [b"/vm/disk1.qcow2"], [b"/vm/disk10.qcow2", b"/disk2.qcow2", b"/mydisk1.qcow2"]),
        ("file=disk{n}.img,if=virtio", [b"/vm/disk1.img"], [b"/vm/virtio"]),
        ("cat disk{n}.img | wc", [b"/vm/disk1.img"], [b"/bin/wc"]),
        ("vm{n}", [b"/srv/vm1/root.img", b"/srv/vm1.img", b"/srv/vm1-data"], [b"/srv/vm11/x", b"/srv/vm1a"]),
        ("../vm{n}/", [b"/srv/vm1/root.img"], [b"/srv/vm10/root.img"]),
        ("/guest/d[{n}].img", [b"/mnt/guest/d[1].img"], [b"/mnt/guest/d1.img"]),
        ("tcp:127.0.0.1:808{n}", [], [b"/lib/libc.so.6", b"/x/80810"]),
        ("{n}", [b"/srv/1/disk"], [b"/lib/lib1.so", b"/lib/lib.so.1", b"/srv/10/disk"]),
    ],
)  # fmt: skip
def test_own_is_what_is_called_after_the_number(word: str, mine: list[bytes], not_mine: list[bytes]) -> None:
    assert own(["program", word], *mine, *not_mine) == mine


def test_without_a_number_nothing_is_own_whatever_it_is_called() -> None:
    assert own(["qemu-img", "check", "disk.qcow2"], b"/vm/disk.qcow2") == []
    assert own(["boot", "{n}"], b"/vm/a1.img", b"/vm/1.img", by=["a{n}.img"]) == [b"/vm/a1.img"]


def test_names_that_lead_to_one_file_are_shared_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "real-a", "real-b"):
        Path(name).write_text(name)
    for number, target in ((1, "real-a"), (2, "real-b")):
        os.symlink(target, f"link{number}")
        os.link("base", f"same{number}")
    copies = Copies(2, ("cat", "link{n}", "same{n}"))
    files = [
        os.fsencode(tmp_path.resolve() / name) for name in ("base", "same1", "real-a", "real-b", "link1")
    ]
    made = trace([], files, copies=copies.facts(named_files))
    assert own_files(made).tolist() == [False, False, True, False, True, False]


def test_the_files_of_the_others_are_those_that_they_name_and_the_firsts_with_another_number(
    tmp_path: Path,
) -> None:
    for number in (1, 2):
        (tmp_path / f"vm{number}").mkdir()
        (tmp_path / f"vm{number}" / "data\\1").write_text("x")
    copies = Copies(3, ("start", "vm{n}"))
    first = [os.fsencode(tmp_path / "vm1" / "data\\1"), b"/lib/libc.so.6"]
    assert copies.files_of(2, first, none) == [os.fsencode(tmp_path / "vm2" / "data\\1")]
    assert copies.files_of(3, first, none) == []
    assert copies.files_of(2, (), lambda words: [os.fsencode(" ".join(words))]) == [b"start vm2"]


def test_copies_as_one_run() -> None:
    runs = [
        Run(1, 0, user_s=0.1, system_s=0.2, device_read_bytes=10),
        Run(3, 2, user_s=0.3, system_s=0.1, device_read_bytes=5, stderr="bad"),
        Run(2, 9, user_s=0, system_s=0, device_read_bytes=1, stderr="worse"),
    ]
    got = as_one(runs, None)
    assert (got.wall_s, got.exit_status, got.device_read_bytes, got.stderr) == (3, 2, 16, "copy 2: bad")
    assert got.user_s == pytest.approx(0.4) and got.copies == tuple(runs)
    (found,) = runs_json([got])
    assert [one["wall_s"] for one in found["copies"]] == [1, 3, 2]
    assert "copies" not in found["copies"][0]
