"""Predictions and features of a whole division, one image at a time for comparison."""

import numpy as np
import pytest
import torch

from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.prediction import predict
from stages.longtail.runtime.devices import Compute

CPU = Compute(torch.device("cpu"), "fp32")
COUNT = 2 * predict.TEST_BATCH["cpu"] + 7
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 1), np.uint8)


@pytest.fixture(scope="module")
def network():
    """A network whose running statistics are not those of any batch, left in training mode."""
    plain = {"whitening": {}, "bilateral": False, "auxiliary": {}}
    narrow = {"backbone": "resnet8", "width": 4, "channels": 1, "classes": 6, "head": "linear"}
    model = networks.create(narrow | plain, 0)
    with torch.no_grad():
        model.train()(torch.randn(64, 1, 4, 4))
    return model


@pytest.fixture
def images():
    return Batches(Images(PIXELS, np.zeros(COUNT, int), [], [0.5], [0.25]), np.arange(COUNT), CPU.device, pad=1)


def one_by_one(network):
    inputs = torch.tensor((PIXELS / 255 - 0.5) / 0.25, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        return torch.cat([network.eval().features(image[None]) for image in inputs])


def test_every_image_is_predicted_in_evaluation_mode_the_last_batch_too(network, images):
    got = predict.predict(network.train(), images, CPU)
    logits = network.head(one_by_one(network)).detach()
    top = logits.topk(2).values
    clear = top[:, 0] - top[:, 1] > 1e-4
    assert got.shape == (COUNT,) and got.dtype == torch.int64
    assert clear.sum() > 0.99 * COUNT and torch.equal(got[clear], logits.argmax(1)[clear])
    assert len(got.unique()) > 1


def test_features_are_those_of_each_image_alone_and_change_nothing(network, images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    got = predict.features(network.train(), images, CPU)
    assert got.dtype == torch.float32 and not got.requires_grad
    assert torch.allclose(got, one_by_one(network), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_logits_keep_their_differences_and_the_predicted_class(network, images):
    got = predict.logits(network.train(), images, CPU)
    expected = network.head(one_by_one(network)).detach()
    assert got.dtype == torch.float16 and got.shape == expected.shape
    assert torch.allclose(got.float(), expected - expected.amax(1, keepdim=True), rtol=1e-3, atol=1e-4)
    assert torch.equal(got.argmax(1), predict.predict(network, images, CPU))


def test_logits_are_scaled_after_the_largest_is_subtracted(network, images):
    """So that what is not tied does not become so."""
    expected = network.eval().head(one_by_one(network)).detach()
    got = predict.logits(network, images, CPU, 30.0)
    assert torch.allclose(got.float(), 30 * (expected - expected.amax(1, keepdim=True)), rtol=1e-3, atol=1e-2)
    assert torch.equal(got.argmax(1), predict.predict(network, images, CPU))


def test_classes_that_float16_would_tie_stay_apart():
    """1000 and 1000.1 are one number in float16, and the first of equals would win."""

    class Fixed(torch.nn.Module):
        def forward(self, part):
            return torch.tensor([[1000.0, 1000.1, -7.0]]).expand(len(part), 3)

    batches = Batches(Images(PIXELS, np.zeros(COUNT, int), [], [0.5], [0.25]), np.arange(COUNT), CPU.device)
    assert torch.tensor([1000.0, 1000.1]).half().unique().numel() == 1
    assert predict.logits(Fixed(), batches, CPU).argmax(1).unique().tolist() == [1]


def test_confusion_has_true_classes_as_rows():
    matrix = predict.confusion(torch.tensor([0, 2, 2, 1, 2]), torch.tensor([0, 0, 0, 1, 1]), 3)
    assert matrix.tolist() == [[1, 0, 2], [0, 1, 1], [0, 0, 0]]


def test_prediction_can_be_stopped_between_batches(network, images):
    asked = []

    def check():
        asked.append(True)
        if len(asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict.predict(network, images, CPU, check)
    assert len(asked) == 2
