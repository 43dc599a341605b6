"""A check as Markdown: for tickets, and for the summary of a job on GitHub, which takes no large ones."""

from __future__ import annotations

import shlex

from profiler.analysis.check.held import Held
from profiler.report.check.words import changed, compared, remedy, rows, verdict
from profiler.report.markdown import code, plain

MAX_BYTES = 60_000
MAX_CHANGES, MAX_LINES = 100, 40


def markdown(held: Held) -> str:
    """In UTF-8 less than MAX_BYTES: what changed is cut short where that would be more."""
    head = [f"**{plain(verdict(held))}**", code(shlex.join(held.now.command)), plain(compared(held)) + "."]
    told = [f"- warning: {code(words)}" for words in held.warnings[:MAX_LINES]]
    told += [f"- not counted: {code(words)}" for words in list(dict.fromkeys(held.faults))[:MAX_LINES]]
    head += ["\n".join(told)] if told else []
    if held.lines:
        names, *values = rows(held, MAX_LINES)
        marks = ["---", *["---:"] * (len(names) - 2), "---"]
        table = [names, marks, *([code(name), *row] for name, *row in values)]
        head.append("\n".join(f"| {' | '.join(row)} |" for row in table))
    if words := remedy(held):
        head.append(plain(words[0].upper() + words[1:]) + ".")
    made = "\n\n".join(head) + "\n"
    kept: list[str] = []
    size = len(made.encode())
    for one in held.changes[:MAX_CHANGES]:
        amount, _, so = changed(one)
        line = f"- {plain(amount)}: {code(one.path)}, {plain(so)}\n"
        size += len(line.encode())
        if size > MAX_BYTES - 200:
            break
        kept.append(line)
    rest = len(held.changes) - len(kept)
    if kept:
        made += "\nWhat changed:\n\n" + "".join(kept)
    return made + (f"\nand {rest:,} more changes.\n" if rest else "")
