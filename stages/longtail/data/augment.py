"""Random crop and horizontal flip, a whole batch at once on the device, each image with its own draw."""

from __future__ import annotations

import numpy as np
import torch


def pad(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Surround uint8 (n, side, side, channels) with `pixels` of zeros (black, before normalisation) on every side."""
    return torch.nn.functional.pad(images, (0, 0, pixels, pixels, pixels, pixels))


def draw(kind: str, count: int, pixels: int, random: np.random.Generator) -> np.ndarray:
    """Top, left and flip of `count` images, int64 (count, 3). kind: none, crop or crop_flip."""
    draws = np.zeros((count, 3), np.int64)
    draws[:, :2] = pixels
    if kind != "none":
        draws[:, :2] = random.integers(0, 2 * pixels + 1, (count, 2))
    if kind == "crop_flip":
        draws[:, 2] = random.integers(0, 2, count)
    return draws


def rotate(draws: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """The same windows turned counterclockwise by turns (b,) times 90 degrees: int64 (b, 4), for crop_flip."""
    return torch.cat([draws, turns[:, None]], 1)


def crop_flip(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window from each chosen image.

    padded: uint8 (n, height, width, channels); rows: int64 (b,), which images; draws: int64 (b, 3), top, left and flip,
    or (b, 4) with the quarter turns that follow. Returns uint8 (b, side, side, channels).
    """
    _, height, width, channels = padded.shape
    steps = torch.arange(side, device=padded.device)
    y = draws[:, 0, None] + steps
    x = draws[:, 1, None] + torch.where(draws[:, 2, None] == 1, side - 1 - steps, steps)
    down, across = y * width, x
    if draws.shape[1] == 4:
        # Turned once, row i of the window is its column side - 1 - i, read from the top; twice, row side - 1 - i read
        # from the right; three times, column i read from the bottom.
        turns = draws[:, 3, None]
        odd = turns % 2 == 1
        rows_of = torch.where(odd, x, down)
        columns_of = torch.where(odd, down, x)
        down = torch.where((turns == 1) | (turns == 2), rows_of.flip(1), rows_of)
        across = torch.where(turns >= 2, columns_of.flip(1), columns_of)
    flat = (rows[:, None] * height * width + down)[:, :, None] + across[:, None, :]
    return padded.view(-1, channels).index_select(0, flat.view(-1)).view(-1, side, side, channels)
