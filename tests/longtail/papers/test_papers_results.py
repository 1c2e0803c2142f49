"""What is said of a cell that was run: see tests/test_papers.py for all of it together."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from stages.longtail.papers import results


@pytest.mark.parametrize(
    ("last", "best", "published", "said"),
    [
        (76.9, 80.8, 79.7, True),
        (76.9, 80.8, 80.8, True),
        (76.9, 80.8, 76.9, False),  # the last epoch has it
        (76.9, 80.8, 80.9, False),
        (76.9, 80.8, 70.0, False),
        (76.9, None, 79.7, None),  # top-5 accuracy has no best epoch
        (None, None, 79.7, None),
    ],
)
def test_a_published_number_is_between_if_only_an_earlier_epoch_reaches_it(last, best, published, said):
    frame = pd.DataFrame({"last": [last], "best": [best], "value": [published]}, dtype=float)
    found = results.between(frame).iloc[0]
    assert found is pd.NA if said is None else found == said


@pytest.mark.parametrize(
    ("last", "deviation", "said"),
    [(79.0, None, True), (78.6, None, False), (78.6, 0.6, True), (77.0, 0.6, False), (None, None, None)],
)
def test_within_is_a_point_or_two_standard_deviations(last, deviation, said):
    frame = pd.DataFrame({"last": [last], "last_std": [deviation], "value": [79.7], "tolerance": [1.0]}, dtype=float)
    found = results.within(frame, "last").iloc[0]
    assert found is pd.NA if said is None else found == said


RUNS = Path("reports/papers/procrustean/metrics")


@pytest.mark.parametrize("name", ["cifar10-exp-100-joint", "cifar10-exp-100-mfw+beta=0.5"])
def test_the_interval_of_a_run_without_predictions_is_the_one_that_they_would_give(tmp_path: Path, name: str) -> None:
    for file in ("metrics.json", "per_class.csv"):
        (tmp_path / "metrics" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(RUNS / name / file, tmp_path / "metrics" / name)
    old, new = results.read_runs(tmp_path, [name])[name], results.read_runs(RUNS.parent, [name])[name]
    assert old and new and (old.predictions, new.predictions) == (False, True)
    assert old.intervals == new.intervals and old.intervals["all"]["low"] > 69


@pytest.mark.parametrize("found", ["places-exp-100-joint", "cifar100-exp-100-joint"])
def test_where_the_test_images_are_not_known_to_be_those_there_is_no_interval(tmp_path: Path, found: str) -> None:
    """places: of no known size; cifar100: of 100 images each, of which 97.4% is not a whole number."""
    shutil.copytree(RUNS / "cifar10-exp-100-joint", tmp_path / "metrics" / found)
    (tmp_path / "metrics" / found / "metrics_more.json").unlink()
    run = results.read_runs(tmp_path, [found])[found]
    assert run and not run.intervals


def test_several_seeds_have_no_interval_without_predictions(tmp_path: Path) -> None:
    name = "cifar10-exp-100-joint"
    shutil.copytree(RUNS / name, tmp_path / "metrics" / name)
    (tmp_path / "metrics" / name / "metrics_more.json").unlink()
    path = tmp_path / "metrics" / name / "metrics.json"
    path.write_text(path.read_text().replace('"seeds": 1', '"seeds": 2'))
    run = results.read_runs(tmp_path, [name])[name]
    assert run and not run.intervals
