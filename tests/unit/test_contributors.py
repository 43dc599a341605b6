"""What files are, and which of them a start waits for most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB, trace

from profiler import devices
from profiler.analysis.cost.contributors import by_bytes, contributors, in_words, projected_costs
from profiler.analysis.cost.costs import Cost
from profiler.analysis.reads.file_kinds import file_kind
from profiler.analysis.simulation.projection import project, requests


@pytest.mark.parametrize(
    ("path", "kind", "group"),
    [
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "shared library", ""),
        ("/lib64/ld-linux-x86-64.so.2", "dynamic loader", ""),
        ("/etc/ld.so.cache", "cache of the loader", ""),
        ("/usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc", "Python modules", "json"),
        ("/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "Python modules", "the standard library"),
        ("/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", "Python modules",
         "the standard library"),
        ("/v/lib/python3.12/site-packages/numpy/core/_multiarray.so", "Python modules", "numpy"),
        ("/v/lib/python3.12/site-packages/numpy.libs/libopenblas.so", "Python modules", "numpy"),
        ("/srv/app/node_modules/@babel/core/lib/index.js", "JavaScript modules", "@babel/core"),
        ("/usr/lib/locale/locale-archive", "locale data", ""),
        ("/usr/share/locale/de/LC_MESSAGES/git.mo", "locale data", ""),
        ("/etc/ssl/certs/ca-certificates.crt", "certificates", "certificates"),
        ("/usr/share/fonts/truetype/DejaVuSans.ttf", "fonts", "fonts"),
        ("/home/x/.git/objects/pack/pack-1.idx", "git repository", "git repository"),
        ("/usr/lib/jvm/java-17-openjdk-amd64/lib/modules", "Java classes", "Java classes"),
        ("/srv/large.sqlite", "database", ""),
        ("/srv/disk0.qcow2", "disk image", ""),
        ("/etc/nsswitch.conf", "settings", ""),
        ("/srv/whatever", "file", ""),
    ],
)  # fmt: skip
def test_files_are_told_by_their_names(path: str, kind: str, group: str) -> None:
    found = file_kind(path.encode())
    assert (found.kind, found.group) == (kind, group.encode())


@given(st.binary(max_size=300))
def test_any_name_is_something(path: bytes) -> None:
    assert file_kind(path).kind


def test_files_that_belong_together_are_one() -> None:
    paths = [b"/usr/lib/python3.11/json/a.py", b"/usr/lib/python3.11/json/b.py", b"/srv/x\x1b[2J", b"/srv/y"]
    made = trace([(0, 0, MIB), (1, 0, MIB), (2, 0, MIB), (3, 0, 4096)], paths)
    first, second, third = contributors(made, by_bytes(made, requests(made)))
    assert (first.name, first.kind, first.files) == (b"json", "Python modules", 2)
    assert first.bytes == 2 * second.bytes >= 2 * MIB
    assert first.seconds is None and first.share > second.share > third.share
    assert in_words(first) == "Python modules of json"
    assert in_words(second) == "x\\x1b[2J" and third.name == b"y"


def test_what_is_waited_for_counts_before_bytes() -> None:
    """Many small pieces of one file cost a disk more than a large one in a row."""
    made = trace(
        [(1, 0, 8 * MIB)] + [(0, n * 16 * MIB, 4096) for n in range(64)], [b"/srv/far", b"/srv/near"]
    )
    cold = requests(made)
    found = contributors(made, projected_costs(made, cold, project(cold, devices.find("hdd-7200"))))
    assert [one.name for one in found] == [b"far", b"near"]
    assert contributors(made, by_bytes(made, cold))[0].name == b"near"
    assert sum(one.share for one in found) == pytest.approx(1)


def test_costs_of_one_file_are_added_whatever_they_are_of() -> None:
    made = trace([(0, 0, 4096)], [b"/vm/disk0.qcow2"])
    parts = [
        Cost(0, b"/vm/disk0.qcow2", kind, how, 3, 12288, 0.5, observed=True)
        for kind, how in (("L2 table", "read"), ("data cluster", "read"))
    ]
    own = Cost(-1, b"ext4 on 8:1", "", "metadata", 2, 8192, 0.25, observed=True)
    image, metadata = contributors(made, [*parts, own])
    assert (image.requests, image.bytes, image.seconds, image.files) == (6, 24576, 1.0, 1)
    assert in_words(metadata) == "directories and inodes" and metadata.share == pytest.approx(0.2)
    assert image.observed


def test_of_nothing_there_is_nothing() -> None:
    assert contributors(trace(), ()) == ()
