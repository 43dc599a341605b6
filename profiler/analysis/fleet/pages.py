"""The set of pages that a start needs, in little room: a digest, and a sketch that sets are compared by.

The sketch is the bottom-k one: the smallest of the hashes of all pages. As the hash of a page is the same
in every trace, a page below the largest hash of every sketch is in a sketch whenever the start needs it
(Cohen, Kaplan: "Summarizing data using bottom-k sketches", PODC 2007).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from profiler.analysis.intervals import Ints
from profiler.facts.fleet import SKETCH

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The constants of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
2014), whose mixing makes a hash of a number."""


def hashes(paths: Sequence[bytes], file: Ints, page: Ints) -> Hashes:
    """Of each page a hash by the path of its file and its number in that. paths: of the files by number."""
    of_path = np.array([_hash_of(path) for path in paths], np.uint64)
    return _mixed(of_path[file] + _mixed(page.astype(np.uint64) * _GOLDEN))


def digest(of_pages: Hashes) -> str:
    """Of the set of these pages, 128 bits in hexadecimal; whatever order they are in."""
    return hashlib.blake2b(np.sort(of_pages).astype("<u8").tobytes(), digest_size=16).hexdigest()


def sketch(of_pages: Hashes) -> tuple[int, ...]:
    """The SKETCH smallest of the hashes, in order."""
    least = of_pages if len(of_pages) <= SKETCH else np.partition(of_pages, SKETCH)[:SKETCH]
    return tuple(np.sort(least).tolist())


def _hash_of(path: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "little")


def _mixed(values: Hashes) -> Hashes:
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * _FIRST
        values = (values ^ (values >> np.uint64(27))) * _SECOND
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed
