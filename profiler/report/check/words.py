"""What every form of a check says, in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from profiler.analysis.check.changes import GONE, NEW, Change
from profiler.analysis.check.held import BETTER, REGRESSED, UNKNOWN, WITHIN, Held, Line
from profiler.analysis.check.quantities import SECONDS
from profiler.units import (
    show_bytes,
    show_count,
    show_path,
    show_plural,
    show_seconds,
    show_short,
    show_status,
)

NOTES = {REGRESSED: "OVER", BETTER: "better", UNKNOWN: "not known"}
"""What the last column says; nothing of what is within its limit or has none."""


def verdict(held: Held) -> str:
    """One sentence, for a person or a log."""
    if held.state == REGRESSED:
        worst = [
            f"{show_short(line.name, 32)} {change(line) or value(line.name, line.now)}"
            for line in held.lines
            if line.state == REGRESSED
        ]
        return f"REGRESSED: {_listed(worst)}."
    if held.state == UNKNOWN:
        return f"COULD NOT TELL: {why_unknown(held)}."
    if held.before is None and any(line.most is not None for line in held.lines):
        return "Within its limits."
    if held.before is None:
        return "Measured; there is no baseline to compare with."
    better = [show_short(line.name, 32) for line in held.lines if line.state == BETTER]
    return f"Within its limits; better: {_listed(better)}." if better else "Within its limits."


def why_unknown(held: Held) -> str:
    if held.now.runs < held.wanted:
        return f"{held.now.runs} of {show_plural(held.wanted, 'cold run')} count"
    before, now = held.before, held.now
    if before is not None and before.exit_status != now.exit_status:
        was, ended = show_status(before.exit_status), show_status(now.exit_status)
        return f"the command ended with exit status {ended}, and with {was} in the baseline"
    names = [show_short(line.name, 32) for line in held.lines if line.state == UNKNOWN]
    return f"not known of the baseline or of now: {_listed(names)}; write a new one with --update"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def remedy(held: Held) -> str:
    """What to do next; "": nothing."""
    if held.state == REGRESSED:
        return "where that is wanted: coldseek check --update, and commit the new baseline"
    if any(line.state == BETTER for line in held.lines) and held.state == WITHIN:
        return "to keep it so: coldseek check --update, and commit the new baseline"
    return ""


def value(name: str, amount: float | None) -> str:
    if amount is None:
        return "not known"
    if name.startswith(SECONDS):
        return show_seconds(amount)
    if name.endswith("bytes"):
        return show_bytes(amount)
    return show_count(int(amount)) if amount == int(amount) else f"{amount:,.1f}"


def change(line: Line) -> str:
    if line.before is None or line.now is None:
        return ""
    if line.before == line.now:
        return "same"
    if not line.before:
        return f"+{value(line.name, line.now)}"
    share = line.now / line.before - 1
    return f"{share:+.1%}" if share < 10 else f"{share:+,.0%}"


def at_most(line: Line) -> str:
    """A count's limit is a whole number: 1,011.01 requests are 1,011."""
    if line.most is None:
        return ""
    counted = not line.name.startswith(SECONDS)
    return value(line.name, math.floor(line.most) if counted else line.most)


def rows(held: Held, most_lines: int) -> list[list[str]]:
    """The table, its head first; without a baseline there is nothing of one in it."""
    if held.before is None:
        made = [["quantity", "now", "at most", ""]]
    else:
        made = [["quantity", "baseline", "now", "change", "at most", ""]]
    for line in held.lines[:most_lines]:
        before, now = (value(line.name, amount) for amount in (line.before, line.now))
        compared = [now] if held.before is None else [before, now, change(line)]
        made.append([show_short(line.name, 32), *compared, at_most(line), NOTES.get(line.state, "")])
    return made


def changed(one: Change) -> tuple[str, str, str]:
    """What it amounts to, the name of the file or folder, and what is so of it."""
    requests = f"{one.requests:+,} request{'' if abs(one.requests) == 1 else 's'}"
    size = f"{'+' if one.bytes > 0 else ''}{show_bytes(one.bytes)}"
    files = f"{show_plural(one.files, 'file')}, " if one.files > 1 else ""
    of = f"{show_path(one.structure)}, " if one.structure else ""
    kinds = {NEW: "not in the baseline", GONE: "in the baseline only"}
    said = kinds.get(one.kind, one.kind)
    return f"{requests}, {size}", show_path(one.path), f"{of}{files}{said}"


def compared(held: Held) -> str:
    """How many runs of which kind."""
    now = show_plural(held.now.runs, "cold run")
    before = (
        "" if held.before is None else f", against {show_plural(held.before.runs, 'run')} of the baseline"
    )
    machine = held.now.machine
    proof = ", not proved cold (only root may look)" if machine.get("cold") == "not proved" else ""
    return f"{now}{proof}{before}; tracer {show_path(machine.get('tracer', 'not known'))}"
