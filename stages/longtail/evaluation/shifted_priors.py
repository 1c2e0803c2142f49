"""Accuracy under a test prior that is not uniform (Hong et al. 2021, section 5.1).

Test images are neither dropped nor repeated: the classes' accuracies are averaged with the shifted prior as weights.
"""

from __future__ import annotations

import numpy as np

RATIOS = (2, 5, 10, 25, 50)  # the most frequent class over the least frequent one


def prior(counts: np.ndarray, direction: str, ratio: float) -> np.ndarray:
    """Each class's share of the test images, float64 (classes,), which falls exponentially from class to class.

    Args:
        counts: training images of each class, int64 (classes,).
        direction: `forward` makes the class with the most training images the most frequent, `backward` the least
            frequent. Classes with equally many training images keep their order.
        ratio: of the most to the least frequent class.
    """
    rank = np.empty(len(counts))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    if direction == "backward":
        rank = len(counts) - 1 - rank
    share = ratio ** (-rank / max(1, len(counts) - 1))
    return share / share.sum()


def accuracy(predicted: np.ndarray, labels: np.ndarray, share: np.ndarray) -> float:
    """Top-1 accuracy under a prior.

    Args:
        predicted, labels: int64 (n,).
        share: the prior, float64 (classes,).

    Returns:
        Percent.
    """
    sizes = np.bincount(labels, minlength=len(share))
    hits = np.bincount(labels[predicted == labels], minlength=len(share))
    return float(100 * (share * hits / sizes).sum())


def adjusted(logits: np.ndarray, assumed: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The classes predicted when the test prior is known (Hong et al., Eq. 5): int64 (n,).

    Args:
        logits: (n, classes).
        assumed: the prior that the logits contain, float64 (classes,).
        share: the prior of the test images, float64 (classes,).
    """
    return (logits.astype(np.float32) + np.log(share / assumed).astype(np.float32)).argmax(1)


def accuracies(
    logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, probabilities: bool
) -> dict[str, dict[str, float | None]]:
    """Top-1 accuracy in percent under each shifted prior.

    Args:
        logits: float16 (n, classes).
        labels: int64 (n,).
        counts: training images of each class, int64 (classes,).
        probabilities: False if the softmax of the logits means nothing; the adjusted accuracies are then None.

    Returns:
        For each prior, under names such as forward_50, three accuracies. `plain` is without adjustment. For the other
        two the logits are adjusted to the known prior: `from_training` assumes that they contain the prior of the
        training set, as after plain cross-entropy, `from_balanced` a uniform one, as of a balanced classifier.
    """
    assumed = {"from_training": counts / counts.sum(), "from_balanced": np.full(len(counts), 1 / len(counts))}
    result: dict[str, dict[str, float | None]] = {}
    for direction in ("forward", "backward"):
        for ratio in RATIOS:
            share = prior(counts, direction, ratio)
            found: dict[str, float | None] = {"plain": accuracy(logits.argmax(1), labels, share)}
            for name, held in assumed.items():
                found[name] = accuracy(adjusted(logits, held, share), labels, share) if probabilities else None
            result[f"{direction}_{ratio}"] = found
    return result
