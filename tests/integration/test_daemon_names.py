"""Daemons that do a command's work, among the processes that run here."""

from __future__ import annotations

import os
import subprocess
import sys

from profiler.capture.watch.whom.clients import daemons_of
from profiler.capture.watch.whom.targets import Target


def test_a_real_process_by_the_name_of_a_daemon_is_found() -> None:
    program = "open('/proc/self/comm', 'w').write('incusd'); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as daemon:  # type: ignore[call-overload]
        daemon.stdout.readline()
        targets, told = daemons_of(["incus", "launch", "images:debian/12"])
        daemon.communicate(b"\n")
    assert Target("pid", str(daemon.pid)) in targets
    assert f"incusd (pid {daemon.pid})" in told
    assert daemons_of([os.devnull]) == ([], "")
