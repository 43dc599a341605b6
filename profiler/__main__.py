"""`python -m profiler`, and what the command `coldseek` starts."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from profiler.cli import main as run
    except KeyboardInterrupt:  # while modules are loaded, which takes a moment where nothing is cached
        sys.stderr.write("coldseek: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
