"""Running what a file says: only what its reader can have meant, and only when they say so."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Sequence

from profiler.cli.output import say
from profiler.errors import ColdseekError, UsageError
from profiler.files.owner import Owner, invoker
from profiler.units import show_path

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_author(trace: int, name: str) -> None:
    """Raise ColdseekError for an open file that somebody else wrote, or could have: what it says is theirs.

    It has to be the effective user's, root's, or that of the user who called sudo, with nobody else allowed
    to write; a group is somebody else unless it is the user's own.
    """
    facts, caller = os.fstat(trace), invoker()
    ours = {os.geteuid(), 0} | ({caller.uid} if caller else set())
    groups = {os.getegid()} | ({caller.gid} if caller else set())
    if facts.st_uid not in ours:
        raise ColdseekError(
            f"{show_path(name)} belongs to another user (number {facts.st_uid}), and what it says would be "
            f"run: look at its command with coldseek report, and copy the file if you trust it"
        )
    writable = facts.st_mode & (stat.S_IWOTH if facts.st_gid in groups else _WRITABLE)
    if writable:
        raise ColdseekError(
            f"others may write {show_path(name)}, and what it says would be run: look at its command with "
            f"coldseek report, then chmod go-w the file"
        )


def ask(command: Sequence[str], what: str, owner: Owner | None, yes: bool) -> None:
    """Show a recorded command and ask on the terminal whether to run it; with `yes` it is only shown.

    Raises UsageError where there is no terminal to ask on, ColdseekError where the answer is no.
    """
    who = owner.name if owner else "root" if os.geteuid() == 0 else "you"
    say(f"{what}, as {show_path(who)}: {show_path(shlex.join(command))}")
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("--yes runs this command of the trace; without it you are asked, on a terminal")
    sys.stderr.write("run it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ColdseekError("not run; nothing was changed")
