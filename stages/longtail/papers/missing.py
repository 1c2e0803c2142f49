"""What is still to run: the cells without results, the cheapest gain first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stages.longtail.configuration.composition import compose
from stages.longtail.data import samplers
from stages.longtail.papers import epochs, plan
from stages.longtail.papers.parameters import Experiment
from stages.longtail.sources import datasets
from stages.longtail.splits import imbalance

# Training images, as the papers print them (for Tiny-ImageNet and CIFAR: of each class before the subset is drawn).
IMAGES = {"imagenet_lt": 115_846, "places_lt": 62_500, "inaturalist2018": 437_513, "tiered_imagenet": 351_800}
A_CLASS = {"cifar10": (5000, 10), "cifar100": (500, 100), "tiny_imagenet": (500, 200), "digits": (120, 10)}


def missing(cells: pd.DataFrame, folder: Path, conf: Path) -> pd.DataFrame:
    """A line for each run without results: cells that it fills, images to train in millions, what it waits for.

    cells: see results.cells. A representation counts for the first run that needs it, in this order.
    """
    planned = plan.read(folder)
    todo = cells[(cells.run != "") & cells.seeds.eq(0)].groupby("run", sort=False).size()
    rows = []
    for name, count in todo.items():
        entry = planned[str(name)]
        params = Experiment.of(compose(entry["compose"].split(), conf))
        shared, own = cost(params)
        if (folder / "data/representation" / entry["of"] / "checkpoint.pt").is_file():
            shared = 0
        rows.append(
            {
                "run": name,
                "cells": count,
                "of": entry["of"],
                "shared": shared,
                "own": own,
                "waits for": waits_for(params),
                "command": f"python -m stages.launch {folder.name} {name}",
            }
        )
    if not rows:
        return pd.DataFrame(columns=["run", "cells", "images (millions)", "waits for", "command"])
    frame = pd.DataFrame(rows)
    # Cheapest gain first: whole groups that share a representation, by images a cell; those that wait go last.
    group = frame.groupby("of").agg(cells=("cells", "sum"), shared=("shared", "first"), own=("own", "sum"))
    frame["order"] = frame.of.map((group.shared + group.own) / group.cells)
    frame = frame.sort_values(["waits for", "order", "of", "own"], kind="stable")
    first = ~frame.of.duplicated()
    frame["images (millions)"] = ((frame.own + frame.shared.where(first, 0)) / 1e6).round(2)
    return frame[["run", "cells", "images (millions)", "waits for", "command"]]


def cost(params: Experiment) -> tuple[int, int]:
    """Images that a run trains, all seeds together: up to the branch, and after it."""
    protocol, representation, split, name = params.protocol, params.representation, params.split, params.dataset.name
    if name in A_CLASS and split.profile != "none":
        largest, classes = A_CLASS[name]
        images = int(imbalance.class_counts(split.profile, split.ratio, split.n_max or largest, classes).sum())
    else:
        images = IMAGES.get(name) or int(np.prod(A_CLASS[name]))
    trained = epochs.of(params)
    streams, seeds = representation.auxiliary.streams, len(params.seeds)
    shared, all_epochs = (
        streams * samplers.total(images, representation.embedded, protocol.batch_size, stop)
        for stop in (trained.branch, trained.stop)
    )
    return seeds * shared, seeds * (all_epochs - shared + trained.head * images)


def waits_for(params: Experiment) -> str:
    """Where the data set belongs, if its files are not on this machine and will not come by download."""
    dataset = params.dataset
    folder = datasets.root_of(dataset) / dataset.name
    return "" if dataset.name in ("digits", "cifar10", "cifar100") or folder.is_dir() else str(folder)
