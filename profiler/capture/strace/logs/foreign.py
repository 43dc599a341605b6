"""Logs of other tools, that look as if strace had written them and do not say what a trace needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINES = 200
_SHARE = 0.3  # of the first lines with text has to look like the tool's
RECORD = "strace -f -y -ttt -T -o LOG COMMAND"


@dataclass(frozen=True)
class Tool:
    """name: as in a sentence. line: how its lines look. remedy: what gives what we need."""

    name: str
    line: re.Pattern[bytes]
    remedy: str = f"record a log with: {RECORD}"
    share: float = _SHARE
    without_calls: bool = False  # only where no line is a call


_CALL = re.compile(rb"[^(]{0,80}\b\w+\(.*= ")
_ON_LINUX = f"run the program on Linux, under: {RECORD}"
_TOOLS = (
    Tool("the summary of strace -c, which has no calls", re.compile(
        rb"% time +seconds +usecs/call|[- ]{30,}\Z|\s*\d+\.\d\d +\d+\.\d+ +\d+ +\d+ +(?:\d+ +)?\w+\s*\Z"
    ), f"leave out -c: {RECORD}", without_calls=True),
    Tool("a log of dtruss", re.compile(
        rb"SYSCALL\(args\)|.*\)\t+ ?= -?\d+ (?:Err#)?\d+\s*\Z|\s*\w+_nocancel\("
    ), _ON_LINUX),
    Tool("a log of perf trace", re.compile(
        rb" *\d+\.\d{3} \( *(?:\d+\.\d{3} ms|[ ]*)\s*\): "
    )),
    Tool("a log of ltrace", re.compile(
        rb".*\+\+\+ exited \(status \d+\) \+\+\+|(?:\[pid \d+\] |\d+ )?(?:[\d:.]+ )?"
        rb"(?:SYS_\w+|\w+@\w[\w.]*|\w+->\w+|__libc_start_main|malloc|free|str(?:len|r?chr|n?cmp|n?cpy|dup)"
        rb"|mem(?:cpy|set)|f(?:open|close|read)|printf|puts)\("
    ), share=0.05),
    Tool("a log of truss", re.compile(
        rb".*\)\s+(?:= \d+ \(0x[0-9a-f]+\)|ERR#\d+ '|Err#\d+ [A-Z])"
    ), _ON_LINUX),
    Tool("a log of sysdig", re.compile(
        rb"\d+ \d\d:\d\d:\d\d\.\d+ \d+ \S+ \(\d+(?:\.\d+)?\) [<>] \w+"
    )),
    Tool("the output of opensnoop", re.compile(rb"PID +COMM +FD +ERR +PATH")),
)  # fmt: skip


def tool_of(head: bytes) -> Tool | None:
    """The tool that has written these first lines; None: none that is known here."""
    lines = [line for line in head.split(b"\n")[:_LINES] if line.strip()]
    for tool in _TOOLS:
        if tool.without_calls and any(_CALL.match(line) for line in lines):
            continue
        count = sum(bool(tool.line.match(line)) for line in lines)
        if count and count >= tool.share * len(lines):
            return tool
    return None


class ForeignError(Exception):
    """The log is not strace's."""

    def __init__(self, tool: Tool) -> None:
        super().__init__(tool.name)
        self.tool = tool
