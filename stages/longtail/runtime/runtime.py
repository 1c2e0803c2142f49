"""The section `runtime` of the parameters."""

from __future__ import annotations

from typing import Literal

from stages.longtail.configuration.schema import Count, Items, Natural, Section

Quantity = Literal["accuracy", "loss", "feature_gradient", "head_gradient", "plane"]

Precision = Literal["fp32", "tf32", "bf16"]


class Runtime(Section):
    """How to compute, not what. Settings that can change the last bits of a result are part of a run's recipe."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Precision
    threads: Count | None  # of the CPU; null: all that torch finds
    test_every: Count  # epochs between tests during training; the last epoch is always tested
    mode: Literal["bitwise", "fast"] = "bitwise"  # the same bits each time, or the fastest kernels
    at_once: Count | None = None  # seeds trained at once; changes no result; null: 8 for small images on a GPU, else 1
    processes: Count | None = None  # that share the parts of a batch (protocol.shards); null: one per GPU, one on a CPU
    workers: Natural | None = None  # processes that decode packed images; null: one per core with a GPU, else none
    regularity: bool = False  # count each training image's learned and forgotten events (`switching` appendix A)
    observe: Items[Quantity] = ()  # recorded by class after every epoch, see training/observation.py
