"""Random crops and horizontal flips, a whole batch at once on the device, each image with its own draw."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch


def pad(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Surround uint8 (n, side, side, channels) with `pixels` of zeros (black, before normalisation) on every side."""
    return torch.nn.functional.pad(images, (0, 0, pixels, pixels, pixels, pixels))


def draw(
    kind: Literal["none", "crop", "crop_flip"],
    count: int,
    pixels: int,
    random: np.random.Generator,
    larger: int = 0,
) -> np.ndarray:
    """Top, left and flip of `count` images, int64 (count, 3).

    pixels: of padding on every side; larger: pixels by which the image's side exceeds the window's.
    """
    draws = np.zeros((count, 3), np.int64)
    draws[:, :2] = pixels + larger // 2
    if kind != "none":
        draws[:, :2] = random.integers(0, 2 * pixels + larger + 1, (count, 2))
    if kind == "crop_flip":
        draws[:, 2] = random.integers(0, 2, count)
    return draws


def draw_resized(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Top, left, height, width and flip of `count` windows of square images, int64 (count, 5).

    Areas are uniform in 0.08 to 1 of the image's, ratios of width to height log-uniform in 3/4 to 4/3 (Szegedy et al.
    2015, as torchvision's RandomResizedCrop has it). A window that does not fit is drawn again; after ten, it is all
    of the image.
    """
    area = side**2 * random.uniform(0.08, 1, (count, 10))
    ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), (count, 10)))
    sizes = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], 2).round().astype(np.int64)
    fits = sizes.max(2) <= side
    chosen = np.where(fits.max(1)[:, None], sizes[np.arange(count), fits.argmax(1)], side)
    corner = random.integers(0, side - chosen + 1)
    return np.concatenate([corner, chosen, random.integers(0, 2, (count, 1))], 1)


def rotate(draws: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """The same windows turned counterclockwise by turns (b,) times 90 degrees: one more column, for `windows`."""
    return torch.cat([draws, turns[:, None]], 1)


def windows(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """One window from each chosen image, by the draws' columns those of `crop_flip` or of `resized_crop_flip`."""
    cut = crop_flip if draws.shape[1] < 5 else resized_crop_flip
    return cut(padded, rows, draws, side)


def crop_flip(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window from each chosen image.

    padded: uint8 (n, height, width, channels); rows: int64 (b,), which images; draws: int64 (b, 3), top, left and flip,
    or (b, 4) with the quarter turns that follow. Returns uint8 (b, side, side, channels).
    """
    steps = torch.arange(side, device=padded.device)
    y = draws[:, 0, None] + steps
    x = draws[:, 1, None] + torch.where(draws[:, 2, None] == 1, side - 1 - steps, steps)
    down, across = _turned(y * padded.shape[2], x, draws[:, 3:])
    return _gather(padded, rows, down, across)


def resized_crop_flip(images: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window of its own size from each chosen image and resize it, bilinearly and without antialiasing.

    images: uint8 (n, height, width, channels); rows: int64 (b,); draws: int64 (b, 5), see draw_resized, or (b, 6) with
    the quarter turns that follow. Returns uint8 (b, side, side, channels): what torchvision's resized_crop gives.
    """
    steps = torch.arange(side, device=images.device)
    columns = torch.where(draws[:, 4, None] == 1, side - 1 - steps, steps)
    total = torch.zeros((), device=images.device)
    for y, y_share in _neighbours(draws[:, 0, None], draws[:, 2, None], steps, side):
        for x, x_share in _neighbours(draws[:, 1, None], draws[:, 3, None], columns, side):
            down, across = _turned(y * images.shape[2], x, draws[:, 5:])
            down_share, across_share = _turned(y_share, x_share, draws[:, 5:])
            share = down_share[:, :, None] * across_share[:, None, :]
            total = total + _gather(images, rows, down, across) * share[..., None]
    return total.round().to(torch.uint8)


def _neighbours(
    start: torch.Tensor, length: torch.Tensor, at: torch.Tensor, side: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The two pixels between which each of `side` resized ones lies, and the share of each, all (b, side).

    start, length: of the windows, int64 (b, 1); at: which of the resized pixels, int64 (side,) or (b, side).
    """
    source = ((at + 0.5) * (length / side) - 0.5).clamp(min=0)
    low = torch.minimum(source.long(), length - 1)
    high = torch.minimum(low + 1, length - 1)
    return [(start + low, 1 - (source - low)), (start + high, source - low)]


def _turned(down: torch.Tensor, across: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the rows and the columns of a window are read from, (b, side) each, after quarter turns (b, 1) or (b, 0).

    Turned once, row i of the window is its column side - 1 - i, read from the top; twice, row side - 1 - i read from
    the right; three times, column i read from the bottom.
    """
    if not turns.shape[1]:
        return down, across
    odd = turns % 2 == 1
    rows, columns = torch.where(odd, across, down), torch.where(odd, down, across)
    return (
        torch.where((turns == 1) | (turns == 2), rows.flip(1), rows),
        torch.where(turns >= 2, columns.flip(1), columns),
    )


def _gather(images: torch.Tensor, rows: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """The pixels of images[rows] at offsets down + across, uint8 (b, side, side, channels)."""
    _, height, width, channels = images.shape
    flat = (rows[:, None] * height * width + down)[:, :, None] + across[:, None, :]
    return images.view(-1, channels).index_select(0, flat.view(-1)).view(*flat.shape, channels)
