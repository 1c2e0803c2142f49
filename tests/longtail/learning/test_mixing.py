"""Major feature weakening: `procrustean` Algorithm 1 and Eq. 12, worked by hand, and its draws."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from stages.longtail.learning import mixing
from stages.longtail.params import MajorFeatureWeakening

CIFAR10_LT = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
STEP = np.array([5000] * 5 + [50] * 5)


def weakening(counts=STEP, **changes):
    settings = {"kind": "mfw", "group": 2, "alpha": 2.0, "beta": 2.0, "deviation": "geometric", **changes}
    return mixing.Weakening(MajorFeatureWeakening(**settings), counts)


def weights_by_hand(counts, beta, deviation):
    logs = [math.log(n) for n in counts]
    mean_log = sum(logs) / len(logs)
    mean = sum(counts) / len(counts)
    if deviation == "geometric":
        gamma = math.exp(math.sqrt(sum((log - mean_log) ** 2 for log in logs) / len(logs)))
    else:
        gamma = math.sqrt(sum((n - mean) ** 2 for n in counts) / len(counts))
    z = [(n - math.exp(mean_log)) / (beta * gamma) for n in counts]
    return [0.5 / (1 + math.exp(-v)) if v > -700 else 0 for v in z]


@pytest.mark.parametrize("counts", [CIFAR10_LT, STEP])
@pytest.mark.parametrize("beta", [0.01, 2.0, 50.0])
@pytest.mark.parametrize("deviation", ["geometric", "arithmetic"])
def test_class_weight_is_equation_12(counts, beta, deviation):
    by_hand = weights_by_hand(counts.tolist(), beta, deviation)
    assert mixing.mfw_class_weight(counts, beta, deviation) == pytest.approx(by_hand, rel=1e-9, abs=1e-12)


def test_arithmetic_deviation_gives_0_40_and_0_23_at_the_ends():
    """0.406 with the population's deviation, 0.400 with the sample's; the paper does not say which."""
    weights = mixing.mfw_class_weight(CIFAR10_LT, 2.0, "arithmetic")
    assert weights[[0, -1]] == pytest.approx([0.40, 0.23], abs=0.01)


def test_geometric_deviation_gives_one_half_and_nothing_at_the_ends_as_section_3_4_says():
    weights = mixing.mfw_class_weight(CIFAR10_LT, 2.0, "geometric")
    assert weights[0] == pytest.approx(0.5, abs=1e-6) and weights[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("deviation", ["geometric", "arithmetic"])
def test_the_paper_s_beta_separates_the_two_sizes_of_the_step_profile(deviation):
    weights = mixing.mfw_class_weight(STEP, 0.01, deviation)
    assert weights == pytest.approx([0.5] * 5 + [0] * 5, abs=1e-6)


@pytest.mark.parametrize("deviation", ["geometric", "arithmetic"])
def test_class_weight_grows_with_the_class_and_stays_within_0_and_one_half(deviation):
    weights = mixing.mfw_class_weight(CIFAR10_LT, 2.0, deviation)
    assert (np.diff(weights) <= 0).all() and weights.min() >= 0 and weights.max() <= 0.5


@pytest.mark.parametrize("deviation", ["geometric", "arithmetic"])
@pytest.mark.parametrize("beta", [0.01, 2.0])
@pytest.mark.parametrize("count", [1, 120, 5000])
def test_equal_classes_are_all_weakened_by_the_middle_weight(deviation, beta, count):
    assert mixing.mfw_class_weight(np.full(4, count), beta, deviation) == pytest.approx([0.25] * 4, abs=1e-6)


@pytest.mark.parametrize(("images", "batch_size"), [(64, 16), (70, 16), (5, 16), (17, 16)])
def test_partners_are_a_permutation_within_each_batch_the_last_smaller_one_too(images, batch_size):
    _, partner = weakening().draw(np.zeros(images, int), batch_size, np.random.default_rng(0))
    for start in range(0, images, batch_size):
        batch = partner[start : start + batch_size]
        assert sorted(batch) == list(range(len(batch)))


def test_every_partner_is_equally_likely_at_every_place():
    random, drawn = np.random.default_rng(0), np.zeros((8, 8))
    for _ in range(1500):
        _, partner = weakening().draw(np.zeros(8, int), 8, random)
        drawn[np.arange(8), partner] += 1
    for place in range(8):
        assert chisquare(drawn[place]).pvalue > 0.001


def test_batches_and_epochs_are_permuted_differently():
    random = np.random.default_rng(0)
    first, second = (weakening().draw(np.zeros(64, int), 32, random)[1] for _ in range(2))
    assert (first[:32] != first[32:]).any() and (first != second).any()


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_lambda_is_the_class_weight_times_a_beta_draw(alpha):
    """Beta(alpha, alpha) by Kolmogorov-Smirnov, mean 1/2, variance 1 / (4 (2 alpha + 1)); an own draw an image."""
    mixer = weakening(CIFAR10_LT, alpha=alpha, deviation="arithmetic")
    labels = np.arange(60_000) % 10
    share, _ = mixer.draw(labels, 128, np.random.default_rng(0))
    assert share.dtype == np.float32 and share.min() >= 0 and share.max() <= 0.5
    weights = weights_by_hand(CIFAR10_LT.tolist(), 2.0, "arithmetic")
    for label in (0, 4, 9):
        scaled = share[labels == label] / weights[label]
        assert scaled.mean() == pytest.approx(0.5, abs=0.02)
        assert scaled.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
        assert kstest(scaled, "beta", (alpha, alpha)).pvalue > 0.001


def test_minor_classes_of_the_step_profile_are_left_alone():
    labels = np.array([0, 9] * 50)
    share, _ = weakening(beta=0.01).draw(labels, 10, np.random.default_rng(0))
    assert (share[labels == 9] == 0).all() and (share[labels == 0] > 0).all()


def test_a_mixed_feature_is_mostly_itself_and_partly_its_partner():
    features = torch.tensor([[[1.0, 2.0]], [[10.0, 20.0]], [[100.0, 200.0]]])
    mix = mixing.Weakening.mixer(torch.tensor([0.5, 0.0, 0.25]), torch.tensor([2, 0, 1]))
    # 0.5 * 1 + 0.5 * 100; untouched; 0.75 * 100 + 0.25 * 10
    assert mix(features).tolist() == [[[50.5, 101.0]], [[10.0, 20.0]], [[77.5, 155.0]]]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_mixing_is_one_lambda_an_image_whatever_the_shape(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    share, partner = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([3, 3, 0, 1])
    by_hand = [
        (1 - weight) * features[n].numpy() + weight * features[p].numpy()
        for n, (weight, p) in enumerate(zip([0.1, 0.2, 0.3, 0.4], [3, 3, 0, 1], strict=True))
    ]
    assert mixing.Weakening.mixer(share, partner)(features).numpy() == pytest.approx(np.stack(by_hand), abs=1e-6)


def test_the_gradient_flows_to_an_image_and_to_its_partner():
    features = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    share = torch.tensor([0.5, 0.0, 0.25], dtype=torch.float64)
    mix = mixing.Weakening.mixer(share, torch.tensor([2, 0, 1]))
    assert torch.autograd.gradcheck(mix, features)
    mix(features).sum().backward()
    # Each image's own share, plus the lambda of whoever has it as partner.
    assert features.grad[:, 0, 0, 0].tolist() == [0.5 + 0.0, 1.0 + 0.25, 0.75 + 0.5]
