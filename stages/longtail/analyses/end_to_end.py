"""Zhang 2021: channels before the classifier (Figure 2), its gradients (3 and 6), singular values by layer (7, 11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.longtail.analyses import drawing, training_curves
from stages.longtail.analyses.analysis import Analysis, by_run
from stages.longtail.analyses.runs import Run
from stages.longtail.classification.classifier import Continue
from stages.longtail.models import heads, resnet_cifar
from stages.longtail.models.network import Network
from stages.longtail.training import losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = 64  # of a wider network only these are shown; ResNet-32 has 64
PART = 500  # images that go through the network together
SMALLEST = 1e-6  # share of a singular value: what is below comes from rounding in fp32, and is not drawn


def channel_correlation(features: Tensor) -> np.ndarray:
    """Pearson's correlation of every two channels (Eq. 16), float64 (channels, channels). features: (n, channels).

    A channel that does not vary has a correlation of 0 with all others, and of 1 with itself.
    """
    centred = features.double() - features.double().mean(0)
    length = centred.norm(dim=0)
    unit = torch.where(length > 0, centred / length, torch.zeros_like(centred))
    return (unit.T @ unit).fill_diagonal_(1).cpu().numpy()


def correlations(run: Run) -> pd.DataFrame:
    """Figure 2: correlations of the head's inputs on the training images, of the first seed and 64 channels."""
    features, _ = run.features(next(iter(run.states)), "train")
    matrix = pd.DataFrame(channel_correlation(features)[:CHANNELS, :CHANNELS].round(3))
    matrix.insert(0, "channel", matrix.index)
    return matrix


def draw_correlations(frame: pd.DataFrame, figure: Figure) -> None:
    names = drawing.labels(frame)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for (run, mine), axes in zip(frame.groupby("run", sort=False), panels, strict=True):
        matrix = mine.drop(columns=["run", "channel"]).to_numpy()[:, : len(mine)]
        others = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
        # A path for each pixel would take a megabyte, so the svg holds the matrix as an image.
        drawn = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
        axes.set(title=f"{names[str(run)]}, mean absolute value {others.mean():.2f}", xlabel="channel")
    figure.colorbar(drawn, ax=panels.tolist(), label="correlation")


def training_logits(run: Run, logits: Tensor, labels: Tensor) -> Tensor:
    """The logits as the training loss adjusts them; for LDAM see the paper's Eq. 11.

    Args:
        run: whose loss.
        logits: of the head, float32 (n, classes).
        labels: int64 (n,).

    Returns:
        Adjusted logits, float32 (n, classes).
    """
    loss = run.classifier.loss if isinstance(run.classifier, Continue) else None
    counts = run.classes.sort_values("class")["count"].to_numpy()
    return losses.adjustment(loss or run.representation.loss, counts, logits.device)(logits, labels)


def class_gradients(weight: Tensor, by_class: list[Tensor]) -> dict[str, np.ndarray]:
    """Norms of the gradient for each class's weights, and of its positive and negative part (Eq. 6).

    The positive part comes from the class's own images, the negative part from those of all other classes.

    Args:
        weight: of the head, (classes, features).
        by_class: of `head_gradients`: for each class, what its images contribute to the gradient (classes, features).

    Returns:
        gradient_norm, positive_norm and negative_norm, each float64 (classes,).
    """
    every = torch.stack(by_class).double()  # (class of the images, class of the weights, features)
    numbers = torch.arange(len(weight))
    own, total = every[numbers, numbers], every.sum(0)
    parts = {"gradient_norm": total, "positive_norm": own, "negative_norm": total - own}
    return {name: part.norm(dim=1).cpu().numpy() for name, part in parts.items()}


def head_gradients(run: Run, head: nn.Linear | heads.CosineHead, features: Tensor, labels: Tensor) -> list[Tensor]:
    """For each class, what its images contribute to the gradient of the mean cross-entropy for the head's weights.

    Args:
        run: whose loss adjusts the logits.
        head: of its network.
        features: inputs of the head for all n training images, float32 (n, features).
        labels: int64 (n,).

    Returns:
        One float32 (classes, features) per class; together they add up to the gradient.
    """
    weight = head.weight.detach().clone().requires_grad_(True)
    result = []
    for number in range(len(weight)):
        mine = labels == number
        if isinstance(head, nn.Linear):
            logits = F.linear(features[mine], weight, head.bias)
        else:
            logits = F.linear(F.normalize(features[mine], dim=1), F.normalize(weight, dim=1))
        loss = F.cross_entropy(training_logits(run, logits, labels[mine]), labels[mine], reduction="sum")
        result.append(torch.autograd.grad(loss / len(labels), weight)[0])
    return result


def true_positives(run: Run, logits: Tensor, labels: Tensor) -> np.ndarray:
    """The probability p_ik of the true class, averaged over the images of each class.

    Args:
        run: whose loss adjusts the logits.
        logits: of the head, float32 (n, classes).
        labels: int64 (n,).

    Returns:
        float64 (classes,), from 0 to 1.
    """
    shares = F.softmax(training_logits(run, logits, labels).double(), 1).gather(1, labels[:, None])[:, 0]
    sums = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device).index_add_(0, labels, shares)
    return (sums / torch.bincount(labels, minlength=logits.shape[1])).cpu().numpy()


def classifier_learning(run: Run) -> pd.DataFrame | None:
    """Figure 3: by class, at the end of training, mean over seeds. None where the head was not trained to the end.

    The columns are the mean probability of the true class on the training and on the test images, the norms of the
    gradient of the mean cross-entropy over the training images, and the norm of the weights.
    """
    if not isinstance(run.classifier, Continue):
        return None
    seeds = []
    for seed in run.states:
        head, columns = run.network(seed).head, {}
        if not isinstance(head, nn.Linear | heads.CosineHead):
            return None
        for division in ("train", "test"):
            features, labels = run.features(seed, division)
            columns[f"{division}_true_positive"] = true_positives(run, run.network(seed).logits(features), labels)
        features, labels = run.features(seed, "train")
        columns |= class_gradients(head.weight, head_gradients(run, head, features, labels))
        columns["weight_norm"] = head.weight.detach().norm(dim=1).double().cpu().numpy()
        seeds.append(pd.DataFrame(columns))
    mean = sum(seeds[1:], seeds[0]) / len(seeds)
    classes = run.classes[["rank", "class", "count"]]
    return classes.join(mean, on="class")


def draw_classifier_learning(frame: pd.DataFrame, figure: Figure) -> None:
    titles = {
        "train_true_positive": "true positives, training",
        "test_true_positive": "true positives, test",
        "gradient_norm": "gradient norm",
        "weight_norm": "weight norm",
    }
    for axes, (column, title) in zip(figure.subplots(2, 2).ravel(), titles.items(), strict=True):
        drawing.by_class(axes, frame, column, legend=column == "weight_norm")
        axes.set_title(title)
        axes.set_ylim(0, 1.05 if "positives" in title else None)


def gradient_curve(run: Run) -> pd.DataFrame | None:
    """Figure 6: norm of the gradient for each class's weights after each epoch, mean over seeds."""
    return training_curves.curves(run, "head_gradient")


def draw_gradient_curve(frame: pd.DataFrame, figure: Figure) -> None:
    training_curves.draw(frame, figure, {"head_gradient": "gradient norm"}, scale="log")


def layers(network: Network, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The outputs of each layer. x: images (b, channels, side, side).

    Yields:
        The layer's name in Figure 7, and its values (b, channels, ...).
    """
    first = 1 if network.architecture["backbone"] == "resnet12" else 0  # it has no convolution before its blocks
    for number, group in enumerate(network.groups, start=first):
        x = group(x)
        yield (f"layer_{number}" if number else "conv_1"), x
    pooled = resnet_cifar.pool(x)
    yield "layer_p", pooled
    if network.architecture["whitening"]:
        projected = network.projection(pooled) if network.architecture.get("projection") else pooled
        yield "layer_w", network.whitening(projected)


class Covariance:
    """The covariance of channels over images and positions, summed up part by part in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """values: (b, channels, ...)."""
        rows = values.transpose(0, 1).flatten(1).double()
        self.count += rows.shape[1]
        self.sum = self.sum + rows.sum(1)
        self.products = self.products + rows @ rows.T

    def singular_values(self) -> np.ndarray:
        """Largest first, float64 (channels,)."""
        mean = torch.as_tensor(self.sum) / self.count
        matrix = torch.as_tensor(self.products) / self.count - torch.outer(mean, mean)
        return torch.linalg.svdvals(matrix).cpu().numpy()


def singular_values(run: Run) -> pd.DataFrame | None:
    """Figures 7 and 11: singular values of the covariance of each layer's channels, mean over seeds.

    It is taken over all positions of the training images, which are not augmented. None for a network of two branches,
    which has no such layers.
    """
    parts = []
    for seed in run.states:
        model, images = run.network(seed), run.images("train")
        if model.architecture["bilateral"]:
            return None
        found: dict[str, Covariance] = {}
        with torch.no_grad():
            for start in range(0, len(images), PART):
                for name, values in layers(model, images.plain(start, start + PART)):
                    found.setdefault(name, Covariance()).add(values)
        for name, covariance in found.items():
            spectrum = covariance.singular_values()
            parts.append(pd.DataFrame({"layer": name, "index": range(1, len(spectrum) + 1), "value": spectrum}))
    frame = pd.concat(parts).groupby(["layer", "index"], sort=False, as_index=False).value.mean()
    return frame.assign(share=frame.value / frame.groupby("layer").value.transform("sum"))


def draw_singular_values(frame: pd.DataFrame, figure: Figure) -> None:
    names, colours = drawing.labels(frame), drawing.colours(frame.run)
    shown = list(dict.fromkeys(frame.layer))
    panels = figure.subplots(2, -(-len(shown) // 2), sharey=True).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for layer, axes in zip(shown, panels, strict=False):
        for number, (run, mine) in enumerate(frame[frame.layer == layer].groupby("run", sort=False)):
            style = drawing.STYLES[number % 4]  # equal runs are both seen
            share = mine.share.where(mine.share >= SMALLEST)
            axes.plot(mine["index"], share, style, color=colours[str(run)], label=names[str(run)])
        axes.set(title=layer, yscale="log")
    figure.supxlabel("singular value, the largest first")
    figure.supylabel("share of their sum")
    panels[0].legend()


ANALYSES = (
    Analysis(
        "figure2_correlation",
        "Figure 2: correlation of the channels",
        "Pearson's correlation of every two channels before the classifier (Eq. 16), over all training images, not "
        "augmented, at the end of training; first seed. After the whitening, where a network has it.",
        by_run(correlations),
        draw_correlations,
        needs="checkpoint",
        size=(8, 3.6),
    ),
    Analysis(
        "figure3_classifier",
        "Figure 3: true positives, gradient norm, weight norm",
        "By class, at the end of training: mean probability of the true class on the training and on the test "
        "images, norm of the gradient of the mean cross-entropy over the training images for the class's weights, and "
        "norm of these weights; mean over seeds. Logits are as the training loss adjusts them: LDAM takes its margin "
        "off the true class, here on test images too. The csv has the gradient's positive and negative part (Eq. 6).",
        by_run(classifier_learning),
        draw_classifier_learning,
        needs="checkpoint",
        size=(8, 6),
    ),
    Analysis(
        "figure6_gradient_norm",
        "Figure 6: gradient norm over epochs",
        "After each epoch: norm of the gradient of the mean cross-entropy over the training images for the weights of "
        "the largest and of the smallest class; a class's images are represented by some of it, in all at most a 25th "
        "of the training images, not augmented; mean over seeds.",
        by_run(gradient_curve),
        draw_gradient_curve,
        needs="checkpoint",
        size=(8, 3.6),
    ),
    Analysis(
        "figure7_singular_values",
        "Figures 7 and 11: singular values by layer",
        "Singular values of the covariance of each layer's channels, over all training images and positions, as shares "
        "of their sum; mean over seeds. p: after the pooling, w: after the whitening. Shares below a millionth, which "
        "come from rounding, are not drawn. The csv has the values, too.",
        by_run(singular_values),
        draw_singular_values,
        needs="checkpoint",
        size=(8, 4.4),
    ),
)
