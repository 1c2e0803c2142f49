"""Shifted test priors, by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score

from stages.longtail.evaluation import shifted_priors

COUNTS = np.array([10, 100, 50])


def test_forward_gives_the_largest_class_the_most_and_backward_the_least():
    """Exponential from 1 to 1/4: 1, 1/2, 1/4 of 7/4, in the order of the training images: classes 1, 2, 0."""
    assert shifted_priors.prior(COUNTS, "forward", 4) == pytest.approx([1 / 7, 4 / 7, 2 / 7])
    assert shifted_priors.prior(COUNTS, "backward", 4) == pytest.approx([4 / 7, 1 / 7, 2 / 7])


def test_classes_with_as_many_images_follow_their_own_order():
    assert shifted_priors.prior(np.array([5, 5, 5]), "forward", 4) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


@pytest.mark.parametrize("ratio", shifted_priors.RATIOS)
def test_the_most_frequent_class_is_ratio_times_the_least_frequent_and_both_ways_mirror_each_other(ratio):
    forward, backward = (shifted_priors.prior(COUNTS, way, ratio) for way in ("forward", "backward"))
    assert forward.sum() == pytest.approx(1) and forward[1] == pytest.approx(ratio * forward[0])
    assert backward[[0, 2, 1]] == pytest.approx(forward[[1, 2, 0]])


def test_accuracy_is_the_mean_of_the_classes_by_the_prior():
    """Class 0: 1 of 2 right, class 1: 1 of 1, class 2: 0 of 1."""
    predicted, labels = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 2])
    share = shifted_priors.prior(COUNTS, "forward", 4)
    got = shifted_priors.accuracy(predicted, labels, share)
    assert got == pytest.approx(100 * (1 / 7 * 0.5 + 4 / 7))
    weights = (share / np.bincount(labels))[labels]
    assert got == pytest.approx(100 * accuracy_score(labels, predicted, sample_weight=weights))


def test_adjustment_is_bayes_rule():
    """Likelihoods 0.3 and 0.2 under priors 0.8 and 0.2 are logits ln 0.24 and ln 0.04; under 0.1 and 0.9 the posterior
    is 0.03 to 0.18, so that class 1 wins, and under 0.5 and 0.5 class 0."""
    logits = np.log([[0.24, 0.04]])
    held = np.array([0.8, 0.2])
    assert shifted_priors.adjusted(logits, held, np.array([0.1, 0.9])).tolist() == [1]
    assert shifted_priors.adjusted(logits, held, np.array([0.5, 0.5])).tolist() == [0]
    close = np.log([[0.24, 0.04], [0.24, 0.06]])  # 0.3 to 0.2 and 0.3 to 0.3 on likelihoods
    assert shifted_priors.adjusted(close, held, np.array([0.45, 0.55])).tolist() == [0, 1]


def test_adjusted_logits_have_the_largest_posterior_of_other_libraries_softmax():
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 3))
    held, share = (shifted_priors.prior(COUNTS, way, 25) for way in ("forward", "backward"))
    posterior = softmax(logits, 1) / held * share
    got = shifted_priors.adjusted(logits, held, share)
    assert got.tolist() == posterior.argmax(1).tolist() != logits.argmax(1).tolist()


def test_every_prior_stands_there_plain_and_adjusted_from_both_priors():
    """Two classes, training prior 2/3 and 1/3, ratio 2: forward is the training prior itself."""
    logits = np.array([[0, -0.5], [0, -0.1], [0, -0.5], [-0.1, 0]])
    labels = np.array([0, 1, 1, 1])
    got = shifted_priors.accuracies(logits, labels, np.array([20, 10]), probabilities=True)
    assert list(got) == [f"{way}_{ratio}" for way in ("forward", "backward") for ratio in (2, 5, 10, 25, 50)]
    third = 100 / 9  # of class 1, whose share is a third
    # adjusted by ln 2: from_balanced forward makes all class 0; from_training is the plain prediction there
    assert got["forward_2"] == pytest.approx({"plain": 600 / 9 + third, "from_training": 600 / 9 + third,
                                              "from_balanced": 600 / 9})  # fmt: skip
    # backward: class 1's share is 2/3; by ln 2 all are class 1, by 2 ln 2 as well
    assert got["backward_2"] == pytest.approx({"plain": 300 / 9 + 2 * third, "from_training": 600 / 9,
                                               "from_balanced": 600 / 9})  # fmt: skip


def test_without_probabilities_nothing_is_adjusted():
    got = shifted_priors.accuracies(np.eye(2), np.array([0, 1]), np.array([20, 10]), probabilities=False)
    assert [found["plain"] for found in got.values()] == pytest.approx([100] * 10)
    assert all(found["from_training"] is found["from_balanced"] is None for found in got.values())
