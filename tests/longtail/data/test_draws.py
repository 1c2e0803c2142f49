"""Streams of random draws are the same for the same key and differ in each part of it."""

import pytest

from stages.longtail.data import draws

PURPOSES = ("sampler", "augment", "mixing")


def numbers(*key):
    return draws.generator(*key).random(8).tolist()


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
