"""Image files in class folders, as squares of one size, decoded when they are asked for: never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from stages.longtail.console.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TOGETHER = 256  # images decoded before the first of them is handed on: work for every core, little memory


@dataclass(frozen=True)
class Pictures:
    """Iterates over uint8 (side, side, 3), one for each file. Raises UserError with the path of a file that is none.

    whole: the image is squeezed into the square; otherwise its shorter side is resized to `side` and the middle kept,
    which is what torchvision's Resize and CenterCrop, the usual preparation of test images, make of it.
    """

    files: list[Path]
    side: int
    whole: bool
    name: str  # train or test, for the progress bar

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), self.side, self.side, 3

    def __iter__(self) -> Iterator[np.ndarray]:
        with (
            ThreadPoolExecutor() as pool,
            tqdm(total=len(self.files), desc=f"reading {self.name}", unit="image", disable=None) as bar,
        ):
            for start in range(0, len(self.files), TOGETHER):
                for image in list(pool.map(self._read, self.files[start : start + TOGETHER])):
                    bar.update()
                    yield image

    def _read(self, path: Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(path) as image:
                deep = image.mode.startswith("I;16")  # 16-bit grey, which convert would cut off at 255
                eight = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if deep else image
                return np.asarray(self._square(eight.convert("RGB")))
        except PermissionError:
            raise
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} is not a readable image ({error}): repair it or remove it") from error

    def _square(self, image: Image.Image) -> Image.Image:
        from PIL import Image

        side, (width, height) = self.side, image.size
        if self.whole:
            return image.resize((side, side), Image.Resampling.BILINEAR)
        short = min(width, height)
        width, height = side * width // short, side * height // short
        left, top = round((width - side) / 2), round((height - side) / 2)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + side, top + side))


def classes(root: Path) -> list[str]:
    """The sorted names of the folders in root/train. Raises UserError if those in root/test are others."""
    names = {d: sorted(p.name for p in (root / d).glob("*") if p.is_dir()) for d in ("train", "test")}
    if not names["train"]:
        raise UserError(f"{root / 'train'} has no class folders: images belong in train/<class>/ and test/<class>/")
    for name in sorted(set(names["train"]) ^ set(names["test"])):
        where = "test" if name in names["train"] else "train"
        raise UserError(f"class '{name}' has no {where} image: put some in {root / where / name}")
    return names["train"]


def pictures(folder: Path, classes: list[str], side: int, whole: bool) -> tuple[Pictures, np.ndarray]:
    """The images of the classes' folders, by class and file name, and their labels, int64 (n,).

    Raises UserError if a class has none.
    """
    files: list[Path] = []
    counts = []
    for name in classes:
        mine = [path for path in sorted((folder / name).iterdir()) if path.suffix.lower() in SUFFIXES]
        if not mine:
            raise UserError(f"class '{name}' has no {folder.name} image: put some in {folder / name}")
        files += mine
        counts.append(len(mine))
    return Pictures(files, side, whole, folder.name), np.repeat(np.arange(len(classes), dtype=np.int64), counts)
