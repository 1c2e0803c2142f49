"""table.md: the current experiment beside the published number."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stages.longtail.evaluation.rounding import text
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.prediction.accuracy import GROUPS


def table(
    params: Experiment,
    metrics: dict[str, Any],
    more: dict[str, Any],
    classes: pd.DataFrame,
    where: str,
    published: dict[str, float],
    changed: list[str],
) -> str:
    """The table in Markdown.

    Args:
        params: of the experiment.
        metrics, more: the contents of metrics.json and metrics_more.json.
        classes: per_class.csv.
        where, published: see published.cell.
        changed: see preset.deviations.
    """
    of_seeds = more.get("ci95_seeds", {})
    selected, selected_std = metrics.get("selected", {}), metrics.get("selected_std", {})
    rows = []
    for group in GROUPS:
        if group in metrics["acc"]:
            last = metrics["acc"][group]
            size = len(classes) if group == "all" else int((classes["shot"] == group).sum())
            printed = published.get(group)
            rows.append(
                {
                    "classes": group,
                    "number of classes": size,
                    "last epoch": _pm(last, metrics.get("std", {}).get(group)),
                    "95%, test images": _interval(more["ci95_images"][group]),
                    **({"95%, seeds": _interval(of_seeds[group])} if of_seeds else {}),
                    "best test epoch": _pm(metrics["best"][group], metrics.get("best_std", {}).get(group)),
                    **({"best held-out epoch": _pm(selected[group], selected_std.get(group))} if selected else {}),
                    "published": "-" if printed is None else text(printed, 1),
                    "last - published": "-" if printed is None else text(last - printed, 1, sign=True),
                }
            )
    split, protocol = params.split, params.protocol
    profile = "all images" if split.profile == "none" else f"{split.profile} profile, ratio {split.ratio:g}"
    lines = [
        f"# {params.method} on {params.dataset.name}",
        "",
        pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True),
        "",
        "Top-1 accuracy, percent. The accuracy of a group is the mean over its classes.",
        "The last epoch is the result. The best test epoch is chosen by looking at the test set, and stands here "
        "because published code often prints it."
        + (
            f" The best held-out epoch is chosen by {split.holdout} training images of each class that were set aside, "
            "and by no test image."
            if selected
            else ""
        ),
        "95%, test images: how far the last epoch's accuracy would vary with other test images of the same classes, "
        "for the networks as they are. "
        + (
            "±: standard deviation over seeds. 95%, seeds: Student's t interval of the mean over seeds."
            if of_seeds
            else "One seed: how much another would differ is not known."
        ),
        "",
        f"How it was made: {params.dataset.name}, {profile}, {classes['count'].sum()} training images, "
        f"{classes['count'].max()} to {classes['count'].min()} a class; many-shot above {split.many}, few-shot below "
        f"{split.few}. Protocol `{protocol.name}`: {protocol.backbone}, {protocol.epochs} epochs, batch "
        f"{protocol.batch_size}. Seeds {', '.join(map(str, params.seeds))}.",
    ]
    if where:
        lines.append(f"Published: {where}.")
    elif changed:
        lines.append(
            f"Some settings differ from the presets, so no published number stands here: {'; '.join(changed)}."
        )
    else:
        lines.append("No published number has this method, data set, profile, ratio and protocol.")
    return "\n".join(lines) + "\n"


def _pm(mean: float, std: float | None) -> str:
    return text(mean, 1) if std is None else f"{text(mean, 1)} ± {text(std, 1)}"


def _interval(bounds: dict[str, float]) -> str:
    return f"{text(bounds['low'], 1)} to {text(bounds['high'], 1)}"
