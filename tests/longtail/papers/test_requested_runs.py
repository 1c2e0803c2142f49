"""What `dvc metrics` and `dvc plots` show of a paper's recorded runs."""

from __future__ import annotations

from pathlib import Path

import yaml

from stages.longtail.papers import requested_runs


def test_recorded_runs_are_drawn_together_by_subset(tmp_path: Path) -> None:
    """`twice` has two seeds, which no template of DVC tells apart along the epochs; `open` was not run."""
    runs = {
        "a": {"compose": "seeds=[0]", "split": "exp"},
        "twice": {"compose": "seeds=[0,1]", "split": "exp"},
        "open": {"compose": "seeds=[0]", "split": "exp"},
    }
    older = {"b": {"compose": "seeds=[0]", "split": "step"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"runs": runs, "older": older}))
    for name in ("a", "twice", "b"):
        (tmp_path / "metrics" / name).mkdir(parents=True)
        for file in ("metrics.json", "history.csv", "per_class.csv"):
            (tmp_path / "metrics" / name / file).touch()
    requested_runs.write_metrics(tmp_path)
    written = yaml.safe_load((tmp_path / "metrics/dvc.yaml").read_text())
    assert written["metrics"] == ["a/metrics.json", "twice/metrics.json", "b/metrics.json"]
    drawn = {title.split(", ")[1]: list(plot["y"]) for one in written["plots"] for title, plot in one.items()}
    assert drawn == {
        "exp: test accuracy by epoch": ["a/history.csv"],
        "exp: test accuracy by class": ["a/per_class.csv", "twice/per_class.csv"],
        "step: test accuracy by epoch": ["b/history.csv"],
        "step: test accuracy by class": ["b/per_class.csv"],
    }
