"""The pytest plugin: a test that fails where a start has become colder than its baseline.

    @pytest.mark.coldstart(limit={"requests": "+5%"})
    def test_start(coldstart):
        coldstart("python3", "-c", "import json")

It runs `coldseek check` in a process of its own. So nothing of coldseek is loaded into tests that do not ask
for it, and what pytest has open does not reach the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

FOLDER = "coldstarts"
"""Beside the file of the test: its baselines."""

WITHIN, REGRESSED, UNKNOWN = 0, 1, 3
MOST_CHANGES, MOST_NAME = 10, 100


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("coldseek")
    group.addoption(
        "--coldstart-update", action="store_true", help="write the baselines of coldstart tests anew"
    )
    group.addoption(
        "--coldstart-strict",
        action="store_true",
        help="fail coldstart tests that cannot tell, in place of skipping them",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "coldstart(limit=None, runs=None, baseline=None, options=()): of the fixture coldstart: limits as "
        "coldseek check takes them, a mapping or one or more texts NAME=+5%; how many cold runs; the file "
        "to compare with; further options of coldseek check",
    )


class ColdStart:
    """Called with the words of a command it runs that cold, and compares."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        marker = request.node.get_closest_marker("coldstart")
        facts: Mapping[str, Any] = marker.kwargs if marker else {}
        if unknown := set(facts) - {"limit", "runs", "baseline", "options"}:
            raise pytest.UsageError(f"coldstart knows no {sorted(unknown)[0]}; see pytest --markers")
        self._options = [f"--limit={limit}" for limit in _limits(facts.get("limit"))]
        self._options += [f"--runs={int(facts['runs'])}"] if facts.get("runs") else []
        self._options += map(str, facts.get("options", ()))
        self._baseline, self._name = facts.get("baseline"), request.node.name
        self._path: Path = request.path
        self._update = bool(request.config.getoption("--coldstart-update"))
        self._strict = bool(request.config.getoption("--coldstart-strict"))
        self._calls = 0

    def __call__(self, *command: str | os.PathLike[str]) -> dict[str, Any]:
        """Fails the test where the start regressed, and skips it where that cannot be told. Gives what
        `coldseek check --format json` says."""
        self._calls += 1
        file = self._file()
        if self._update:
            file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
            result = Path(folder) / "check.json"
            words = [sys.executable, "-m", "profiler", "check", "--quiet", f"--baseline={file}"]
            words += ["--format=json", f"--output={result}", *self._options]
            words += ["--update"] if self._update else []
            done = subprocess.run(
                [*words, "--", *(os.fspath(word) for word in command)], stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="backslashreplace", check=False,
            )  # fmt: skip
            found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
        if done.returncode == WITHIN:
            return found
        if done.returncode == REGRESSED and found:
            pytest.fail(_told(found), pytrace=False)
        if done.returncode == UNKNOWN and found and not self._strict:
            pytest.skip(_told(found))
        why = _told(found) if found else done.stderr.strip() or f"exit status {done.returncode}"
        hint = "; or run pytest --coldstart-update" if "--update" in why else ""
        pytest.fail(f"{why}{hint}", pytrace=False)

    def _file(self) -> Path:
        """The baseline of this call: each of a test has one of its own."""
        if self._baseline is not None:
            return self._path.parent / str(self._baseline)
        name = f"{self._path.stem}.{self._name}"
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:MOST_NAME]
        if safe != name:  # which of several such names it is
            safe += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        number = f".{self._calls}" if self._calls > 1 else ""
        return self._path.parent / FOLDER / f"{safe}{number}.json"


@pytest.fixture
def coldstart(request: pytest.FixtureRequest) -> ColdStart:
    """Runs a command cold and fails where it has become colder than its baseline. See the marker
    coldstart."""
    return ColdStart(request)


def _limits(limit: Mapping[str, str] | Sequence[str] | str | None) -> list[str]:
    if limit is None:
        return []
    if isinstance(limit, str):
        return [limit]
    if isinstance(limit, Mapping):
        return [f"{name}={words}" for name, words in limit.items()]
    return list(limit)


def _told(found: Mapping[str, Any]) -> str:
    """A few lines of what a check says."""
    from profiler.units import show_bytes, show_path

    lines = [found["verdict"]]
    for line in found["quantities"]:
        if line["state"] == "regressed":
            lines.append(f"  {line['name']}: {line['baseline']} -> {line['now']}, at most {line['at_most']}")
    for one in found["changes"][:MOST_CHANGES]:
        what = ", ".join(filter(None, [one["structure"], f"{one['files']} file(s)", one["kind"]]))
        lines.append(f"  {one['requests']:+} requests, {show_bytes(one['bytes'])}: {one['path']}, {what}")
    lines += [f"  warning: {words}" for words in found["warnings"]]
    lines += [f"  not counted: {words}" for words in dict.fromkeys(found["not_counted"])]
    return "\n".join(map(show_path, lines))
