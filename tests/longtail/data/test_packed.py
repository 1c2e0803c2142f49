"""Batches of a pack against torchvision's transforms of the same files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2 as transforms
from torchvision.transforms.v2 import functional

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment, packed
from stages.longtail.data.batches import Images
from stages.longtail.packing.packs import Pack
from stages.longtail.sources.originals import Originals

CPU = torch.device("cpu")
SIZES = [(40, 30), (30, 40), (41, 30), (64, 23), (24, 24), (16, 20)]  # width and height
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Six photograph-like JPEGs, their pixels as torchvision sees them, and the pack of them."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        small = random.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    paths = [folder / f"{number}.jpg" for number in range(6)]
    Originals(paths, "train").pack(folder / "train_images.npy")
    return [functional.pil_to_tensor(Image.open(path)) for path in paths], Pack(folder / "train_images.npy")


def of(pack, rows=range(6), size=24, crop=None):
    return packed.batches(Images(pack, LABELS, [], [0.0] * 3, [1.0] * 3, size), np.array(rows), CPU, crop=crop)


def levels(batch):
    """float32 (b, 3, side, side) of 0 to 1 back to levels of 0 to 255."""
    return (255 * batch).round().int()


@pytest.mark.parametrize(("size", "crop"), [(24, None), (24, 16), (31, 24)])
def test_testing_sees_what_torchvisions_usual_preparation_gives(stored, size, crop):
    pixels, pack = stored
    prepare = transforms.Compose([transforms.Resize(size, antialias=True), transforms.CenterCrop(crop or size)])
    got = levels(of(pack, size=size, crop=crop).plain(0, 9))
    assert got.shape == (6, 3, crop or size, crop or size)
    for mine, image in zip(got, pixels, strict=True):
        assert (mine - prepare(image).int()).abs().max() <= 1


def test_training_windows_are_torchvisions_resized_crops_of_the_whole_image(stored):
    pixels, pack = stored
    images = of(pack, [3, 0, 4], crop=16)
    order = np.arange(300) % 3
    draws = images.draw("resized_crop_flip", order, np.random.default_rng(0))
    heights, widths = pack.sizes[np.array([3, 0, 4])[order]].T
    assert (draws[:, :2] >= 0).all() and (draws[:, 0] + draws[:, 2] <= heights).all()
    assert (draws[:, 1] + draws[:, 3] <= widths).all() and (draws[order == 0, 1] + draws[order == 0, 3]).max() > 60
    got = levels(images.training(torch.from_numpy(order[:60]), torch.from_numpy(draws[:60])))
    for mine, position, (top, left, height, width, flip) in zip(got, order, draws.tolist(), strict=False):
        image = pixels[[3, 0, 4][position]]
        expected = functional.resized_crop(image, top, left, height, width, [16, 16], antialias=True)
        expected = functional.horizontal_flip(expected) if flip else expected
        assert (mine - expected.int()).abs().max() <= 1
    assert set(draws[:, 4].tolist()) == {0, 1}


def test_plain_crops_are_cut_from_the_resized_image_anywhere(stored):
    pixels, pack = stored
    images = of(pack, [0], crop=20)
    draws = images.draw("crop_flip", np.zeros(900, int), np.random.default_rng(0))
    assert draws.min(0).tolist() == [0, 0, 0] and draws.max(0).tolist() == [4, 12, 1]  # of 24 by 32
    (got,) = levels(images.training(torch.tensor([0]), torch.tensor([[3, 11, 0]])))
    expected = functional.resize(pixels[0], [24], antialias=True)[:, 3:23, 11:31]
    assert (got - expected.int()).abs().max() <= 1
    middle = images.draw("none", np.zeros(1, int), np.random.default_rng(0))
    assert torch.equal(images.training(torch.tensor([0]), torch.from_numpy(middle)), images.plain(0, 1))


@pytest.mark.parametrize("kind", ["crop_flip", "resized_crop_flip"])
def test_turned_windows_are_the_windows_turned(stored, kind):
    images = of(stored[1], crop=16)
    order = np.arange(6)
    draws = torch.from_numpy(images.draw(kind, order, np.random.default_rng(0)))
    upright = images.training(torch.from_numpy(order), draws)
    turns = torch.tensor([0, 1, 2, 3, 1, 2])
    turned = images.training(torch.from_numpy(order), augment.rotate(draws, turns))
    for before, after, turn in zip(upright, turned, turns.tolist(), strict=True):
        assert torch.equal(after, before.rot90(turn, (1, 2)))


def test_some_images_alone_are_those_images(stored):
    images = of(stored[1], [5, 3, 1], crop=16)
    part = images.only(np.array([2, 0]))
    assert part.labels.tolist() == [1, 2]
    assert torch.equal(part.plain(0, 2), images.plain(0, 3)[[2, 0]])
    assert torch.equal(torch.cat(list(images.parts(2))), images.plain(0, 3)) and not images.resident


def test_what_a_pack_cannot_do_is_refused(stored):
    with pytest.raises(UserError, match=r"protocol\.pad is 4"):
        packed.batches(Images(stored[1], LABELS, [], [0.0] * 3, [1.0] * 3, 24), np.arange(6), CPU, pad=4)
    with pytest.raises(UserError, match=r"protocol\.crop is 25"):
        of(stored[1], crop=25)


def test_an_image_that_is_damaged_after_it_was_packed_is_one_line(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    Originals([tmp_path / "a.jpg"], "train").pack(tmp_path / "train_images.npy")
    content = bytearray((tmp_path / "train_images.npy").read_bytes())
    content[128:140] = bytes(12)
    (tmp_path / "train_images.npy").write_bytes(content)
    images = of(Pack(tmp_path / "train_images.npy"), [0])
    with pytest.raises(UserError, match=r"image 0 of .*train_images\.npy cannot be decoded"):
        images.plain(0, 1)
