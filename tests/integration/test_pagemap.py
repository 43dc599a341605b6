"""What the kernel's page tables say of a mapping of our own."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator

import pytest

from profiler.capture.mapped import pagemap
from profiler.capture.mapped.pagemap import PAGE


@pytest.fixture
def mapped() -> Iterator[tuple[mmap.mmap, int]]:
    """A private mapping of a file of 400 pages, too few for a huge page, and its address."""
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 400 * PAGE)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as held:
            yield held, address_of(held)


def address_of(held: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(held))


def numbers(found: list[tuple[int, int]], address: int) -> set[int]:
    return {page for low, high in found for page in range((low - address) // PAGE, (high - address) // PAGE)}


@pytest.mark.parametrize("scan", [True, False])
def test_copies_are_there_page_by_page_and_what_was_read_around_the_fault(
    mapped: tuple[mmap.mmap, int], scan: bool
) -> None:
    held, address = mapped
    ranges = [(address, address + 300 * PAGE), (address + 300 * PAGE, address + 400 * PAGE)]

    def there(copies: bool) -> set[int]:
        return numbers(pagemap.present(os.getpid(), ranges, copies=copies, scan=scan).stretches, address)

    assert there(True) == set()
    for page in (0, 299, 300, 301, 399):  # a write is copied alone
        held[page * PAGE] = 7
    assert there(True) == {0, 299, 300, 301, 399}
    assert there(False) == set()
    assert held[100 * PAGE] == ord("x")
    read = there(False)
    assert 100 in read
    assert read.isdisjoint({0, 299, 300, 301, 399})
    assert there(True) == read | {0, 299, 300, 301, 399}


def test_more_stretches_than_one_answer_holds(
    mapped: tuple[mmap.mmap, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, address = mapped
    for page in range(0, 400, 2):
        held[page * PAGE] = 7
    monkeypatch.setattr(pagemap, "_AT_ONCE", 64)
    ways = [
        pagemap.present(os.getpid(), [(address, address + 400 * PAGE)], scan=scan) for scan in (True, False)
    ]
    assert ways[0] == ways[1]
    assert len(ways[0].stretches) == 200 > pagemap._AT_ONCE


def test_bounds(mapped: tuple[mmap.mmap, int], monkeypatch: pytest.MonkeyPatch) -> None:
    held, address = mapped
    for page in range(0, 20, 2):
        held[page * PAGE] = 7
    monkeypatch.setattr(pagemap, "MOST_STRETCHES", 9)
    with pytest.raises(pagemap.TooMuchError):
        pagemap.present(os.getpid(), [(address, address + 400 * PAGE)])
    with pytest.raises(pagemap.TooMuchError):
        pagemap.present(os.getpid(), [(0, (pagemap.MOST_PAGES + 1) * PAGE)], scan=False)
    with pytest.raises(OSError):
        pagemap.present(2**22 + 1, [])
