"""What is still to run: the cells without results, the cheapest gain first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from stages.longtail.classification.classifier import Continue, Retrain
from stages.longtail.configuration.composition import compose
from stages.longtail.configuration.parameters import parse
from stages.longtail.data import samplers
from stages.longtail.papers.parameters import Experiment
from stages.longtail.recipe.schedule import branch_epoch
from stages.longtail.sources import datasets
from stages.longtail.sources.dataset import Dataset
from stages.longtail.splits import imbalance

# Training images, as the papers print them (for Tiny-ImageNet and CIFAR: of each class before the subset is drawn).
IMAGES = {"imagenet_lt": 115_846, "places_lt": 62_500, "inaturalist2018": 437_513, "tiered_imagenet": 351_800}
A_CLASS = {"cifar10": (5000, 10), "cifar100": (500, 100), "tiny_imagenet": (500, 200), "digits": (120, 10)}


def missing(cells: pd.DataFrame, folder: Path, conf: Path) -> pd.DataFrame:
    """A line for each run without results: cells that it fills, images to train in millions, what it waits for.

    cells: see results.cells. A representation counts for the first run that needs it, in this order.
    """
    names = yaml.safe_load((folder / "params.yaml").read_text())
    kinds = {name: kind for kind in ("runs", "alone") for name in names.get(kind) or {}}
    todo = cells[(cells.run != "") & cells.seeds.eq(0)].groupby("run", sort=False).size()
    rows = []
    for name, count in todo.items():
        entry = names[kinds[str(name)]][name]
        plain = compose(entry["compose"].split(), conf)
        shared, own = cost(plain)
        trained = entry.get("of", name)
        if (Path("data/grid") / folder.name / "representation" / trained / "checkpoint.pt").is_file():
            shared = 0
        stage = {"runs": "run", "alone": "alone"}[kinds[str(name)]]
        rows.append(
            {
                "run": name,
                "cells": count,
                "of": trained,
                "shared": shared,
                "own": own,
                "waits for": waits_for(plain),
                "command": f"dvc repro reports/{folder.name}/dvc.yaml:{stage}@{name}",
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


def cost(plain: dict[str, Any]) -> tuple[int, int]:
    """Images that a run trains, all seeds together: up to the branch, and after it."""
    params = Experiment.of(plain)
    protocol, representation, classifier, split = (
        params.protocol,
        params.representation,
        params.classifier,
        params.split,
    )
    data = params.dataset.name
    if data in A_CLASS and split.profile != "none":
        largest, classes = A_CLASS[data]
        images = int(imbalance.class_counts(split.profile, split.ratio, split.n_max or largest, classes).sum())
    else:
        images = IMAGES.get(data) or int(np.prod(A_CLASS[data]))
    branch = branch_epoch(protocol.schedule, protocol.epochs, representation.branch)
    go_on = classifier.after if isinstance(classifier, Retrain) else classifier
    stop = branch
    if isinstance(go_on, Continue):
        stop = branch + go_on.epochs if go_on.epochs else protocol.epochs
    streams, seeds = representation.auxiliary.streams, len(params.seeds)
    shared, all_epochs = (
        streams * samplers.total(images, representation.embedded, protocol.batch_size, epochs)
        for epochs in (branch, stop)
    )
    head = classifier.epochs * images if isinstance(classifier, Retrain) else 0
    return seeds * shared, seeds * (all_epochs - shared + head)


def waits_for(plain: dict[str, Any]) -> str:
    """Where the data set belongs, if its files are not on this machine and will not come by download."""
    dataset = parse(Dataset, plain["dataset"], "dataset")
    folder = datasets.root_of(dataset) / dataset.name
    return "" if dataset.name in ("digits", "cifar10", "cifar100") or folder.is_dir() else str(folder)
