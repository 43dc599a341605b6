"""Probes that stand in for events: where members of structures lie, and what is left of who was killed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.kernel import tracefs
from profiler.capture.kernel.probed import stand_ins
from profiler.capture.kernel.probed.btf import Structures
from profiler.capture.kernel.probed.stand_ins import FAULTED, LOOKED_UP
from profiler.errors import ColdseekError

INT, STRUCT, UNION, CONST, FUNC_PROTO = 1, 4, 5, 10, 13


class Described:
    """BTF that is made here. `add` gives the number of the new type."""

    def __init__(self) -> None:
        self.texts, self.types, self.count = b"\0", b"", 0

    def text(self, name: str) -> int:
        if not name:
            return 0
        found = self.texts.find(b"\0%b\0" % name.encode())
        if found < 0:
            found = len(self.texts) - 1
            self.texts += name.encode() + b"\0"
        return found + 1

    def add(
        self, kind: int, name: str, after: list[tuple[int, ...]], packed: bool = False, of: int = 0
    ) -> int:
        info = packed << 31 | kind << 24 | (0 if kind == INT else len(after))
        self.types += struct.pack("=III", self.text(name), info, of)
        self.types += b"".join(struct.pack(f"={len(words)}I", *words) for words in after)
        self.count += 1
        return self.count

    def compound(self, kind: int, name: str, *members: tuple[str, int, int], packed: bool = False) -> int:
        """members: (name, type, offset in bits)."""
        return self.add(kind, name, [(self.text(one), of, at) for one, of, at in members], packed)

    def bytes(self) -> bytes:
        head = struct.pack(
            "=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.texts)
        )
        return head + self.types + self.texts


def described() -> Described:
    """As the kernel has it: other types between, members in structures and unions without a name."""
    made = Described()
    number = made.add(INT, "int", [(32,)])
    made.add(FUNC_PROTO, "", [(made.text("file"), number), (0, number)])
    inner = made.compound(STRUCT, "", ("pad", number, 0), ("count", number, 64))
    union = made.compound(UNION, "", ("", inner, 0), ("other", number, 0))
    made.compound(STRUCT, "iov_iter", ("kind", number, 0), ("", union, 128))
    made.compound(UNION, "kiocb", ("ki_pos", number, 0))  # another one of that name
    fixed = made.add(CONST, "", [], of=made.compound(STRUCT, "", ("vma", number, 0), ("pgoff", number, 128)))
    made.compound(STRUCT, "vm_fault", ("", fixed, 64))
    made.add(CONST, "", [], of=made.count + 1)  # of itself
    # a bit field's offset has its width in front
    made.compound(STRUCT, "kiocb", ("ki_filp", number, 0), ("ki_flags", number, 3 << 24 | 64), packed=True)
    return made


def test_members_are_where_the_kernel_says_also_within_those_without_a_name() -> None:
    found = Structures(described().bytes(), ["kiocb", "iov_iter", "vm_fault"])
    assert found.offset("vm_fault", "pgoff") == 24
    assert found.offset("iov_iter", "kind") == 0
    assert found.offset("iov_iter", "other") == 16
    assert found.offset("iov_iter", "count") == 24
    assert found.offset("kiocb", "ki_filp") == 0
    assert found.offset("kiocb", "ki_flags") == 8


@pytest.mark.parametrize(("name", "member"), [("kiocb", "ki_pos"), ("kiocb", "none"), ("inode", "i_ino")])
def test_what_is_not_there_is_named(name: str, member: str) -> None:
    with pytest.raises(ColdseekError, match=f"struct {name} has no {member}"):
        Structures(described().bytes(), ["kiocb", "inode"]).offset(name, member)


@given(st.data())
def test_broken_descriptions_are_refused_or_read_within_their_bounds(data: st.DataObject) -> None:
    whole = bytearray(described().bytes())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    try:
        assert Structures(bytes(whole[:end]), ["iov_iter"]).offset("iov_iter", "count") >= 0
    except ColdseekError as error:
        assert "\n" not in str(error)


@contextmanager
def tracefs_of(folder: Path, *events: str) -> Iterator[int]:
    """A folder in place of tracefs."""
    for event in events:
        (folder / "events" / event).mkdir(parents=True)
        (folder / "events" / event / "enable").write_text("0\n")
    (folder / "instances").mkdir()
    (folder / "kprobe_events").write_text("")
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield root
    finally:
        os.close(root)


def test_nothing_stands_in_for_what_the_kernel_has(tmp_path: Path) -> None:
    with tracefs_of(tmp_path, f"filemap/{LOOKED_UP}", f"filemap/{FAULTED}") as root:
        assert stand_ins.for_reads(root) == stand_ins.for_faults(root) == {}
        assert (tmp_path / "kprobe_events").read_text() == ""


@pytest.mark.parametrize("functions", [set(), {"filemap_splice_read"}, {"__iomap_dio_rw"}])
def test_where_some_reads_would_not_be_told_there_is_none(
    functions: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_ins, "_functions", lambda: frozenset(functions))
    with tracefs_of(tmp_path) as root, pytest.raises(ColdseekError, match="filemap_read"):
        stand_ins.for_reads(root)


def test_the_probes_of_those_that_are_no_more_are_removed_and_no_others(tmp_path: Path) -> None:
    """The folder has a file to which what the kernel would take as commands is added."""
    with tracefs_of(tmp_path) as root, closing(tracefs.Probes(root, {"e": ["filemap_read"]})) as living:
        listing = tmp_path / "kprobe_events"
        assert listing.read_text() == f"p:{living.group}/e filemap_read"
        space, pid, started, number = living.group.split("_")[1:]
        dead = f"coldseek_{space}_{pid}_{int(started) + 1}_{number}"
        elsewhere = f"coldseek_{int(space) + 1}_{pid}_{int(started) + 1}_{number}"
        groups = (living.group, dead, elsewhere, "kprobes", f"x{dead}", f"{dead}_x")
        listed = "".join(f"p:{group}/e filemap_read pos=+8(%di):s64\n" for group in groups)
        listing.write_text(listed)
        tracefs.remove_stale(root)
        assert listing.read_text() == f"{listed}-:{dead}/e"
    assert listing.read_text() == f"{listed}-:{dead}/e-:{living.group}/e"


def test_a_kernel_that_takes_no_probe_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with tracefs_of(tmp_path) as root:
        (tmp_path / "kprobe_events").unlink()
        with pytest.raises(ColdseekError, match="takes no probe of filemap_read: No such file"):
            tracefs.Probes(root, {"e": ["filemap_read pos=+8($arg1):s64"]})
        tracefs.remove_stale(root)
