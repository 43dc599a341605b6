"""A plan as a program: what it does with its words. In a plan this stands behind `profiler/runner.py`."""

import os
import sys

if __package__:
    from profiler.runner import (
        __doc__,
        age,
        budget,
        chosen,
        decode,
        fetched,
        prefetch,
        step_aside,
        too_large,
    )  # fmt: skip

MYPY = False
if MYPY:
    from collections.abc import Sequence

_SHOWN = 3


def _main(words: "Sequence[str]") -> int:
    """Run as a program. Gives its exit status: 0, 1 where nothing could be read, 2 for wrong usage."""
    name, size, seconds = ascii(os.path.basename(__file__))[1:-1], None, None
    flags = {"--beside", "--quiet", "-q"}.intersection(words)
    rest = [word for word in words if word not in flags]
    if rest in (["--help"], ["-h"]):
        print((__doc__ or "").replace("PLAN", name))
        return 0
    try:
        if len(rest) == 2 and rest[0] == "--budget":
            size, seconds = budget(rest[1])
        elif rest:
            raise ValueError(f"no such option: {rest[0]!a}; see --help")
        with open(__file__, "rb") as source:
            files, stretches = decode(source)
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if why := too_large(chosen(stretches, size)):
        print(f"{name}: {why}", file=sys.stderr)
        return 1
    if "--beside" in flags and not step_aside():
        return 0
    before = fetched()
    got, left_out = prefetch(files, stretches, size, seconds, "--beside" in flags)
    if not flags & {"--quiet", "-q"}:
        read = None if before is None or (after := fetched()) is None else (after - before) / 2**20
        disk = "" if read is None else f", {read:.1f} MiB from the disk"
        print(f"{name}: {got / 2**20:.1f} MiB{disk}, in {age():.2f} s with its own start", file=sys.stderr)
        for place in sorted(left_out)[:_SHOWN]:
            print(f"{name}: left out: {os.fsdecode(files[place][0])!a} {left_out[place]}", file=sys.stderr)
        if len(left_out) > _SHOWN:
            print(f"{name}: left out in all: {len(left_out)} of {len(files)}", file=sys.stderr)
    is_nothing = bool(left_out) and not got and seconds is None
    if is_nothing:
        print(f"{name}: nothing of it could be read; record it again", file=sys.stderr)
    return int(is_nothing)


if __name__ == "__main__":
    try:
        sys.exit(_main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
