"""What the documents of the library show: the example of every public name, the tasks of docs/library.md."""

from __future__ import annotations

import doctest
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import need_root, need_tracer

import coldseek

# some empty the page cache of what they read, and say whether it was
pytestmark = pytest.mark.alone

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WITHOUT_EXAMPLE = {"__version__"}


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods of a class that are its own or of `Trace`'s part for people."""
    for name, value in inspect.getmembers(kind, lambda item: inspect.isroutine(item)):
        if not name.startswith("_") and ">>>" in (value.__doc__ or ""):
            yield f"{kind.__name__}.{name}", value


def examples() -> Iterator[tuple[str, Any]]:
    for name in coldseek.__all__:
        thing = getattr(coldseek, name)
        yield name, thing
        if inspect.isclass(thing):
            yield from methods(thing)


EXAMPLES = dict(examples())


@pytest.fixture
def trace() -> coldseek.Trace:
    """The trace of the examples: 64 reads of 4 KiB, 8 MiB apart."""
    offsets = [number * 2**23 for number in range(64)]
    return coldseek.Trace.from_frame(
        pd.DataFrame({"path": "/vm/disk0.qcow2", "offset": offsets, "size": 4096, "time_ns": range(64)})
    )


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in WITHOUT_EXAMPLE])
def test_every_public_name_has_an_example_that_is_true(
    name: str, trace: coldseek.Trace, disk_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "attach":
        need_root()
        need_tracer("kernel")
    monkeypatch.chdir(disk_directory)
    words = inspect.getdoc(EXAMPLES[name]) or ""
    known = {"coldseek": coldseek, "trace": trace, "pd": pd, "np": np, "pathlib": pathlib}
    test = doctest.DocTestParser().get_doctest(words, known, name, None, None)
    assert test.examples, f"{name} has no example"
    shown: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=shown.append)
    assert not result.failed, "".join(shown)
