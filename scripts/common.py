"""What the scripts have in common."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
NAME = Path(sys.argv[0]).name


def under_the_projects_python() -> None:
    """Go on under it: started by its own run bit a script has the system's, which knows nothing of
    coldseek."""
    if importlib.util.find_spec("profiler") is None:
        if not PYTHON.exists() or sys.prefix == str(PYTHON.parent.parent):
            sys.exit(complain("coldseek is not installed in .venv; run 'make setup' first"))
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def say(words: str) -> None:
    """A line of the script's own, on stderr: stdout belongs to its results."""
    print(f"{NAME}: {words}", file=sys.stderr, flush=True)


def complain(words: str) -> int:
    """The same for a failure; gives the exit status."""
    say(words)
    return 125
