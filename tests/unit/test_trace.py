"""The trace's file: everything survives the round trip, and nothing hostile gets in."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import typed

from profiler.calls import READ_OPS, WRITE_OPS
from profiler.errors import ColdseekError, TraceFormatError
from profiler.facts.host import Inodes
from profiler.facts.structures import ROLES, roles_of
from profiler.files.parquet import read
from profiler.files.traces import PATH, _arrow_schema, load, save
from profiler.files.writing import replacing
from profiler.images.guest.pieces import MAX_PIECES
from profiler.images.map import MAX_RANGES
from profiler.machine.extents import MAX_EXTENTS
from profiler.trace import (
    CACHE_STATES,
    CONTENT_COLUMNS,
    EVENT_COLUMNS,
    EXTENT_COLUMNS,
    FILE_COLUMNS,
    FILE_KINDS,
    FORMAT_VERSION,
    LAYERS,
    MOST_ROWS,
    STRUCTURE_COLUMNS,
    TASK_COLUMNS,
    WAIT_COLUMNS,
    WAIT_REASONS,
    Meta,
    Trace,
    host_path,
    host_paths,
    table,
)
from profiler.validity import validate

FIXTURES = Path(__file__).parents[1] / "data"
TABLES = {
    "files": FILE_COLUMNS,
    "extents": EXTENT_COLUMNS,
    "structures": STRUCTURE_COLUMNS,
    "tasks": TASK_COLUMNS,
    "waits": WAIT_COLUMNS,
    "contents": CONTENT_COLUMNS,
}

# ---- any trace -------------------------------------------------------------------------------------------

big = st.integers(0, 2**62)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def maybe(values: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    return st.just(pd.NA) | values


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with some of these keys and others, whose values may be anything."""
    return st.dictionaries(st.sampled_from(names) | texts, json_values, max_size=6)


run = st.fixed_dictionaries({"wall_s": st.floats(0, 100)}, optional={
    "exit_status": st.integers(0, 255), "device_read_bytes": st.integers(0, 2**62), "stderr": texts,
    "user_s": st.floats(0, 9),
    "copies": st.lists(st.fixed_dictionaries({"wall_s": st.just(1.0)}), max_size=2),
})  # fmt: skip
facts_of_runs = st.fixed_dictionaries({}, optional={
    "cold": st.lists(run, max_size=2), "warm": st.lists(run, max_size=2),
    "first_exit_status": st.integers(0, 255),
})  # fmt: skip
inodes = st.just({}) | st.fixed_dictionaries({
    "source": texts, "block_size": st.just(4096), "inode_size": st.just(256),
    "blocks_per_group": st.integers(1, 2**20), "inodes_per_group": st.integers(1, 2**20),
    "read_ahead_blocks": st.integers(0, 64),
    "inode_tables": st.dictionaries(st.just("7"), st.integers(0, 99)),
})  # fmt: skip
device = objects("name", "disk", "rotational", "size_bytes", "under", "filesystems", "read_ahead_kb")
facts_of_hosts = st.builds(
    lambda host, name, device, inodes: host | {"devices": {name: device | inodes}},
    objects("kernel", "machine", "cpus", "virtual"), texts, device,
    st.builds(lambda found: {"inodes": found}, inodes),
)  # fmt: skip
facts_of_copies = objects("count", "command", "own") | st.just({"count": 3, "command": ["a"], "own": ["b"]})
facts_of_images = st.fixed_dictionaries({}, optional={
    "virtual_size": st.integers(0, 2**63), "cluster_size": st.just(65536), "in_front": st.just(0),
    "features": st.lists(texts, max_size=2), "backing_file": texts, "dirty_before": st.booleans(),
    "part": st.booleans(), "layers": st.integers(0, 9), "bitmaps": st.integers(0, 9), "odd": json_values,
})  # fmt: skip


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Any trace that is valid: any number of rows in each table, nulls, every layer, names of any bytes."""
    paths = draw(st.lists(st.binary(max_size=12), max_size=4))
    numbers = st.integers(-1, len(paths) - 1)
    facts = {
        "device": texts, "inode": maybe(big), "size": maybe(big),
        "mtime_ns": maybe(st.integers(-(2**63), 2**63 - 1)),
        "kind": st.sampled_from(FILE_KINDS), "filesystem": texts,
        "host_path": st.binary(max_size=8),
    }  # fmt: skip
    files = [
        {"file": number, "path": path, **{name: draw(values) for name, values in facts.items()}}
        for number, path in enumerate(paths)
    ]
    event = st.fixed_dictionaries({
        "time_ns": st.integers(0, 2**63 - 1), "duration_ns": maybe(big), "pid": st.integers(0, 2**31 - 1),
        "tid": st.integers(0, 2**31 - 1), "layer": st.sampled_from(LAYERS),
        "op": st.sampled_from((*READ_OPS, *WRITE_OPS, "open", "an op of later versions")), "file": numbers,
        "handle": st.integers(-1, 2**31 - 1), "offset": maybe(big), "requested": big, "size": maybe(big),
        "errno": st.integers(0, 4095), "direct": st.booleans(),
    })  # fmt: skip
    extent = st.fixed_dictionaries(
        {"file": numbers, "logical": big, "physical": big, "length": big, "flags": st.integers(0, 2**32 - 1)}
    )
    roles = st.sampled_from(ROLES)
    structure = st.fixed_dictionaries(
        {"file": numbers, "start": big, "end": big, "kind": texts, "guest": maybe(big), "role": roles}
    )
    content = st.fixed_dictionaries(
        {"file": numbers, "start": big, "end": big, "kind": texts, "path": st.binary(max_size=8)}
    )
    task = st.fixed_dictionaries({
        "tid": st.integers(0, 2**31 - 1), "pid": st.integers(0, 2**31 - 1),
        "parent": st.integers(-1, 2**31 - 1), "name": st.binary(max_size=6),
        "program": st.binary(max_size=6),
        "cgroup": st.binary(max_size=6), "container": texts, "start_ns": maybe(big), "end_ns": maybe(big),
    })  # fmt: skip
    wait = st.fixed_dictionaries({
        "tid": st.integers(0, 2**31 - 1), "start_ns": big, "duration_ns": maybe(big),
        "reason": st.sampled_from(WAIT_REASONS), "file": numbers, "what": st.binary(max_size=6),
    })  # fmt: skip
    waits = sorted(draw(st.lists(wait, max_size=5)), key=lambda row: (row["tid"], row["start_ns"]))
    meta = Meta(
        command=tuple(os.fsdecode(part) for part in draw(st.lists(st.binary(max_size=6), max_size=3))),
        cwd=os.fsdecode(draw(st.binary(max_size=6))),
        tracer=draw(texts),
        cache=draw(st.sampled_from(CACHE_STATES)),
        resident_before_bytes=draw(st.none() | big),
        wall_s=draw(st.none() | st.floats(0, 1e9)),
        lost_events=draw(big),
        unseen=tuple(draw(st.lists(texts, max_size=2))),
        **typed(
            exit_status=draw(st.none() | st.integers(0, 255)),
            measured=draw(facts_of_runs),
            host=draw(facts_of_hosts),
            copies=draw(facts_of_copies),
        ),
    )
    if files:
        images = {"0": {"format": "qcow2"} | draw(facts_of_images)}
        meta = dataclasses.replace(meta, **typed(images=images))
    events = sorted(draw(st.lists(event, max_size=6)), key=lambda row: int(row["time_ns"]))
    return Trace(
        meta,
        table(EVENT_COLUMNS, events),
        table(FILE_COLUMNS, files),
        table(EXTENT_COLUMNS, draw(st.lists(extent, max_size=3))),
        table(STRUCTURE_COLUMNS, draw(st.lists(structure, max_size=3))),
        table(TASK_COLUMNS, draw(st.lists(task, max_size=3))),
        table(WAIT_COLUMNS, waits),
        table(CONTENT_COLUMNS, draw(st.lists(content, max_size=3))),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces") / "a.trace.parquet"


@settings(deadline=None)
@given(trace=traces())
def test_everything_survives_the_round_trip(place: Path, trace: Trace) -> None:
    validate(trace)
    save(trace, place)
    again = load(place)
    assert again.meta == trace.meta
    pd.testing.assert_frame_equal(again.events, trace.events, check_categorical=False)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(trace, name), check_categorical=False)
    assert len(again.reads()) + len(again.ends_of_file()) + len(again.writes()) <= len(again.events)


@settings(deadline=None, max_examples=30)
@given(trace=traces(), data=st.data())
def test_a_cut_or_changed_file_is_refused_or_still_a_valid_trace(
    place: Path, trace: Trace, data: st.DataObject
) -> None:
    save(trace, place)
    whole = place.read_bytes()
    for damaged in (
        whole[: data.draw(st.integers(0, len(whole) - 1))],
        whole[: (at := data.draw(st.integers(0, len(whole) - 1)))]
        + bytes([whole[at] ^ 0x55])
        + whole[at + 1 :],
    ):
        place.write_bytes(damaged)
        try:
            validate(load(place))
        except ColdseekError as error:
            assert_one_clear_line(error, place)


# ---- a known trace, to damage ----------------------------------------------------------------------------


def event(**more: Any) -> dict[str, Any]:
    return {
        "time_ns": 5, "duration_ns": 7, "pid": 1, "tid": 2, "layer": "syscall", "op": "pread64", "file": 0,
        "handle": 0, "offset": 4096, "requested": 512, "size": 512, "errno": 0, "direct": False, **more,
    }  # fmt: skip


def file(**more: Any) -> dict[str, Any]:
    return {
        "file": 0, "path": b"/x", "device": "8:1", "inode": 3, "size": 9000, "mtime_ns": 1,
        "kind": "regular", "filesystem": "ext4", "host_path": b"", **more,
    }  # fmt: skip


def known(*events: dict[str, Any]) -> Trace:
    return Trace(
        Meta(command=("x",)), table(EVENT_COLUMNS, list(events or [event()])), table(FILE_COLUMNS, [file()])
    )


def assert_one_clear_line(error: ColdseekError, path: Path) -> None:
    text = str(error)
    assert "\n" not in text
    assert str(path) in text
    assert error.exit_code == 125


def refused(path: Path) -> str:
    with pytest.raises(TraceFormatError) as caught:
        load(path)
    assert_one_clear_line(caught.value, path)
    return str(caught.value)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the events of a trace's file behind coldseek's back."""
    pq.write_table(change(pq.read_table(path)), path)


def rewrite_json(path: Path, key: str, text: bytes) -> None:
    def change(events: pa.Table) -> pa.Table:
        return events.replace_schema_metadata({**events.schema.metadata, key.encode(): text})

    rewrite(path, change)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "x.trace.parquet"
    save(known(), path)
    return path


def test_any_parquet_reader_opens_it(saved: Path) -> None:
    frame = pd.read_parquet(saved)
    assert list(frame.columns) == [*EVENT_COLUMNS, PATH]
    assert frame["offset"].tolist() == [4096]


def test_each_event_has_the_path_of_its_file_for_other_readers(saved: Path) -> None:
    files = [file() | {"path": path} for path in (b"/a", b"/b\xff\n", b"/never")]
    files = [row | {"file": number} for number, row in enumerate(files)]
    events = [event() | {"file": number} for number in (1, -1, 0, 1)]
    save(dataclasses.replace(known(*events), files=table(FILE_COLUMNS, files)), saved)
    assert pq.read_table(saved)[PATH].to_pylist() == ["/b\\xff\n", None, "/a", "/b\\xff\n"]
    assert "path" not in load(saved).events.columns


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no parquet", b"\0" * 5000, b"PAR1" + b"\xff" * 100 + b"PAR1"]
)
def test_what_is_no_parquet_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.trace.parquet"
    path.write_bytes(content)
    assert "coldseek record" in refused(path)


def test_a_truncated_trace_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1])
    assert "not a whole Parquet file" in refused(saved)


def test_somebody_elses_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(path)
    assert "no coldseek trace" in refused(path)


def test_a_newer_version_is_refused_by_number(saved: Path) -> None:
    rewrite_json(saved, "coldseek.meta", json.dumps({"version": FORMAT_VERSION + 1}).encode())
    assert f"format {FORMAT_VERSION + 1} is newer" in refused(saved)


@pytest.mark.parametrize("version", ["null", "0", "-1", '"1"', "1.5", "[]"])
def test_a_version_that_is_none_is_refused(saved: Path, version: str) -> None:
    rewrite_json(saved, "coldseek.meta", b'{"version": %s}' % version.encode())
    refused(saved)


@pytest.mark.parametrize(
    "key", ["coldseek.meta", "coldseek.files", "coldseek.extents", "coldseek.structures"]
)
@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"null", b"[]", b"{}", b"7", b'"x"', b"\xff\xfe", b"NaN", b"[" * 100_000,
        b'{"file": 7}', b'{"file": [null]}', b'{"file": [0], "path": [7]}', b'{"version": 1, "wall_s": NaN}',
        b'{"version": 1, "wall_s": 1e999}', b'{"version": 1, "host": {"a": [Infinity]}}',
        b'{"version": 1, "command": "x"}', b'{"version": 1, "command": [1]}',
        b'{"version": 1, "lost_events": true}', b'{"version": 1, "measured": []}',
        b'{"version": 1, "exit_status": "0"}', b'{"version": 1, "unseen": {}}',
    ],
)  # fmt: skip
def test_damaged_json_is_refused(saved: Path, key: str, text: bytes) -> None:
    rewrite_json(saved, key, text)
    refused(saved)


@pytest.mark.parametrize("key", ["coldseek.files", "coldseek.extents", "coldseek.structures"])
def test_a_missing_table_is_refused(saved: Path, key: str) -> None:
    def change(events: pa.Table) -> pa.Table:
        kept = {name: value for name, value in events.schema.metadata.items() if name != key.encode()}
        return events.replace_schema_metadata(kept)

    rewrite(saved, change)
    refused(saved)


@pytest.mark.parametrize(
    ("table_name", "column", "values"),
    [
        ("files", "path", [7]), ("files", "path", ["\ud800"]), ("files", "file", [1]),
        ("files", "file", [2**40]), ("files", "size", [2**70]), ("files", "size", [1.5]),
        ("files", "kind", [None]), ("files", "inode", [True]), ("files", "device", ["a", "b"]),
        ("files", "file", ["0"]), ("files", "path", "/"),
    ],
)  # fmt: skip
def test_wrong_values_in_a_small_table_are_refused(
    saved: Path, table_name: str, column: str, values: Any
) -> None:
    held = json.loads(pq.read_schema(saved).metadata[f"coldseek.{table_name}".encode()])
    rewrite_json(saved, f"coldseek.{table_name}", json.dumps({**held, column: values}).encode())
    refused(saved)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("time_ns", pa.array([None], pa.int64())), ("time_ns", pa.array(["x"])), ("time_ns", pa.array([-1])),
        ("duration_ns", pa.array([-1])), ("offset", pa.array([-(2**63)])), ("offset", pa.array([2**63 - 1])),
        ("requested", pa.array([-1])), ("size", pa.array([2**63], pa.uint64())), ("size", pa.array([0.5])),
        ("file", pa.array([1])), ("file", pa.array([-2])), ("file", pa.array([2**40])),
        ("pid", pa.array([2**40])), ("layer", pa.array([7])), ("op", pa.array([[1]])),
        ("direct", pa.array([None], pa.bool_())), ("errno", pa.array([70_000])),
    ],
)  # fmt: skip
def test_wrong_values_in_the_events_are_refused(saved: Path, column: str, values: pa.Array) -> None:
    at = list(EVENT_COLUMNS).index(column)
    rewrite(saved, lambda events: events.set_column(at, column, values))
    refused(saved)


def test_a_missing_column_is_refused(saved: Path) -> None:
    rewrite(saved, lambda events: events.drop_columns(["offset"]))
    refused(saved)


def test_more_columns_and_keys_of_others_are_left_aside(saved: Path) -> None:
    rewrite(saved, lambda events: events.append_column("mine", pa.array([1])))
    facts = {**dataclasses.asdict(Meta(tracer="t")), "later": {"a": 1}}
    rewrite_json(saved, "coldseek.meta", json.dumps(facts).encode())
    again = load(saved)
    assert list(again.events.columns) == list(EVENT_COLUMNS)
    assert again.meta.tracer == "t"


def test_events_out_of_order_are_refused(saved: Path) -> None:
    save(known(event(time_ns=1), event(time_ns=2)), saved)
    rewrite(saved, lambda events: events.take([1, 0]))
    assert "sorted" in refused(saved)


def test_a_trace_that_is_not_valid_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "x.trace.parquet"
    with pytest.raises(TraceFormatError):
        save(known(event(file=1)), path)
    assert not list(tmp_path.iterdir())


# ---- what the machine refuses ----------------------------------------------------------------------------


def refused_by_the_system(action: Callable[[], object], path: Path, words: str) -> None:
    with pytest.raises(ColdseekError) as caught:
        action()
    assert_one_clear_line(caught.value, path)
    assert words in str(caught.value)


def test_a_missing_trace_a_directory_and_an_odd_name(tmp_path: Path) -> None:
    refused_by_the_system(lambda: load(tmp_path / "none"), tmp_path / "none", "No such file")
    refused_by_the_system(lambda: load(tmp_path), tmp_path, "directory")
    odd = tmp_path / "a\x1b[31m\n\udcff"
    with pytest.raises(ColdseekError) as caught:
        load(odd)
    assert "\\x1b[31m\\x0a\\xff" in str(caught.value)


def test_a_missing_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    refused_by_the_system(lambda: save(known(), tmp_path / "no/x"), tmp_path / "no/x", "No such file")
    (tmp_path / "taken").mkdir()
    refused_by_the_system(lambda: save(known(), tmp_path / "taken"), tmp_path / "taken", "directory")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_interrupted_writing_leaves_no_temporary_file(saved: Path) -> None:
    former = saved.read_bytes()
    with pytest.raises(KeyboardInterrupt), replacing(saved) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert saved.read_bytes() == former
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """Root could do so even with a device."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for special in (pipe, link):
        with pytest.raises(ColdseekError, match=f"{special.name} is no regular file and would be replaced"):
            save(Trace(), special)
    assert (pipe.is_fifo(), link.is_symlink()) == (True, True)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    link.symlink_to("there/real")
    for _ in range(2):  # first it leads nowhere
        save(Trace(), link)
        assert link.is_symlink()
        assert not real.is_symlink()
        load(real)
    assert list(real.parent.iterdir()) == [real]
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(ColdseekError, match=r"cannot write .*link: Too many levels of symbolic links"):
        save(Trace(), link)


def test_a_saved_trace_has_the_usual_permissions(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        save(known(), tmp_path / "x")
    finally:
        os.umask(former)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


# ---- what the tables mean --------------------------------------------------------------------------------


def test_reads_writes_and_ends_of_file_are_told_apart() -> None:
    trace = known(
        event(size=10, offset=pd.NA),
        event(size=0),
        event(size=pd.NA),
        event(size=0, errno=errno.EIO),
        event(size=0, requested=0),
        event(op="pwrite64", size=20),
        event(op="lseek", size=0),
        event(layer="cache", size=4096),
        event(file=-1, size=5),
    )
    assert trace.reads()["size"].tolist() == [10]
    assert trace.reads()["path"].tolist() == [b"/x"]
    assert len(trace.ends_of_file()) == 1
    assert trace.writes()["size"].tolist() == [20]


@pytest.mark.parametrize(
    "images",
    [
        {"0": 3}, {"0": {}}, {"0": {"format": 3}}, {"1": {"format": "raw"}}, {"x": {"format": "raw"}},
        {"0": {"format": "raw", "virtual_size": -1}}, {"0": {"format": "raw", "cluster_size": 2**64}},
        {"0": {"format": "raw", "in_front": "0"}}, {"-1": {"format": "raw"}}, {"\u00b2": {"format": "raw"}},
    ],
)  # fmt: skip
def test_facts_of_images_are_checked(images: dict[str, Any]) -> None:
    row = {"file": 0, "path": b"/a", "device": "", "inode": 1, "size": 1, "mtime_ns": 1}
    files = table(FILE_COLUMNS, [row | {"kind": "regular", "filesystem": "", "host_path": b""}])
    validate(Trace(Meta(**typed(images={"0": {"format": "qcow2", "cluster_size": 4096}})), files=files))
    with pytest.raises(TraceFormatError, match="images"):
        validate(Trace(Meta(**typed(images=images)), files=files))


def test_a_trace_is_complete_if_nothing_is_missing() -> None:
    assert Meta().complete
    assert not Meta(lost_events=1).complete
    assert not Meta(partial="interrupted").complete


# ---- what would not fit in memory ------------------------------------------------------------------------


def many(path: Path, rows: int) -> None:
    """A trace of so many equal events: a small file."""
    save(known(), path)
    one = pq.read_table(path)
    pq.write_table(one.take(pa.array([0] * rows, pa.int64())), path, compression="zstd")


def test_more_events_than_there_is_memory_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.trace.parquet"
    many(path, 200_000)
    assert path.stat().st_size < 50_000
    monkeypatch.setattr("profiler.files.traces.available_bytes", lambda: 2**20)
    with pytest.raises(ColdseekError, match=r"200,000 events, which take 18.3 MiB of memory, and 1 MiB are"):
        load(path)
    monkeypatch.setattr("profiler.files.traces.available_bytes", lambda: None)
    assert len(load(path).events) == 200_000


@pytest.mark.parametrize(("held", "claimed"), [(70_000, 3), (3, 70_000), (0, 1), (1, 0)])
def test_a_file_that_holds_more_or_less_than_it_claims_is_refused(
    tmp_path: Path, held: int, claimed: int
) -> None:
    path = tmp_path / "x.trace.parquet"
    many(path, held)

    class Lying:
        def __init__(self, file: Any) -> None:
            self.iter_batches = file.iter_batches
            self.metadata = type("Metadata", (), {"num_rows": claimed})

    file = pq.ParquetFile(path)
    with pytest.raises(TraceFormatError, match="claim"):
        read(Lying(file), EVENT_COLUMNS, _arrow_schema())


def test_many_operations_and_long_ones_are_refused(saved: Path) -> None:
    at = list(EVENT_COLUMNS).index("op")
    for words in (["x" * 2_000_000], [str(number) for number in range(40_000)]):
        save(known(*[event()] * len(words)), saved)
        rewrite(saved, lambda events, words=words: events.set_column(at, "op", pa.array(words)))
        refused(saved)


@pytest.mark.parametrize("name", MOST_ROWS)
def test_more_rows_of_a_small_table_than_are_recorded_are_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    row = {"file": 0, "logical": 0, "physical": 0, "length": 1, "flags": 0, "start": 0, "end": 1}
    others = {"files": file(), "tasks": task(), "waits": wait()}
    rows = [others.get(name, row | {"kind": "data", "guest": 0, "path": b"/a", "role": "data"})]
    save(dataclasses.replace(known(), **{name: table(TABLES[name], rows)}), saved)
    load(saved)
    monkeypatch.setitem(MOST_ROWS, name, 0)
    assert f"the table {name} has 1 row; at most 0" in refused(saved)


def test_the_bounds_of_the_small_tables_are_those_of_what_is_recorded() -> None:
    assert MOST_ROWS["extents"] == MAX_EXTENTS and MOST_ROWS["structures"] == MAX_RANGES
    assert MOST_ROWS["contents"] == MAX_PIECES


# ---- meta that cannot be ---------------------------------------------------------------------------------

DEEP: Any = 0
for _ in range(900):
    DEEP = [DEEP]

ABSURD = {
    "wall_s": ["1e308", "-1", "1e999", "NaN", "-Infinity", "true", '"1"', "[]", "9" * 10_000],
    "lost_events": ["-1", str(2**63), "1.5", "true", "null", "9" * 4_000, "9" * 10_000],
    "exit_status": ["-1", str(2**70), "false", "9" * 10_000],
    "resident_before_bytes": ["-1", str(2**64)],
    "device_read_bytes": ["-1", "1e3"],
    "host": [json.dumps(DEEP), f'{{"a": {json.dumps(DEEP)}}}', '{"a": %s}' % ("9" * 10_000)],
    "measured": ['{"cold": [{"wall_s": 1e999}]}', '{"first_exit_status": %s}' % ("9" * 4_000)],
    "images": [
        f'{{"0": {{"format": "qcow2", "cluster_size": {2**63}}}}}',
        '{"0": {"format": "qcow2", "cluster_size": true}}', '{"%s": {"format": "raw"}}' % ("9" * 5_000),
        '{"0": {"format": "qcow2", "virtual_size": -1}}', '{"0": 7}', '{"": {"format": "raw"}}',
    ],
    "command": ['"x"', "[1]", "[[]]", "null"], "cache": ["7", "null"], "notes": ["{}", "[null]"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, all_ in ABSURD.items() for text in all_])
def test_a_field_of_the_meta_that_cannot_be_is_named(saved: Path, name: str, text: str) -> None:
    rewrite_json(saved, "coldseek.meta", b'{"version": 2, "%s": %s}' % (name.encode(), text.encode()))
    said = refused(saved)
    assert name in said and len(said) < 300


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_a_trace_of_every_version_loads(version: int) -> None:
    """Each was saved by the code of its time."""
    old = load(FIXTURES / f"version{version}.trace.parquet")
    assert old.meta.version == version and len(old.reads()) == 3
    assert old.files["path"].tolist() == [b"/vm/disk0.qcow2", b"/lib/a\xff.so"]


def test_a_trace_of_version_1_has_no_places_in_the_guest() -> None:
    assert load(FIXTURES / "version1.trace.parquet").structures["guest"].isna().all()


def test_a_trace_of_version_4_has_waits_and_contents() -> None:
    old = load(FIXTURES / "version4.trace.parquet")
    assert old.waits["what"].tolist() == [b"", b"/run/x\xff"]
    assert old.contents["path"].tolist() == [b"/boot/initrd\xff"]


def test_structures_of_every_version_have_a_role() -> None:
    for version in range(1, FORMAT_VERSION + 1):
        rows = load(FIXTURES / f"version{version}.trace.parquet").structures
        assert rows["role"].tolist() == roles_of(rows["kind"])


def test_a_trace_of_version_5_has_facts_with_types() -> None:
    meta = load(FIXTURES / "version5.trace.parquet").meta
    assert meta.images[0].cluster_size == 65536 and meta.images[0].header == {"refcount_order": 4}
    assert [run.wall_s for run in meta.measured.cold] == [2.5] and meta.measured.first_exit_status == 0
    assert meta.host.device("8:1").inodes == Inodes("file system", 4096, 256, 32768, 8192, 32, {0: 1063})
    assert meta.copies.count == 2 and meta.copies.own == ("disk1.qcow2",)


def test_a_trace_of_version_2_has_no_tasks_and_all_its_files_lie_where_they_are_said_to() -> None:
    old = load(FIXTURES / "version2.trace.parquet")
    assert old.meta.version == 2
    assert not len(old.tasks) and list(old.tasks.columns) == list(TASK_COLUMNS)
    assert old.files["path"].tolist() == host_paths(old.files) == [b"/vm/disk0.qcow2", b"/lib/a\xff.so"]
    assert len(old.reads()) == 3 and old.structures["guest"].tolist() == [0, pd.NA]


def test_a_trace_of_version_3_has_tasks_and_no_waits() -> None:
    old = load(FIXTURES / "version3.trace.parquet")
    assert old.meta.version == 3 and len(old.tasks) == 1 and len(old.reads()) == 3
    assert not len(old.waits) and list(old.waits.columns) == list(WAIT_COLUMNS)


def test_a_trace_of_version_2_becomes_one_of_this_when_it_is_saved_again(saved: Path) -> None:
    old = load(FIXTURES / "version2.trace.parquet")
    save(dataclasses.replace(old, tasks=table(TASK_COLUMNS, [task()])), saved)
    assert load(saved).tasks["name"].tolist() == [b"CPU 0/KVM"]


def test_a_trace_of_this_version_without_its_tasks_is_refused(saved: Path) -> None:
    rewrite_json(saved, "coldseek.tasks", b"[]")
    with pytest.raises(TraceFormatError):
        load(saved)


@pytest.mark.parametrize(
    "more", [{"tid": -1}, {"pid": -2}, {"parent": -2}, {"start_ns": -1}, {"end_ns": -5}, {"name": "x"}]
)
def test_tasks_are_checked(more: dict[str, Any]) -> None:
    validate(dataclasses.replace(known(), tasks=table(TASK_COLUMNS, [task()])))
    with pytest.raises(TraceFormatError, match="tasks"):
        validate(dataclasses.replace(known(), tasks=table(TASK_COLUMNS, [task(**more)])))


def wait(**more: Any) -> dict[str, Any]:
    return {
        "tid": 2, "start_ns": 5, "duration_ns": 7, "reason": "socket", "file": -1, "what": b"/run/x\xff",
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [{"tid": -1}, {"start_ns": -1}, {"duration_ns": -5}, {"reason": "x"}, {"what": "x"}, {"file": 7},
     {"start_ns": 2**63 - 5}],
)  # fmt: skip
def test_waits_are_checked(more: dict[str, Any]) -> None:
    validate(dataclasses.replace(known(), waits=table(WAIT_COLUMNS, [wait()])))
    with pytest.raises(TraceFormatError, match="waits"):
        validate(dataclasses.replace(known(), waits=table(WAIT_COLUMNS, [wait(**more)])))
    with pytest.raises(TraceFormatError, match="sorted"):
        validate(dataclasses.replace(known(), waits=table(WAIT_COLUMNS, [wait(), wait(start_ns=4)])))


def test_any_waits_survive(saved: Path) -> None:
    rows = [
        wait(tid=number, start_ns=2**number, duration_ns=pd.NA if number % 3 else number, reason=reason,
             what=bytes([number, 255]))
        for number, reason in enumerate(WAIT_REASONS)
    ]  # fmt: skip
    made = dataclasses.replace(known(), waits=table(WAIT_COLUMNS, rows))
    save(made, saved)
    pd.testing.assert_frame_equal(
        load(saved).waits.astype({"reason": str}), made.waits.astype({"reason": str})
    )


@pytest.mark.parametrize(
    "text",
    [
        b"[]", b"{}", b'{"rows": -1, "columns": {}}', b'{"rows": true, "columns": {}}', b'{"rows": 0}',
        b'{"rows": 1, "columns": {"tid": {"numbers": "!"}}}', b'{"rows": 1, "columns": {"tid": 7}}',
        b'{"rows": 1, "columns": {"tid": {"numbers": "AAAA"}}}',
    ],
)  # fmt: skip
def test_waits_that_are_no_table_are_refused(saved: Path, text: bytes) -> None:
    rewrite_json(saved, "coldseek.waits", text)
    refused(saved)


def test_waits_that_unpack_to_more_than_they_claim_are_refused(saved: Path) -> None:
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    column = {"numbers": bomb}
    text = json.dumps({"rows": 3, "columns": dict.fromkeys(WAIT_COLUMNS, column)}).encode()
    rewrite_json(saved, "coldseek.waits", text)
    assert "length" in refused(saved)


def task(**more: Any) -> dict[str, Any]:
    return {
        "tid": 2, "pid": 1, "parent": -1, "name": b"CPU 0/KVM", "program": b"/usr/bin/qemu-system-x86_64",
        "cgroup": b"/machine.slice", "container": "", "start_ns": 0, "end_ns": pd.NA, **more,
    }  # fmt: skip


def test_the_path_on_the_host_is_the_one_to_open() -> None:
    rows = [file(), file(file=1, path=b"/data.bin", host_path=b"/var/lib/layer/data.bin")]
    files = table(FILE_COLUMNS, rows)
    assert host_paths(files) == [b"/x", b"/var/lib/layer/data.bin"]
    assert host_path(files, 0) == b"/x" and host_path(files, 1) == b"/var/lib/layer/data.bin"


def test_true_is_no_version(saved: Path) -> None:
    rewrite_json(saved, "coldseek.meta", b'{"version": true}')
    refused(saved)
