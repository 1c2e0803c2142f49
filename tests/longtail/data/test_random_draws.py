"""Streams of random draws are the same for the same key and differ in each part of it; decks of images are fair."""

from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from scipy.stats import chisquare

from stages.longtail.data import random_draws

PURPOSES = get_args(random_draws.Purpose)
COUNTS = np.array([100, 49, 16, 4])
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(4), COUNTS))  # images of a class lie apart


def numbers(*key):
    return random_draws.generator(*key).random(8).tolist()


def test_the_same_key_gives_the_same_stream():
    assert numbers(3, 7, "augment", 1) == numbers(3, 7, "augment", 1)


@pytest.mark.parametrize(
    "other",
    [(4, 7, "augment", 0), (3, 8, "augment", 0), (3, 7, "sampler", 0), (3, 7, "mixing", 0), (3, 7, "augment", 1)],
)
def test_each_part_of_the_key_matters(other):
    assert numbers(3, 7, "augment", 0) != numbers(*other)


def test_no_two_keys_near_the_start_share_a_stream():
    keys = [(s, e, p, phase) for s in range(4) for e in range(4) for p in PURPOSES for phase in (0, 1)]
    assert len({tuple(numbers(*key)) for key in keys}) == len(keys)


def test_deal_gives_an_image_of_each_class_asked_for():
    random = np.random.default_rng(0)
    drawn = np.array([3, 3, 0, 3, 3, 3, 3, 3, 1, 3])  # class 2 is not asked for, class 3 twice over
    dealt = random_draws.deal(drawn, LABELS, COUNTS, random)
    assert (LABELS[dealt] == drawn).all()
    assert np.bincount(dealt[drawn == 3], minlength=len(LABELS))[LABELS == 3].tolist() == [2, 2, 2, 2]


def test_a_class_of_one_image_is_dealt_again_and_again():
    labels = np.array([0, 1, 0])
    dealt = random_draws.deal(np.array([1, 1, 1]), labels, np.array([2, 1]), np.random.default_rng(0))
    assert dealt.tolist() == [1, 1, 1]


def test_nothing_asked_for_is_nothing_dealt():
    dealt = random_draws.deal(np.array([], np.int64), LABELS, COUNTS, np.random.default_rng(0))
    assert dealt.shape == (0,) and dealt.dtype == np.int64


def test_two_decks_in_a_row_are_in_any_two_orders_equally_often():
    """Of a class of three images between others: 6 orders of the first deck times 6 of the second, independent."""
    labels, counts = np.array([1, 0, 1, 2, 1]), np.array([1, 3, 1])
    drawn = np.array([1, 0, 1, 1, 2, 1, 1, 1])
    orders = {order: number for number, order in enumerate(permutations([0, 2, 4]))}
    seen = np.zeros((6, 6))
    for seed in range(3000):
        cards = random_draws.deal(drawn, labels, counts, np.random.default_rng(seed))[drawn == 1].tolist()
        seen[orders[tuple(cards[:3])], orders[tuple(cards[3:])]] += 1
    assert chisquare(seen.ravel()).pvalue > 0.001


def test_classes_beyond_16_bits_are_dealt_as_any_other():
    counts = np.ones(2**16 + 2, np.int64)
    counts[-1] = 3
    labels = np.repeat(np.arange(2**16 + 2), counts)[::-1]
    drawn = np.array([2**16 + 1, 1, 2**16 + 1, 2**16, 0, 2**16 + 1])
    dealt = random_draws.deal(drawn, labels, counts, np.random.default_rng(0))
    assert (labels[dealt] == drawn).all() and len(set(dealt)) == 6
