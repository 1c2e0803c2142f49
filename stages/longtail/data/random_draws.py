"""Random draws. Each depends on (seed, epoch, purpose) alone, so that a resumed run is the same run."""

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
    """The generator for one purpose in one epoch of one seed.

    Args:
        seed: of the run.
        epoch: from 0.
        purpose: what is drawn; each purpose has draws of its own.
        phase: 0 for the representation and what goes on from it; 1 for what is re-trained, whose epochs start at 0.
    """
    return np.random.default_rng([seed, epoch, _STREAM[purpose], phase])


def deal(
    drawn: np.ndarray, labels: np.ndarray, counts: np.ndarray, random: np.random.Generator, together: int = 1
) -> np.ndarray:
    """For each drawn class, an image of it. A class's images are dealt like cards, reshuffled when used up.

    Args:
        drawn: classes, int64 (m,).
        labels: of the training images, int (n,).
        counts: images of each class, int64 (classes,).
        random: where the shuffles come from.
        together: a class's draws come in groups of this size. No group has an image twice, since none reaches from one
            shuffle into the next. Of a class with fewer images every shuffle is dealt to its end.

    Returns:
        Positions in `labels`, int64 (m,).
    """
    wanted = np.bincount(drawn, minlength=len(counts))
    dealt = np.where(counts >= together, counts - counts % together, counts)  # cards used of each shuffle
    rounds = -(-wanted // dealt)
    # A deck is `rounds` shuffles of a class's images, one after the other; all decks lie end to end, by class.
    full = rounds * counts
    deck_class = np.repeat(np.arange(len(counts)), full)
    deck_round, member = np.divmod(
        np.arange(len(deck_class)) - (np.cumsum(full) - full)[deck_class], counts[deck_class]
    )
    first = np.cumsum(counts) - counts
    cards = _grouped(labels)[first[deck_class] + member]
    shuffle = (np.cumsum(rounds) - rounds)[deck_class] + deck_round  # which shuffle a card belongs to
    # Sorting by shuffle number plus a random fraction shuffles within each shuffle, all of them at once.
    cards = cards[np.argsort(shuffle + random.random(len(cards)))][member < dealt[deck_class]]
    # The k-th draw of a class takes the k-th card of its deck.
    deck_start = np.cumsum(rounds * dealt) - rounds * dealt
    draw_order = _grouped(drawn)
    kth = np.arange(len(drawn)) - (np.cumsum(wanted) - wanted)[drawn[draw_order]]
    chosen = np.empty(len(drawn), np.int64)
    chosen[draw_order] = cards[deck_start[drawn[draw_order]] + kth]
    return chosen


def _grouped(classes: np.ndarray) -> np.ndarray:
    """Positions sorted by class, in their order within a class. As 16-bit numbers numpy sorts them by radix, faster."""
    return np.argsort(classes.astype(np.uint16) if classes.max(initial=0) < 2**16 else classes, kind="stable")
