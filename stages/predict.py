"""Classify image files with the trained network.

    python -m stages.predict photo.jpg more/
    python -m stages.predict --csv --top 10 more/ > answers.csv

Reads   the sections `dataset`, `seeds`, `runtime`, `representation` and `classifier` of the parameters
        CLASSIFIER/checkpoint.pt, RAW/meta.json
Writes  nothing: the likeliest classes and their probabilities, or csv, go to the screen
Name image files, or folders, which are searched at any depth. Images are prepared as the test images were. A file that
is not an image gives a line on stderr and, in the end, exit code 1; the others are classified all the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.longtail.configuration import command_line
from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import probabilities
from stages.longtail.files.artifacts import read_meta
from stages.longtail.models import network
from stages.longtail.own_images import answers
from stages.longtail.own_images.answers import Preparation
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.sources.dataset import Dataset
from stages.longtail.sources.large_sets import SETS
from stages.longtail.training import checkpoint


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="file or folder")
    parser.add_argument("--seed", type=int, help="whose network (the first of `seeds`)")
    parser.add_argument("--top", type=int, default=5, help="so many classes of each image (5)")
    parser.add_argument("--csv", action="store_true", help="columns file, rank, class, probability")


def main() -> None:
    args = command_line.parse(__doc__, options, classifier="data/classifier", raw="data/raw")
    params, meta = args.params, read_meta(args.raw)
    if args.top < 1:
        raise UserError(f"--top is {args.top}: at least 1 class is shown")
    files = answers.find(args.images)
    dataset: Dataset = params.section("dataset", Dataset)
    compute = devices.resolve(params.section("runtime", Runtime))
    seed = params.seeds[0] if args.seed is None else args.seed
    path = args.classifier / "checkpoint.pt"
    state = checkpoint.load_seeds(path, [seed])[seed]
    model = network.restore(state["architecture"], state["network"], compute.device)
    if model.architecture["classes"] != len(meta["classes"]):
        raise UserError(
            f"{path} knows {model.architecture['classes']} classes, {args.raw}/meta.json has {len(meta['classes'])}: "
            "run dvc repro"
        )
    channels = model.architecture["channels"]
    whole = dataset.name not in SETS and not dataset.packed
    preparation = Preparation(dataset.size, whole, channels, meta["mean"], meta["std"])
    scale = probabilities.scale(params, model.architecture)
    failed, header = False, True
    for found in answers.classify(files, preparation, model, meta["classes"], scale, compute):
        if isinstance(found, UserError):
            report(f"error: {' '.join(str(found).split())}")
            failed = True
        elif args.csv:
            print(answers.table(found, args.top).to_csv(index=False, header=header, float_format="%.6g"), end="")
            header = False
        else:
            print(answers.line(found, args.top))
    if failed:
        sys.exit(1)


def report(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    command_line.run(main)
