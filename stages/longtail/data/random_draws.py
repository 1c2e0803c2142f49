"""Randomness. Every draw comes from (seed, epoch, purpose) alone, so a resumed run is the same run."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["sampler", "augment", "mixing", "auxiliary_sampler", "auxiliary_augment", "rotation"]
_STREAM: dict[Purpose, int] = {
    "sampler": 0,
    "augment": 1,
    "mixing": 2,
    "auxiliary_sampler": 3,
    "auxiliary_augment": 4,
    "rotation": 5,
}


def generator(seed: int, epoch: int, purpose: Purpose, phase: int = 0) -> np.random.Generator:
    """phase 0: the representation and what goes on from it; phase 1: what is re-trained, its epochs restarting at 0."""
    return np.random.default_rng([seed, epoch, _STREAM[purpose], phase])


def deal(
    drawn: np.ndarray, labels: np.ndarray, counts: np.ndarray, random: np.random.Generator, together: int = 1
) -> np.ndarray:
    """An image for each class in `drawn` (m,), from that class's reshuffled deck: positions in `labels` (m,).

    together: draws of a class come in groups of so many, which do not reach from one shuffle into the next, so that no
    group has an image twice; of a class with fewer images every shuffle is dealt to its end.
    """
    wanted = np.bincount(drawn, minlength=len(counts))
    dealt = np.where(counts >= together, counts - counts % together, counts)  # cards of a shuffle that are used
    rounds = -(-wanted // dealt)
    # A deck is `rounds` shuffles of a class's images, one after the other; all decks lie end to end, by class.
    full = rounds * counts
    deck_class = np.repeat(np.arange(len(counts)), full)
    deck_round, member = np.divmod(
        np.arange(len(deck_class)) - (np.cumsum(full) - full)[deck_class], counts[deck_class]
    )
    first = np.cumsum(counts) - counts
    cards = _grouped(labels)[first[deck_class] + member]
    shuffle = (np.cumsum(rounds) - rounds)[deck_class] + deck_round  # the number of the shuffle that a card is of
    cards = cards[np.argsort(shuffle + random.random(len(cards)))][member < dealt[deck_class]]
    # The k-th draw of a class takes the k-th card of its deck.
    deck_start = np.cumsum(rounds * dealt) - rounds * dealt
    draw_order = _grouped(drawn)
    kth = np.arange(len(drawn)) - (np.cumsum(wanted) - wanted)[drawn[draw_order]]
    chosen = np.empty(len(drawn), np.int64)
    chosen[draw_order] = cards[deck_start[drawn[draw_order]] + kth]
    return chosen


def _grouped(classes: np.ndarray) -> np.ndarray:
    """Positions sorted by class, the earlier ones of a class first; 16 bits a class make it a radix sort."""
    return np.argsort(classes.astype(np.uint16) if classes.max(initial=0) < 2**16 else classes, kind="stable")
