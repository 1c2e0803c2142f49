"""What runtime.observe records, by hand and against gradients taken image by image."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import observation
from stages.longtail.training.observation import Observation, chosen

CPU = Compute(torch.device("cpu"), "fp32")
NARROW = {"backbone": "resnet8", "width": 4, "channels": 1, "classes": 3, "head": "linear"}
NARROW |= {"whitening": {}, "bilateral": False, "auxiliary": {}}
LABELS = np.array([0, 1, 2, 1, 0, 0])


def plain(logits, labels):
    return logits


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    return Batches(Images(pixels, LABELS, [], [0.5], [0.25]), np.arange(6), CPU.device, pad=2)


@pytest.fixture
def everything(monkeypatch):
    """All images are looked at."""
    monkeypatch.setattr(observation, "SHARE", 1 / 6)


def look(images, network, *quantities, adjust=plain):
    seen = Observation(quantities, images, 3, adjust, 2, CPU)
    seen.look(network, 7)
    assert [row["epoch"] for row in seen.rows] == [7]
    return {name: value for name, value in seen.rows[0].items() if name != "epoch"}


def test_the_first_images_of_each_class_are_chosen():
    labels = np.array([0] * 90 + [1] * 9 + [2] + [0] * 50)  # 150 images, 25 to an observed one, 3 classes: 2 each
    assert chosen(labels, 3).tolist() == [0, 1, 90, 91, 99]
    assert chosen(np.array([1, 0, 0, 1]), 3).tolist() == [0, 1]  # one at least, none of a class that has none


def test_accuracy_loss_and_the_ratio_of_those_classified_into_a_class(images):
    class Scripted(torch.nn.Module):
        """Right on image 0, class 2 for image 1, right on image 2, as if by probabilities 1/2 and 1/4, 1/4."""

        def __init__(self):
            super().__init__()
            self.head = torch.nn.Identity()

        def features(self, x):
            assert not self.training and len(x) == 3
            return F.one_hot(torch.tensor([0, 2, 2]), 3) * np.log(2.0)

    row = look(images, Scripted(), "accuracy", "loss")
    assert row["accuracy"].tolist() == [1, 0, 1]
    # Image 0 stands for three of class 0, image 1 for two of class 1, which are taken for the one of class 2.
    assert row["classified"].tolist() == [1, 0, 3]
    np.testing.assert_allclose(row["loss"], np.log([2, 4, 2]), rtol=1e-6)


def test_gradients_are_those_of_one_image_at_a_time(images, everything):
    network = networks.create(NARROW, 0).eval()
    row = look(images, network, "feature_gradient", "head_gradient")
    norms = []
    for number, label in enumerate(LABELS):
        with torch.no_grad():
            features = network.groups[1](network.groups[0](images.plain(number, number + 1)))
        features.requires_grad_()
        after = network.groups[3](network.groups[2](features)).mean((2, 3))
        F.cross_entropy(network.head(after), torch.tensor([label])).backward()
        norms.append(features.grad.norm().item())
    expected = [np.mean(np.array(norms)[label == LABELS]) for label in range(3)]
    np.testing.assert_allclose(row["feature_gradient"], expected, rtol=1e-4)
    network.zero_grad()
    F.cross_entropy(network(images.plain(0, 6)), torch.tensor(LABELS)).backward()
    np.testing.assert_allclose(row["head_gradient"], network.head.weight.grad.norm(dim=1), rtol=1e-4)


def test_an_observed_image_stands_for_its_class_in_the_head_s_gradient(images):
    network = networks.create(NARROW, 0).eval()
    row = look(images, network, "head_gradient")
    loss = F.cross_entropy(network(images.plain(0, 3)), torch.tensor([0, 1, 2]), reduction="none")
    (loss @ torch.tensor([3.0, 2.0, 1.0]) / 6).backward()
    np.testing.assert_allclose(row["head_gradient"], network.head.weight.grad.norm(dim=1), rtol=1e-4)


def test_the_plane_has_features_classes_and_the_lines_between_them(images, monkeypatch):
    monkeypatch.setattr(observation, "POINTS", 2)
    network = networks.create(dict(NARROW, projection=2, projection_relu=False), 0).eval()
    test = images.only(np.array([5, 1]))
    seen = Observation(["plane"], images, 3, plain, 2, CPU, test)
    seen.look(network, 1)
    row = seen.rows[0]
    assert row.keys() == {"epoch", "plane_train", "plane_test", "plane_head"}
    with torch.no_grad():
        features = network.features(images.plain(0, 6))
        logits = network.head(features)
    for name, positions in (("plane_train", [0, 1, 2, 3, 4]), ("plane_test", [5, 1])):
        assert row[name][:, 2].tolist() == LABELS[positions].tolist()
        np.testing.assert_allclose(row[name][:, :2], features[positions], atol=1e-6)
    np.testing.assert_allclose(features @ row["plane_head"][:, :2].T + row["plane_head"][:, 2], logits, atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"head": "cosine"}, {"bilateral": True}, {"whitening": {"epsilon": 1e-5, "momentum": 0.1}}]
)
def test_every_kind_of_network_can_be_looked_at(images, change):
    network = networks.create(dict(NARROW, **change), 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    row = look(images, network, "accuracy", "loss", "feature_gradient", "head_gradient")
    assert all(torch.isfinite(value).all() and len(value) == 3 for value in row.values())
    assert (row["feature_gradient"] > 0).all() and (row["head_gradient"] > 0).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_loss_is_that_of_the_logits_as_training_adjusts_them(images):
    network = networks.create(NARROW, 0)
    ordinary, scaled = (look(images, network, "loss", adjust=lambda z, _, k=k: k * z)["loss"] for k in (1, 0))
    assert not torch.allclose(ordinary, scaled)
    np.testing.assert_allclose(scaled, np.log([3, 3, 3]), rtol=1e-6)
