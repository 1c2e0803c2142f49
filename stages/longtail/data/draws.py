"""Randomness. Every draw comes from (seed, epoch, purpose) alone, so a resumed run is the same run."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["sampler", "augment", "mixing"]
_STREAM: dict[Purpose, int] = {"sampler": 0, "augment": 1, "mixing": 2}


def generator(seed: int, epoch: int, purpose: Purpose, phase: int = 0) -> np.random.Generator:
    """phase 0: the representation and what goes on from it; phase 1: a head trained anew, whose epochs restart at 0."""
    return np.random.default_rng([seed, epoch, _STREAM[purpose], phase])
