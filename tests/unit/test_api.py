"""The names of the package as a library."""

from __future__ import annotations

import subprocess
import sys

import profiler


def test_every_name_is_there_and_listed() -> None:
    for name in profiler.__all__:
        assert getattr(profiler, name) is not None
        assert name in dir(profiler)


def test_importing_it_loads_nothing_slow() -> None:
    slow = ("numpy", "pandas", "pyarrow", "matplotlib", "rich")
    script = f"import sys, profiler; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(profiler, "nothing_of_the_kind")
