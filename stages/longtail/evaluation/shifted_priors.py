"""Accuracy under a test prior that is not uniform (Hong et al. 2021, section 5.1).

No test image is dropped or repeated. The classes' accuracies are averaged with the shifted prior as weights.
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
    """Top-1 accuracy in percent under the prior `share` (classes,). predicted, labels: int64 (n,)."""
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
        For each prior, under names such as forward_50, three accuracies. `plain`: without adjustment. `from_training`
        and `from_balanced`: with the logits adjusted to the known prior, as if they contained the prior of the training
        set, or a uniform one. The first fits plain cross-entropy, the second a classifier that was balanced.
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
