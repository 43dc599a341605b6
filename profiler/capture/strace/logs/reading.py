"""Logs of strace -> Trace, whoever made them and with whatever options. Pure: it reads the logs and nothing
else.

    trace = parse("qemu-img.strace")
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import BinaryIO

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import family
from profiler.capture.strace.logs.dressing import Undresser
from profiler.capture.strace.logs.foreign import ForeignError
from profiler.capture.strace.logs.packing import BLOCK, FAMILY_BLOCK, text_of
from profiler.errors import ColdseekError
from profiler.files.reading import open_log
from profiler.trace import Trace
from profiler.units import show_path

_REMEDY = "record a log with: strace -f -y -ttt -T -o LOG COMMAND"


Source = str | os.PathLike[str] | BinaryIO


def parse(*sources: Source) -> Trace:
    """Read a log, from a file or a binary stream, or the logs of one strace -ff, into a trace whose tracer
    is "import". They may be compressed, and dressed in whatever logs get on their way (`logs.dressing`).

    Raises ColdseekError if it cannot be read, is empty, is another tool's, or holds no line of strace's.

    >>> log = pathlib.Path("one.log")
    >>> _ = log.write_text('1 0.000100 pread64(3</etc/os-release>, "", 4096, 0) = 267 <0.000010>')
    >>> coldseek.import_strace("one.log").reads()["size"].tolist()
    [267]
    """
    # what makes the tables takes as long to load as half a million lines take to be read: meanwhile
    tables = threading.Thread(target=lambda: [import_module(name) for name in ("pandas", "pyarrow.parquet")])
    tables.start()
    return read(sources, Log(), before_trace=tables.join)


def read(sources: Sequence[Source], log: Log, before_trace: Callable[[], None] = lambda: None) -> Trace:
    """`parse` with a log that has been made for it. before_trace: called when all of it has been read."""
    names = [show_path(_name(source)) for source in sources]
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    log.undresser = Undresser()
    try:
        _feed(sources, log)
        log.finish()
    except ForeignError as error:
        raise ColdseekError(f"{name} is {error.tool.name}; {error.tool.remedy}") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ColdseekError(
            f"cannot read {name}: {reason}; name a log that strace -o has written"
        ) from error
    except ValueError as error:  # a null byte in the name
        raise ColdseekError(f"cannot read {name}: {error}; name a log that strace -o has written") from error
    if not log.lines:
        why = f"of {name} nothing can be read: {log.partial}" if log.partial else f"{name} is empty"
        raise ColdseekError(f"{why}; {_REMEDY}")
    if not log.recognised:
        raise ColdseekError(f"{name} holds no line of strace's; {_REMEDY}")
    before_trace()
    return log.trace()


def _name(source: Source) -> str:
    return (
        os.fspath(source)
        if isinstance(source, (str, os.PathLike))
        else str(getattr(source, "name", "the log"))
    )


def _feed(sources: Sequence[Source], log: Log) -> None:
    def note(words: str) -> None:
        if words not in log.notes:  # it may be so of each of many files
            log.notes.append(words)

    if len(sources) > 1:
        paths = [_name(source) for source in sources]
        for line in family.merged(paths, lambda path: _lines(path, log.cut_off, note), note):
            log.feed(line)
        return
    (source,) = sources
    if isinstance(source, (str, os.PathLike)):
        log.tasks.lineage.unprefixed_pid = family.pid_of(os.fspath(source)) or 0
        with open_log(os.fspath(source)) as stream:
            _feed_stream(stream, log)
    else:
        _feed_stream(source, log)


def _feed_stream(stream: BinaryIO, log: Log) -> None:
    for piece in text_of(stream, log.cut_off, log.notes.append, _name(stream)):
        log.feed(piece)


def _lines(path: str, cut: Callable[[str], None], note: Callable[[str], None]) -> Iterator[bytes]:
    """The lines of a log, each with its newline; of one longer than a BLOCK no more than its beginning."""
    with open_log(path) as stream:
        left = b""
        for piece in text_of(stream, cut, note, path, FAMILY_BLOCK):
            first, *others = piece.split(b"\n")
            if len(left) < BLOCK:
                left += first
            for line in others:
                yield left + b"\n"
                left = line
        if left:
            yield left + b"\n"
