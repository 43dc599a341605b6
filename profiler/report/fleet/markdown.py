"""A fleet as Markdown."""

from __future__ import annotations

from profiler.analysis.fleet.findings import Fleet
from profiler.report.fleet.words import Section, losses, sections, span, verdict
from profiler.report.markdown import code, plain


def markdown(fleet: Fleet) -> str:
    """The report; what comes from outside is no markup."""
    parts = [f"**{plain(verdict(fleet))}**", plain(span(fleet))]
    if told := losses(fleet):
        parts.append("\n".join(f"- {plain(words)}" for words in told))
    for section in sections(fleet):
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {section.title}", *map(plain, section.sentences)]
    if section.rows:
        head, *rows = section.rows
        line = ["---:" if place in section.right else "---" for place in range(len(head))]
        body = [
            [
                cell if place in section.right else code(cell) if cell else ""
                for place, cell in enumerate(row)
            ]
            for row in rows
        ]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in (head, line, *body)))
    if section.notes:
        parts.append("\n".join(f"- {plain(words)}" for words in section.notes))
    return parts
