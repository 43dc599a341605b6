"""The simulated page cache against the kernel's, on a cold check of a small image; and what the script that
compares them leaves behind."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT, need, need_root, need_tool
from small_programs import until

from profiler.capture.kernel import tracer
from profiler.capture.tracer import choose
from profiler.studies.record import data_files, discover, named_files

pytestmark = pytest.mark.alone

SCRIPT = ROOT / "scripts" / "validate-pagecache"
sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run: it imports what scripts have in common


@pytest.fixture(scope="module")
def script() -> ModuleType:
    need_root()
    found = tracer.probe()
    need(found.works, f"the kernel tracer: {found.why}")
    loader = importlib.machinery.SourceFileLoader("validate_pagecache", str(SCRIPT))
    spec = importlib.util.spec_from_loader("validate_pagecache", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up its types
    loader.exec_module(module)
    return module


@pytest.fixture
def folder(script: ModuleType, tmp_path: Path) -> Path:
    """A folder on a disk."""
    place = tmp_path if script.queue_of(tmp_path) else Path("/var/tmp")
    need(script.queue_of(place) is not None, "a folder on a disk")
    return place


def test_a_cold_check_is_simulated_within_the_bounds(script: ModuleType, folder: Path) -> None:
    need_tool("qemu-img")
    image = folder / f"coldseek-test-{os.getpid()}.qcow2"
    try:
        subprocess.run([ROOT / "scripts" / "make-image", image, "--size", "512M"], check=True)
        command = ["qemu-img", "check", str(image)]
        files = sorted({*named_files(command), *data_files(discover(command, partial(choose, "kernel")))})
        # other programs on the machine may load a library between the look at the cache and the run
        results = [script.one_run(command, files) for _ in range(3)]
    finally:
        image.unlink(missing_ok=True)
    assert any(one.good for one in results), [one.line("check", -1) for one in results]
    assert all(one.requests[0] > 300 for one in results)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_setting_is_put_back(script: ModuleType, tmp_path: Path, by: signal.Signals) -> None:
    setting = tmp_path / "read_ahead_kb"
    setting.write_text("128\n")
    code = (
        "import runpy, pathlib, time, sys\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"made = runpy.run_path({str(SCRIPT)!r}, run_name='script')\n"
        "import signal; signal.signal(signal.SIGTERM, made['end'])\n"
        f"with made['read_ahead'](pathlib.Path({str(tmp_path)!r}), 8192):\n"
        "    print('set', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == b"set\n"
        assert setting.read_text() == "8192"
        running.send_signal(by)
        running.wait()
    assert until(lambda: setting.read_text() == "128\n")


def test_it_says_in_a_line_what_it_needs() -> None:
    need_root()
    done = subprocess.run(
        [SCRIPT, "info"], user=65534, capture_output=True, text=True, cwd="/", env={"PATH": os.defpath}
    )
    assert done.returncode == 125  # 1 is for results beyond the bounds
    assert len(done.stderr.splitlines()) == 1
