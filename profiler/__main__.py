"""`python -m profiler`, and what the command `coldseek` starts."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from profiler.cli import main as run
    except MemoryError:
        sys.stderr.write("coldseek: out of memory before it has begun; see ulimit -v\n")
        sys.exit(125)
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        sys.stderr.write("coldseek: interrupted\n")
        sys.exit(130)
    run()


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C came while modules were loaded, which takes a moment where nothing is cached. Python up
    to 3.11 makes a RuntimeError of it in the middle of a class (`__set_name__`)."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
