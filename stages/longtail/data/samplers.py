"""Which image comes when: an epoch is an order of as many draws as there are training images."""

from __future__ import annotations

import numpy as np

# Exponent q of p_j = n_j^q / sum_i n_i^q (`decoupling` Eq. 1, `switching` Eq. 1).
EXPONENT = {"instance": 1.0, "sqrt": 0.5, "balanced": 0.0, "reversed": -1.0}


def class_probabilities(sampler: str, counts: np.ndarray, progress: float = 0.0) -> np.ndarray:
    """Probability of drawing each class, float64 (classes,), from the training counts (classes,).

    progressive goes from instance- to class-balanced by progress = t / T (`decoupling` Eq. 2).
    """
    if sampler == "progressive":
        instance, balanced = (class_probabilities(end, counts) for end in ("instance", "balanced"))
        return (1 - progress) * instance + progress * balanced
    weights = counts.astype(np.float64) ** EXPONENT[sampler]
    return weights / weights.sum()


def order(sampler: str, labels: np.ndarray, random: np.random.Generator, progress: float = 0.0) -> np.ndarray:
    """The epoch's images, int64 (n,): positions in `labels` (n,).

    instance: every image once. The others draw a class by its probability, then an image of it without replacement
    (`switching` Algorithm 1, line 9), starting over with a new shuffle when the class is used up.
    """
    if sampler == "instance":
        return random.permutation(len(labels))
    counts = np.bincount(labels)
    drawn = random.choice(len(counts), size=len(labels), p=class_probabilities(sampler, counts, progress))
    return deal(drawn, labels, counts, random)


def deal(drawn: np.ndarray, labels: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An image for each class in `drawn` (m,), from that class's reshuffled deck: positions in `labels` (m,)."""
    wanted = np.bincount(drawn, minlength=len(counts))
    rounds = -(-wanted // counts)
    # A deck is `rounds` shuffles of a class's images, one after the other; all decks lie end to end, sorted by
    # (class, round, random key).
    by_class = np.argsort(labels, kind="stable")
    deck_class = np.repeat(np.arange(len(counts)), rounds * counts)
    place = np.arange(len(deck_class)) - np.repeat(np.cumsum(rounds * counts) - rounds * counts, rounds * counts)
    deck_round, member = np.divmod(place, counts[deck_class])
    first = np.cumsum(counts) - counts
    cards = by_class[first[deck_class] + member]
    cards = cards[np.lexsort((random.random(len(cards)), deck_round, deck_class))]
    # The k-th draw of a class takes the k-th card of its deck.
    draw_order = np.argsort(drawn, kind="stable")
    start = np.cumsum(wanted) - wanted
    kth = np.arange(len(drawn)) - start[drawn[draw_order]]
    deck_start = np.cumsum(rounds * counts) - rounds * counts
    chosen = np.empty(len(drawn), np.int64)
    chosen[draw_order] = cards[deck_start[drawn[draw_order]] + kth]
    return chosen
