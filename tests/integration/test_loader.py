"""The loader that a program asks for, as readelf(1) reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from conftest import need_tool

from profiler.machine.links import loader


def test_the_loader_is_the_one_that_readelf_names() -> None:
    readelf, program = need_tool("readelf"), os.path.realpath(sys.executable)
    said = subprocess.run([readelf, "-l", program], capture_output=True, text=True, check=True).stdout
    asked = re.findall(r"program interpreter: (.*)\]", said)
    assert loader(os.fsencode(program)) == (asked[0].encode() if asked else b"")
