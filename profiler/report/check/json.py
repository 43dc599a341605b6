"""A check as JSON: `coldseek.check/1`, which grows only by adding."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from profiler.analysis.check.held import Held
from profiler.report.check.words import verdict
from profiler.report.json import path_of, text_of

Json = dict[str, Any]


def check(held: Held) -> Json:
    """`coldseek.check/1`. What is not known is null."""
    before, now = held.before, held.now
    return {
        "schema": "coldseek.check/1",
        "state": held.state,
        "verdict": text_of(verdict(held)),
        "command": [text_of(word) for word in now.command],
        "exit_status": now.exit_status,
        "runs": {
            "wanted": held.wanted,
            "counted": now.runs,
            "baseline": None if before is None else before.runs,
        },
        "quantities": [
            {
                "name": text_of(line.name),
                "baseline": line.before,
                "now": line.now,
                "at_most": line.most,
                "state": line.state,
                "runs": list(now.quantities.get(line.name, ())),
                "baseline_runs": list(before.quantities.get(line.name, ())) if before else [],
            }
            for line in held.lines
        ],
        "changes": [
            {
                "kind": one.kind, **path_of(one.path), "structure": text_of(one.structure) or None,
                "files": one.files, "requests": one.requests, "bytes": one.bytes,
            }
            for one in held.changes
        ],
        "warnings": [text_of(words) for words in held.warnings],
        "not_counted": [text_of(words) for words in held.faults],
        "program": {
            name: text_of(part) if isinstance(part, str) else part
            for name, part in asdict(now.program).items()
        },
        "machine": {name: text_of(words) for name, words in now.machine.items()},
    }  # fmt: skip
