"""Finds the predictions of an experiment, of a git revision, of a paper's run or in any folder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import outputs
from stages.longtail.files.artifacts import read_csv

FILES = ("predictions.npz", "per_class.csv")


@dataclass(frozen=True)
class Result:
    """The predictions of one result.

    predicted: int64 (seeds, n). labels: int64 (n,). classes: one row per class, in order of the labels, with the
    columns class, name, count and shot.
    """

    name: str
    predicted: np.ndarray
    labels: np.ndarray
    classes: pd.DataFrame

    @property
    def shots(self) -> list[str]:
        return self.classes["shot"].tolist()


def find(name: str, reports: Path) -> Result:
    """Find a result by name.

    Args:
        name: one of these, looked for in this order: `workspace`, which is the folder `reports`; a folder with
            predictions.npz and per_class.csv; a paper's run, such as cifar10-exp-100-joint or
            procrustean/cifar10-exp-100-joint; a DVC experiment or git revision, whose `reports` is read.
        reports: the folder of the current experiment, which also has the papers' runs.

    Raises:
        UserError: nothing has this name, several runs have it, or the predictions are missing.
    """
    folder = reports if name == "workspace" else Path(name)
    if folder.is_dir():
        return _of_folder(name, folder)
    *paper, run = name.split("/")
    runs = sorted(path.parent for path in reports.glob("papers/*/metrics/*/metrics.json") if path.parent.name == run)
    runs = [path for path in runs if paper in ([], [path.parts[-3]])]
    if len(runs) > 1:
        full = " or ".join(f"{path.parts[-3]}/{run}" for path in runs)
        raise UserError(f"'{name}' is the name of {' and of '.join(map(str, runs))}: name its paper, {full}")
    return _of_folder(name, runs[0]) if runs else _of_revision(name, reports)


def _of_folder(name: str, folder: Path) -> Result:
    for file in FILES:
        if not (folder / file).is_file():
            raise UserError(
                f"{folder} has no {file}, without which '{name}' cannot be compared: results from before predictions "
                "were kept have none; run it again"
            )
    predicted, labels = outputs.read_predictions(folder / "predictions.npz")
    path = folder / "per_class.csv"
    try:
        classes = read_csv(path)[["class", "name", "count", "shot"]].astype({"class": int, "count": int})
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): run the evaluate stage again") from error
    return Result(name, predicted, labels, classes.sort_values("class", ignore_index=True))


def _of_revision(name: str, reports: Path) -> Result:
    """The result in `reports` at a revision, read from git without checking anything out."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        system = DVCFileSystem(rev=name)
        contents = {file: system.read_bytes((reports / file).as_posix()) for file in FILES}
    except FileNotFoundError:
        raise UserError(f"revision '{name}' has no {reports}/{' or no '.join(FILES)}: run its evaluate stage") from None
    except (DvcException, SCMError, OSError) as error:
        raise UserError(
            f"'{name}' is not a folder, a run of a paper, an experiment or a git revision ({error}): see dvc exp list"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        for file, content in contents.items():
            Path(folder, file).write_bytes(content)
        return _of_folder(name, Path(folder))
