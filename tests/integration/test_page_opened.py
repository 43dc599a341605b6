"""The page in a real browser, in short: it opens, draws, names a mark, and follows a selection.

All else that a browser shows is in `test_page_shown.py`, which takes longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import report_cases
from browser import program
from page_cases import box, colours, made, pages, section

pytestmark = pytest.mark.skipif(program() is None, reason="no chromium; make test-full installs it")

OF_ALL = "[...document.querySelectorAll('.of-all')].map((one) => one.checkVisibility())"


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pages(tmp_path_factory.mktemp("pages")) as opened:
        yield opened


def test_a_page_opens_draws_and_names_a_mark(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    assert "qemu-img check disk0.qcow2" in shown.value("document.body.innerText")
    assert colours(shown) > 1000
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("n")
    assert "read 1 of 6,144" in shown.value("document.querySelector('#hover').textContent")


def test_what_does_not_follow_a_selection_says_so(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    whole = shown.value(f"{section('Structures')}.innerText")
    assert shown.value(OF_ALL) and not any(shown.value(OF_ALL))
    left, top, width, height = box(shown)
    shown.drag((left + 1, top + 1), (left + width / 6, top + height - 1), modifiers=8)
    assert all(shown.value(OF_ALL))
    part = shown.value(f"{section('Structures')}.innerText")
    assert part != whole and "known of the whole run only" in part
    for title in ("What costs most", "Findings and advice", "What is missing"):
        assert "whole run, whatever is selected" in shown.value(f"{section(title)}.innerText").lower()
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("Escape")
    assert not any(shown.value(OF_ALL))
    assert shown.value(f"{section('Structures')}.innerText") == whole
