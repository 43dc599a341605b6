"""Which file is looked at closely, and what each is to the start."""

from __future__ import annotations

import dataclasses
from typing import Any

from made import MIB, below, trace

from profiler.analysis.reads.roles import chain, named_image, roles
from profiler.facts.images import ImageFacts
from profiler.report.focus import focus
from profiler.report.summarise import summarise
from profiler.trace import TASK_COLUMNS, FileFacts, Trace, table


def scattered(*counts: int, **more: Any) -> Trace:
    """So many reads, far apart, of each file: each costs about the same."""
    rows = [(file, number * MIB, 4096) for file, count in enumerate(counts) for number in range(count)]
    return trace(rows, [b"/vm/%d" % file for file in range(len(counts))], **more)


def test_the_file_that_has_a_third() -> None:
    assert focus(scattered(10, 20, 10)) == 1
    assert focus(scattered(10, 10, 10, 10)) is None
    assert focus(trace()) is None


def test_the_image_where_it_matters() -> None:
    assert focus(scattered(10, 50, image="/vm/0")) == 0
    assert focus(scattered(2, 50, image="/vm/0")) == 1
    assert focus(scattered(10, 50, image="/vm/none")) == 1


def test_the_dearest_of_a_chain() -> None:
    images = {"0": {"format": "qcow2"}, "1": {"format": "qcow2", "in_front": 0}}
    assert focus(scattered(1, 20, 80, image="/vm/0", images=images)) == 1
    assert focus(scattered(1, 20, 80, image="/vm/0")) == 2


def test_without_places_the_bytes_decide() -> None:
    made = trace([(0, None, 100), (1, None, 10), (2, None, 10)])
    assert focus(made) == 0


def test_never_a_file_in_memory() -> None:
    facts = [FileFacts(b"/proc/maps", "0:21", kind="regular", filesystem="proc"),
             FileFacts(b"/dev/shm/a", "0:25", size=MIB, kind="regular", filesystem="tmpfs")]  # fmt: skip
    made = trace([(0, 0, 4096), (1, 0, 4096), (1, None, 4096)], facts, image="/dev/shm/a")
    assert focus(made) is None and summarise(made).focus is None
    assert summarise(made).image is not None


def test_chain() -> None:
    fronts = {3: 7, 7: None, 1: 3, 5: None}
    images = {number: ImageFacts("raw", in_front=front) for number, front in fronts.items()}
    assert [chain(images, member) for member in (7, 3, 1)] == [[7, 3, 1]] * 3
    assert chain(images, 5) == [5] and chain(images, 9) == [9]
    circle = {number: ImageFacts("raw", in_front=front) for number, front in {1: 2, 2: 1, 4: 4}.items()}
    assert sorted(chain(circle, 1)) == [1, 2] and chain(circle, 4) == [4]


def test_roles() -> None:
    names = [b"/bin/tool", b"/lib/ld-linux.so.2", b"/lib/libc.so", b"/vm/a", b"/vm/b", b"/etc/x", b"/proc/x"]
    facts = [FileFacts(name, "8:1", size=MIB, kind="regular", filesystem="ext4") for name in names]
    facts[-1] = dataclasses.replace(facts[-1], filesystem="proc")
    images = {"3": {"format": "qcow2"}, "4": {"format": "raw", "in_front": 3}}
    made = trace([(5, 0, 1)], facts, images=images, image="/vm/a")
    ops = [("exec", 0), ("exec", 1), ("mmap_exec", 1), ("mmap_exec", 2), ("mmap_exec", 0), ("mmap", 5)]
    made = below(made, [(0, op, file, 0, 4096) for op, file in ops])
    wanted = ["program", "library", "library", "image", "backing file", "data", "memory"]
    assert roles(made).tolist() == wanted and named_image(made) == 3
    task = dict.fromkeys(TASK_COLUMNS, 0) | {
        "name": b"t",
        "program": b"/bin/tool",
        "cgroup": b"",
        "container": "",
    }
    known = dataclasses.replace(made, tasks=table(TASK_COLUMNS, [task]))
    assert roles(known).tolist() == wanted


def test_the_image_is_known_by_its_name_or_path() -> None:
    files = [b"/vm/a", b"/vm/b"]
    for image, cwd in ((b"/vm/b", "/"), (b"b", "/vm"), (b"../vm/b", "/vm"), (b"elsewhere/b", "/")):
        assert named_image(trace((), files, image=image.decode(), cwd=cwd)) == 1
    assert named_image(trace((), [b"/x/b", b"/y/b"], image="b", cwd="/")) is None
    assert named_image(trace((), files, image="\ud800")) is None
