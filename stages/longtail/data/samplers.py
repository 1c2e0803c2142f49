"""Which image comes when. An epoch is an order of images, cut into batches one after the other."""

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
    """Probability of drawing each class, float64 (classes,), from the training counts (classes,).

    progressive goes from instance- to class-balanced by progress = t / T (`decoupling` Eq. 2).
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
    """The images of epoch `number` (0 is the first) of `epochs`, int64: positions in `labels` (n,).

    They are n draws of `sampler`, and between them the embedded batches, if any: `end_to_end` Algorithm 1, which has
    them before the update of every interval-th batch, counted over all epochs.
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
    """`length` images, int64: positions in `labels` (n,). before: batches of this sampler in the epochs before.

    instance: every image once, and again if more are asked for. The other class samplers draw a class by its
    probability, then an image of it without replacement (`switching` Algorithm 1, line 9), starting over with a new
    shuffle when the class is used up; so do class-balanced batches. B3RS draws images with replacement.
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
    """Images that the first `epochs` epochs draw, from so many training images: those, and the embedded batches."""
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
    """The class of each of `length` draws, int64: a batch has `images` of each of k = batch_size / images classes.

    The k classes are drawn without replacement (`balance` Algorithm 1, line 2). With fewer classes than k every class
    comes once before any comes again.
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
