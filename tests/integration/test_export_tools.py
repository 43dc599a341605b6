"""Exports, read by the tools that they are for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, need_tool

from profiler.files.traces import load

COLDSEEK = [sys.executable, "-m", "profiler"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With files that a recorded program read, and its trace."""
    made = tmp_path_factory.mktemp("export")
    for name in ("a", "b c"):
        (made / name).write_bytes(b"x" * 300_000)
    command = [*COLDSEEK, "record", "-q", "--tracer", "ptrace", "-o", "t.trace.parquet", "--"]
    run([*command, "cat", str(made / "a"), str(made / "b c")], made)
    return made


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def export(folder: Path, kind: str, name: str) -> Path:
    run([*COLDSEEK, "export", "t.trace.parquet", "--to", kind, "-o", name], folder)
    return folder / name


def test_fio_makes_the_requests(folder: Path) -> None:
    fio = need_tool("fio")
    iolog = export(folder, "fio", "start.iolog").read_text().splitlines()
    export(folder, "fio-job", "start.fio")
    found = json.loads(run([fio, "--output-format=json", "start.fio"], folder))
    (start,) = [job for job in found["jobs"] if job["jobname"] == "start"]
    reads = [line.split() for line in iolog if " read " in line]
    assert start["read"]["total_ios"] == len(reads) > 0
    assert start["read"]["io_bytes"] == sum(int(size) for *_, size in reads)


def test_vmtouch_touches_the_files(folder: Path) -> None:
    vmtouch = need_tool("vmtouch")
    said = run([vmtouch, "-t", "-0", "-b", str(export(folder, "vmtouch", "list"))], folder)
    count = export(folder, "vmtouch", "again").read_bytes().count(b"\0")
    assert f"Files: {count}\n" in said.replace("           ", "")


def test_the_numbers_of_a_flat_table_are_those_of_the_trace(folder: Path) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(export(folder, "parquet", "flat.parquet")).to_pandas()
    reads = rows[rows["answer"].notna().to_numpy(bool)]
    of_files = reads[reads["path"].isin([str(folder / "a"), str(folder / "b c")]).to_numpy(bool)]
    assert of_files["size"].sum() == 600_000
    assert reads["size"].sum() == load(folder / "t.trace.parquet").reads()["size"].sum()


def test_what_cannot_be_written_is_said_in_one_line(folder: Path) -> None:
    command = [*COLDSEEK, "export", "t.trace.parquet", "--to", "xls", "-o", "x"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "there are csv, parquet" in done.stderr
    assert not (folder / "x").exists()
