"""Random crops and horizontal flips of a whole batch at once, on the device; every image has a draw of its own."""

from __future__ import annotations

from typing import Literal, assert_never

import numpy as np
import torch


def pad(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Put `pixels` of zeros (black, before normalisation) around uint8 images (n, side, side, channels)."""
    return torch.nn.functional.pad(images, (0, 0, pixels, pixels, pixels, pixels))


def draw(
    kind: Literal["none", "crop", "crop_flip"],
    count: int,
    pixels: int,
    random: np.random.Generator,
    larger: int | np.ndarray = 0,
) -> np.ndarray:
    """Draw a window of fixed size, and whether to flip it, for each image.

    Args:
        kind: what is random; without a random crop the window is in the middle.
        count: number of images.
        pixels: padding on every side of the images.
        random: where the draws come from.
        larger: pixels by which the side of an image exceeds that of a window; or height and width, (count, 2).

    Returns:
        Top, left and flip (0 or 1), int64 (count, 3), for `crop_flip`.
    """
    draws = np.zeros((count, 3), np.int64)
    draws[:, :2] = pixels + larger // 2
    match kind:
        case "none":
            return draws
        case "crop" | "crop_flip":
            draws[:, :2] = random.integers(0, 2 * pixels + larger + 1, (count, 2))
        case _:
            assert_never(kind)
    if kind == "crop_flip":
        draws[:, 2] = random.integers(0, 2, count)
    return draws


def draw_resized(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw a window of random size and shape, and whether to flip it, for each image.

    The area is uniform from 0.08 to 1 of the image's, the ratio of width to height log-uniform from 3/4 to 4/3
    (Szegedy et al. 2015, as in torchvision's RandomResizedCrop). A window that does not fit is drawn again; after ten
    draws that do not fit the window is the middle of the image, as much of it as has such a ratio.

    Args:
        images: height and width of each image, int64 (n, 2).
        random: where the draws come from.

    Returns:
        Top, left, height, width and flip (0 or 1), int64 (n, 5), for `resized_crop_flip`.
    """
    count, low, high = len(images), 3 / 4, 4 / 3
    area = images.prod(1)[:, None] * random.uniform(0.08, 1, (count, 10))
    ratio = np.exp(random.uniform(np.log(low), np.log(high), (count, 10)))
    sizes = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], 2).round().astype(np.int64)
    fits = ((sizes > 0) & (sizes <= images[:, None])).all(2)
    drawn = fits.max(1)[:, None]
    middle = np.minimum(images, np.stack([images[:, 1] / low, images[:, 0] * high], 1).round().astype(np.int64))
    chosen = np.where(drawn, sizes[np.arange(count), fits.argmax(1)], middle)
    corner = np.where(drawn, random.integers(0, images - chosen + 1), (images - chosen) // 2)
    return np.concatenate([corner, chosen, random.integers(0, 2, (count, 1))], 1)


def rotate(draws: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Add quarter turns, int64 (b,), counterclockwise, to the draws (b, 3 or 5) as their last column."""
    return torch.cat([draws, turns[:, None]], 1)


def turn(pixels: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """uint8 (b, side, side, channels), turned counterclockwise by turns (b, 1) times 90 degrees."""
    turned = pixels
    for quarters in (1, 2, 3):
        turned = torch.where(turns[:, :, None, None] == quarters, pixels.rot90(quarters, (1, 2)), turned)
    return turned


def windows(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut with `crop_flip` or `resized_crop_flip`, whichever the number of the draws' columns says."""
    cut = crop_flip if draws.shape[1] < 5 else resized_crop_flip
    return cut(padded, rows, draws, side)


def crop_flip(padded: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window from each chosen image.

    Args:
        padded: uint8 (n, height, width, channels).
        rows: which images, int64 (b,).
        draws: top, left and flip, int64 (b, 3), or (b, 4) with quarter turns that follow the flip.
        side: of the windows, in pixels.

    Returns:
        uint8 (b, side, side, channels).
    """
    steps = torch.arange(side, device=padded.device)
    y = draws[:, 0, None] + steps
    x = draws[:, 1, None] + torch.where(draws[:, 2, None] == 1, side - 1 - steps, steps)
    down, across = _turned(y * padded.shape[2], x, draws[:, 3:])
    return _gather(padded, rows, down, across)


def resized_crop_flip(images: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, side: int) -> torch.Tensor:
    """Cut one window of its own size from each chosen image and resize it, bilinearly and without antialiasing.

    torchvision's resized_crop gives the same.

    Args:
        images: uint8 (n, height, width, channels).
        rows: which images, int64 (b,).
        draws: those of `draw_resized`, int64 (b, 5), or (b, 6) with quarter turns that follow.
        side: of the resized windows, in pixels.

    Returns:
        uint8 (b, side, side, channels).
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
    """For each resized pixel along one axis, the two source pixels on either side of it and the weight of each.

    Args:
        start, length: of the windows along the axis, int64 (b, 1).
        at: which resized pixels, int64 (side,) or (b, side).
        side: number of resized pixels.

    Returns:
        Two pairs of source positions, int64 (b, side), and weights, float (b, side).
    """
    source = ((at + 0.5) * (length / side) - 0.5).clamp(min=0)
    low = torch.minimum(source.long(), length - 1)
    high = torch.minimum(low + 1, length - 1)
    return [(start + low, 1 - (source - low)), (start + high, source - low)]


def _turned(down: torch.Tensor, across: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The offsets (b, side) along both axes that a window is read from after quarter turns (b, 1); (b, 0): no turns.

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
