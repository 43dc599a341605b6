"""A fleet as text, Markdown, HTML and JSON."""

from __future__ import annotations

from profiler.report.fleet.html import html
from profiler.report.fleet.json import fleet as as_json
from profiler.report.fleet.json import rows as rows_as_json
from profiler.report.fleet.markdown import markdown
from profiler.report.fleet.text import rows as rows_as_text
from profiler.report.fleet.text import text

__all__ = ["as_json", "html", "markdown", "rows_as_json", "rows_as_text", "text"]
