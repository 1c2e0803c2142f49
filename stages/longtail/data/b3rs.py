"""B3RS, the block-based relatively balanced batch sampler (`end_to_end` section 3.4)."""

from __future__ import annotations

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.recipe.representation import RelativelyBalancedBlocks


def blocks(counts: np.ndarray, number: int) -> list[np.ndarray]:
    """The classes of each of G = `number` blocks: of the classes sorted by size, block i has the i-th, i+G-th, ..."""
    by_size = np.argsort(-counts, kind="stable")
    return [by_size[first::number] for first in range(number)]


def least_ratio(smallest: int, batch_size: int, classes: int, ratio: float, alpha: float) -> float:
    """r_min of Eq. 14, the smallest share that a class of a block gets in its batches; at most 1 / F.

    Args:
        smallest: Q_N, images of the smallest class of all.
        batch_size: images per batch.
        classes: F, classes in the block.
        ratio: r_0, the paper's setting.
        alpha: the paper's setting.
    """
    scale = (smallest / alpha) / (batch_size / classes)
    if scale < 1:
        least = ratio
    elif scale < 10:
        least = scale * ratio
    else:
        least = 1 / classes
    return min(least, 1 / classes)


def ratios(counts: np.ndarray, least: float) -> np.ndarray:
    """The share of each class of a block in the block's batches, from the block's counts (F,) and r_min (Eq. 15).

    Classes whose share is at most r_min get r_min. The others get what is left, in proportion to their counts. As
    printed, what is left is 1 - r_min for any number of raised classes, and the shares do not sum to 1; here it is
    1 - F' r_min for F' raised classes. A class that this pushes below r_min is raised as well, so that r_min = 1 / F
    means balance, as the text says.

    Returns:
        float64 (F,), summing to 1.
    """
    raised = np.zeros(len(counts), bool)
    while True:
        shares = np.full(len(counts), least)
        left = 1 - raised.sum() * least
        shares[~raised] = left * counts[~raised] / max(1, counts[~raised].sum())
        below = ~raised & (shares <= least)
        if not below.any():
            return shares / shares.sum()
        raised |= below


def sizes(shares: np.ndarray, batch_size: int) -> np.ndarray:
    """How many images of each class a batch has, int64 (F,), summing to batch_size.

    The classes with the smallest share have the same number, as the paper says: their share of the batch, rounded down
    (Table 7's "Samples"), and at least one. The others share the rest, rounded by largest remainder.
    """
    least = np.isclose(shares, shares.min(), rtol=1e-9)
    result = np.zeros(len(shares), np.int64)
    if not least.all():
        result[least] = max(1, int(shares.min() * batch_size + 1e-9))
        shares = np.where(least, 0, shares)
    exact = shares / shares.sum() * (batch_size - result.sum())
    whole = np.floor(exact + 1e-9).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: batch_size - result.sum() - whole.sum()]] += 1
    return result + whole


def order(
    sampler: RelativelyBalancedBlocks,
    labels: np.ndarray,
    length: int,
    batch_size: int,
    random: np.random.Generator,
    before: int = 0,
) -> np.ndarray:
    """Draw images batch by batch. The blocks take turns; every batch has images of one block's classes only.

    All batches of a block have the same number of images of each class, drawn with replacement and shuffled.

    Args:
        sampler: the settings.
        labels: of the training images, int (n,).
        length: how many images to draw.
        batch_size: images per batch.
        random: where the draws come from.
        before: batches in earlier epochs, so that the blocks' turns go on where they ended.

    Returns:
        Positions in `labels`, int64 (length,).

    Raises:
        UserError: a block has no class, or more classes than a batch has images.
    """
    counts = np.bincount(labels)
    largest = -(-len(counts) // sampler.blocks)
    if sampler.blocks > len(counts) or largest > batch_size:
        raise UserError(
            f"`blocks` of the b3rs sampler is {sampler.blocks}, for {len(counts)} classes and batches of {batch_size}: "
            "a block needs a class at least, and no more classes than a batch has images: change it"
        )
    drawn = []
    for members in blocks(counts, sampler.blocks):
        least = least_ratio(counts.min(), batch_size, len(members), sampler.ratio, sampler.alpha)
        drawn.append(np.repeat(members, sizes(ratios(counts[members], least), batch_size)))
    batches = -(-length // batch_size)
    block = (before + np.arange(batches)) % sampler.blocks
    classes = random.permuted(np.stack(drawn)[block], axis=1).ravel()[:length]
    by_class, first = np.argsort(labels, kind="stable"), np.cumsum(counts) - counts
    return by_class[first[classes] + random.integers(0, counts[classes])]
