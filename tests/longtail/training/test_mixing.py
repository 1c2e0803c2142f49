"""MFW (`procrustean` Algorithm 1, Eq. 12), mixup, manifold mixup and Remix: rules by hand, draws by statistics."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from stages.longtail.recipe.representation import MajorFeatureWeakening, Mixup, Remix
from stages.longtail.training import mixing

CIFAR10_LT = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
STEP = np.array([5000] * 5 + [50] * 5)
MFW = MajorFeatureWeakening()
KINDS = [MFW, Mixup(), Mixup(groups=(0, 1, 2)), Remix()]


def draw(mixing_axis, labels, batch_size=128, counts=STEP, random=None):
    return mixing.draw(mixing_axis, counts, labels, batch_size, random or np.random.default_rng(0))


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


@pytest.mark.parametrize("axis", KINDS)
@pytest.mark.parametrize(("images", "batch_size"), [(64, 16), (70, 16), (5, 16), (17, 16)])
def test_partners_are_a_permutation_within_each_batch_the_last_smaller_one_too(axis, images, batch_size):
    partner = draw(axis, np.zeros(images, int), batch_size).partner
    assert len(partner) == images
    for start in range(0, images, batch_size):
        batch = partner[start : start + batch_size]
        assert sorted(batch) == list(range(len(batch)))


def test_every_partner_is_equally_likely_at_every_place():
    random, drawn = np.random.default_rng(0), np.zeros((8, 8))
    for _ in range(1500):
        drawn[np.arange(8), draw(MFW, np.zeros(8, int), 8, random=random).partner] += 1
    for place in range(8):
        assert chisquare(drawn[place]).pvalue > 0.001


def test_batches_and_epochs_are_permuted_differently():
    random = np.random.default_rng(0)
    first, second = (draw(MFW, np.zeros(64, int), 32, random=random).partner for _ in range(2))
    assert (first[:32] != first[32:]).any() and (first != second).any()


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_lambda_is_the_class_weight_times_a_beta_draw(alpha):
    """Beta(alpha, alpha) by Kolmogorov-Smirnov, mean 1/2, variance 1 / (4 (2 alpha + 1)); an own draw an image."""
    labels = np.arange(60_000) % 10
    share = draw(MajorFeatureWeakening(alpha=alpha, deviation="arithmetic"), labels, counts=CIFAR10_LT).share
    assert share.dtype == np.float32 and share.min() >= 0 and share.max() <= 0.5
    weights = weights_by_hand(CIFAR10_LT.tolist(), 2.0, "arithmetic")
    for label in (0, 4, 9):
        scaled = share[labels == label] / weights[label]
        assert scaled.mean() == pytest.approx(0.5, abs=0.02)
        assert scaled.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
        assert kstest(scaled, "beta", (alpha, alpha)).pvalue > 0.001


@pytest.mark.parametrize("kind", [Mixup, Remix])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_lambda_of_mixup_and_remix_is_a_beta_draw_whatever_the_class(kind, alpha):
    labels = np.arange(20_000) % 10
    share = draw(kind(alpha=alpha), labels, counts=CIFAR10_LT).share
    for label in (0, 9):
        assert kstest(share[labels == label], "beta", (alpha, alpha)).pvalue > 0.001


def test_minor_classes_of_the_step_profile_are_left_alone():
    labels = np.array([0, 9] * 50)
    share = draw(MajorFeatureWeakening(beta=0.01), labels, 10).share
    assert (share[labels == 9] < 1e-6).all() and (share[labels == 0] > 1e-6).all()


def test_weakening_leaves_the_labels_and_mixup_mixes_them_as_the_images():
    labels = np.arange(100) % 10
    assert draw(MFW, labels).label_share is None
    mixed = draw(Mixup(), labels)
    assert mixed.label_share == pytest.approx(1 - mixed.share, abs=1e-6)
    assert mixed.share.dtype == mixed.label_share.dtype == np.float32


@pytest.mark.parametrize("groups", [(0,), (3,), (0, 1, 2)])
@pytest.mark.parametrize("kind", [Mixup, Remix])
def test_a_batch_is_mixed_after_one_group_and_all_groups_get_their_turn(kind, groups):
    drawn = draw(kind(groups=groups), np.zeros(9 * 500 + 3, int), 9).groups
    assert len(drawn) == 501  # one a batch, the last smaller one too
    assert set(drawn) == set(groups)
    assert chisquare([np.count_nonzero(drawn == group) for group in groups]).pvalue > 0.001 or len(groups) == 1


def test_weakening_is_always_after_its_group():
    assert draw(MajorFeatureWeakening(group=3), np.zeros(20, int), 8).groups.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("own", "other", "kept", "expected"),
    [
        (300, 100, 0.4, 0.0),  # three times as large and less than tau of the pixels: the smaller class has the label
        (300, 100, 0.5, 0.5),  # but not with tau or more of them
        (299, 100, 0.4, 0.4),  # nor if it is less than kappa times as large
        (100, 300, 0.6, 1.0),  # a third as large and more than 1 - tau of the pixels: the label is its own
        (100, 300, 0.5, 0.5),
        (100, 299, 0.6, 0.6),
        (100, 100, 0.9, 0.9),
        (5000, 50, 0.01, 0.0),
        (50, 5000, 0.99, 1.0),
        (50, 5000, 0.01, 0.01),  # mostly the larger class, as are its pixels
    ],
)
def test_remix_labels_lean_to_the_smaller_class_by_equation_7(own, other, kept, expected):
    """kappa 3, tau 1/2."""
    got = mixing.remix_label_share(np.array([own]), np.array([other]), np.array([kept]), 3.0, 0.5)
    assert got.tolist() == [pytest.approx(expected)]


def test_remix_with_another_tau():
    """tau 0.8: 0 below 0.8 for the larger class, 1 above 0.2 for the smaller one."""
    own, other = np.array([9, 9, 1, 1]), np.array([1, 1, 9, 9])
    got = mixing.remix_label_share(own, other, np.array([0.79, 0.81, 0.21, 0.19]), 3.0, 0.8)
    assert got.tolist() == pytest.approx([0, 0.81, 1, 0.19])


def test_remix_compares_the_training_images_of_the_two_classes_of_a_pair():
    """Image by image against Eq. 7 in words: lambda is the share of the image's own pixels, 1 - share."""
    labels, cases = np.random.default_rng(1).integers(0, 10, 403), []
    mixed = draw(Remix(kappa=3.0, tau=0.5), labels, 64, counts=CIFAR10_LT)
    for n, (share, partner) in enumerate(zip(mixed.share.tolist(), mixed.partner, strict=True)):
        own, other, kept = CIFAR10_LT[labels[n]], CIFAR10_LT[labels[n // 64 * 64 + partner]], 1 - share
        case = 0 if own / other >= 3 and kept < 0.5 else 1 if own / other <= 1 / 3 and 1 - kept < 0.5 else kept
        assert mixed.label_share[n] == pytest.approx(case, abs=1e-6)
        cases.append(case)
    assert min(cases.count(0), cases.count(1), len(cases) - cases.count(0) - cases.count(1)) > 30


def test_remix_of_equal_classes_is_mixup():
    labels = np.arange(50) % 10
    remix, mixup = draw(Remix(), labels, 8, np.full(10, 7)), draw(Mixup(), labels, 8, np.full(10, 7))
    assert (remix.share == mixup.share).all() and (remix.partner == mixup.partner).all()
    assert (remix.label_share == mixup.label_share).all()


def mixer(share, partner, dtype=torch.float32):
    return partial(mixing.mix, share=torch.tensor(share, dtype=dtype), partner=torch.tensor(partner))


def test_a_mixed_feature_is_mostly_itself_and_partly_its_partner():
    features = torch.tensor([[[1.0, 2.0]], [[10.0, 20.0]], [[100.0, 200.0]]])
    # 0.5 * 1 + 0.5 * 100; untouched; 0.75 * 100 + 0.25 * 10
    mixed = mixer([0.5, 0.0, 0.25], [2, 0, 1])(features)
    assert mixed.tolist() == [[[50.5, 101.0]], [[10.0, 20.0]], [[77.5, 155.0]]]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_mixing_is_one_lambda_an_image_whatever_the_shape(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    by_hand = [
        (1 - weight) * features[n].numpy() + weight * features[p].numpy()
        for n, (weight, p) in enumerate(zip([0.1, 0.2, 0.3, 0.9], [3, 3, 0, 1], strict=True))
    ]
    mixed = mixer([0.1, 0.2, 0.3, 0.9], [3, 3, 0, 1])(features)
    assert mixed.numpy() == pytest.approx(np.stack(by_hand), abs=1e-6)


def test_mixing_keeps_the_type_of_half_precision_features():
    mixed = mixer([0.5, 0.0], [1, 0])(torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16))
    assert mixed.dtype == torch.bfloat16 and mixed.tolist() == [[2.0], [3.0]]


def test_the_gradient_flows_to_an_image_and_to_its_partner():
    features = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    mix = mixer([0.5, 0.0, 0.25], [2, 0, 1], torch.float64)
    assert torch.autograd.gradcheck(mix, features)
    mix(features).sum().backward()
    # Each image's own share, plus the lambda of whoever has it as partner.
    assert features.grad[:, 0, 0, 0].tolist() == [0.5 + 0.0, 1.0 + 0.25, 0.75 + 0.5]
