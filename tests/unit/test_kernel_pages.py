"""The decoder of trace pages, against the kernel's own text, against an encoder, and against rubbish."""

from __future__ import annotations

import gzip
import json
import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.capture.kernel.buffer import pages
from profiler.capture.kernel.buffer.formats import Field, Format, parse_format, parse_header_page
from profiler.capture.kernel.buffer.pages import Decoder
from profiler.errors import ColdseekError

DATA = Path(__file__).resolve().parents[1] / "data" / "kernel"
SAMPLES = sorted(path.stem for path in DATA.glob("*.json"))
LAYOUT = parse_header_page((DATA / "header_page").read_text())
FORMATS = [parse_format("name: " + text) for text in (DATA / "formats.txt").read_text().split("name: ")[1:]]
U64, STAMP_END = 1 << 64, 1 << 59  # an absolute time stamp has 59 bits

# -- what the kernel says itself ---------------------------------------------------------------------------

LINE = re.compile(r"^ *.*-(\d+) +\[(\d+)\] \S+ +(\d+)\.(\d{6}): (\w+): (.*)$")
VALUE = re.compile(r"(\w+)=(?:(?:0x[0-9a-f]+ )?\((-?\d+)\)|(\S*))(?= \w+=|$)")


def sample(name: str) -> tuple[list[bytes], int, dict[str, int]]:
    """The data of each CPU, the bytes of a page, the overruns."""
    about = json.loads((DATA / f"{name}.json").read_text())
    data = [gzip.decompress((DATA / f"{name}.cpu{cpu}.gz").read_bytes()) for cpu in about["overruns"]]
    return data, about["page_bytes"], about["overruns"]


def kernel_text(name: str) -> dict[str, list[dict[str, int | bytes]]]:
    """Event -> records in their order, from the kernel's text. The time is in us."""
    found: dict[str, list[dict[str, int | bytes]]] = {}
    for line in gzip.decompress((DATA / f"{name}.txt.gz").read_bytes()).decode().splitlines():
        if line.startswith("#"):
            continue
        match = LINE.match(line)
        assert match, line
        tid, _, seconds, micro, event, rest = match.groups()
        fields: dict[str, int | bytes] = {
            key: int(number) if number else text.encode() for key, number, text in VALUE.findall(rest)
        }
        found.setdefault(event, []).append(
            {"time_us": int(seconds) * 10**6 + int(micro), "tid": int(tid), **fields}
        )
    return found


def comparable(one: Format) -> list[str]:
    """Fields that the kernel prints as they are: no pointers, whose text is of something else."""
    pointers = {"buf", "vec", "cmd", "parent_comm", "child_comm"}
    return [name for name in one.fields if not name.startswith("common_") and name not in pointers]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_kernel_reads_the_same_from_its_pages(name: str) -> None:
    data, page_bytes, overruns = sample(name)
    decoder = Decoder(LAYOUT, FORMATS, {one.name: comparable(one) for one in FORMATS})
    for one_cpu in data:
        decoder.feed(one_cpu, page_bytes)
    assert (decoder.damaged, decoder.gaps, decoder.lost) == (0, 0, sum(overruns.values()))
    assert (decoder.lost > 0) == (name == "missed")
    text = kernel_text(name)
    tables = decoder.take()
    assert sum(map(len, text.values())) > 500
    for event, table in tables.items():
        rows = text.get(event, [])
        # to the nearest microsecond (ns2usecs)
        assert ((table["time_ns"] + 500) // 1000).tolist() == [row["time_us"] for row in rows], event
        for column in table.keys() - {"time_ns"}:
            assert table[column].tolist() == [row[column] for row in rows], (event, column)


def test_the_samples_have_what_is_rare() -> None:
    """Time extends, results below zero, text, threads."""
    for name in SAMPLES:
        text = kernel_text(name)
        assert {row["ret"] for row in text["sys_exit_pread64"]} >= {-22}
        assert len({row["tid"] for rows in text.values() for row in rows}) >= 4
        assert {row["rwbs"] for row in text["block_bio_queue"]} >= {b"RA", b"WS"}
    data, page_bytes, _ = sample("plain")
    times = [time for one in data for *_, time in read_plainly(one, page_bytes).records]
    assert max(np.diff(sorted(times))) > 1 << 27


def test_types_and_order_of_the_tables() -> None:
    data, page_bytes, _ = sample("plain")
    decoder = Decoder(LAYOUT, FORMATS, {"block_bio_queue": ["dev", "sector", "rwbs"]})
    for one_cpu in data:
        decoder.feed(memoryview(one_cpu), page_bytes)
    (table,) = decoder.take().values()
    assert {name: str(column.dtype) for name, column in table.items()} == {
        "time_ns": "int64", "tid": "int32", "dev": "int64", "sector": "int64", "rwbs": "|S10",
    }  # fmt: skip
    assert (np.diff(table["time_ns"]) >= 0).all()
    again = decoder.take()["block_bio_queue"]  # what was taken is not there any more
    assert {name: (len(column), column.dtype) for name, column in again.items()} == {
        name: (0, column.dtype) for name, column in table.items()
    }


def test_nothing_gives_empty_tables_of_the_same_types() -> None:
    decoder = Decoder(LAYOUT, FORMATS, {"block_bio_queue": ["dev", "rwbs"], "sched_process_fork": []})
    decoder.feed(b"", 4096)
    decoder.feed(bytes(3 * 4096), 4096)
    assert {event: {name: str(column.dtype) for name, column in table.items()}
            for event, table in decoder.take().items()} == {
        "block_bio_queue": {"time_ns": "int64", "tid": "int32", "dev": "int64", "rwbs": "|S10"},
        "sched_process_fork": {"time_ns": "int64", "tid": "int32"},
    }  # fmt: skip
    assert (decoder.damaged, decoder.gaps, decoder.lost) == (0, 0, 0)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"block_magic": []}, "the kernel has no trace event block_magic"),
        ({"block_bio_queue": ["colour"]}, "trace event block_bio_queue has no colour"),
        ({"alpha": ["many"]}, "many of the kernel's trace event alpha is neither"),
    ],
)
def test_what_the_kernel_has_not_got(wanted: dict[str, list[str]], says: str) -> None:
    with pytest.raises(ColdseekError, match=says):
        Decoder(LAYOUT, [*FORMATS, *MADE], wanted)


@pytest.mark.parametrize("page_bytes", [-4096, 0, 16, 4098])
def test_no_page_has_such_a_size(page_bytes: int) -> None:
    with pytest.raises(ColdseekError, match=f"can have {page_bytes} bytes"):
        Decoder(LAYOUT, FORMATS, {}).feed(b"", page_bytes)


# -- against an encoder ------------------------------------------------------------------------------------

COMMON = {"common_type": Field("common_type", 0, 2, False), "common_pid": Field("common_pid", 4, 4, True)}
MADE = [
    Format("alpha", 5, {
        **COMMON, "big": Field("big", 8, 8, False), "less": Field("less", 16, 4, True),
        "many": Field("many", 8, 48, False, "other"),
    }),
    Format("beta", 0xFFFF, {
        **COMMON, "byte": Field("byte", 8, 1, False), "half": Field("half", 10, 2, True),
        "text": Field("text", 13, 10, False, "text"),
    }),
    Format("gamma", 300, {**COMMON, "word": Field("word", 8, 4, False)}),
]  # fmt: skip
WANTED = {"alpha": ["big", "less"], "beta": ["byte", "half", "text"], "gamma": ["word"]}
Row = tuple[int | bytes, ...]


def signed(number: int) -> int:
    """64 bits as int64."""
    return number - U64 if number >= U64 >> 1 else number


@dataclass
class Encoder:
    """One CPU's pages, and what is in them: event -> rows of time, tid and fields."""

    page_bytes: int
    clock: int
    pages: list[bytes] = field(default_factory=list)
    rows: list[tuple[str, Row]] = field(default_factory=list)
    lost: int = 0
    gaps: int = 0
    page: bytearray = field(default_factory=bytearray)
    started: int = 0
    missed: int | None = None  # before this page; -1: nobody knows how many
    ended: bool = False  # by padding

    def __post_init__(self) -> None:
        self.started = self.clock

    def entry(self, type_len: int, delta: int, rest: bytes = b"") -> None:
        entry = struct.pack("<I", type_len | delta << 5) + rest
        if self.ended or 16 + len(self.page) + len(entry) > self.page_bytes:
            self.finish()
        self.page += entry

    def finish(self) -> None:
        commit, tail = len(self.page), b""
        if self.missed is not None:
            commit |= 1 << 31
            if self.missed >= 0 and 16 + len(self.page) + 8 <= self.page_bytes:
                commit, tail = commit | 1 << 30, struct.pack("<Q", self.missed)
                self.lost += self.missed
            else:
                self.gaps += 1
            commit |= U64 - (1 << 32)  # the kernel adds the flag as a negative int
        whole = struct.pack("<QQ", self.started, commit) + self.page + tail
        self.pages.append(whole.ljust(self.page_bytes, b"\xee"))
        self.page, self.started, self.missed, self.ended = bytearray(), self.clock, None, False

    def data(self, type_: int, delta: int, payload: bytes, long: int) -> None:
        """long: -1 for a short header where that will do, else 0 to 3: bytes of the last word left out."""
        payload += bytes(-len(payload) % 4)
        if long < 0 and len(payload) <= 28 * 4:
            self.entry(len(payload) // 4, delta, payload)
        else:
            self.entry(0, delta, struct.pack("<I", len(payload) + 4 - max(long, 0)) + payload)
        self.clock = (self.clock + delta) % U64

    def extend(self, delta: int) -> None:
        self.entry(30, delta & ((1 << 27) - 1), struct.pack("<I", delta >> 27))
        self.clock = (self.clock + delta) % U64

    def stamp(self, stamp: int) -> None:
        self.entry(31, stamp & ((1 << 27) - 1), struct.pack("<I", stamp >> 27))
        self.clock = restored(stamp, self.clock)

    def discarded(self, delta: int, words: int) -> None:
        self.entry(29, max(delta, 1), struct.pack("<I", 4 * words) + bytes(4 * words - 4))
        self.clock = (self.clock + (delta if delta > 1 else 0)) % U64

    def padding(self) -> None:
        """Whatever follows on this page is no entry."""
        self.entry(29, 0)
        self.page += b"\xff\xff\xff\xff" * random.Random(self.clock).randrange(3)
        self.page = self.page[: self.page_bytes - 16]
        self.ended = True


def restored(stamp: int, before: int) -> int:
    """The kernel's rb_fix_abs_ts."""
    high = before >> 59 << 59
    full = stamp | high
    return (full + (STAMP_END if high and full < before else 0)) % U64


def record(event: Format, tid: int, values: list[int | bytes], more: bytes) -> bytes:
    """A record's bytes with `more` after it; 0xAA is what was in the buffer before."""
    fields = {
        "common_type": event.id,
        "common_pid": tid,
        **dict(zip(WANTED[event.name], values, strict=True)),
    }
    out = bytearray(b"\xaa" * max(event.fields[name].offset + event.fields[name].size for name in fields))
    for name, value in fields.items():
        one = event.fields[name]
        as_bytes = value + b"\0" if isinstance(value, bytes) else value.to_bytes(
            one.size, "little", signed=one.signed
        )  # fmt: skip
        out[one.offset : one.offset + len(as_bytes)] = as_bytes
    return bytes(out) + more


def numbers(one: Field) -> st.SearchStrategy[int | bytes]:
    if one.kind == "text":
        return st.binary(max_size=9).filter(lambda text: b"\0" not in text)
    bits = 8 * one.size
    low = -(1 << bits - 1) if one.signed else 0
    return st.integers(low, low + (1 << bits) - 1)


Action = Callable[[Encoder], None]
LONG = st.integers(-2, 3)  # see Encoder.data
DELTAS = st.one_of(st.integers(0, 3), st.integers(0, (1 << 27) - 1))


@st.composite
def records(draw: st.DrawFn) -> Action:
    event = draw(st.sampled_from(MADE))
    tid = draw(numbers(COMMON["common_pid"]))
    values = [draw(numbers(event.fields[name])) for name in WANTED[event.name]]
    delta, long = draw(DELTAS), draw(LONG)
    more = draw(st.sampled_from([b"", b"", b"1234", b"\xff" * 80, b"\0" * 3000]))

    def act(encoder: Encoder) -> None:
        encoder.data(event.id, delta, record(event, tid, values, more), long)
        as_tables = [signed(value) if isinstance(value, int) else value for value in values]
        encoder.rows.append((event.name, (signed(encoder.clock), tid, *as_tables)))

    return act


def lose(count: int) -> Action:
    def act(encoder: Encoder) -> None:
        encoder.missed = count

    return act


ACTIONS: st.SearchStrategy[Action] = st.one_of(
    records(),
    records(),
    st.builds(lambda delta, long: lambda e: e.data(7, delta, b"\x07\0 unwanted", long), DELTAS, LONG),
    st.builds(lambda delta: lambda e: e.extend(delta), st.integers(0, STAMP_END - 1)),
    st.builds(lambda stamp: lambda e: e.stamp(stamp), st.integers(0, STAMP_END - 1)),
    st.builds(lambda delta, words: lambda e: e.discarded(delta, words), DELTAS, st.integers(1, 40)),
    st.just(lambda e: e.padding()),
    st.just(lambda e: e.finish()),
    st.builds(lose, st.one_of(st.just(-1), st.integers(0, U64 >> 8))),
)  # fmt: skip
CLOCKS = st.one_of(st.integers(0, 1 << 50), st.integers(0, U64 - 1))


def decoded(feeds: list[bytes], page_bytes: int, chunk_bytes: int) -> tuple[Decoder, dict[str, list[Row]]]:
    decoder = Decoder(LAYOUT, MADE, WANTED)
    with mock.patch.object(pages, "_CHUNK_BYTES", chunk_bytes):
        for data in feeds:
            decoder.feed(data, page_bytes)
    tables = decoder.take()
    assert {event: list(table) for event, table in tables.items()} == {
        event: ["time_ns", "tid", *names] for event, names in WANTED.items()
    }
    return decoder, {
        event: list(zip(*(column.tolist() for column in table.values()), strict=True))
        for event, table in tables.items()
    }


def in_time(rows: list[tuple[str, Row]]) -> dict[str, list[Row]]:
    return {
        event: sorted((row for name, row in rows if name == event), key=lambda row: row[0])
        for event in WANTED
    }


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([4096, 8192, 12288, 65536]),
    st.lists(st.tuples(CLOCKS, st.lists(ACTIONS, max_size=60)), max_size=3),
    st.sampled_from([1, 8192, 1 << 20]),
)
def test_what_was_encoded_is_decoded(
    page_bytes: int, processors: list[tuple[int, list[Action]]], chunk_bytes: int
) -> None:
    made = []
    for clock, actions in processors:
        encoder = Encoder(page_bytes, clock)
        for act in actions:
            act(encoder)
        encoder.finish()
        made.append(encoder)
    decoder, rows = decoded([b"".join(one.pages) for one in made], page_bytes, chunk_bytes)
    assert decoder.damaged == 0
    assert rows == in_time([row for one in made for row in one.rows])
    assert (decoder.lost, decoder.gaps) == (sum(one.lost for one in made), sum(one.gaps for one in made))


def test_records_at_the_same_time_keep_their_order_over_pages_and_processors() -> None:
    feeds, expected = [], []
    for first in (0, 1000):
        encoder = Encoder(4096, 77)
        for number in range(first, first + 500):
            encoder.data(300, number % 3 // 2, record(MADE[2], 1, [number], b""), -1)
            expected.append((encoder.clock, 1, number))
        encoder.finish()
        feeds.append(b"".join(encoder.pages))
        assert len(encoder.pages) > 1
    assert decoded(feeds, 4096, 1 << 20)[1]["gamma"] == sorted(expected)


@pytest.mark.parametrize("high", [0, 1, 3, 31])
@pytest.mark.parametrize("later", [-(1 << 40), -1, 0, 1, 1 << 20, 1 << 40])
def test_an_absolute_time_stamp_gets_its_upper_bits_back(high: int, later: int) -> None:
    """One below the time before is 2^59 ns on, where the clock is as far as that (rb_fix_abs_ts)."""
    before = high << 59 | 1 << 50
    encoder = Encoder(4096, before)
    encoder.stamp((1 << 50) + later)
    encoder.data(300, 0, record(MADE[2], 1, [9], b""), -1)
    encoder.finish()
    ((time, *_),) = decoded(encoder.pages, 4096, 1 << 20)[1]["gamma"]
    assert time == signed((before + later + (STAMP_END if later < 0 and high else 0)) % U64)


# -- against rubbish ---------------------------------------------------------------------------------------


@dataclass
class Plain:
    """What a reader of one entry after another finds. records: type, place, time."""

    records: list[tuple[int, int, int]] = field(default_factory=list)
    damaged: int = 0
    lost: int = 0
    gaps: int = 0


def read_plainly(data: bytes, page_bytes: int) -> Plain:
    found = Plain(damaged=int(len(data) % page_bytes > 0))
    for start in range(0, len(data) - page_bytes + 1, page_bytes):
        clock, commit = struct.unpack_from("<QI", data, start)
        at, size = start + 16, commit & (1 << 27) - 1
        end = at + size
        if size > page_bytes - 16 or size % 4:
            found.damaged += 1
            continue
        if commit >> 30 == 3 and end + 8 <= start + page_bytes:
            found.lost += int.from_bytes(data[end : end + 8], "little")
        elif commit >> 31:
            found.gaps += 1
        while at < end:
            (header,) = struct.unpack_from("<I", data, at)
            kind, delta = header & 31, header >> 5
            (second,) = struct.unpack_from("<I", data, at + 4) if at + 8 <= end else (0,)
            if kind == 29 and delta == 0:
                break
            if kind in (0, 29):
                after = at + 4 + -(-second // 4) * 4 if second >= (4 if kind else 8) else end + 1
            else:
                after = at + 4 + (4 if kind > 29 else 4 * kind)
            begin = at + (8 if kind == 0 else 4)
            type_ = int.from_bytes(data[begin : begin + 2], "little") if kind < 29 else -1
            least = {5: 20, 0xFFFF: 24, 300: 12}.get(type_, 0)  # MADE, in whole words
            if after > end or after - begin < least:
                found.damaged += 1
                break
            if kind == 31:
                clock = restored(second << 27 | delta, clock)
            elif kind == 30:
                clock += second << 27 | delta
            elif kind < 29 or delta != 1:
                clock += delta
            clock %= U64
            if kind < 29:
                found.records.append((type_, begin, signed(clock)))
            at = after
    return found


def check_rubbish(data: bytes, page_bytes: int) -> None:
    decoder, rows = decoded([data], page_bytes, 1 << 20)
    plain = read_plainly(data, page_bytes)
    assert (decoder.damaged, decoder.lost, decoder.gaps) == (plain.damaged, plain.lost, plain.gaps)
    for event in MADE:
        expected = [
            (time, int.from_bytes(data[at + 4 : at + 8], "little", signed=True))
            for type_, at, time in plain.records
            if type_ == event.id
        ]
        assert [row[:2] for row in rows[event.name]] == sorted(expected, key=lambda row: row[0])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([20, 24, 64, 100]))
def test_random_bytes_do_no_harm(data: bytes, page_bytes: int) -> None:
    check_rubbish(data, page_bytes)


def nearly_a_word(rng: random.Random) -> int:
    """A word such as pages consist of: a header, a length, a type, or anything."""
    return rng.choice([
        lambda: rng.randrange(32) | rng.choice([0, 1, 2, rng.getrandbits(27)]) << 5,
        lambda: rng.choice([0, 29, 30, 31]) | rng.randrange(3) << 5,
        lambda: rng.randrange(40),
        lambda: rng.choice([5, 0xFFFF, 300, 7]),
        lambda: rng.getrandbits(32),
    ])()  # fmt: skip


def nearly_a_page(rng: random.Random, page_bytes: int) -> bytes:
    room = page_bytes - 16
    length = rng.choice([room, room, room - 4, room - 8, room + 4, room + 1, rng.randrange(room + 1)])
    commit = max(length, 0) | rng.choice([0, 0, 0, 1, 2, 3, 3]) << 30
    words = [nearly_a_word(rng) for _ in range(room // 4)]
    return struct.pack(f"<QII{len(words)}I", rng.getrandbits(64), commit, rng.choice([0, 1 << 31]), *words)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 32), st.sampled_from([20, 24, 48, 80, 160]), st.integers(0, 50), st.integers(0, 19)
)
def test_what_is_nearly_a_page_is_read_up_to_the_first_nonsense(
    seed: int, page_bytes: int, count: int, cut: int
) -> None:
    rng = random.Random(seed)
    data = b"".join(nearly_a_page(rng, page_bytes) for _ in range(count))
    check_rubbish(data[: len(data) - cut if cut else None], page_bytes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=200))
def test_changed_bytes_in_real_pages_do_no_harm(changes: list[tuple[int, int]]) -> None:
    data, page_bytes, _ = sample("plain")
    changed = bytearray(data[0])
    for at, value in changes:
        changed[at % len(changed)] = value
    decoder = Decoder(LAYOUT, FORMATS, {one.name: comparable(one) for one in FORMATS})
    decoder.feed(bytes(changed), page_bytes)
    assert decoder.damaged <= len(changed) // page_bytes
    assert all(len({len(column) for column in table.values()}) == 1 for table in decoder.take().values())
