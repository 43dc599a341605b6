"""How a log is packed: compressed, or in another encoding. The bytes of a file in, plain text out, as a
stream."""

from __future__ import annotations

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.units import show_path

BLOCK = 1 << 20
"""Bytes taken in, and given out, at a time: a small file may hold any amount of text."""
FAMILY_BLOCK = 1 << 16
"""The same where many files are read side by side."""
_STEP = 1 << 14  # packed bytes at a time: what is left of them is copied for each piece of text
_MOST_TEXT, _MOST_FOLD = (
    64 << 20,
    100,
)  # more text than that from so few bytes is no log's: those have 10 to 30
_MOST_MEMORY = 256 << 20  # for the dictionary of xz, of which a file may ask for 4 GiB; xz -9 has 64 MiB

_GZIP, _XZ, _ZSTD, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"BZh"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_SAMPLE = 512

Told = Callable[[str], None]
Unpack = Callable[[Iterator[bytes], Told], Iterator[bytes]]


def text_of(
    stream: BinaryIO, cut: Told, note: Told, name: str = "the log", block: int = BLOCK
) -> Iterator[bytes]:
    """The text of a log in pieces of at most some BLOCK.

    cut: called with why the text is not all there, where the packed log is cut off or damaged. note: called
    with what was done to the log, if that is worth telling. name: of the log, for errors. block: bytes to
    read at a time. Raises OSError, and ColdseekError where a small file unpacks to what no log is.
    """
    packed: Iterator[bytes] = iter(lambda: stream.read(block), b"")
    head = next(packed, b"")
    unpack = next((unpack for magic, unpack in _UNPACK.items() if head.startswith(magic)), None)
    pieces = _with(head, packed)
    return _as_utf8(pieces if unpack is None else _bounded(unpack, pieces, cut, name), note)


def _with(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _bounded(unpack: Unpack, pieces: Iterator[bytes], cut: Told, name: str) -> Iterator[bytes]:
    taken = given = 0

    def steps() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            for at in range(0, len(piece), _STEP):
                taken += len(piece[at : at + _STEP])
                yield piece[at : at + _STEP]

    for text in unpack(steps(), cut):
        given += len(text)
        if given > _MOST_TEXT and given > _MOST_FOLD * taken:
            raise ColdseekError(
                f"{show_path(name)} holds more than {_MOST_FOLD} times what it takes, as hardly a log does; "
                f"if it is one, unpack it and name what comes out"
            )
        yield text


# -- compression -------------------------------------------------------------------------------------------


def _gzip(pieces: Iterator[bytes], cut: Told) -> Iterator[bytes]:
    """Members follow each other, as concatenated files do."""
    member = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            data = piece
            while data:
                if member.eof:
                    member = zlib.decompressobj(wbits=31)
                yield member.decompress(data, BLOCK)
                data = member.unconsumed_tail or (member.unused_data if member.eof else b"")
    except zlib.error:
        cut(_DAMAGED)
        return
    yield member.flush()
    if not member.eof:
        cut(_DAMAGED)


def _by_steps(
    make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor],
) -> Callable[..., Iterator[bytes]]:
    def unpack(pieces: Iterator[bytes], cut: Told) -> Iterator[bytes]:
        member = make()
        try:
            for piece in pieces:
                data = piece
                while data or not (member.needs_input or member.eof):
                    if member.eof:
                        member = make()
                    yield member.decompress(data, BLOCK)
                    data = member.unused_data if member.eof else b""
        except (OSError, lzma.LZMAError, EOFError) as error:
            cut(_TOO_LARGE if "Memory usage limit" in str(error) else _DAMAGED)
            return
        if not member.eof:
            cut(_DAMAGED)

    return unpack


def _zstd(pieces: Iterator[bytes], cut: Told) -> Iterator[bytes]:
    import pyarrow as pa

    source = pa.PythonFile(_Readable(pieces), mode="r")
    try:
        with pa.CompressedInputStream(source, "zstd") as unpacked:
            while block := unpacked.read(BLOCK):
                yield block
    except (OSError, pa.ArrowException):
        cut(_DAMAGED)


class _Readable:
    """Pieces of bytes as what pyarrow reads from."""

    closed = False

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._left += piece
        taken, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        return taken

    def close(self) -> None:
        self.closed = True


_TOO_LARGE = "to unpack it takes more than 256 MiB of memory; do so yourself, and name what comes out"
_DAMAGED = "the compressed log is cut off or damaged"
_UNPACK: dict[bytes, Unpack] = {
    _GZIP: _gzip,
    _XZ: _by_steps(lambda: lzma.LZMADecompressor(memlimit=_MOST_MEMORY)),
    _BZIP2: _by_steps(bz2.BZ2Decompressor),
    _ZSTD: _zstd,
}


# -- encoding ----------------------------------------------------------------------------------------------


def _as_utf8(pieces: Iterator[bytes], note: Told) -> Iterator[bytes]:
    """Without a byte order mark, and in the bytes that strace writes; what is UTF-16 is told by its mark, or
    by every second byte of its head being 0."""
    head = next(pieces, b"")
    while head and len(head) < _SAMPLE and (more := next(pieces, b"")):
        head += more
    encoding = _UTF16.get(head[:2]) or _unmarked(head[:_SAMPLE])
    if not encoding:
        yield head.removeprefix(codecs.BOM_UTF8)
        yield from pieces
        return
    note("the log was in UTF-16, as some terminals write it")
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    first = True
    for piece in _with(head, pieces):
        text = decoder.decode(piece)
        yield (text.removeprefix("\ufeff") if first else text).encode("utf-8", "replace")
        first = False


def _unmarked(head: bytes) -> str:
    even, odd = head[0::2], head[1::2]
    if len(head) < 16:
        return ""
    if odd.count(0) > 0.9 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.9 * len(even) and odd.count(0) < 0.1 * len(odd) else ""
