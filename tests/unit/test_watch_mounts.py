"""Lines of mountinfo, and the layers that an overlay's options name: whatever names are given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.watch.names.mounts import (
    Mount,
    below,
    elsewhere,
    joined,
    kernel_device,
    parsed,
    unescaped,
)
from profiler.capture.watch.names.overlay import Layers, layers

PIECE = st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"/", b"x").replace(b"\0", b"y"))
PATH = st.lists(PIECE, min_size=1, max_size=4).map(lambda pieces: b"/" + b"/".join(pieces))
NUMBER = st.integers(0, 2**31)


def escaped(word: bytes, these: bytes) -> bytes:
    """As the kernel writes it (seq_escape)."""
    return b"".join(b"\\%03o" % one if one in these else bytes([one]) for one in word)


def colons_escaped(path: bytes) -> bytes:
    """As whoever mounts has to write it."""
    return path.replace(b"\\", b"\\\\").replace(b":", b"\\:")


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, PATH, PATH, st.booleans())))
def test_what_the_kernel_writes_is_read(rows: list[tuple[int, int, int, bytes, bytes, bool]]) -> None:
    lines, wanted = [], []
    for number, major, minor, root, point, is_shared in rows:
        places = [escaped(path, b" \t\n\\#") for path in (root, point)]
        tag = b"shared:1 master:2 " if is_shared else b""
        lines.append(
            b"%d 1 %d:%d %s %s rw %s- ext4 /dev/vda rw,a=b\n" % (number, major, minor, *places, tag)
        )
        wanted.append(Mount(number, kernel_device(major, minor), root, point, b"ext4", b"rw,a=b"))
    assert parsed(b"".join(lines)) == wanted


@given(st.binary())
def test_rubbish_is_no_mount(text: bytes) -> None:
    assert all(isinstance(mount, Mount) for mount in parsed(text))
    layers(text)


def test_lines_that_are_none_are_left_out() -> None:
    good = b"29 1 0:25 / /a\\040b rw - tmpfs none rw"
    for bad in (b"", b"29", good.replace(b" - ", b" "), good.replace(b"0:25", b"0"), b"9" * 30 + good):
        assert parsed(bad + b"\n" + good + b"\n") == [Mount(29, 25, b"/", b"/a b", b"tmpfs", b"rw")]


@given(PATH | st.none(), st.lists(PATH, min_size=1, max_size=5))
def test_layers_are_those_that_were_mounted(upper: bytes | None, lower: list[bytes]) -> None:
    joined_ = b":".join(map(colons_escaped, lower))
    options = b"rw,lowerdir=" + escaped(joined_, b",= \t\n\\")
    if upper is not None:
        options += b",upperdir=" + escaped(upper, b",= \t\n\\") + b",workdir=/w"
    assert layers(options + b",index=off") == Layers(upper, tuple(lower))


@given(st.lists(PATH, min_size=1, max_size=5), PATH)
def test_layers_given_one_by_one(lower: list[bytes], data: bytes) -> None:
    words = [b"lowerdir+=" + escaped(path, b",= \t\n\\") for path in lower]
    words.append(b"datadir+=" + escaped(data, b",= \t\n\\"))
    assert layers(b",".join(words)) == Layers(None, (*lower, data))


def test_layers_of_data_alone_are_the_last() -> None:
    assert layers(b"ro,lowerdir=/a:/b::/c").lower == (b"/a", b"/b", b"/c")
    assert layers(b"ro,lowerdir=l/AB:l/CD,upperdir=x/diff").all == (b"x/diff", b"l/AB", b"l/CD")


def test_a_number_that_is_no_byte_is_no_escape() -> None:
    assert unescaped(b"\\777\\040\\12") == b"\\777 \\12"


@given(PATH, PATH)
def test_a_path_below_a_folder_and_back(folder: bytes, path: bytes) -> None:
    assert below(joined(folder, path), folder) == path
    assert joined(folder, b"/") == folder
    assert below(folder, folder) == b"/"
    assert below(folder + b"x", folder) is None
    assert below(path, b"/") == path


def test_the_closest_of_our_mounts_names_a_file() -> None:
    mounts = [
        Mount(1, 5, b"/", b"/", b"ext4", b"rw"),
        Mount(2, 5, b"/var/lib", b"/data", b"ext4", b"rw"),
        Mount(3, 6, b"/var/lib/x", b"/other", b"ext4", b"rw"),
    ]
    assert elsewhere(mounts, 5, b"/var/lib/x/f") == b"/data/x/f"
    assert elsewhere(mounts, 5, b"/var/f") == b"/var/f"
    assert elsewhere(mounts, 6, b"/var/f") is None
    assert elsewhere(mounts, 7, b"/f") is None
