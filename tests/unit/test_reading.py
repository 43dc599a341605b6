"""What runs out of memory says of which file."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from made import trace
from test_trace import in_child

from profiler.cli.output import reading
from profiler.errors import ColdseekError, NoMemoryError
from profiler.files.traces import save


def test_the_file_at_fault_is_named() -> None:
    words = r"^a\\x0a and b: out of memory; look at it where more is free"
    with pytest.raises(ColdseekError, match=words), reading("a\n", "b"):
        np.zeros(2**58)
    with pytest.raises(ColdseekError, match=r"^a: too many; look"), reading("a"):
        raise NoMemoryError("too many")
    with pytest.raises(ColdseekError, match=r"^else$"), reading("a"):
        raise ColdseekError("else")


def test_a_small_file_of_huge_reads_is_one_line_that_names_it(tmp_path: Path) -> None:
    size = 2**31 - 4096
    path = tmp_path / "huge.trace.parquet"
    save(trace([(0, number * size, size) for number in range(1000)]), path)

    def limited() -> str:
        from profiler.cli import app  # what a command imports needs memory too
        from profiler.cli.commands import report  # noqa: F401  # what a command imports needs memory too
        from profiler.report import text  # noqa: F401

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
        try:
            app(["report", str(path)], standalone_mode=False)
        except ColdseekError as error:
            return str(error)
        return "no failure"

    said = in_child(limited)
    assert said.startswith(f"{path}: with nothing cached this start asks for more than") and "\n" not in said
