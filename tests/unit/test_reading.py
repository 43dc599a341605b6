"""What runs out of memory says of which file."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.cli.output import reading
from profiler.errors import ColdseekError, NoMemoryError


def test_the_file_at_fault_is_named() -> None:
    words = r"^a\\x0a and b: out of memory; look at it where more is free"
    with pytest.raises(ColdseekError, match=words), reading("a\n", "b"):
        np.zeros(2**58)
    with pytest.raises(ColdseekError, match=r"^a: too many; look"), reading("a"):
        raise NoMemoryError("too many")
    with pytest.raises(ColdseekError, match=r"^else$"), reading("a"):
        raise ColdseekError("else")
