"""QEMU's tools refuse an image: what they said, and what would help."""

from __future__ import annotations

import re

from profiler.units import show_path, show_status

_MOST = 1000
"""Characters of what a tool said that are shown: it may quote names from the image."""

_REMEDIES = (
    (r"no such file",
     "bring back the file that it names, or, if that is the one behind it, say where it lies now: "
     "qemu-img rebase -u -F FORMAT -b FILE IMAGE"),
    (r"permission denied", "run as a user who may read it and all that it names, with sudo --as-root"),
    (r"key-secret|encrypt|luks|passphrase",
     "it is encrypted; --by info needs no key, or record the command that opens it"),
    (r"failed to get .*lock",
     "another process has it for itself: stop the virtual machine, or look at a copy"),
    (r"unsupported|unknown|not supported",
     "it needs another QEMU (a newer one, or a package of more formats: qemu-block-extra), or is damaged"),
    (r"corrupt|invalid|incorrect|not in .* format|bad signature|truncated|must be|"
     r"too (large|small|big|short)",
     "it is damaged, or of another format than it is taken for; if its format can be repaired, try it on a "
     "copy: qemu-img check -r all COPY"),
)  # fmt: skip
"""What QEMU 7.2 to 10 say (block/*.c, block.c), and what helps; the first that fits."""


def refused(tool: str, status: int, said: bytes, shown: str) -> str:
    """One line: all that the tool said of the image, escaped, or how it ended where it said nothing;
    and what would help, where that is known."""
    text = " ".join(said.decode("utf-8", "surrogateescape").split())
    text = text.removeprefix(f"{tool}: ")
    remedy = next((words for way, words in _REMEDIES if re.search(way, text, re.IGNORECASE)), "")
    cut = "..." if len(text) > _MOST else ""
    reason = show_path(text[:_MOST]) + cut if text else f"exit status {show_status(status)}"
    return f"{tool} refuses {shown}: {reason}" + (f"; {remedy}" if remedy else "")
