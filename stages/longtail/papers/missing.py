"""Lists the runs whose cells have no results yet, the cheapest gain first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from stages.longtail.configuration.composition import compose
from stages.longtail.data import samplers
from stages.longtail.files.artifacts import read_json
from stages.longtail.papers import epochs, plan, published, requested_runs
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.sources import loading
from stages.longtail.splits import imbalance

# Training images, as the papers print them (for Tiny-ImageNet and CIFAR: of each class before the subset is drawn).
IMAGES = {"imagenet_lt": 115_846, "places_lt": 62_500, "inaturalist2018": 437_513, "tiered_imagenet": 351_800}
A_CLASS = {"cifar10": (5000, 10), "cifar10_four": (5000, 4), "cifar100": (500, 100), "tiny_imagenet": (500, 200)}
A_CLASS |= {"digits": (120, 10)}


COLUMNS = ["run", "cells", "images (millions)", "hours", "waits for", "command"]


def missing(cells: pd.DataFrame, folder: Path, conf: Path) -> pd.DataFrame:
    """One row per run without results, the cheapest gain first.

    Images and hours are those of the run and of what it must train first. A representation counts for the first run in
    this order that needs it, with all the seeds that it then has. Hours are NaN if no speed is known for the network.

    Args:
        cells: see results.cells.
        folder: the paper's.
        conf: the presets.
    """
    planned, requests = plan.read(folder), requested_runs.read(folder)
    goes_on_from = requested_runs.representations(folder)  # another one than planned in another precision
    todo = cells[(cells.run != "") & cells.seeds.eq(0)].groupby("run", sort=False).size()
    rows = []
    for name, count in todo.items():
        entry = planned[str(name)]
        params = Experiment.of(compose(entry["compose"].split(), conf))
        seeds = set(requests[str(name)].seeds if name in requests else params.seeds)
        shared, own = cost(params)
        rows.append(
            {
                "run": name,
                "cells": count,
                "of": goes_on_from.get(str(name), entry["of"]),
                "seeds": seeds,
                "shared": shared,  # images of one seed
                "own": own * len(seeds),
                "backbone": params.protocol.backbone,
                "waits for": waits_for(params),
                "command": f"python -m stages.launch {folder.name} {name}",
            }
        )
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    frame = pd.DataFrame(rows)
    # Cheapest gain first: whole groups that share a representation, by images a cell; those that wait go last.
    trained = {of: _trained(folder, of) for of in frame.of.unique()}
    order = {}
    for of, group in frame.groupby("of"):
        seeds = set().union(*group.seeds) - trained[of]
        order[of] = (group.shared.iloc[0] * len(seeds) + group.own.sum()) / group.cells.sum()
    frame["order"] = frame.of.map(order)
    frame = frame.sort_values(["waits for", "order", "of", "own"], kind="stable")
    images = []
    for row in frame.itertuples():
        there = {seed for name, of in goes_on_from.items() if of == row.of for seed in requests[name].seeds}
        images.append(row.own + row.shared * len((row.seeds | there) - trained[row.of]))
        trained[row.of] |= row.seeds | there
    frame["images (millions)"] = (pd.Series(images, frame.index) / 1e6).round(2)
    speed = frame.backbone.map(speeds(folder.parent, conf))
    frame["hours"] = (pd.Series(images, frame.index) / speed / 3600).round(1)
    return frame[COLUMNS]


def cost(params: Experiment) -> tuple[int, int]:
    """How many images one seed of a run trains on up to the branch, and after it."""
    protocol, representation, split, name = params.protocol, params.representation, params.split, params.dataset.name
    if name in A_CLASS and split.profile != "none":
        largest, classes = A_CLASS[name]
        images = int(imbalance.class_counts(split.profile, split.ratio, split.n_max or largest, classes).sum())
    else:
        images = IMAGES.get(name) or int(np.prod(A_CLASS[name]))
    trained = epochs.of(params)
    shared, all_epochs = (
        representation.auxiliary.streams * samplers.total(images, representation.embedded, protocol.batch_size, stop)
        for stop in (trained.branch, trained.stop)
    )
    return shared, all_epochs - shared + trained.head * images


def _trained(folder: Path, of: str) -> set[int]:
    """The seeds of a representation whose networks are on this machine."""
    entry = requested_runs.represented(folder).get(of)
    if entry is None or not (folder / "data/representation" / of / "checkpoint.pt").is_file():
        return set()
    return set(plan.seeds_of(entry["compose"].split()))


def speeds(papers: Path, conf: Path) -> dict[str, float]:
    """Images per second of each backbone, over all recorded runs that trained without interruption, on any machine."""
    images: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for path in published.files(papers):
        for name, entry in requested_runs.represented(path.parent).items():
            backbone = Experiment.of(compose(entry["compose"].split(), conf)).protocol.backbone
            for file in ("represent.json", "manifest.json"):
                manifest = path.parent / "metrics" / name / file
                told = read_json(manifest) if manifest.is_file() else {}
                if told.get("images"):
                    images[backbone] += told["images"]
                    seconds[backbone] += told["seconds"]
    return {backbone: images[backbone] / seconds[backbone] for backbone in images}


def waits_for(params: Experiment) -> str:
    """The folder in which the data set's files are missing, if they cannot be downloaded; else ''."""
    dataset = params.dataset
    folder = loading.root_of(dataset) / dataset.name
    return "" if dataset.name.startswith(("digits", "cifar")) or folder.is_dir() else str(folder)
