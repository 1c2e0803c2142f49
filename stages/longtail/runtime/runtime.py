"""The section `runtime` of the parameters."""

from __future__ import annotations

from typing import Literal

from stages.longtail.configuration.schema import Count, Items, Section

Quantity = Literal["accuracy", "loss", "feature_gradient", "head_gradient"]

Precision = Literal["fp32", "tf32", "bf16"]


class Runtime(Section):
    """How, not what, to compute. What can change the last bits of a result is part of a recipe."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Precision
    threads: Count | None  # of the CPU; null: all that torch finds
    test_every: Count  # epochs between tests during training; the last epoch is always tested
    mode: Literal["bitwise", "fast"] = "bitwise"  # the same bits each time, or whatever kernels are fastest
    at_once: Count | None = None  # seeds, with the results of each alone; null: 8 on a GPU if small images, else 1
    regularity: bool = False  # count each training image's learned and forgotten events (`switching` appendix A)
    observe: Items[Quantity] = ()  # what to look at after every epoch, by class: see training/observation.py
