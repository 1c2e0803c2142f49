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


def crop_flip(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window from each chosen image.

    padded: uint8 (n, height, width, channels); rows: int64 (b,), which images; draws: int64 (b, 3), top, left and flip.
    Returns uint8 (b, side, side, channels).
    """
    _, height, width, channels = padded.shape
    steps = torch.arange(side, device=padded.device)
    y = draws[:, 0, None] + steps
    x = draws[:, 1, None] + torch.where(draws[:, 2, None] == 1, side - 1 - steps, steps)
    flat = (rows[:, None] * height + y)[:, :, None] * width + x[:, None, :]
    return padded.view(-1, channels).index_select(0, flat.view(-1)).view(-1, side, side, channels)
