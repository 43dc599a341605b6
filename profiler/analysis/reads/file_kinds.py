"""What a file is, told by its name: a shared library, the Python modules of a package, a font ..."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class FileKind:
    """kind: in words, "shared library". group: files of one kind with the same group are one thing, whose
    name it is (a Python package); b"": the file stands for itself."""

    kind: str
    group: bytes = b""


PYTHON, JAVASCRIPT = "Python modules", "JavaScript modules"
STANDARD = b"the standard library"
"""Group of the modules that are a file each of Python's own."""

TOGETHER = frozenset(
    {"git repository", "fonts", "icons and file types", "time zones", "Java classes", "certificates"}
)
"""Kinds of which all files are one thing."""

_RULES: tuple[tuple[str, str], ...] = (
    (r"/(?:site|dist)-packages/([^/.]+)", PYTHON),
    (r"/python[23][.0-9]*/(?!lib-dynload/|__pycache__/)([^/.]+)/", PYTHON),
    (r"/python[23][.0-9]*/(?:lib-dynload/|__pycache__/)?()[^/]+\.(?:pyc?|so)$|/python[0-9]+\.zip()$",
     PYTHON),
    (r"/node_modules/((?:@[^/]+/)?[^/]+)/", JAVASCRIPT),
    (r"/ld\.so\.cache$", "cache of the loader"),
    (r"/ld(?:-linux[^/]*|-[0-9.]+|-musl[^/]*)\.so(?:\.[0-9]+)*$", "dynamic loader"),
    (r"\.so(?:\.[0-9]+)*$", "shared library"),
    (r"/locale-archive$|/gconv-modules\.cache$|/locale/|/i18n/|/LC_[A-Z]+(?:/|$)|\.mo$|/icudt[^/]*\.dat$",
     "locale data"),
    (r"/ssl/certs/|/ca-certificates|/pki/|/cacerts$|/cert\.pem$", "certificates"),
    (r"\.(?:ttf|otf|ttc|pf[ab]|woff2?|pcf(?:\.gz)?)$|/fontconfig/", "fonts"),
    (r"/icons?/|/icon-theme\.cache$|/mime/", "icons and file types"),
    (r"/zoneinfo/|/localtime$", "time zones"),
    (r"/lib/modules$|\.jsa$|\.jmod$|\.jar$|\.class$", "Java classes"),
    (r"/objects/pack/|\.git/(?:objects|refs|index|packed-refs|HEAD|config|logs)", "git repository"),
    (r"\.pak$|/resources?/", "resources"),
    (r"\.(?:safetensors|gguf|ggml|onnx|pt|pth|npz|npy)$", "weights or arrays"),
    (r"\.(?:sqlite3?|db|db3|mdb|ibd)(?:-wal|-shm)?$|/base/[0-9]+/[0-9]+", "database"),
    (r"\.(?:qcow2?|vmdk|vdi|vhdx?|qed|img|iso|dmg)$", "disk image"),
    (r"\.(?:zip|tar|t?gz|xz|zst|bz2|squashfs|whl|crate)$", "archive"),
    (r"\.(?:pyc?|js|mjs|cjs|rb|pl|pm|lua|sh|ts|el|elc|tcl|php)$", "script"),
    (r"^/etc/|/\.config/|\.(?:conf|cfg|ini|toml|ya?ml|json)$", "settings"),
)  # fmt: skip
"""The first that fits decides. After Debian's file system and the usual suffixes; a rule of thumb, shown as
words only."""

_COMPILED = tuple((re.compile(pattern.encode()), kind) for pattern, kind in _RULES)


def file_kind(path: bytes) -> FileKind:
    """What the file of this name is; "file" where nothing tells."""
    for pattern, kind in _COMPILED:
        found = pattern.search(path)
        if found is None:
            continue
        if pattern.groups:
            return FileKind(kind, next(filter(None, found.groups()), STANDARD))
        return FileKind(kind, kind.encode() if kind in TOGETHER else b"")
    return FileKind("file")
