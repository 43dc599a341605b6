"""The page and the JSON of `coldseek advise`, and the commands in them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from image_cases import PAGE, image_trace
from made import MIB, trace, with_meta

from profiler import devices
from profiler.analysis.advice.findings import find
from profiler.analysis.advice.options import Estimate, advise
from profiler.analysis.simulation.projection import requests
from profiler.errors import ColdseekError
from profiler.report.advice import page
from profiler.report.advice.verified import Compared, Verification, by_measured, helped
from profiler.studies import substitution, verify
from profiler.trace import FileFacts, Trace

ROWS: list[tuple[int, int, str, int | None]] = [
    (n * 8 * PAGE, n * 8 * PAGE + PAGE, "L2 table" if n % 4 else "data cluster", None if n % 4 else n * MIB)
    for n in range(256)
]
READS = [(0, start, PAGE) for start, *_ in reversed(ROWS)]
DEVICES = [devices.find(name) for name in ("hdd-7200", "sata-ssd", "nvme")]


def scattered(**more: Any) -> Trace:
    return image_trace(READS, ROWS, size=8 * MIB, command=("vm", "/vm/disk0.qcow2"), **more)


def pages(
    made: Trace, verified: Verification | None = None, width: int = 80
) -> tuple[list[str], dict[str, Any]]:
    found = advise(made, DEVICES, devices.presets())
    reads = made.reads()
    rules = find(made, reads, requests(made, reads))
    path = b"" if found.image is None else made.files["path"].iloc[found.image.file]
    arguments = found, rules, path, "cold.trace.parquet", made.meta, verified
    return page.text(*arguments, width), page.json(*arguments)


def test_the_page_has_the_times_the_bands_and_the_commands() -> None:
    lines, made = pages(scattered())
    shown = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "hdd-7200" in shown and "as it is" in shown and " to " in shown
    joined = " ".join(line.strip().removesuffix("\\").strip() for line in lines)
    for option in made["options"]:
        if option["command"]:
            assert option["command"] in joined
    assert {"raw", "cluster-64k", "prefetch"} <= {one["option"] for one in made["options"]}
    assert made["options"][0]["saves"] > 0.5
    assert "qemu-img convert -f qcow2 -O raw /vm/disk0.qcow2 /vm/disk0.raw" in joined
    assert "prefetch cold.trace.parquet --save cold.plan && ./cold.plan && vm /vm/disk0.qcow2" in joined
    assert json.loads(json.dumps(made, allow_nan=False))["schema"] == "coldseek.advise/1"
    assert [one["device"] for one in made["now"]] == ["hdd-7200", "sata-ssd", "nvme"]
    assert made["findings"][0]["kind"] == "metadata"


def test_a_remedy_that_is_no_copy_stands_below_its_reason() -> None:
    rows = [*ROWS, *((start + PAGE, start + 2 * PAGE, "bitmap table", None) for start, *_ in ROWS[:30])]
    reads = [(0, start, end - start) for start, end, *_ in rows]
    facts = {"bitmaps": 30, "bitmap_names": ["it's # monday"]}
    made = image_trace(reads, sorted(rows), facts, size=8 * MIB, command=("vm", "/vm/disk0.qcow2"))
    lines, found = pages(made)
    shown = "\n".join(lines)
    assert "30 persistent dirty bitmaps: 30 reads of their tables" in " ".join(shown.split())
    pasted = shown[shown.index("qemu-img bitmap") :]
    one = re.split(r"(?<!\\)\n", pasted)[0]
    assert shlex.split(one.replace("\\\n", " ")) == [
        "qemu-img", "bitmap", "--remove", "/vm/disk0.qcow2", "it's # monday",
    ]  # fmt: skip
    assert "backup software owns them: only what it gave up" in shown
    assert [one["kind"] for one in found["findings"]][:2] == ["bitmaps", "metadata"]


def test_names_are_quoted_and_escaped() -> None:
    made = scattered()
    files = made.files.copy()
    files.at[0, "path"] = b"/vm/a b;$(rm)\x1b[2J.qcow2"
    lines, _ = pages(dataclasses.replace(made, files=files))
    shown = "\n".join(lines)
    assert "\x1b" not in shown
    # pasted from any terminal it is one command, with the name as one word
    for width in (60, 80, 120):
        shown = "\n".join(pages(dataclasses.replace(made, files=files), width=width)[0])
        pasted = shown[shown.index("qemu-img convert") :].partition("\n\n")[0]
        command = re.split(r"(?<!\\)\n", pasted)[0]
        assert "/vm/a b;$(rm)\\x1b[2J.qcow2" in shlex.split(command)


def verified(**more: Any) -> Verification:
    cost = Estimate("here", 10, 40960, 0.1, 0.05, 0.2, None)
    one = Compared("now", "as it is", cost, (0.3, 0.31), (0.2, 0.21), 0.305, 0.205, 12, 40960, 0, (), "")
    return Verification("here", "vda", 2, (dataclasses.replace(one, **more),))


def test_projected_beside_measured() -> None:
    lines, made = pages(scattered(), verified())
    shown = " ".join(" ".join(lines).split())
    assert "as it is 100 ms 50 ms to 200 ms 100 ms +0%" in shown
    assert "measured 305 ms cold, 205 ms warm; 10 requests projected, 12 seen" in shown
    assert made["verified"]["results"][0]["waits_s"] == pytest.approx(0.1)
    lines, made = pages(scattered(), verified(failed="could not be made: no\n", cold=(), cold_s=None))
    assert "could not be made" in " ".join(lines) and max(map(len, lines)) <= 80


def result(key: str, *cold: float, failed: str = "") -> Compared:
    cost = Estimate("here", 10, 40960, 0.1, 0.05, 0.2, None)
    middle = sorted(cold)[len(cold) // 2] if cold else None
    name = "as it is" if key == "now" else key
    return Compared(key, name, cost, cold, (0.1,), middle, 0.1, None, None, 0, (), failed)


def test_what_really_helped_is_one_line() -> None:
    now = result("now", 1.0, 1.1, 1.2)
    made = Verification(
        "here", "vda", 3,
        (
            now, result("raw", 0.5, 0.6, 0.7), result("prefetch", 0.1, 0.2, 0.3),
            result("cluster-2m", 0.9, 1.05, 2), result("cluster-64k", 1.0, 1.3, 1.4),
            result("x", failed="no room"),
        ),
    )  # fmt: skip
    assert (
        helped(made) == "What helped, of 1.1 s cold: prefetch 200 ms (81.8% less), raw 600 ms (45.5% less)."
    )
    assert not made.helps("cluster-2m")  # shorter by less than 5%
    assert not made.helps("now") and not made.helps("x") and not made.helps("unheard of")
    nothing = Verification("here", "vda", 3, (now, result("raw", 0.3, 1.05, 1.1)))
    assert helped(nothing) == "Nothing of it helped: as it is, the start took 1.1 s cold."
    within = Verification("here", "vda", 3, (result("now", 0.8, 1.2, 1.2), result("raw", 0.9, 1.0, 1.1)))
    assert not within.helps("raw")  # quicker in six of nine pairs: that is chance
    assert helped(within).startswith("Nothing of it helped for certain, of 1.2 s cold: raw 1 s (16.7% less)")
    more = result("now", *[0.8] + [1.2] * 9), result("raw", *[0.9] * 10)
    assert Verification("here", "vda", 10, more).helps("raw")
    unknown = Verification("here", "vda", 3, (result("now", failed="it failed"), result("raw", 1.0)))
    assert "not known" in helped(unknown)


def test_what_was_measured_sorts_the_list() -> None:
    made = scattered()
    advice = advise(made, DEVICES, devices.presets())
    assert [one.key for one in advice.options][:2] != ["cluster-2m", "prefetch"]
    seen = Verification(
        "here", "vda", 3,
        (
            result("now", 1.0, 1.1, 1.2), result("prefetch", 0.5, 0.6, 0.7),
            result("cluster-2m", 0.4, 0.5, 0.6), result("raw", 1.0, 1.3, 1.4),
        ),
    )  # fmt: skip
    keys = [one.key for one in by_measured(advice, seen).options]
    assert keys[:2] == ["cluster-2m", "prefetch"] and keys[-1] == "raw"
    assert sorted(keys) == sorted(one.key for one in advice.options)
    lines, found = pages(made, seen)
    shown = " ".join(" ".join(lines).split())
    assert "What helped, of 1.1 s cold: cluster-2m 500 ms (54.5% less), prefetch 600 ms" in shown
    assert "measured 1.3 s (18.2% more); projected: saves" in shown
    assert found["verified"]["helped"].startswith("What helped")
    assert found["verified"]["results"][3]["gain"] == pytest.approx(-0.1818, abs=1e-3)


# ---- a start of no image ----------------------------------------------------------------------------------


def program() -> Trace:
    """A program that reads a large library here and there, and some modules of Python."""
    files = [
        FileFacts(path, device="8:1", size=size, kind="regular", filesystem="ext4")
        for path, size in (
            (b"/usr/lib/libbig.so.1", 64 * MIB),
            (b"/usr/lib/python3.11/json/decoder.py", PAGE),
            (b"/usr/lib/python3.11/json/encoder.py", PAGE),
            (b"/srv/a b;$(rm)\x1b[2J", PAGE),
        )
    ]
    reads = [(0, (n * 37 % 64) * MIB, 8 * PAGE) for n in range(64)] + [(file, 0, PAGE) for file in (1, 2, 3)]
    host = {"devices": {"8:1": {"disk": "sda", "read_ahead_kb": 128}}}
    return trace(reads, files, command=("python3", "-c", "import json"), host=host)


def test_any_program_is_advised() -> None:
    lines, made = pages(program())
    shown = "\n".join(lines)
    assert made["image"] is None and not any(line.startswith("image") for line in lines)
    assert max(map(len, lines)) <= 80 and "\x1b" not in shown
    keys = {one["option"] for one in made["options"]}
    assert {"prefetch", "in-order", "device"} <= keys
    assert [one["kind"] for one in made["contributors"]][:2] == ["shared library", "Python modules"]
    assert made["contributors"][1]["name"] == "json" and made["contributors"][1]["files"] == 2
    assert sum(one["share"] for one in made["contributors"]) <= 1 + 1e-9
    assert made["contributors"][0]["share"] > 0.5
    assert "libbig.so.1 (shared library): " in shown and "Python modules of json, 2 files: " in shown
    joined = " ".join(shown.replace("\\\n", " ").split())
    assert "cold.trace.parquet --save cold.plan && ./cold.plan && python3 -c 'import json'" in joined
    assert json.loads(json.dumps(made, allow_nan=False))["schema"] == "coldseek.advise/1"
    in_order = next(one for one in made["options"] if one["option"] == "in-order")
    assert in_order["command"] is None
    assert "1 in one piece       saves at most " in shown and "not where they are read here and there" in (
        shown.replace("\n", " ")
    )
    for cost, now in zip(in_order["costs"], made["now"], strict=True):
        assert cost["seconds"] <= now["seconds"] and cost["low_s"] <= cost["seconds"] <= cost["high_s"]


def test_more_read_ahead_is_a_setting_of_the_disk() -> None:
    """A file that is read in order in small pieces: a larger window costs fewer turns."""
    files = [FileFacts(b"/a", device="8:1", size=64 * MIB, kind="regular", filesystem="ext4")]
    extents = [(0, n * 256 * 1024, n * 256 * 1024 * 7919 % (64 * MIB), 256 * 1024, 0) for n in range(256)]
    host = {"devices": {"8:1": {"disk": "sda", "read_ahead_kb": 16}}}
    made = trace([(0, n * PAGE, PAGE) for n in range(4096)], files, extents=extents, host=host)
    found = advise(made, [devices.find("hdd-7200")], [], all_of_them=True)
    options = {one.key: one for one in found.options}
    assert options["read-ahead-512k"].setting == ("blockdev", "--setra", "1024", "/dev/sda")
    assert options["read-ahead-4096k"].setting == ("blockdev", "--setra", "8192", "/dev/sda")
    assert options["read-ahead-512k"].costs[0].requests < found.now[0].requests
    host = {"devices": {"8:1": {"disk": "sda", "read_ahead_kb": 512}}}
    same = advise(with_meta(made, host=host), DEVICES, [])
    assert "read-ahead-512k" not in {one.key for one in same.options}
    bare = advise(
        with_meta(made, host={}),
        DEVICES,
        [],
        all_of_them=True,
    )
    assert all(not one.setting for one in bare.options)


def test_a_start_of_nothing_has_no_advice() -> None:
    lines, made = pages(trace())
    assert made["contributors"] == [] and made["options"] == []
    assert "Nothing that is known here would gain 5% or more." in lines


# ---- the command on a copy -------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "disk0.qcow2"
    path.write_bytes(b"x")
    (tmp_path / "disk0.qcow2.old").write_bytes(b"y")
    return os.fsencode(path)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("qemu-img map {0}", "qemu-img map /copy.raw"),
        ("qemu-img map ./disk0.qcow2", "qemu-img map /copy.raw"),
        ("qemu-img map -f qcow2 disk0.qcow2", "qemu-img map -f raw /copy.raw"),
        ("boot disk0.qcow2 disk0.qcow2.old", "boot /copy.raw disk0.qcow2.old"),
        ("qemu-img map --image-opts driver=qcow2,file.filename={0}",
         "qemu-img map --image-opts driver=raw,file.filename=/copy.raw"),
        ("qemu-system-x86_64 -m 1 -drive file={0},format=qcow2,if=virtio",
         "qemu-system-x86_64 -m 1 -drive file=/copy.raw,format=raw,if=virtio -snapshot"),
        ("qemu-system-x86_64 -drive file={0},format=qcow2,snapshot=on",
         "qemu-system-x86_64 -drive file=/copy.raw,format=raw,snapshot=on"),
        ("qemu-system-x86_64 -snapshot -hda {0}", "qemu-system-x86_64 -snapshot -hda /copy.raw"),
        ("qemu-system-x86_64 -blockdev driver=qcow2,read-only=on,file.filename={0}",
         "qemu-system-x86_64 -blockdev driver=raw,read-only=on,file.filename=/copy.raw"),
    ],
)  # fmt: skip
def test_the_copy_takes_the_images_place(image: bytes, command: str, expected: str) -> None:
    words = shlex.split(command.format(os.fsdecode(image)))
    assert substitution.substituted(words, image, b"/copy.raw", "qcow2", "raw") == shlex.split(expected)


def test_a_comma_in_a_name(image: bytes, tmp_path: Path) -> None:
    odd = tmp_path / "a,b.qcow2"
    os.link(image, odd)
    words = ["qemu-img", "map", "--image-opts", f"file.filename={str(odd).replace(',', ',,')},driver=qcow2"]
    made = substitution.substituted(words, image, b"/c,d", "qcow2", "")
    assert made[-1] == "file.filename=/c,,d,driver=qcow2"


def test_what_cannot_be_run_on_a_copy_is_refused(image: bytes) -> None:
    for command, words in (
        ("qemu-img map other.qcow2", "does not name"),
        ("qemu-system-x86_64 -blockdev driver=qcow2,file.filename={0}", "read-only=on"),
    ):
        with pytest.raises(ColdseekError, match=words):
            substitution.substituted(
                shlex.split(command.format(os.fsdecode(image))), image, b"/c", "qcow2", "raw"
            )


def test_a_trace_from_elsewhere_is_never_run(tmp_path: Path) -> None:
    """The image has to be the very file that was recorded."""
    with pytest.raises(ColdseekError, match="changed since the trace was recorded"):
        verify.check(scattered(), 0)


def test_there_has_to_be_room(tmp_path: Path) -> None:
    verify._make_room(MIB, str(tmp_path))
    with pytest.raises(ColdseekError, match="--scratch"):
        verify._make_room(2**60, str(tmp_path))
