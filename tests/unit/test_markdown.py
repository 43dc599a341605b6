"""The report as Markdown: the words of the text, nothing from outside as markup."""

from __future__ import annotations

import pytest
import report_cases
from made import trace

from profiler.report import markdown
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise
from profiler.report.verdict.sentences import first_line


@pytest.mark.parametrize("case", sorted(report_cases.CASES))
def test_it_says_the_verdict_and_all_tables_are_tables(case: str) -> None:
    summary = summarise(report_cases.CASES[case]())
    said = markdown.report(summary)
    assert markdown.plain(first_line(summary)) in said
    for block in said.split("\n\n"):
        lines = block.strip().split("\n")
        if lines[0].startswith("| "):
            bars = {line.replace("\\|", "").count("|") for line in lines}
            assert len(bars) == 1, block
        else:
            assert len(lines) == 1, block


def test_two_traces() -> None:
    cold, warm = report_cases.check(), report_cases.check(cache="warm")
    said = markdown.compare(compare_summary(cold, warm))
    assert "## cold" in said and "## warm" in said and "Cold 2.29 s, warm 1.2 s" in said


def test_names_are_no_markup() -> None:
    names = [b"/a|b", b"/`x`", b"/<img src=x>", b"/@someone", b"/[a](http://b)", b"/\n# head", b"/``"]
    summary = summarise(trace([(number, 0, 4096) for number in range(len(names))], names))
    said = markdown.report(summary)
    assert ("| `/a\\|b` |" in said and "| ``/`x` `` |" in said) or "`` /`x` ``" in said
    outside = said.replace("``` /`` ```", "").split("`")[::2]
    assert not [text for text in outside if "<img" in text or "@someone" in text or "](" in text]
    assert "\n# head" not in said
