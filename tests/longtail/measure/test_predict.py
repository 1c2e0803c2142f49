"""Predictions and features of a whole division, one image at a time for comparison."""

import numpy as np
import pytest
import torch

from stages.longtail.compute import Compute
from stages.longtail.data.batches import Batches, Images
from stages.longtail.measure import predict
from stages.longtail.models import network as networks

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


@pytest.mark.parametrize(("k", "columns"), [(1, 1), (3, 3), (9, 6)])
def test_the_best_classes_come_in_the_order_of_their_logits_all_of_them_if_there_are_fewer(network, images, k, columns):
    best = predict.top(network.train(), images, CPU, k)
    logits = network.head(one_by_one(network)).detach()
    assert best.shape == (COUNT, columns) and best.dtype == torch.int64
    chosen = logits.gather(1, best)
    assert torch.allclose(chosen, logits.sort(1, descending=True).values[:, :columns], atol=1e-4)


def test_the_first_of_the_best_classes_is_the_predicted_one(network, images):
    assert torch.equal(predict.top(network, images, CPU)[:, 0], predict.predict(network, images, CPU))


def test_hits_are_averaged_over_classes_and_not_over_images():
    """Class 0: 1 of 4; class 1: 1 of 1."""
    hits, labels = torch.tensor([True, False, True, False, False]), torch.tensor([0, 0, 1, 0, 0])
    assert float(predict.class_mean(hits, labels, 2)) == 0.625


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
