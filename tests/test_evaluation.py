"""What `evaluate` makes of real, short runs: logits that are what was trained, nulls, the confusion plot, the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from dvc_render.vega_templates import NormalizedConfusionTemplate
from inprocess import CLASSIFIER, start
from torch.nn import functional as F

from stages.longtail.data.batches import Batches, read_division
from stages.longtail.evaluation import outputs
from stages.longtail.models import network
from stages.longtail.training import checkpoint

Run = Callable[..., Path]


def more(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "reports/metrics_more.json").read_text())


def names(value: Any, before: str = "") -> Iterator[str]:
    """Dotted names as DVC shows them."""
    if not isinstance(value, dict):
        yield before
        return
    for key, inner in value.items():
        yield from names(inner, f"{before}.{key}" if before else key)


@pytest.mark.parametrize("scale", [30, 12])
def test_the_likelihood_of_ldam_is_that_of_its_loss_without_the_margins(carry_out: Run, scale: int) -> None:
    folder = carry_out("method=ldam", f"representation.loss.scale={scale}")
    state = checkpoint.load(folder / CLASSIFIER)["seeds"][0]
    division = read_division(folder / "data/raw", "test")
    images = Batches(division, np.arange(len(division.labels)), torch.device("cpu"))
    model = network.restore(state["architecture"], state["network"], torch.device("cpu")).eval()
    with torch.no_grad():
        expected = F.cross_entropy(scale * model(images.plain(0, len(images))), images.labels)
    assert more(folder)["nll"]["all"] == pytest.approx(float(expected), rel=1e-3)
    logits = outputs.read(folder / "data/classifier/logits.npz").logits
    assert -2 * scale <= logits.min() < -scale / 4


def test_a_cosine_head_whose_recipe_has_no_ldam_is_refused(carry_out: Run) -> None:
    folder = carry_out("method=ldam")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["representation"] |= {"loss": "cross_entropy", "head": "linear"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert "LDAM's cosine head, but representation.loss is another" in str(start("evaluate"))


@pytest.mark.parametrize("method", ["ncm", "ncm_euclidean"])
def test_distances_to_class_means_have_no_probabilities(carry_out: Run, method: str) -> None:
    got = more(carry_out(f"method={method}"))
    assert got["nll"] is None and got["ece"] is None
    assert got["shift"]["backward_50"]["plain"] > 0 and got["shift"]["backward_50"]["from_balanced"] is None


def test_the_confusion_plot_is_of_all_seeds_and_divides_by_the_true_class(carry_out: Run) -> None:
    folder = carry_out("seeds=[0,1]", "method=joint")
    pairs = pd.read_csv(folder / "reports/confusion.csv")
    predicted, _ = outputs.read_predictions(folder / "reports/predictions.npz")
    assert len(pairs) == predicted.size
    recall = (pairs.actual == pairs.predicted).groupby(pairs.actual).mean()
    assert 100 * recall.mean() == pytest.approx(json.loads((folder / "reports/metrics.json").read_text())["acc"]["all"])
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    plot = next(entry["confusion"] for entry in plots if "confusion" in entry)
    assert plot["template"] == NormalizedConfusionTemplate.DEFAULT_NAME
    assert list(plot["y"].values()) == ["actual"] and list(plot["x"].values()) == ["predicted"]
    transforms = NormalizedConfusionTemplate.DEFAULT_CONTENT["spec"]["transform"]
    divisor = next(step for step in transforms if "joinaggregate" in step)
    assert divisor["groupby"] == [NormalizedConfusionTemplate.anchor("y")]  # should DVC's template change, so must ours


def test_the_docs_define_every_number_of_both_metrics_files(carry_out: Run) -> None:
    documented = set(re.findall(r"`([a-zA-Z0-9_.]+)`", (ROOT / "docs/metrics.md").read_text()))
    documented = {name.split(".")[0] for name in documented}
    folder = carry_out("seeds=[0,1]", "method=tau_heldout", "split.holdout=2", "runtime.regularity=true")
    for file in ("metrics.json", "metrics_more.json"):
        for name in names(json.loads((folder / "reports" / file).read_text())):
            assert name.split(".")[0] in documented, name
