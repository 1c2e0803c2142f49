"""Every loss against a case worked by hand or in plain NumPy from its equation."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.longtail.recipe.representation import (
    LDAM,
    ClassDependentTemperatures,
    CrossEntropy,
    EffectiveNumber,
    Focal,
    LogitAdjusted,
    NoWeighting,
)
from stages.longtail.training import losses

CPU = torch.device("cpu")
COUNTS = np.array([100, 10, 1])
CIFAR10_LT = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
LOGITS = torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.0, 0.0], [-1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 2])
KINDS = [CrossEntropy(), Focal(gamma=1.5), LDAM(), LogitAdjusted(), ClassDependentTemperatures()]
WEIGHTINGS = [NoWeighting(), EffectiveNumber(beta=0.9), EffectiveNumber(beta=0.9, divide_by="weights")]


def loss(kind, weighting=NoWeighting(), logits=LOGITS, labels=LABELS, counts=COUNTS):  # noqa: B008
    return float(losses.build(kind, weighting, counts, CPU)(logits, labels))


def by_hand(logits, labels):
    """Cross-entropy a sample, in NumPy."""
    logits = np.asarray(logits, np.float64)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def test_cross_entropy_is_the_mean_over_the_batch():
    assert loss(CrossEntropy()) == pytest.approx(by_hand(LOGITS, LABELS).mean(), rel=1e-6)


def test_bf16_logits_are_raised_to_float32_first():
    result = losses.build(CrossEntropy(), NoWeighting(), COUNTS, CPU)(LOGITS.bfloat16(), LABELS)
    assert result.dtype == torch.float32


def test_focal_is_equation_4_of_decoupling():
    each = by_hand(LOGITS, LABELS)
    expected = ((1 - np.exp(-each)) ** 2 * each).mean()
    assert loss(Focal(gamma=2.0)) == pytest.approx(expected, rel=1e-6)


def test_focal_of_a_sample_at_one_quarter():
    """p = (1/4, 3/4), so that (3/4)^2 times log 4."""
    logits = torch.tensor([[0.0, np.log(3.0)]])
    result = loss(Focal(gamma=2.0), logits=logits, labels=torch.tensor([0]), counts=COUNTS[:2])
    assert result == pytest.approx(0.5625 * np.log(4))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])  # Cui et al. search the last three
def test_focal_of_a_sample_beyond_doubt_is_nothing_and_so_is_its_gradient(gamma):
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    result = losses.build(Focal(gamma=gamma), NoWeighting(), COUNTS, CPU)(logits, torch.tensor([0]))
    result.backward()
    assert result.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad.tolist() == [pytest.approx([0, 0, 0], abs=1e-12)]


def test_focal_with_gamma_0_is_cross_entropy():
    assert loss(Focal(gamma=0.0)) == pytest.approx(loss(CrossEntropy()), rel=1e-6)


def test_ldam_margins_fall_with_the_fourth_root_and_the_rarest_class_has_the_largest():
    margins = losses.ldam_margins(CIFAR10_LT, 0.5)
    assert margins[-1] == 0.5 and margins.argmax() == 9
    assert margins[0] == pytest.approx(0.5 * (50 / 5000) ** 0.25)  # 0.158
    assert np.all(np.diff(margins) > 0)


def test_ldam_margins_of_cifar10_ratio_100():
    """0.5 (50 / n)^(1/4), on a pocket calculator."""
    expected = [0.15811, 0.17970, 0.20424, 0.23209, 0.26383, 0.29977, 0.34068, 0.38722, 0.44050, 0.5]
    np.testing.assert_allclose(losses.ldam_margins(CIFAR10_LT, 0.5), expected, atol=6e-6)


def test_ldam_of_one_sample_by_hand():
    """16 and 1 images: margins 1/4 and 1/2. The cosine 1/4 of the true class becomes -1/4, times 2 -1/2, against 1."""
    logits, counts = torch.tensor([[0.5, 0.25]]), np.array([16, 1])
    result = loss(LDAM(max_margin=0.5, scale=2.0), logits=logits, labels=torch.tensor([1]), counts=counts)
    assert result == pytest.approx(np.log(1 + np.exp(1.5)))


def test_ldam_lowers_the_true_logit_alone_and_scales():
    margins = losses.ldam_margins(COUNTS, 0.5)
    shifted = LOGITS.double().numpy().copy() / 4
    cosines = torch.tensor(shifted.copy(), dtype=torch.float32)
    shifted[np.arange(4), LABELS] -= margins[LABELS]
    expected = by_hand(30 * shifted, LABELS).mean()
    assert loss(LDAM(), logits=cosines) == pytest.approx(expected, rel=1e-5)


def test_effective_number_weights_of_cifar10_ratio_100():
    weights = losses.effective_number_weights(CIFAR10_LT, 0.9999)
    raw = [1 / sum(0.9999**k for k in range(n)) for n in CIFAR10_LT]  # 1 / (1 + b + b^2 + ... + b^(n-1))
    np.testing.assert_allclose(weights, np.array(raw) * 10 / sum(raw), rtol=1e-8)
    assert weights.mean() == pytest.approx(1)


def test_effective_number_weights_of_cifar10_ratio_100_as_numbers():
    """0.0001 / (1 - 0.9999^n), on a pocket calculator, divided by the mean, 0.00502."""
    expected = [0.05061, 0.07690, 0.12113, 0.19504, 0.31881, 0.52459, 0.86835, 1.44263, 2.40922, 3.99272]
    np.testing.assert_allclose(losses.effective_number_weights(CIFAR10_LT, 0.9999), expected, atol=6e-6)


def test_effective_number_weights_have_their_two_limits():
    np.testing.assert_allclose(losses.effective_number_weights(COUNTS, 0.0), 1)
    inverse = (1 / COUNTS) * 3 / (1 / COUNTS).sum()
    np.testing.assert_allclose(losses.effective_number_weights(COUNTS, 0.9999999), inverse, rtol=1e-4)


@pytest.mark.parametrize("divide_by", ["count", "weights"])
def test_weighting_multiplies_each_sample_by_its_class_weight(divide_by):
    weights = losses.effective_number_weights(COUNTS, 0.99)[LABELS]
    total = 4 if divide_by == "count" else weights.sum()
    expected = (weights * by_hand(LOGITS, LABELS)).sum() / total
    weighting = EffectiveNumber(beta=0.99, divide_by=divide_by)
    assert loss(CrossEntropy(), weighting) == pytest.approx(expected, rel=1e-5)


def test_divided_by_the_weights_it_is_torchs_weighted_cross_entropy():
    weights = torch.tensor(losses.effective_number_weights(COUNTS, 0.99), dtype=torch.float32)
    weighting = EffectiveNumber(beta=0.99, divide_by="weights")
    assert loss(CrossEntropy(), weighting) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS, weights)), rel=1e-6)


def test_logit_adjusted_with_tau_1_is_balanced_softmax():
    odds = COUNTS * np.exp(LOGITS.double().numpy())  # n_j e^z_j, Ren et al. 2020, Eq. 3
    expected = -np.log(odds[np.arange(4), LABELS] / odds.sum(1)).mean()
    assert loss(LogitAdjusted(tau=1.0)) == pytest.approx(expected, rel=1e-5)


def test_logit_adjusted_scales_the_prior_by_tau():
    prior = np.log(COUNTS / 111)
    assert loss(LogitAdjusted(tau=2.0)) == pytest.approx(by_hand(LOGITS.numpy() + 2 * prior, LABELS).mean(), rel=1e-5)


def test_cdt_divides_every_logit_by_the_temperature_of_its_class():
    """16 and 1 images, gamma 1/2: temperatures 1 and 4, logits 1 and 8 / 4."""
    kind = ClassDependentTemperatures(gamma=0.5)
    result = loss(kind, logits=torch.tensor([[1.0, 8.0]]), labels=torch.tensor([1]), counts=np.array([16, 1]))
    assert result == pytest.approx(np.log(1 + np.exp(-1)))


def test_cdt_temperatures_grow_from_1_at_the_largest_class():
    np.testing.assert_allclose(losses.temperatures(COUNTS, 0.3), [1, 10**0.3, 100**0.3])
    expected = by_hand(LOGITS.double().numpy() / [1, 10**0.3, 100**0.3], LABELS).mean()
    assert loss(ClassDependentTemperatures(gamma=0.3)) == pytest.approx(expected, rel=1e-5)
    assert loss(ClassDependentTemperatures(gamma=0.0)) == pytest.approx(loss(CrossEntropy()), rel=1e-6)


def test_a_share_multiplies_the_loss_of_its_image():
    share = torch.tensor([1.0, 0.5, 0.0, 0.25])
    result = losses.build(CrossEntropy(), NoWeighting(), COUNTS, CPU)(LOGITS, LABELS, share)
    assert float(result) == pytest.approx((share.numpy() * by_hand(LOGITS, LABELS)).sum() / 4, rel=1e-6)


@pytest.mark.parametrize("divide_by", ["count", "weights"])
def test_a_share_comes_on_top_of_the_class_weight_and_not_into_what_divides(divide_by):
    weights = losses.effective_number_weights(COUNTS, 0.99)[LABELS]
    share = torch.tensor([1.0, 0.5, 0.0, 0.25])
    total = 4 if divide_by == "count" else weights.sum()
    expected = (share.numpy() * weights * by_hand(LOGITS, LABELS)).sum() / total
    weighting = EffectiveNumber(beta=0.99, divide_by=divide_by)
    result = losses.build(CrossEntropy(), weighting, COUNTS, CPU)(LOGITS, LABELS, share)
    assert float(result) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_one_lambda_for_all_weighs_the_losses_of_the_two_labels(kind, weighting):
    function, share = losses.build(kind, weighting, COUNTS, CPU), torch.full((4,), 0.3)
    logits, other = LOGITS / 4, torch.tensor([2, 0, 0, 1])
    mixed = function(logits, LABELS, share) + function(logits, other, 1 - share)
    expected = 0.3 * float(function(logits, LABELS)) + 0.7 * float(function(logits, other))
    assert float(mixed) == pytest.approx(expected, rel=1e-5)
    assert float(function(logits, LABELS, torch.ones(4))) == pytest.approx(float(function(logits, LABELS)), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_gradients(kind, weighting, monkeypatch):
    """In float64: the loss works in float32 otherwise, too coarse for gradcheck."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    function, share = losses.build(kind, weighting, COUNTS, CPU), torch.tensor([1.0, 0.5, 0.0, 0.25])
    logits = (LOGITS.double() / 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: function(z, LABELS), (logits,))
    assert torch.autograd.gradcheck(lambda z: function(z, LABELS, share), (logits,))
