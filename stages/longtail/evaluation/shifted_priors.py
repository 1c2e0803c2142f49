"""Accuracy where the classes of the test set are not equally frequent (Hong et al. 2021, section 5.1).

No test image is dropped or repeated: the accuracies of the classes are averaged by the shifted prior.
"""

from __future__ import annotations

import numpy as np

RATIOS = (2, 5, 10, 25, 50)  # the most frequent class over the least frequent one


def prior(counts: np.ndarray, direction: str, ratio: float) -> np.ndarray:
    """Each class's share of the test images, float64 (classes,): exponential from the first to the last class.

    Args:
        counts: int64 (classes,), training images of each class.
        direction: forward: the class with the most training images is the most frequent; backward: the least
            frequent. Classes with as many training images follow their own order.
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
        assumed: float64 (classes,), the prior that the logits hold.
        share: float64 (classes,), that of the test images.
    """
    return (logits.astype(np.float32) + np.log(share / assumed).astype(np.float32)).argmax(1)


def accuracies(
    logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, probabilities: bool
) -> dict[str, dict[str, float | None]]:
    """Top-1 accuracy in percent under each prior, by names such as forward_50.

    plain: of the predictions as they are. from_training, from_balanced: of the logits adjusted by the known prior, as
    if they held the training set's prior or a uniform one; which of them is right depends on the method, the training
    set's where the classifier saw the images as they are under cross-entropy, the uniform one where it was balanced.

    Args:
        logits: float16 (n, classes).
        labels: int64 (n,).
        counts: int64 (classes,), training images of each class.
        probabilities: False where the softmax of the logits means nothing: no adjustment then, but None.
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
