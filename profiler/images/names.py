"""What an image calls the file behind it: a path, one of QEMU's `json:` names, or a place on another
machine. Nothing is opened here.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

REMOTE = frozenset(
    ("nbd", "rbd", "ssh", "http", "https", "ftp", "ftps", "iscsi", "iser", "gluster", "nfs", "sheepdog",
     "vxhs", "nvme")
)  # fmt: skip
"""Drivers of QEMU that read no file (BlockdevDriver in qapi/block-core.json)."""
_FILES = frozenset(("file", "host_device", "host_cdrom"))  # and these read one, named by `filename`
_FILTERS = frozenset(
    ("throttle", "copy-on-read", "copy-before-write", "compress", "preallocate", "blkdebug", "blklogwrites",
     "blkreplay", "snapshot-access")
)  # fmt: skip
_DEEPEST = 8  # layers of drivers in a json: name
_LONGEST = 65_536  # of a json: name


@dataclass(frozen=True)
class Named:
    """What a name stands for. path: of a file; "" where it is none. format: declared in the name, or "".
    anywhere: whether a relative path starts from the folder of the process, as it does behind a protocol,
    and not from that of the image. remote: the driver, of a place that is no file. reason: why there is
    neither."""

    path: str = ""
    format: str = ""
    anywhere: bool = False
    remote: str = ""
    reason: str = ""


def named(name: str) -> Named:
    """What QEMU would take a name for: a protocol has a colon before its first slash (path_has_protocol)."""
    if name.startswith("json:"):
        return _json(name.removeprefix("json:"))
    if name.startswith("file:"):
        return Named(name.removeprefix("file:"), anywhere=True)
    found = re.match(r"([^/:]*):", name)
    if found is None:
        return Named(name)
    driver = found.group(1).partition("+")[0]  # nbd+unix:, gluster+rdma:
    return Named(remote=driver) if driver in REMOTE else Named(reason="no plain file, so not followed")


def _json(text: str) -> Named:
    try:
        options = json.loads(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        return Named(reason="its json: name cannot be read")
    format = ""
    for _ in range(_DEEPEST):
        driver = options.get("driver")
        if not isinstance(driver, str | None):
            break
        if driver in REMOTE:
            return Named(remote=driver)
        below = _below(options)
        path = options.get("filename")
        if driver in _FILES or (driver is None and not below):
            if isinstance(path, str) and _is_path(path):
                inner = Named(path) if driver else named(path)
                return Named(inner.path, format, anywhere=True) if inner.path else inner
            return Named(reason="its json: name holds no file name")
        if driver == "raw" and (options.get("offset") or options.get("size")):
            return Named(reason="a part of a file, which is not followed")
        if driver and driver not in _FILTERS and not format:
            format = driver
        options = below
    return Named(reason="its json: name cannot be read")


def _is_path(text: str) -> bool:
    """Whether a file can have this name: JSON may hold halves of characters, which no name of a file has."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _below(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the layer below, nested as `file` or flat as `file.driver`; of QEMU's filters too."""
    for child in ("file", "image"):
        nested = options.get(child)
        if isinstance(nested, dict):
            return nested
        flat = {key.removeprefix(f"{child}."): value for key, value in options.items()
                if key.startswith(f"{child}.")}  # fmt: skip
        if flat:
            return flat
    return {}


def windows(path: str) -> str:
    """The plain name for a path as Windows writes it: relative ones with slashes, of absolute ones the last
    part, as its drive is on no Linux machine and a disk's files are mostly moved together."""
    if re.match(r"[A-Za-z]:|\\\\", path):
        return re.split(r"[\\/]", path)[-1]
    return path.replace("\\", "/")
