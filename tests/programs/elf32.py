"""A 32-bit x86 program, put together by hand: it runs on machines that have no 32-bit C library.

It opens the file that it was built for, reads 100 bytes, reads 200 bytes at BIG with pread64, moves to 1000
with _llseek, reads 50 bytes there, and exits with 3.
"""

import struct
from pathlib import Path

BIG = 5 * 2**30 + 12288  # needs both halves of a 64-bit offset
_BASE = 0x08048000
_BUFFER = _BASE + 0x1000


def build(path: Path, data: Path) -> None:
    """Write the program to `path`; it will read the file `data`."""
    name_at = _BASE + 0x800
    code = b"".join(
        (
            _load(eax=5, ebx=name_at, ecx=0o100000, edx=0), _CALL,  # open, O_LARGEFILE
            b"\x89\xc3",  # mov ebx, eax
            _load(eax=3, ecx=_BUFFER, edx=100), _CALL,  # read
            _load(eax=180, ecx=_BUFFER, edx=200, esi=BIG & 0xFFFFFFFF, edi=BIG >> 32), _CALL,  # pread64
            _load(eax=140, ecx=0, edx=1000, esi=_BUFFER, edi=0), _CALL,  # _llseek, SEEK_SET
            _load(eax=3, ecx=_BUFFER, edx=50), _CALL,  # read
            _load(eax=1, ebx=3), _CALL,  # exit
        )
    )  # fmt: skip
    entry = _BASE + 0x100
    header = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<8I", 1, 0, _BASE, _BASE, 0x1000, 0x2000, 7, 0x1000)
    image = bytearray(0x1000)
    image[: len(header)] = header
    image[52:84] = segment
    image[0x100 : 0x100 + len(code)] = code
    name = bytes(data) + b"\0"
    image[0x800 : 0x800 + len(name)] = name
    path.write_bytes(image)
    path.chmod(0o755)


_CALL = b"\xcd\x80"  # int 0x80
_REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


def _load(**values: int) -> bytes:
    return b"".join(
        bytes([0xB8 + _REGISTERS.index(name)]) + struct.pack("<I", value) for name, value in values.items()
    )
