"""A fleet as a page: one file without scripts, that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from html import escape

import profiler
from profiler.analysis.fleet.findings import Fleet
from profiler.report.fleet.words import Section, losses, sections, span, verdict

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 16px; }
h1 { font-size: 1.25rem; } h2 { font-size: 1.1rem; margin: 28px 0 6px; } p { margin: 4px 0; }
.loss { border-left: 4px solid #b3261e; padding-left: 8px; } .dim { opacity: .7; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #8886; padding: 3px 12px 3px 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td { overflow-wrap: anywhere; unicode-bidi: isolate; }
"""


_NUMBER = ' class="n"'


def html(fleet: Fleet) -> str:
    """The whole page. What comes from outside is escaped, and the policy of the page lets no script run."""
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    parts = [
        f"<h1>{escape(verdict(fleet))}</h1>",
        f'<p class="dim">{escape(span(fleet))}, coldseek {escape(profiler.__version__)}</p>',
        *(f'<p class="loss">{escape(words)}</p>' for words in losses(fleet)),
        *map(_section, sections(fleet)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>A fleet - coldseek</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(words)}</p>" for words in section.sentences]
    if section.rows:
        head, *body = section.rows
        lines = [_row("th", head, section.right), *(_row("td", row, section.right) for row in body)]
        parts.append('<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>")
    parts += [f'<p class="dim">{escape(words)}</p>' for words in section.notes]
    return "\n".join(parts)


def _row(tag: str, cells: tuple[str, ...], right: tuple[int, ...]) -> str:
    made = (
        f"<{tag}{_NUMBER if place in right else ''}>{escape(cell)}</{tag}>"
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"
