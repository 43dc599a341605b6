"""A check as text, Markdown, JSON and JUnit XML."""

from __future__ import annotations

from profiler.report.check.json import check as as_json
from profiler.report.check.junit import junit
from profiler.report.check.markdown import markdown
from profiler.report.check.text import text

__all__ = ["as_json", "junit", "markdown", "text"]
