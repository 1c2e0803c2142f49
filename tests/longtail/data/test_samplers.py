"""Samplers by their statistics over many epochs, with fixed seeds, so that a verdict never changes."""

import numpy as np
import pytest
from scipy.stats import chisquare

from stages.longtail.data import draws, samplers

COUNTS = np.array([100, 49, 16, 4])
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(4), COUNTS))  # images of a class lie apart
# p_j = n_j^q / sum n^q by hand, q = 1/2, 0, -1; the reciprocals are over their common denominator, 19600.
SHARES = {"sqrt": [10, 7, 4, 2], "balanced": [1, 1, 1, 1], "reversed": [196, 400, 1225, 4900]}
EPOCHS = 300


def epoch(sampler, number, seed=0):
    return samplers.order(sampler, LABELS, draws.generator(seed, number, "sampler"))


@pytest.fixture(scope="module", params=SHARES)
def sampled(request):
    """(sampler, its orders of many epochs)"""
    return request.param, [epoch(request.param, number) for number in range(EPOCHS)]


def expected(sampler, total):
    return np.array(SHARES[sampler]) * (total / sum(SHARES[sampler]))


@pytest.mark.parametrize("sampler", [*SHARES, "instance"])
def test_class_probabilities_follow_the_formula(sampler):
    shares = np.array(SHARES.get(sampler, COUNTS))
    assert samplers.class_probabilities(sampler, COUNTS) == pytest.approx(shares / shares.sum(), rel=1e-12)


def test_classes_are_drawn_as_often_as_the_formula_says(sampled):
    sampler, orders = sampled
    drawn = np.bincount(LABELS[np.concatenate(orders)])
    assert chisquare(drawn, expected(sampler, drawn.sum())).pvalue > 0.001


def test_classes_are_drawn_independently_from_image_to_image(sampled):
    """Neighbouring draws are pairs of independent classes: nothing is sorted, dealt in blocks or balanced by force."""
    sampler, orders = sampled
    pairs = np.zeros((4, 4))
    for order in orders:
        np.add.at(pairs, (LABELS[order[0:-1:2]], LABELS[order[1::2]]), 1)
    share = np.array(SHARES[sampler]) / sum(SHARES[sampler])
    assert chisquare(pairs.ravel(), np.outer(share, share).ravel() * pairs.sum()).pvalue > 0.001


def test_the_number_of_draws_of_a_class_varies_as_a_binomial(sampled):
    sampler, orders = sampled
    share = SHARES[sampler][0] / sum(SHARES[sampler])
    firsts = [np.count_nonzero(LABELS[order] == 0) for order in orders]
    assert np.var(firsts) == pytest.approx(len(LABELS) * share * (1 - share), rel=0.3)


@pytest.mark.parametrize("label", range(4))
def test_every_image_of_a_class_is_drawn_equally_often(sampled, label):
    drawn = np.bincount(np.concatenate(sampled[1]), minlength=len(LABELS))[label == LABELS]
    assert chisquare(drawn).pvalue > 0.001


def test_images_come_without_replacement_until_their_class_is_used_up(sampled):
    for order in sampled[1]:
        for label, count in enumerate(COUNTS):
            images = order[LABELS[order] == label]
            for start in range(0, len(images), count):
                deck = images[start : start + count]
                assert len(set(deck)) == len(deck)


def test_a_used_up_class_is_shuffled_anew():
    images = [image for image in epoch("reversed", 0) if LABELS[image] == 3]
    decks = {tuple(images[start : start + 4]) for start in range(0, len(images) - 3, 4)}
    assert len(images) > 80  # more than 20 decks of 4 images, of 24 possible orders
    assert 8 < len(decks) <= 24


@pytest.mark.parametrize("sampler", [*SHARES, "instance"])
def test_an_epoch_is_as_many_draws_as_images(sampler):
    order = epoch(sampler, 0)
    assert order.shape == LABELS.shape and order.dtype == np.int64


def test_instance_is_a_permutation_with_every_image_anywhere():
    orders = np.stack([samplers.order("instance", LABELS[:8], draws.generator(0, e, "sampler")) for e in range(2000)])
    assert (np.sort(orders, axis=1) == np.arange(8)).all()
    for place in range(8):
        assert chisquare(np.bincount(orders[:, place])).pvalue > 0.001


@pytest.mark.parametrize("sampler", [*SHARES, "instance"])
def test_the_same_seed_and_epoch_give_the_same_draw_and_others_another(sampler):
    assert (epoch(sampler, 3, seed=2) == epoch(sampler, 3, seed=2)).all()
    assert (epoch(sampler, 3, seed=2) != epoch(sampler, 4, seed=2)).any()
    assert (epoch(sampler, 3, seed=2) != epoch(sampler, 3, seed=3)).any()
    assert (epoch(sampler, 3, seed=2) != epoch(sampler, 2, seed=3)).any()


def test_deal_gives_an_image_of_each_class_asked_for():
    random = np.random.default_rng(0)
    drawn = np.array([3, 3, 0, 3, 3, 3, 3, 3, 1, 3])  # class 2 is not asked for, class 3 twice over
    dealt = samplers.deal(drawn, LABELS, COUNTS, random)
    assert (LABELS[dealt] == drawn).all()
    assert np.bincount(dealt[drawn == 3], minlength=len(LABELS))[LABELS == 3].tolist() == [2, 2, 2, 2]


def test_a_class_of_one_image_is_dealt_again_and_again():
    labels = np.array([0, 1, 0])
    dealt = samplers.deal(np.array([1, 1, 1]), labels, np.array([2, 1]), np.random.default_rng(0))
    assert dealt.tolist() == [1, 1, 1]


def test_progressive_goes_from_instance_to_class_balanced_by_equation_2():
    counts = np.array([6, 3, 1])
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 0.0), counts / 10)
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 1.0), 1 / 3)
    expected = 0.75 * counts / 10 + 0.25 / 3
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 0.25), expected)


def test_progressive_draws_by_the_progress_it_is_given():
    labels = np.repeat([0, 1], [900, 100])
    drawn = samplers.order("progressive", labels, np.random.default_rng(0), 0.5)
    assert abs((labels[drawn] == 1).mean() - 0.3) < 0.05  # half of 0.1 and half of 0.5
