"""Heads, each against the same thing worked out in NumPy."""

import numpy as np
import pytest
import torch

from stages.longtail.models import heads

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(1, 2, (12, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 0, 2, 0, 1, 0])


def scaled_head():
    torch.manual_seed(0)
    return heads.ScaledHead(5, 3)


def test_a_scale_of_one_changes_nothing():
    head, x = scaled_head(), torch.from_numpy(FEATURES)
    assert torch.equal(head(x), head.linear(x))
    assert head.scale.tolist() == [1, 1, 1]


def test_a_scale_multiplies_the_weights_and_not_the_bias():
    head = scaled_head()
    with torch.no_grad():
        head.scale.copy_(torch.tensor([2.0, 0.0, -0.5]))
    weight, bias = head.linear.weight.detach().numpy(), head.linear.bias.detach().numpy()
    by_hand = np.stack([f * (FEATURES @ w) + b for f, w, b in zip((2, 0, -0.5), weight, bias, strict=True)], axis=1)
    assert head(torch.from_numpy(FEATURES)).detach().numpy() == pytest.approx(by_hand, abs=1e-5)


def nearest_mean_by_hand(distance, samples):
    """Subtract the training mean, L2-normalise, average per class, do not renormalise; then compare."""
    centre = FEATURES.mean(0)
    unit = [(f - centre) / np.sqrt(((f - centre) ** 2).sum()) for f in FEATURES]
    means = [np.mean([u for u, label in zip(unit, LABELS, strict=True) if label == c], axis=0) for c in range(3)]
    logits = []
    for sample in samples:
        x = (sample - centre) / np.sqrt(((sample - centre) ** 2).sum())
        if distance == "cosine":
            logits.append([x @ m / np.sqrt(m @ m) for m in means])
        else:
            logits.append([-((x - m) ** 2).sum() for m in means])
    return centre, np.array(means), np.array(logits)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_nearest_mean_logits_are_those_worked_by_hand(distance):
    samples = RANDOM.normal(1, 2, (20, 5)).astype(np.float32)
    head = heads.build(f"ncm_{distance}", 5, 3)
    head.centre, head.means = heads.class_means(torch.from_numpy(FEATURES), torch.from_numpy(LABELS), 3)
    centre, means, logits = nearest_mean_by_hand(distance, samples)
    assert head.centre.numpy() == pytest.approx(centre, abs=1e-6)
    assert head.means.numpy() == pytest.approx(means, abs=1e-6)
    assert head(torch.from_numpy(samples)).numpy() == pytest.approx(logits, abs=1e-5)


def test_the_two_distances_can_disagree():
    """Class 0's mean is short but in the sample's direction, class 1's is long and a little aside."""
    sample, means = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.1, 0.0], [0.8, 0.3]])
    chosen = {}
    for distance in ("cosine", "euclidean"):
        head = heads.NearestMeanHead(2, 2, distance)
        head.means = means
        chosen[distance] = head(sample).argmax(1).item()
    assert chosen == {"cosine": 0, "euclidean": 1}


def test_nearest_mean_heads_have_nothing_to_train_and_keep_their_means_in_checkpoints():
    head = heads.build("ncm_cosine", 5, 3)
    assert not list(head.parameters())
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {"centre": (5,), "means": (3, 5)}


def test_class_means_weigh_samples_and_not_classes_in_the_centre():
    centre, _ = heads.class_means(torch.tensor([[0.0, 3.0], [0.0, 3.0], [3.0, 0.0]]), torch.tensor([0, 0, 1]), 2)
    assert centre.tolist() == [1, 2]


def test_tau_normalised_by_hand():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.25]])  # norms 5 and 1/4
    half = heads.tau_normalised(weight, 0.5)
    assert half.numpy() == pytest.approx(np.array([[3 / 5**0.5, 4 / 5**0.5], [0, 0.5]]))
    assert heads.tau_normalised(weight, 2).numpy() == pytest.approx(np.array([[0.12, 0.16], [0, 4]]))


def test_tau_0_is_the_identity_and_tau_1_gives_unit_norms():
    weight = torch.from_numpy(FEATURES)
    unit = heads.tau_normalised(weight, 1.0)
    assert torch.equal(heads.tau_normalised(weight, 0.0), weight)
    assert unit.norm(dim=1).numpy() == pytest.approx(np.ones(12), abs=1e-6)
    assert (unit * weight.norm(dim=1, keepdim=True)).numpy() == pytest.approx(FEATURES, abs=1e-5)


def test_cosine_head_of_one_sample_by_hand():
    head = heads.CosineHead(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.1], [-40.0, -30.0]]))
    assert head(torch.tensor([[4.0, 3.0]])).tolist() == [pytest.approx([24 / 25, 3 / 5, -1])]


def test_cosine_head_begins_with_weights_of_length_one_that_point_anywhere():
    weight = heads.CosineHead(16, 500).weight.detach()
    assert weight.norm(dim=1).numpy() == pytest.approx(np.ones(500), abs=1e-6)
    assert weight.mean(0).numpy() == pytest.approx(np.zeros(16), abs=0.05)


def test_cosine_head_gives_cosines_whatever_the_lengths():
    head = heads.build("cosine", 3, 4)
    x = torch.randn(5, 3)
    weight = head.weight.detach()
    expected = (x / x.norm(dim=1, keepdim=True)) @ (weight / weight.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(7 * x), expected)
