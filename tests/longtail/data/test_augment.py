"""Augmentation against a plain NumPy pad, crop and flip on every image, and its draws by chi-square."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from stages.longtail.data import augment

SIDE, PAD = 6, 2


def pixels(count, channels=3, low=1):
    return np.random.default_rng(0).integers(low, 256, (count, SIDE, SIDE, channels), np.uint8)


def naive(image, top, left, flip):
    padded = np.zeros((SIDE + 2 * PAD, SIDE + 2 * PAD, image.shape[2]), np.uint8)
    padded[PAD : PAD + SIDE, PAD : PAD + SIDE] = image
    crop = padded[top : top + SIDE, left : left + SIDE]
    return crop[:, ::-1] if flip else crop


def crop_flip(images, rows, draws):
    padded = augment.pad(torch.from_numpy(images), PAD)
    return augment.crop_flip(padded, torch.tensor(rows), torch.tensor(draws), SIDE).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_crop_and_flip_is_the_plain_one(channels):
    images = pixels(7, channels)
    draws = list(itertools.product(range(2 * PAD + 1), range(2 * PAD + 1), (0, 1)))
    rows = [i % 7 for i in range(len(draws))]
    batch = crop_flip(images, rows, draws)
    assert batch.dtype == np.uint8 and batch.shape == (len(draws), SIDE, SIDE, channels)
    for result, row, draw in zip(batch, rows, draws, strict=True):
        assert (result == naive(images[row], *draw)).all(), draw


def test_padding_is_black_on_every_side_and_the_middle_is_the_image():
    images = pixels(2)
    padded = augment.pad(torch.from_numpy(images), PAD).numpy()
    assert padded.shape == (2, SIDE + 2 * PAD, SIDE + 2 * PAD, 3)
    assert (padded[:, PAD:-PAD, PAD:-PAD] == images).all()
    border = np.ones((SIDE + 2 * PAD, SIDE + 2 * PAD), bool)
    border[PAD:-PAD, PAD:-PAD] = False
    assert (padded[:, border] == 0).all()


def test_padding_of_nothing_changes_nothing():
    images = pixels(2)
    assert (augment.pad(torch.from_numpy(images), 0).numpy() == images).all()


def test_images_come_in_the_order_of_rows_repeated_ones_too():
    images = pixels(5)
    batch = crop_flip(images, [4, 0, 4], [(PAD, PAD, 0)] * 3)
    assert (batch == images[[4, 0, 4]]).all()


def test_draws_are_uniform_over_all_offsets_and_flips_together():
    """Offsets 0 to 2 * pad, both ends included, flips half of the time, and all three independent."""
    draws = augment.draw("crop_flip", 40_000, 4, np.random.default_rng(0))
    assert draws.dtype == np.int64 and draws.shape == (40_000, 3)
    cells = np.ravel_multi_index(tuple(draws.T), (9, 9, 2))  # raises if a draw is out of range
    assert chisquare(np.bincount(cells, minlength=162)).pvalue > 0.001


@pytest.mark.parametrize(("column", "values"), [(0, 9), (1, 9), (2, 2)])
def test_neighbouring_images_have_independent_draws(column, values):
    drawn = augment.draw("crop_flip", 20_000, 4, np.random.default_rng(1))[:, column]
    pairs = drawn[0::2] * values + drawn[1::2]
    assert chisquare(np.bincount(pairs, minlength=values**2)).pvalue > 0.001


def test_crop_alone_never_flips_and_none_takes_the_middle():
    crop = augment.draw("crop", 500, 4, np.random.default_rng(0))
    assert (crop[:, 2] == 0).all() and len(np.unique(crop[:, 0])) == len(np.unique(crop[:, 1])) == 9
    assert (augment.draw("none", 500, 4, np.random.default_rng(0)) == [4, 4, 0]).all()


def test_the_same_generator_state_gives_the_same_draws():
    first, second, other = (augment.draw("crop_flip", 50, 4, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == second).all() and (first != other).any()


# A window of each offset and flip, turned by each number of quarter turns.
TURNED = list(itertools.product(range(2 * PAD + 1), range(2 * PAD + 1), (0, 1), range(4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_turned_window_is_the_plain_one_turned_counterclockwise(channels):
    images = pixels(7, channels)
    rows = [i % 7 for i in range(len(TURNED))]
    batch = crop_flip(images, rows, TURNED)
    assert batch.dtype == np.uint8 and batch.shape == (len(TURNED), SIDE, SIDE, channels)
    for result, row, (*draw, turns) in zip(batch, rows, TURNED, strict=True):
        assert (result == np.rot90(naive(images[row], *draw), turns)).all(), (draw, turns)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("turns", range(4))
def test_turning_is_rot90_of_the_window_exactly_for_any_type_and_images_that_are_no_squares(dtype, turns):
    random = torch.Generator().manual_seed(turns)
    images = (torch.rand((5, 9, 12, 3), generator=random) * 256).to(dtype)
    rows = torch.tensor([4, 0, 3, 3, 1, 2, 0, 4])
    draws = torch.tensor([(top, left, flip) for top in (0, 3) for left in (1, 6) for flip in (0, 1)])
    windows = torch.stack(
        [
            images[row, top : top + SIDE, left : left + SIDE].flip([1] * flip)
            for row, (top, left, flip) in zip(rows, draws.tolist(), strict=True)
        ]
    )
    turned = augment.crop_flip(images, rows, augment.rotate(draws, torch.full((8,), turns)), SIDE)
    assert turned.dtype == dtype and turned.shape == (8, SIDE, SIDE, 3)
    assert torch.equal(turned, torch.rot90(windows, turns, (1, 2)))


def test_a_quarter_turn_brings_the_right_edge_to_the_top():
    image = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1)
    turned = augment.crop_flip(image, torch.tensor([0]), torch.tensor([[0, 0, 0, 1]]), 3)
    assert turned.view(3, 3).tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]


def test_rotate_adds_the_turns_to_the_draws():
    draws = torch.tensor([[3, 1, 0], [0, 2, 1]])
    rotated = augment.rotate(draws, torch.tensor([2, 3]))
    assert rotated.dtype == torch.int64 and rotated.tolist() == [[3, 1, 0, 2], [0, 2, 1, 3]]


def resized(images, draws, side):
    rows = torch.arange(len(draws)) % len(images)
    return augment.windows(torch.from_numpy(images), rows, torch.as_tensor(draws), side)


def big(count=5, side=40):
    """Smooth images, as photographs are, and the noise of `pixels`."""
    y, x = np.mgrid[:side, :side]
    waves = [127 + 120 * np.sin(x / (3 + i) + y / 7 + i)[..., None] * np.ones(3) for i in range(count)]
    return (np.stack(waves) + np.random.default_rng(0).integers(-7, 8, (count, side, side, 3))).astype(np.uint8)


@pytest.mark.parametrize("side", [16, 28])
def test_resized_crops_are_torchvisions(side):
    """Windows that grow, shrink and stay; at every border; each flipped, too."""
    windows = [(0, 0, 40, 40), (3, 5, 11, 14), (0, 29, 12, 11), (28, 0, 12, 12), (6, 6, 28, 28), (10, 2, 30, 27)]
    images = big()
    draws = [(*window, flip) for window in windows for flip in (0, 1)]
    batch = resized(images, draws, side)
    assert batch.dtype == torch.uint8 and batch.shape == (len(draws), side, side, 3)
    for number, (top, left, height, width, flip) in enumerate(draws):
        image = torch.from_numpy(images[number % 5]).permute(2, 0, 1)
        expected = resized_crop(image, top, left, height, width, [side, side], antialias=False)
        expected = expected.flip(2) if flip else expected
        difference = (batch[number].permute(2, 0, 1).int() - expected.int()).abs()
        assert difference.max() <= 1 and difference.float().mean() < 0.01  # ties of rounding


def test_turned_resized_crops_are_the_resized_crops_turned():
    images, random = big(), np.random.default_rng(0)
    draws = torch.from_numpy(augment.draw_resized(np.full((40, 2), 40), random))
    upright = resized(images, draws, 12)
    turns = torch.arange(40) % 4
    turned = resized(images, augment.rotate(draws, turns), 12)
    for before, after, turn in zip(upright, turned, turns.tolist(), strict=True):
        assert torch.equal(after, before.rot90(turn, (0, 1)))


def test_resized_windows_lie_in_the_image_with_areas_and_ratios_in_range():
    draws = augment.draw_resized(np.full((20_000, 2), 256), np.random.default_rng(0))
    assert draws.dtype == np.int64 and draws.shape == (20_000, 5)
    top, left, height, width, flip = draws.T
    assert min(top.min(), left.min()) == 0 and max((top + height).max(), (left + width).max()) == 256
    area, ratio = height * width / 256**2, width / height
    assert 0.078 < area.min() < 0.085 and 0.99 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.755 and 1.325 < ratio.max() < 1.35
    assert flip.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("high", "wide"), [(256, 256), (375, 500), (300, 100)])
def test_resized_windows_are_distributed_as_torchvisions(high, wide):
    mine = augment.draw_resized(np.full((4000, 2), (high, wide)), np.random.default_rng(0))[:, :4].T
    image = torch.empty(3, high, wide)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]).T
    for top, left, height, width in (mine, theirs):
        assert (top + height).max() == high and (left + width).max() == wide
    for first, second in zip((*mine, mine[2] * mine[3]), (*theirs, theirs[2] * theirs[3]), strict=True):
        assert ks_2samp(first, second).pvalue > 0.001
    assert ks_2samp(mine[3] / mine[2], theirs[3] / theirs[2]).pvalue > 0.001


def test_a_window_that_never_fits_is_the_whole_image_or_its_middle():
    class Largest:
        def uniform(self, low, high, size):
            return np.full(size, high)

        def integers(self, low, high, size=None):
            return np.zeros(np.shape(high) if size is None else size, np.int64)

    assert (augment.draw_resized(np.full((3, 2), 40), Largest()) == [0, 0, 40, 40, 0]).all()
    # Of images that are longer or higher than 4 to 3 it is the middle, as torchvision has it.
    long = augment.draw_resized(np.array([[30, 90], [90, 30]]), Largest())
    assert long.tolist() == [[0, 25, 30, 40, 0], [25, 0, 40, 30, 0]]


def test_neighbouring_resized_windows_are_independent():
    area = np.prod(augment.draw_resized(np.full((20_000, 2), 256), np.random.default_rng(0))[:, 2:4], 1)
    assert abs(np.corrcoef(area[0::2], area[1::2])[0, 1]) < 0.03


def test_windows_smaller_than_the_image_come_from_everywhere_and_from_the_middle_without_a_crop():
    draws = augment.draw("crop", 5000, 1, np.random.default_rng(0), larger=3)
    assert chisquare(np.bincount(draws[:, 0] * 6 + draws[:, 1], minlength=36)).pvalue > 0.001
    assert (augment.draw("none", 9, 1, np.random.default_rng(0), larger=4) == [3, 3, 0]).all()
