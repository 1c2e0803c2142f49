"""The runs to analyse: their results in git, and their networks and images if this machine has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration import cells
from stages.longtail.configuration.parameters import Params
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.data import packed, subsets
from stages.longtail.data.batches import Batches, Images, read_division
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import digest, read_csv, read_json
from stages.longtail.models import network
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.prediction import predict
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import Representation
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import checkpoint


def compute() -> Compute:
    """A GPU if there is one, in fp32 whatever a run was trained in, so that an analysis adds no rounding."""
    return Compute(torch.device("cuda" if torch.cuda.is_available() else "cpu"), "fp32")


@dataclass(frozen=True)
class Run:
    """A recipe that was run.

    name: as in tables and file names. subset: such as cifar10-exp-100. results: the folder with metrics.json,
    per_class.csv and history.csv. checkpoint: the file of the final networks. raw and splits: the folders of the images
    and of the subset.
    """

    name: str
    subset: str
    params: Experiment
    results: Path
    checkpoint: Path
    raw: Path
    splits: Path
    _kept: dict[tuple[int, str], Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def representation(self) -> Representation:
        return self.params.representation

    @property
    def classifier(self) -> Classifier:
        return self.params.classifier

    @property
    def protocol(self) -> Protocol:
        return self.params.protocol

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return read_json(self.results / "metrics.json")

    @cached_property
    def classes(self) -> pd.DataFrame:
        """One row per class, the largest first: rank, class, name, count, shot, accuracy (percent), perhaps more."""
        return _numbers(read_csv(self.results / "per_class.csv"), text=("name", "shot"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """seed, part, epoch, lr, loss, train_acc, test_all...: accuracies in percent."""
        return _numbers(read_csv(self.results / "history.csv"), text=("part",))

    @cached_property
    def states(self) -> dict[int, dict[str, Any]]:
        """The final state of each seed. Raises UserError if the results are not of this checkpoint."""
        manifest = self.results / "manifest.json"
        if manifest.is_file() and read_json(manifest).get("checkpoint", "") not in ("", digest(self.checkpoint)):
            raise UserError(f"{self.checkpoint} is not what {manifest} describes: dvc checkout, or run it again")
        return checkpoint.load_seeds(self.checkpoint, self.params.seeds)

    def network(self, seed: int) -> network.Network:
        """The final network of a seed, in evaluation mode, on the device of `compute`."""
        if (seed, "network") not in self._kept:
            state = self.states[seed]
            model = network.restore(state["architecture"], state["network"], compute().device)
            self._kept[seed, "network"] = model.eval().requires_grad_(False)
        return self._kept[seed, "network"]

    def images(self, division: str) -> Batches:
        """The images of a division: `train` is the subset that the run trained on, `test` all test images."""
        source = _division(self.raw, division)
        rows = subsets.read(self.splits).kept if division == "train" else np.arange(len(source.labels))
        crop = next(iter(self.states.values()))["architecture"].get("crop")
        return packed.batches(source, rows, compute().device, crop=crop)

    def features(self, seed: int, division: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The head's inputs for images without augmentation, float32 (n, features_size), and labels, int64 (n,)."""
        if (seed, division) not in self._kept:
            images = self.images(division)
            self._kept[seed, division] = predict.features(self.network(seed), images, compute()), images.labels
        return self._kept[seed, division]


@cache
def _division(raw: Path, division: str) -> Images:
    return read_division(raw, division)


def _numbers(frame: pd.DataFrame, text: Sequence[str]) -> pd.DataFrame:
    numbers = [name for name in frame if name not in text]
    return frame.assign(**frame[numbers].apply(pd.to_numeric))


def recorded(paper: str, papers: Path, names: Iterable[str] = ()) -> list[Run]:
    """A paper's runs whose results are in git, in the order of its params.yaml.

    Args:
        paper: such as switching.
        papers: the papers' folder.
        names: such as cifar10-exp-100-joint, or procrustean/cifar10-exp-100-joint for another paper's run. Without
            any, all runs of the paper.

    Raises:
        UserError: a paper does not exist, or has no recorded run of this name.
    """
    chosen = list(names)
    if not chosen:
        return [_read(paper, name, "", papers) for name in _recorded(paper, papers)]
    result = []
    for given in chosen:
        prefix, _, name = given.rpartition("/")
        known = _recorded(prefix or paper, papers)
        if name not in known:
            raise UserError(f"{prefix or paper} has no recorded run '{name}'{suggest(name, known)}")
        other = f"{prefix}/" if prefix not in ("", paper) else ""
        result.append(_read(prefix or paper, name, other, papers))
    return result


def _recorded(paper: str, papers: Path) -> list[str]:
    """The runs in the paper's params.yaml that have results."""
    path = papers / paper / "params.yaml"
    if not path.is_file():
        raise UserError(f"{path} does not exist, so {paper} is not a paper of this project")
    content = yaml_files.read(path)
    names = [name for kind in cells.KINDS["data/classifier"] for name in content.get(kind) or {}]
    return [name for name in names if (papers / paper / "metrics" / name / "metrics.json").is_file()]


def _read(paper: str, name: str, prefix: str, papers: Path) -> Run:
    cell = cells.find(f"{paper}/{name}", "data/classifier", papers)
    return Run(
        f"{prefix}{name}",
        cell.entry["split"],
        Experiment.read(Params(cell.sections(), cell.path)),
        cell.folder("reports"),
        cell.folder("data/classifier") / "checkpoint.pt",
        cell.folder("data/raw"),
        cell.folder("data/splits"),
    )


def experiment(params: Experiment, reports: Path, data: Path) -> Run:
    """The current experiment of the main pipeline, named by its data set, split and method.

    Args:
        params: of the experiment.
        reports: the folder of its results.
        data: the folder that has raw/, splits/ and classifier/.
    """
    split = params.split
    subset = params.dataset.name + ("" if split.profile == "none" else f"-{split.profile}-{split.ratio:g}")
    checkpoint = data / "classifier" / "checkpoint.pt"
    return Run(f"{subset}-{params.method}", subset, params, reports, checkpoint, data / "raw", data / "splits")
