"""Kang et al. 2020: accuracy by sampler and classifier, weight norms, tau, sampling weights (Figures 1 to 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from torch import Tensor, nn

from stages.longtail.analyses import drawing
from stages.longtail.analyses.analysis import Analysis, by_run
from stages.longtail.analyses.runs import Run
from stages.longtail.classification.classifier import Classifier, Continue, NearestClassMean, Retrain, TauNormalise
from stages.longtail.data import samplers
from stages.longtail.models import heads
from stages.longtail.prediction import accuracy, predict
from stages.longtail.recipe.representation import ClassKind, ClassSampler, Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRATEGIES: tuple[ClassKind, ...] = ("instance", "balanced", "sqrt")
TAUS = np.linspace(0, 1, 21).round(2)


def classifier_name(classifier: Classifier) -> str:
    """joint, cRT, LWS, NCM or tau-normalised; '' for others, which are not in the paper."""
    if isinstance(classifier, TauNormalise):
        return "tau-normalised"
    if isinstance(classifier, NearestClassMean):
        return "NCM"
    if isinstance(classifier, Retrain) and not classifier.after:
        return {"head": "cRT", "scale": "LWS"}.get(classifier.trained, "")
    if isinstance(classifier, Continue):
        changed = classifier.sampler, classifier.loss, classifier.weighting, classifier.interlude, classifier.epochs
        return "" if any(changed) or classifier.trained != "all" or classifier.new_head else "joint"
    return ""


def is_plain(axes: Representation) -> bool:
    """Whether the representation is one of the paper's: a class sampler, cross-entropy, and nothing else."""
    kinds = axes.embedded.kind, axes.weighting.kind, axes.whitening.kind, axes.mixing.kind, axes.auxiliary.kind
    usual = axes.loss.kind == "cross_entropy" and axes.head == "linear" and set(kinds) == {"none"}
    return usual and isinstance(axes.sampler, ClassSampler)


def accuracies(run: Run) -> pd.DataFrame | None:
    """Figure 1: accuracy of each group of classes, percent, last epoch, mean over seeds."""
    name = classifier_name(run.classifier)
    if not name or not is_plain(run.representation):
        return None
    rows = [{"group": group, "accuracy": value} for group, value in run.metrics["acc"].items()]
    return pd.DataFrame(rows).assign(sampler=run.representation.sampler.kind, classifier=name)


def draw_accuracies(frame: pd.DataFrame, figure: Figure) -> None:
    groups, classifiers = list(dict.fromkeys(frame.group)), ["joint", "NCM", "cRT", "LWS", "tau-normalised"]
    colour = drawing.colours(["instance", "balanced", "sqrt", "progressive", "reversed"])
    for group, axes in zip(groups, figure.subplots(1, len(groups), sharey=True, squeeze=False)[0], strict=True):
        for sampler, mine in frame[frame.group == group].groupby("sampler", sort=False):
            x = [classifiers.index(name) for name in mine.classifier]
            axes.scatter(x, mine.accuracy, color=colour[str(sampler)], label=f"{sampler} sampling")
        axes.set_xticks(range(len(classifiers)), classifiers, rotation=90)
        axes.set_xlim(-0.5, len(classifiers) - 0.5)
        axes.set_title(group)
        axes.grid(axis="y", linewidth=0.3)
    first = figure.axes[0]
    first.set_ylabel("accuracy, percent")
    first.legend(fontsize=7)


def head_weights(head: nn.Module) -> Tensor | None:
    """The classes' weight vectors (classes, features) as the logits use them; None if the head has none."""
    if isinstance(head, nn.Linear):
        return head.weight.detach()
    if isinstance(head, heads.ScaledHead):
        return (head.linear.weight * head.scale[:, None]).detach()
    return None


def weight_norms(run: Run) -> pd.DataFrame | None:
    """Figure 2, left: ||w_j||_2 of each class, mean over seeds.

    Cosine heads have none (their weights count by direction alone), nor have class means.
    """
    weights = [head_weights(run.network(seed).head) for seed in run.states]
    norms = [weight.norm(dim=1).double().cpu().numpy() for weight in weights if weight is not None]
    if not norms:
        return None
    classes = run.classes[["rank", "class", "count"]]
    return classes.assign(norm=np.mean(norms, 0)[classes["class"]])


def draw_weight_norms(frame: pd.DataFrame, figure: Figure) -> None:
    axes = figure.subplots()
    drawing.by_class(axes, frame, "norm")
    axes.set_ylabel("norm of the weight vector")
    axes.set_ylim(bottom=0)


def tau_accuracies(weight: Tensor, features: Tensor, labels: Tensor, shots: Sequence[str]) -> pd.DataFrame:
    """Test accuracies of the head without its bias and with its weights divided by ||w_j||^tau.

    Args:
        weight: of the head, float32 (classes, features).
        features: of the test images, float32 (n, features).
        labels: int64 (n,).
        shots: the group of each class, by its number.

    Returns:
        Rows with the columns tau, group and accuracy (percent).
    """
    rows = []
    for tau in TAUS:
        predicted = (features @ heads.tau_normalised(weight, float(tau)).T).argmax(1)
        by_class = accuracy.per_class(predict.confusion(predicted, labels, len(weight)))
        rows += [{"tau": tau, "group": group, "accuracy": a} for group, a in accuracy.by_group(by_class, shots).items()]
    return pd.DataFrame(rows)


def tau_curve(run: Run) -> pd.DataFrame | None:
    """Figure 2, right: test accuracy against tau, of a jointly trained linear head; mean over seeds."""
    if classifier_name(run.classifier) != "joint" or run.representation.head != "linear":
        return None
    shots = run.classes.sort_values("class")["shot"].tolist()
    frames = []
    for seed in run.states:
        weight = head_weights(run.network(seed).head)
        assert weight is not None  # the head is linear
        frames.append(tau_accuracies(weight, *run.features(seed, "test"), shots))
    return pd.concat(frames).groupby(["tau", "group"], sort=False, as_index=False).mean()


def draw_tau_curve(frame: pd.DataFrame, figure: Figure) -> None:
    names = drawing.labels(frame)
    for (run, mine), axes in zip(
        frame.groupby("run", sort=False), figure.subplots(1, len(names), sharey=True, squeeze=False)[0], strict=True
    ):
        for group, line in mine.groupby("group", sort=False):
            axes.plot(line.tau, line.accuracy, label=group, color=drawing.GROUP_COLOURS[str(group)])
        axes.set(xlabel="tau", title=names[str(run)])
    figure.axes[0].set_ylabel("test accuracy, percent")
    figure.axes[0].legend()


def sampling(runs: Sequence[Run]) -> pd.DataFrame:
    """Figure 3: the probability p_j of drawing class j (Eq. 1 and 2) from the subset of the runs.

    The progressive sampler has five curves, from instance-balanced at the start to class-balanced at the end.
    """
    classes = runs[0].classes[["rank", "class", "count"]]
    counts = classes["count"].to_numpy()
    kinds: list[tuple[ClassKind, float]] = [(kind, 0.0) for kind in STRATEGIES]
    kinds += [("progressive", t) for t in (0, 0.25, 0.5, 0.75, 1)]
    parts = [
        classes.assign(sampler=kind, progress=t, probability=samplers.class_probabilities(kind, counts, t))
        for kind, t in kinds
    ]
    return pd.concat(parts, ignore_index=True)


def draw_sampling(frame: pd.DataFrame, figure: Figure) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for kind in STRATEGIES:
        mine = frame[frame.sampler == kind]
        left.plot(mine["rank"], mine.probability, label=kind)
    shades = {0: "0.8", 0.25: "0.65", 0.5: "0.5", 0.75: "0.3", 1: "0"}
    for progress, mine in frame[frame.sampler == "progressive"].groupby("progress"):
        right.plot(mine["rank"], mine.probability, color=shades[float(progress)], label=f"t / T = {progress:g}")
    for axes, title in ((left, "three samplers"), (right, "progressive")):
        axes.set_title(title)
        drawing.class_axis(axes, frame)
        axes.legend()
    left.set_ylabel("probability of the class")


ANALYSES = (
    Analysis(
        "figure1_accuracy",
        "Figure 1: sampler and classifier",
        "Test accuracy of each group of classes, percent, last epoch, mean over seeds. A marker stands for a run; its "
        "colour is the sampler that the representation was learned with.",
        by_run(accuracies),
        draw_accuracies,
        size=(8, 3.6),
    ),
    Analysis(
        "figure2_weight_norms",
        "Figure 2, left: weight norms",
        "L2 norm of each class's weight vector in the final classifier, mean over seeds, without the bias.",
        by_run(weight_norms),
        draw_weight_norms,
        needs="checkpoint",
    ),
    Analysis(
        "figure2_tau",
        "Figure 2, right: accuracy against tau",
        "Test accuracy of a jointly trained classifier whose weights are divided by their norm to the power tau, its "
        "bias dropped, also at tau 0; mean over seeds. Looks at the test set: tau is not chosen by it.",
        by_run(tau_curve),
        draw_tau_curve,
        needs="checkpoint",
    ),
    Analysis(
        "figure3_sampling",
        "Figure 3: sampling weights",
        "Probability that a sampler draws an image of the class (Eq. 1 and 2). The progressive one is at epoch t of T.",
        sampling,
        draw_sampling,
        size=(8, 3.6),
    ),
)
