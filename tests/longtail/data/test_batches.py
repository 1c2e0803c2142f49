"""Batches against plain NumPy, and the reading of a division."""

import hashlib

import numpy as np
import pytest
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches, Images, read_division
from stages.longtail.files.artifacts import write_array, write_json
from stages.longtail.runtime import devices

MEAN, STD = [0.5, 0.25, 0.125], [0.2, 0.3, 0.4]
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
CPU = torch.device("cpu")


def batches(rows, pad=0, crop=None):
    return Batches(Images(PIXELS, LABELS, "", MEAN, STD), np.array(rows), CPU, pad, crop)


def normalised(pixels):
    """(n, side, side, 3) uint8 to (n, 3, side, side), the way torchvision does it, in float64."""
    return ((pixels / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)


def test_plain_is_normalised_as_numpy_does_it_and_float32():
    got = batches(range(9)).plain(2, 5)
    assert got.dtype == torch.float32 and got.shape == (3, 3, 4, 4)
    assert got.numpy() == pytest.approx(normalised(PIXELS[2:5]), abs=1e-5)


def test_plain_leaves_the_padding_out_and_ends_with_the_smaller_batch():
    got = batches(range(9), pad=2).plain(7, 12)
    assert got.numpy() == pytest.approx(normalised(PIXELS[7:]), abs=1e-5)


def test_positions_count_within_the_chosen_rows():
    subset = batches([8, 3, 5], pad=1)
    assert len(subset) == 3
    assert subset.labels.tolist() == subset.labels_host.tolist() == [2, 0, 2]
    assert subset.plain(0, 3).numpy() == pytest.approx(normalised(PIXELS[[8, 3, 5]]), abs=1e-5)
    middle = torch.tensor([[1, 1, 0], [1, 1, 0]])
    assert subset.training(torch.tensor([2, 0]), middle).numpy() == pytest.approx(normalised(PIXELS[[5, 8]]), abs=1e-5)


def test_training_crops_and_flips_before_it_normalises():
    """The padding is black pixels, as in common code, and not zeros of the normalised image."""
    got = batches(range(9), pad=1).training(torch.tensor([4]), torch.tensor([[0, 2, 1]]))
    padded = np.pad(PIXELS[4], ((1, 1), (1, 1), (0, 0)))
    assert got.numpy() == pytest.approx(normalised(padded[None, 0:4, 2:6][:, :, ::-1]), abs=1e-5)
    black = -np.array(MEAN) / np.array(STD)
    assert got[0, :, 0, 0].numpy() == pytest.approx(black, abs=1e-5)


@pytest.mark.parametrize("kind", ["plain", "training"])
def test_batches_are_channels_last(kind):
    images = batches(range(9), pad=1)
    got = images.plain(0, 4) if kind == "plain" else images.training(torch.arange(4), torch.ones(4, 3).long())
    assert got.is_contiguous(memory_format=torch.channels_last) and not got.is_contiguous()


def test_normalising_leaves_the_stored_pixels_alone():
    images = batches(range(9))
    first = images.plain(0, 9).clone()
    assert torch.equal(images.plain(0, 9), first)


def test_a_crop_hands_out_the_middle_and_trains_on_any_window():
    images = batches([8, 3, 5], pad=1, crop=2)
    assert images.side == 2
    assert images.plain(0, 3).numpy() == pytest.approx(normalised(PIXELS[[8, 3, 5], 1:3, 1:3]), abs=1e-5)
    draws = images.draw("crop_flip", np.zeros(4000, int), np.random.default_rng(0))
    assert draws.min(0).tolist() == [0, 0, 0] and draws.max(0).tolist() == [4, 4, 1]  # 4 + 2 * 1 - 2
    corner = images.training(torch.tensor([1]), torch.tensor([[3, 1, 0]]))
    assert corner.numpy() == pytest.approx(normalised(PIXELS[[3], 2:4, 0:2]), abs=1e-5)


def test_resized_windows_are_drawn_from_the_stored_image_and_given_the_side_of_the_crop():
    images = batches(range(9), crop=3)
    draws = images.draw("resized_crop_flip", np.zeros(500, int), np.random.default_rng(0))
    assert draws.shape == (500, 5) and (draws[:, 0] + draws[:, 2]).max() == 4
    whole = torch.tensor([[0, 0, 4, 4, 0], [1, 1, 3, 3, 1]])
    got = images.training(torch.tensor([0, 1]), whole)
    assert got.shape == (2, 3, 3, 3)
    assert got[1].numpy() == pytest.approx(normalised(PIXELS[[1], 1:, 1:][:, :, ::-1])[0], abs=1e-5)


def test_a_crop_larger_than_the_images_is_refused():
    with pytest.raises(UserError, match=r"protocol\.crop is 5, but images are stored with 4 pixels"):
        batches([0], crop=5)


def test_images_reach_the_device_in_parts_and_in_order(monkeypatch):
    monkeypatch.setattr("stages.longtail.data.batches.UPLOAD", 2)
    got = batches([8, 3, 5, 0, 1], pad=1).plain(0, 5)
    assert got.numpy() == pytest.approx(normalised(PIXELS[[8, 3, 5, 0, 1]]), abs=1e-5)


def write_division(folder, images, labels):
    write_array(folder / "train_images.npy", images)
    write_array(folder / "train_labels.npy", labels)
    digests = [hashlib.sha256((folder / f"train_{kind}.npy").read_bytes()).hexdigest() for kind in ("images", "labels")]
    write_json(folder / "meta.json", {"classes": [], "digest": {"train": digests}, "mean": MEAN, "std": STD})


def test_read_division_gives_back_what_was_written(tmp_path):
    write_division(tmp_path, PIXELS, LABELS)
    division = read_division(tmp_path, "train")
    assert (division.images == PIXELS).all() and (division.labels == LABELS).all()
    assert (len(division.digest), division.mean, division.std) == (2, MEAN, STD)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_an_array_that_is_not_the_described_one_is_refused(tmp_path, kind):
    write_division(tmp_path, PIXELS, LABELS)
    path = tmp_path / f"train_{kind}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"train_{kind}\.npy is not what .* describes"):
        read_division(tmp_path, "train")


@pytest.mark.parametrize("crop", [None, 2])
def test_streamed_batches_are_the_resident_ones(monkeypatch, capsys, crop):
    rows, draws = torch.tensor([2, 0, 1, 2]), torch.tensor([[0, 2, 1], [1, 1, 0], [2, 0, 1], [0, 0, 0]])
    resident = batches([8, 3, 5], pad=1, crop=crop)
    monkeypatch.setattr(devices, "free_memory", lambda device: 0)
    streamed = batches([8, 3, 5], pad=1, crop=crop)
    assert resident.resident and not streamed.resident and "do not fit in memory" in capsys.readouterr().out
    monkeypatch.undo()
    later = batches([8, 3, 5], pad=1, crop=crop)
    later.stream()
    for ours in (streamed, later):
        assert not ours.resident
        assert torch.equal(ours.training(rows, draws), resident.training(rows, draws))
        assert torch.equal(ours.plain(1, 5), resident.plain(1, 5))
        assert torch.equal(ours.labels, resident.labels)


def test_half_of_the_free_memory_may_be_filled(monkeypatch):
    monkeypatch.setattr(devices, "free_memory", lambda device: 100)
    assert devices.fits(50, CPU) and not devices.fits(51, CPU)
    monkeypatch.setattr(devices, "free_memory", lambda device: None)
    assert devices.fits(10**15, CPU), "where the system does not tell"
    monkeypatch.undo()
    assert 2**20 < devices.free_memory(CPU) < 2**50
