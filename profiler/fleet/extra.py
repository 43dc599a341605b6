"""The libraries that a fleet needs and nothing else does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from profiler.errors import ColdseekError


def needed(module: str) -> Any:
    """A module of the extra. Raises ColdseekError, which says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ColdseekError(
            f"fleet needs {name}, which is not installed; install it: pip install 'coldseek[fleet]'"
        ) from error
