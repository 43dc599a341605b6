"""Traces as other tools read them: each kind on an empty, a hostile and a made trace."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from image_cases import image_trace
from made import MIB, below, trace
from report_cases import hostile, kernel

from profiler.analysis.cost.costs import costs
from profiler.cli.commands.export import KINDS as OFFERED
from profiler.errors import ColdseekError, UsageError
from profiler.report.export import KINDS, export
from profiler.report.export.rows import COLUMNS
from profiler.report.redact import redact
from profiler.trace import Trace

BOOT = [(0, 0, 4096), (0, 12288, 512), (0, 16384, 4096), (0, 20480, 4096)]
CASES = {"empty": trace, "hostile": hostile, "kernel": kernel, "image": lambda: image_trace(BOOT)}
NEEDS_REQUESTS = ("fio", "fio-job")


def made(of: Trace, kind: str) -> bytes:
    file = io.BytesIO()
    export(of, kind, file)
    return file.getvalue()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_every_trace(kind: str, case: str) -> None:
    of = CASES[case]()
    if kind in NEEDS_REQUESTS and case in ("empty", "hostile"):
        with pytest.raises(ColdseekError):
            made(of, kind)
        return
    assert made(of, kind) == made(of, kind)
    (shown,) = redact(of)
    named = b"/vm/" if case == "kernel" else b"no such name"
    if kind not in NEEDS_REQUESTS:
        assert named not in made(shown, kind)


def test_what_is_offered_is_there() -> None:
    assert set(OFFERED) == set(KINDS)
    with pytest.raises(UsageError, match="there are csv"):
        made(trace(), "xls")


def test_rows_need_no_other_table() -> None:
    of = kernel()
    rows = list(csv.DictReader(io.StringIO(made(of, "csv").decode())))
    table = pq.read_table(io.BytesIO(made(of, "parquet"))).to_pandas()
    assert len(rows) == len(table) == len(of.events)
    assert tuple(rows[0]) == tuple(table.columns) == COLUMNS
    reads = table[table["answer"].notna().to_numpy(bool)]
    assert len(reads) == len(of.reads()) and set(reads["answer"]) == {"hit", "miss"}
    assert reads["size"].sum() == of.reads()["size"].sum()
    assert [row["answer"] for row in rows if row["answer"]] == reads["answer"].tolist()
    paths = of.files["path"].map(bytes.decode).to_numpy()
    assert (table["path"] == paths[of.events["file"].to_numpy()]).all()


def test_structures_of_an_image_are_named() -> None:
    table = pq.read_table(io.BytesIO(made(image_trace(BOOT), "parquet"))).to_pandas()
    assert {"L1 table", "L2 table", "data cluster"} <= set(table["structure"].dropna())


def test_names_that_end_no_field() -> None:
    of = trace([(0, 0, 4096), (1, 0, 4096)], [b'/a,"b"\r\n;x', b"/\xff"])
    rows = list(csv.DictReader(io.StringIO(made(of, "csv").decode(), newline="")))
    assert [row["path"] for row in rows] == ['/a,"b"\r\n;x', "/\\xff"]
    assert made(of, "vmtouch") == b'/a,"b"\r\n;x\0/\xff\0'
    assert made(of, "nydus") == b"/\xff\n"  # a line cannot hold the other
    assert [json.loads(line)["path"] for line in made(of, "stargz").splitlines()] == ['a,"b"\r\n;x', "\\xff"]
    assert all(re.fullmatch(rb"[^;]+(;[^;]+)* [0-9]+", line) for line in made(of, "folded").splitlines())
    assert len(made(of, "folded").splitlines()) == 2


def test_stacks_add_up_to_what_was_waited_for() -> None:
    of = kernel()
    total = sum(int(line.rsplit(b" ", 1)[1]) for line in made(of, "folded").splitlines())
    waited = sum(cost.waited_s or 0 for cost in costs(of, of.reads()))
    assert total == pytest.approx(waited * 1e6, abs=len(of.files))


def test_files_come_in_the_order_of_their_first_use() -> None:
    of = trace([(2, 0, 100), (0, 0, 100), (2, 8192, 100), (1, 0, 100)])
    assert made(of, "nydus") == b"/c\n/a\n/b\n"


def test_fio_gets_each_request_of_a_cold_start() -> None:
    rows = [(50, "miss", 0, 0, 8192), (60, "request", 0, MIB, 8192), (1050, "miss", 1, 8192, 4096),
            (1060, "request", 1, 2 * MIB, 4096)]  # fmt: skip
    of = below(trace([(0, 0, 100), (1, 8192, 100)], tracer="kernel", cache="cold"), rows)
    lines = made(of, "fio").decode().splitlines()
    reads = [line.split() for line in lines if " read " in line]
    assert sum(int(size) for *_, size in reads) >= 8192 + 4096
    job = made(of, "fio-job").decode()
    for name in {words[1] for words in reads}:
        assert f"filename={name}\n" in job
    ends = pd.DataFrame(reads)[[1, 3, 4]].astype({3: np.int64, 4: np.int64})
    for name, size in re.findall(r"filename=(\S+)\nsize=([0-9]+)", job):
        assert int(size) >= (ends[3] + ends[4])[ends[1] == name].max()
