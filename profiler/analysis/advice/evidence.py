"""What the rules of `findings` look at, and what they give."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.analysis.advice.traced_image import TracedImage
from profiler.analysis.cost.contributors import Contributor
from profiler.trace import Trace
from profiler.units import show_path

KIB, MIB = 2**10, 2**20

FEW = 100
"""Fewer reads than this are not worth a rule: about a second on a disk."""

DOMINATES = 0.5
"""Something dominates from this share of all on."""


@dataclass(frozen=True)
class Finding:
    """kind: its name in JSON. words: one line. numbers: the evidence: counts, bytes, seconds, shares of 1.
    remedy: a command or an option; texts from outside are escaped."""

    kind: str
    words: str
    numbers: dict[str, int | float]
    remedy: str


@dataclass(frozen=True)
class Evidence:
    """What the rules look at. reads: those of the image's files, with `structure`; all files where there is
    no image. requests: of `Cold`, with `structure`. dearest: what costs most. path: of the image, for
    remedies.
    """

    trace: Trace
    image: TracedImage | None
    reads: pd.DataFrame
    requests: pd.DataFrame
    dearest: tuple[Contributor, ...]

    @property
    def path(self) -> str:
        if self.image is None:
            return ""
        return shlex.quote(show_path(self.trace.files["path"].iloc[self.image.file]))

    def spent(self, kind: str) -> dict[str, int | float]:
        """What the structures whose kind begins so cost: `reads`, `bytes` of these, `requests` that a cold
        start makes of the device for them, `share` of the image's reads."""
        read, asked = (
            frame["structure"].str.startswith(kind).to_numpy(bool) for frame in (self.reads, self.requests)
        )
        size = self.reads["size"].to_numpy(np.int64, na_value=0)
        count = int(read.sum())
        return {
            "reads": count, "requests": int(asked.sum()), "bytes": int(size[read].sum()),
            "share": count / max(len(self.reads), 1),
        }  # fmt: skip
