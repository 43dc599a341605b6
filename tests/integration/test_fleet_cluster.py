"""A fleet on a cluster of Dask, of which a worker is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import made
import pytest
from conftest import ROOT

from profiler.files import catalogues, traces

distributed = pytest.importorskip("distributed")

TRACES = 60


def fleet(catalogue: Path, folder: Path, *more: str) -> bytes:
    """The bytes of the catalogue that the command makes."""
    words = [sys.executable, "-m", "profiler", "fleet", str(folder), "-o", str(catalogue), *more]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return catalogue.read_bytes()


@pytest.mark.full
def test_the_catalogue_is_the_same_from_processes_and_from_a_cluster_that_loses_a_worker(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    for number in range(TRACES):
        path = folder / f"{number:03}.trace.parquet"
        traces.save(
            made.trace([(0, page * 8192, 4096) for page in range(number + 1)], command=("start",)), path
        )
        os.utime(path, (1_700_000_000, 1_700_000_000))
    by_one = fleet(tmp_path / "one.parquet", folder, "--workers", "1")
    by_two = fleet(tmp_path / "two.parquet", folder, "--workers", "2")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        first = next(iter(cluster.workers.values())).process.pid
        over, killed = threading.Event(), threading.Event()

        def kill() -> None:
            while not over.wait(0.01):
                if any(task.state == "memory" for task in list(cluster.scheduler.tasks.values())):
                    os.kill(first, signal.SIGKILL)
                    killed.set()
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            by_cluster = fleet(
                tmp_path / "cluster.parquet", folder, "--scheduler", cluster.scheduler_address
            )
        finally:
            over.set()
            killer.join()
    assert killed.is_set()
    assert by_one == by_two == by_cluster
    assert not any(catalogues.load(str(tmp_path / "one.parquet"))["failure"].to_pylist())
