"""One self-contained HTML file of a trace, or of two: to be opened, explored and sent around."""

from profiler.report.page.subjects import of_comparison, of_trace

__all__ = ["of_comparison", "of_trace"]
