"""Small traces, and what a hostile hand could make of them: for the tests and for `scripts/fuzz-traces`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from image_cases import image_trace
from made import MIB, below, trace, waiting

from profiler import devices
from profiler.analysis.advice.findings import find
from profiler.analysis.advice.options import advise
from profiler.analysis.simulation.prefetch import plan
from profiler.analysis.simulation.projection import project, requests
from profiler.cli.output import reading
from profiler.errors import ColdseekError
from profiler.files import packed
from profiler.files.traces import load, save
from profiler.plan import plan_of
from profiler.report import comparison, figures, summarise, text
from profiler.report import json as json_report
from profiler.report.advice import page as advice
from profiler.trace import CONTENT_COLUMNS, EVENT_COLUMNS, TASK_COLUMNS, FileFacts, Trace, table

Number = Callable[[int], int]
"""number(n) gives the next whole number below n."""

KINDS = ("events", "meta", "tables", "bytes")
"""What is changed."""

NUMBERS = (
    0, 1, -1, 2, 511, 4095, 4096, 2**31 - 4096, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**61, 2**62 - 1,
    2**62, 2**62 + 1, 2**63 - 8192, 2**63 - 4096, 2**63 - 2, 2**63 - 1,
)  # fmt: skip
"""At which something may overflow, end, become negative or large."""

VALUES = (
    "null", "true", "false", "0", "-1", "0.5", "1e-320", "1e308", "-1e308", "1e999", "NaN", "Infinity",
    "9" * 4000, "9" * 10_000, '""', '"x"', '"\\ud800"', '"\\udcff\\u0000\\n"', '"\\u001b[31m"', "[]",
    json.dumps("y" * 5000),
    "{}", "[0]", '{"a": 1}', "[" * 30 + "]" * 30, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900,
    *(str(number) for number in NUMBERS), str(2**64), str(2**70),
    '"qcow2"', '"raw"', '"8:1"', '"0"', '"6.18"',
    '"regular"', '"directory"', '"absent"', '"link"', '"files"',
    *(f'"{packed.pack([number, other, number])}"' for number in NUMBERS for other in (0, 1, 2**62, -1)),
)  # fmt: skip
"""JSON that may stand in place of any other."""

WORDS = (
    "read", "pread64", "mmap", "fault", "miss", "request", "exec", "fadvise_dontneed", "fadvise_willneed",
    "madvise_random", "sendfile", "pwrite64", "lseek", "open", "uring_read", "syscall", "cache", "device",
    "lookup", "present", "mmap_exec", "", "\x1b[2J", "z" * 300,
)  # fmt: skip
"""Operations and layers, and what is none."""


@cache
def bases() -> tuple[tuple[pa.Table, dict[str, Any]], ...]:
    """Traces to begin with: events, and what stands beside them, as it was parsed."""
    runs = [{"wall_s": 1.5, "exit_status": 0, "resident_before_bytes": 0, "resident_checked_bytes": 5,
             "device_read_bytes": 4096, "stderr": ""}] * 2  # fmt: skip
    disk = {"name": "sda1", "disk": "sda", "read_ahead_kb": 128, "max_sectors_kb": 1280, "max_segments": 168,
            "size_bytes": 2**40, "disk_number": "8:0", "start_bytes": MIB, "rotational": True}  # fmt: skip
    more: dict[str, Any] = {
        "command": ("qemu-img", "info", "x"), "wall_s": 2.0, "exit_status": 0, "cache": "cold",
        "tracer": "kernel", "image": "/vm/disk0.qcow2", "cwd": "/", "notes": ("a",), "unseen": ("mmap",),
        "measured": {"cold": runs, "warm": runs, "first_exit_status": 0},
        "host": {"kernel": "6.18.0", "cpus": 2, "devices": {"8:1": disk}},
    }  # fmt: skip
    places = [(0, start, 4096) for start in (0, 4096, 8192, 12288, 16384, 20480, 28672, 32768, 16384)]
    image = image_trace([*places, (1, 0, 832), (1, 4096, 65536), (1, None, 10)], **more)
    plain = trace(
        [(number % 3, number * 8192, 8192) for number in range(24)],
        extents=[(0, 0, MIB, 40960, 0), (0, 40960, 9 * MIB, 2**30, 1), (1, 0, 2**33, MIB, 0x800)],
        direct=[3, 5], **more,
    )  # fmt: skip
    seen = [
        (50, "miss", 0, 0, 4096), (1050, "miss", 1, 8192, 8192), (1500, "fault", 1, 4096, 0),
        (2010, "request", 0, MIB, 8192), (2500, "kernel_request", 0, 2 * MIB, 4096),
    ]  # fmt: skip
    rows = [(1, 1, -1, b"qemu", 0), (1, 1, -1, b"x", 2000), (2, 1, 1, b"CPU 0/KVM", None)]
    tasks = table(TASK_COLUMNS, [
        {"tid": tid, "pid": pid, "parent": parent, "name": name, "program": b"/bin/" + name,
         "cgroup": b"/x", "container": "c", "start_ns": start, "end_ns": 9000}
        for tid, pid, parent, name, start in rows
    ])  # fmt: skip
    image, plain = (
        waiting(
            dataclasses.replace(one, tasks=tasks),
            (1, 0, 50, "device"), (1, 90, None, "socket", b"/run/x"), (2, 0, 70, "lock"),
        )
        for one in (image, plain)
    )  # fmt: skip
    rows_there = [(20480, 24576, "ext4 inode table", b""), (24576, 28672, "ext4 file data", b"/etc/x\xff")]
    image = dataclasses.replace(image, contents=table(CONTENT_COLUMNS, [
        {"file": 0, "start": start, "end": end, "kind": kind, "path": path}
        for start, end, kind, path in rows_there
    ]))  # fmt: skip
    found = []
    for one in (image, plain, below(image, seen), below(plain, seen), _looked_up(more), trace()):
        file = io.BytesIO(_saved(one))
        events = pq.read_table(file)
        metadata = events.schema.metadata
        found.append((events, {key.decode(): json.loads(value) for key, value in metadata.items()}))
    return tuple(found)


def _looked_up(more: dict[str, Any]) -> Trace:
    """Paths that were followed, on a device of which is known where its inodes lie; one of some copies."""
    inodes = {
        "source": "file system",
        "block_size": 4096,
        "inode_size": 256,
        "blocks_per_group": 32768,
        "inodes_per_group": 8192,
        "read_ahead_blocks": 32,
        "inode_tables": {"0": 1063, "40": 1310720},
    }
    disk = more["host"]["devices"]["8:1"] | {"inodes": inodes, "filesystems": ["ext4"]}
    files = [
        FileFacts(path, "8:1", inode, size, None, kind, "ext4")
        for path, inode, size, kind in [
            (b"/", 2, 4096, "directory"), (b"/lib", 327_681, 2**16, "directory"),
            (b"/lib/a", None, None, "absent"), (b"/lib/b", 327_690, 20, "link"),
            (b"/lib/c", 327_700, MIB, "regular"), (b"/d", 40 * 8192, MIB, "regular"),
        ]
    ]  # fmt: skip
    copies = {"count": 3, "own": ["/d"], "cold": [{"wall_s": [1.0, 2.0, 1.5]}], "warm": []}
    looked_up = [(10 * number, "lookup", number, None, 0) for number in range(2, 6)]
    present = [(90, "present", 4, 0, 65536), (91, "present", 5, 4096, 4096), (5, "exec", 4, 0, 0)]
    host = more["host"] | {"devices": {"8:1": disk}}
    made = trace(
        [(4, 0, 832), (5, 0, 100), (5, 8192, 100)], files, extents=[(5, 0, MIB, MIB, 1)], step_ns=40,
        **(more | {"evicted": "files", "copies": copies, "host": host, "tracer": "ptrace", "image": ""}),
    )  # fmt: skip
    return below(made, looked_up + present)


def _saved(made: Trace) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")
        save(made, path)
        return Path(path).read_bytes()


def _base(which: int) -> tuple[pa.Schema, dict[str, list[Any]], dict[str, str]]:
    events, beside = bases()[which]
    columns = {name: events[name].to_pylist() for name in events.column_names}
    return events.schema, columns, {key: json.dumps(value) for key, value in beside.items()}


def unchanged(which: int) -> bytes:
    """The file of one of `bases`."""
    return _file(*_base(which), plain=False)


def mutated(number: Number) -> tuple[str, bytes]:
    """A trace's file with some changes, and the kind of the last of them."""
    schema, columns, texts = _base(number(len(bases())))
    kind, flips = KINDS[number(len(KINDS))], 0
    for _ in range(number(4) + 1):
        if kind == "events":
            _change_events(columns, number)
        elif kind == "meta":
            texts["coldseek.meta"] = _changed(texts["coldseek.meta"], number)
        elif kind == "tables":
            key = sorted(texts)[number(len(texts))]
            texts[key] = _changed(texts[key], number)
        else:
            flips += 1
        kind = KINDS[number(3)] if number(3) == 0 else kind
    raw = bytearray(_file(schema, columns, texts, number(8) == 0))
    for _ in range(flips):
        raw[number(len(raw))] ^= 1 << number(8)
    if flips and number(8) == 0:
        del raw[number(len(raw)) :]
    return kind, bytes(raw)


def _file(schema: pa.Schema, columns: dict[str, list[Any]], texts: dict[str, str], plain: bool) -> bytes:
    if plain:  # without the dictionaries, and in other types
        arrays = {name: pa.array(values) for name, values in columns.items()}
    else:
        arrays = {name: pa.array(columns[name], schema.field(name).type) for name in columns}
    metadata = {key.encode(): value.encode("utf-8", "backslashreplace") for key, value in texts.items()}
    file = io.BytesIO()
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), file, compression="zstd")
    return file.getvalue()


def _change_events(columns: dict[str, list[Any]], number: Number) -> None:
    """Some rows of a column, or all rows many times over."""
    name = list(EVENT_COLUMNS)[number(len(EVENT_COLUMNS))]
    values, dtype = columns[name], EVENT_COLUMNS[name]
    if not values:
        return
    if number(16) == 0:
        times = number(40) + 1
        for other in columns:
            columns[other] = columns[other] * times
        values = columns[name]
    rows = range(len(values)) if number(3) == 0 else [number(len(values)) for _ in range(number(4) + 1)]
    value: Any = None
    if dtype == "category":
        value = WORDS[number(len(WORDS))]
    elif dtype == "bool":
        value = bool(number(2))
    else:
        limit = np.iinfo(dtype.lower()).max
        value = min(NUMBERS[number(len(NUMBERS))], int(limit))
        value = None if dtype == "Int64" and number(6) == 0 else value
    for row in rows:
        values[row] = value
    if name == "time_ns" and number(4):
        values.sort()


def _changed(words: str, number: Number) -> str:
    """JSON with one of its values another, gone, doubled; or with a byte changed."""
    if number(12) == 0:
        at = number(len(words) + 1)
        return words[:at] + '[]{},:"0e-\\'[number(11)] + words[at + number(2) :]
    try:
        whole = json.loads(words)
    except (ValueError, RecursionError):
        return words
    mark, here = "\0here\0", whole
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return VALUES[number(len(VALUES))] if here is whole else words
        key = keys[number(len(keys))]
        if isinstance(here[key], dict | list) and here[key] and number(5):
            here = here[key]
            continue
        break
    how = number(10)
    if how == 0:
        del here[key]
    elif how == 1 and isinstance(here, list):
        here += here * number(50)
    else:
        here[key] = mark
    with contextlib.suppress(ValueError, RecursionError):
        words = json.dumps(whole)
    return words.replace(json.dumps(mark), VALUES[number(len(VALUES))])


def check(raw: bytes, number: Number, everything: bool = True) -> str:
    """Load a trace and make of it all that is made of traces, or one thing of these; what came of it: "" or
    a line of an error. Raises whatever is no ColdseekError."""
    try:
        with reading("x"):
            found = load(io.BytesIO(raw))
            for make in MAKERS if everything else [MAKERS[number(len(MAKERS))]]:
                make(found, number)
    except ColdseekError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 2000, error
        return str(error)
    return ""


def _report(found: Trace, _: Number) -> None:
    summed = summarise.summarise(found, _devices())
    assert text.report(summed).plain
    assert text.screen(summed, text.Terminal(80, draws=True, colours=True)).plain
    json.loads(json_report.dumps(json_report.report(summed)))


def _project(found: Trace, _: Number) -> None:
    cold = requests(found)
    projected = [project(cold, device, copies) for device in _devices() for copies in (1, 3)]
    assert text.project(projected).plain
    json_report.dumps(json_report.project(projected))


def _plan(found: Trace, _: Number) -> None:
    for order in ("device", "time"):
        assert plan_of(plan(found, order), found.files).size >= 0


def _advise(found: Trace, _: Number) -> None:
    findings = find(found, found.reads(), requests(found))
    advices = advise(found, _devices(), _devices())
    path = b"" if advices.image is None else found.files["path"].iloc[advices.image.file]
    assert advice.text(advices, findings, path, "x", found.meta)
    json_report.dumps(advice.json(advices, findings, path, "x", found.meta))


def _compare(found: Trace, _: Number) -> None:
    compared = comparison.compare_summary(found, found)
    assert text.compare(compared).plain
    json_report.dumps(json_report.compare(compared))


def _plot(found: Trace, number: Number) -> None:
    draw(found, list(figures.KINDS)[number(3)])


MAKERS = (_report, _project, _plan, _advise, _compare, _plot)
"""What is made of traces."""


@cache
def _devices() -> list[Any]:
    return [devices.find(name) for name in ("hdd-7200", "nvme")]


def draw(found: Trace, kind: str) -> None:
    """A picture, into a file that is not kept."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        figures.save(figures.draw([found], kind), os.path.join(folder, "x.png"))


def warm_up() -> None:
    """Make and import once what every trace needs."""
    for kind in figures.KINDS:
        draw(load(io.BytesIO(unchanged(0))), kind)
