"""Samplers: which image comes when. An epoch is a sequence of images, cut into batches one after the other."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from stages.longtail.data import b3rs
from stages.longtail.data.random_draws import deal
from stages.longtail.recipe.representation import (
    BatchEmbedded,
    ClassBalancedBatches,
    ClassKind,
    ClassSampler,
    Embedded,
    NotEmbedded,
    RelativelyBalancedBlocks,
    Sampler,
)

# Exponent q of p_j = n_j^q / sum_i n_i^q (`decoupling` Eq. 1, `switching` Eq. 1).
EXPONENT = {"instance": 1.0, "sqrt": 0.5, "balanced": 0.0, "reversed": -1.0}


def class_probabilities(kind: ClassKind, counts: np.ndarray, progress: float = 0.0) -> np.ndarray:
    """The probability of drawing each class.

    Args:
        kind: of the sampler. `progressive` goes from instance-balanced to class-balanced (`decoupling` Eq. 2).
        counts: training images of each class, (classes,).
        progress: t / T, the epoch over the number of epochs.

    Returns:
        float64 (classes,), summing to 1.
    """
    if kind == "progressive":
        instance, balanced = (class_probabilities(end, counts) for end in ("instance", "balanced"))
        return (1 - progress) * instance + progress * balanced
    weights = counts.astype(np.float64) ** EXPONENT[kind]
    return weights / weights.sum()


def epoch(
    sampler: Sampler,
    embedded: Embedded,
    labels: np.ndarray,
    batch_size: int,
    random: np.random.Generator,
    number: int,
    epochs: int,
) -> np.ndarray:
    """The images of one epoch: n draws of `sampler` and, between them, the embedded batches if there are any.

    Embedded batches come right before every interval-th batch, counted over all epochs (`end_to_end` Algorithm 1).

    Args:
        sampler: of the ordinary batches.
        embedded: the embedded batches.
        labels: of the training images, int (n,).
        batch_size: images per batch.
        random: where the draws come from.
        number: of the epoch, from 0.
        epochs: of the whole training.

    Returns:
        Positions in `labels`, int64: n, and the embedded ones.
    """
    progress, batches = number / epochs, -(-len(labels) // batch_size)
    before = number * batches
    main = order(sampler, labels, len(labels), batch_size, random, progress, before)
    match embedded:
        case NotEmbedded():
            return main
        case BatchEmbedded():
            pass
        case _:
            assert_never(embedded)
    starts = np.flatnonzero((before + np.arange(1, batches + 1)) % embedded.interval == 0) * batch_size
    inner_before = before // embedded.interval * embedded.iterations
    length = len(starts) * embedded.iterations * batch_size
    inner = order(embedded.sampler, labels, length, batch_size, random, progress, inner_before)
    outer = np.split(main, starts)
    visits = inner.reshape(len(starts), embedded.iterations * batch_size)
    return np.concatenate([outer[0], *(part for pair in zip(visits, outer[1:], strict=True) for part in pair)])


def order(
    sampler: Sampler,
    labels: np.ndarray,
    length: int,
    batch_size: int,
    random: np.random.Generator,
    progress: float = 0.0,
    before: int = 0,
) -> np.ndarray:
    """Draw a sequence of images.

    `instance` takes every image once, and starts over if more are asked for. The other class samplers draw a class by
    its probability, then an image of it without replacement (`switching` Algorithm 1, line 9), with a new shuffle when
    the class is used up. So do class-balanced batches. B3RS draws images with replacement.

    Args:
        sampler: the settings.
        labels: of the training images, int (n,).
        length: how many images to draw.
        batch_size: images per batch.
        random: where the draws come from.
        progress: t / T, the epoch over the number of epochs.
        before: batches of this sampler in earlier epochs.

    Returns:
        Positions in `labels`, int64 (length,).
    """
    if length == 0:
        return np.empty(0, np.int64)
    counts = np.bincount(labels)
    match sampler:
        case ClassBalancedBatches():
            drawn = balanced_batches(len(counts), length, batch_size, sampler.images, random)
            return deal(drawn, labels, counts, random, together=sampler.images)
        case RelativelyBalancedBlocks():
            return b3rs.order(sampler, labels, length, batch_size, random, before)
        case ClassSampler(kind="instance"):
            rounds = -(-length // len(labels))
            return np.concatenate([random.permutation(len(labels)) for _ in range(rounds)])[:length]
        case ClassSampler():
            probabilities = class_probabilities(sampler.kind, counts, progress)
            return deal(random.choice(len(counts), size=length, p=probabilities), labels, counts, random)
        case _:
            assert_never(sampler)


def total(images: int, embedded: Embedded, batch_size: int, epochs: int) -> int:
    """How many images the first `epochs` epochs draw, embedded batches included.

    Args:
        images: number of training images.
        embedded: the embedded batches.
        batch_size: images per batch.
        epochs: how many epochs.
    """
    match embedded:
        case NotEmbedded():
            return epochs * images
        case BatchEmbedded():
            visits = epochs * -(-images // batch_size) // embedded.interval
            return epochs * images + visits * embedded.iterations * batch_size
        case _:
            assert_never(embedded)


def balanced_batches(
    classes: int, length: int, batch_size: int, images: int, random: np.random.Generator
) -> np.ndarray:
    """The classes of class-balanced batches: each batch has `images` images of each of k = batch_size / images classes.

    The k classes are drawn without replacement (`balance` Algorithm 1, line 2). With fewer than k classes, every class
    comes once before any comes again.

    Args:
        classes: number of classes.
        length: how many images are drawn.
        batch_size: images per batch.
        images: of each class in a batch.
        random: where the draws come from.

    Returns:
        The class of each image, int64 (length,).
    """
    k, batches = batch_size // images, -(-length // batch_size)
    if k <= classes:
        per_shuffle = classes // k
        shuffles = random.permuted(np.tile(np.arange(classes), (-(-batches // per_shuffle), 1)), axis=1)
        chosen = shuffles[:, : per_shuffle * k].reshape(-1, k)[:batches]
    else:
        shuffles = random.permuted(np.tile(np.arange(classes), (batches * -(-k // classes), 1)), axis=1)
        chosen = shuffles.reshape(batches, -1)[:, :k]
    return np.repeat(chosen.ravel(), images)[:length]
