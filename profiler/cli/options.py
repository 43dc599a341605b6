"""The options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.cli import completion
from profiler.cli.output import Format, ReportFormat
from profiler.library.arguments import GRACE_S as GRACE_S
from profiler.library.arguments import MOST_RUNS as MOST_RUNS
from profiler.library.arguments import finish_of as finish_of

TRACE = Annotated[
    str,
    typer.Argument(
        help="A trace (.trace.parquet); default: your newest one here.",
        metavar="[TRACE]",
        autocompletion=completion.traces,
        show_default=False,
    ),
]
DEVICE = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="A device of coldseek devices or a preset file; repeatable.",
        metavar="NAME",
        autocompletion=completion.devices,
    ),
]
FORMAT = Annotated[Format, typer.Option("--format", help="How to print it.")]
REPORT_FORMAT = Annotated[ReportFormat, typer.Option("--format", help="How to print it.")]
REDACT = Annotated[
    bool,
    typer.Option("--redact", help="Rename arguments, users and paths outside of system folders."),
]
QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")]
TRACER = Annotated[
    str,
    typer.Option(
        help="auto, kernel, ptrace or strace; see doctor.",
        metavar="NAME",
        autocompletion=completion.values("auto", "kernel", "ptrace", "strace"),
    ),
]
AS_ROOT = Annotated[
    bool,
    typer.Option(
        "--as-root",
        help="With sudo: run the program as root too, not as the user who called sudo.",
    ),
]
WITH = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        help="Watch these too: pid:N, unit:NAME, container:NAME, cgroup:PATH, user:NAME, all; "
        "none: no daemon of a known client. Repeatable.",
        metavar="TARGET",
        autocompletion=completion.targets,
    ),
]
UNTIL = Annotated[
    list[str] | None,
    typer.Option(
        "--until",
        help="It is over when all these hold: end, exit, tcp:HOST:PORT, unix:PATH, http://URL, "
        "file:PATH[~REGEX], output:REGEX. Repeatable; default: end.",
        metavar="CONDITION",
    ),
]
FOR = Annotated[
    float | None,
    typer.Option("--for", help="It is over after this time.", metavar="SECONDS", min=0.1, max=1e9),
]
TIMEOUT = Annotated[
    float | None,
    typer.Option(
        "--timeout", help="It has failed if it is not over by then.", metavar="SECONDS", min=0.1, max=1e9
    ),
]
STOP = Annotated[
    bool, typer.Option("--stop", help="When it is over, end what it started: SIGTERM, then SIGKILL.")
]
GRACE = Annotated[
    float,
    typer.Option("--grace", help="Time between the two signals.", metavar="SECONDS", min=0, max=1e6),
]
OWN = Annotated[
    list[str] | None,
    typer.Option(
        "--own",
        help="With --copies: files of these names each start has for itself, all others are shared; none: "
        "all are. Repeatable.",
        metavar="GLOB",
    ),
]
GUEST_FILES = Annotated[
    bool,
    typer.Option(
        "--guest-files",
        help="Name the guest's files that were read of a disk image (ext and xfs; nothing is mounted).",
    ),
]
EVICT = Annotated[
    str,
    typer.Option(
        "--evict",
        help="What a cold start drops: its own files, or the whole page cache; auto: all if no others read.",
        metavar="auto|files|all",
        autocompletion=completion.values("auto", "files", "all"),
    ),
]
BEFORE = Annotated[
    str, typer.Option("--before", help="Run this before each run, untimed; no shell.", metavar="CMD")
]
AFTER = Annotated[
    str,
    typer.Option(
        "--after",
        help="Run this after each run, untimed: to stop what it started, say; no shell.",
        metavar="CMD",
    ),
]
RUNS = Annotated[
    int | None,
    typer.Option(
        "--runs",
        min=1,
        max=1000,
        help="Untraced runs of each kind, for the times; default: 3, or 2 that agree.",
        metavar="N",
    ),
]
