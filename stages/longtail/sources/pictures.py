"""Image files as squares of one size, decoded one after the other, so that memory never holds them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tqdm import tqdm

from stages.longtail.console.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

# Pillow's readers of photograph formats that have a signature. Its other readers are not used: some take any bytes for
# an image (TGA, PCX), some run another program (EPS).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 274, 258, 262, 339  # EXIF and TIFF tags
UNSIGNED, UNDEFINED, WHITE_IS_ZERO = 1, 4, 0  # values of the last two
TOGETHER = 256  # images decoded at a time: enough work for every core, and little memory

ImageT = TypeVar("ImageT")


@dataclass(frozen=True)
class Pictures:
    """Iterates over images, uint8 (side, side, 3), one per file. Raises UserError with the path of an unreadable file.

    whole: squeeze the whole image into the square. Otherwise its shorter side is resized to `side` and the middle is
    kept, as torchvision's Resize and CenterCrop do, the usual preparation of test images.
    """

    files: Sequence[Path]
    side: int
    whole: bool
    name: str  # train or test, for the progress bar

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), self.side, self.side, 3

    def __iter__(self) -> Iterator[np.ndarray]:
        return in_order(self.read, self.files, f"reading {self.name}")

    def read(self, path: Path) -> np.ndarray:
        from PIL import Image

        with naming(path), Image.open(path, formats=FORMATS) as image:
            image.load()
            return np.asarray(self._square(eight_bits(image).convert("RGB")))

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


def in_order(read: Callable[[Path], ImageT], files: Sequence[Path], doing: str, first: int = 0) -> Iterator[ImageT]:
    """What `read` makes of each file from number `first` on, in order; the work of all cores, with a progress bar.

    Args:
        read: decodes one file.
        files: all files.
        doing: what the progress bar says.
        first: how many files are done already.
    """
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(files), initial=first, desc=doing, unit="image", disable=None) as bar,
    ):
        for start in range(first, len(files), TOGETHER):
            for image in list(pool.map(read, files[start : start + TOGETHER])):
                bar.update()
                yield image


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever is wrong with the content of an image file becomes a UserError with its path."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:  # damaged content makes Pillow's readers fail in every way there is
        raise UserError(
            f"{path} is not a readable image ({error or type(error).__name__}): repair it or remove it"
        ) from error


def is_image(path: Path) -> bool:
    """Whether the file's name or its first bytes say that it is an image. If only its name does, it is damaged.

    Raises PermissionError.
    """
    from PIL import Image

    Image.init()
    if Image.EXTENSION.get(path.suffix.lower()) in FORMATS:
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except PermissionError:
        raise
    except Exception:  # as in `naming`
        return False


def eight_bits(image: Image.Image) -> Image.Image:
    """The image upright, and 16-bit grey scaled to 8 bits, which Pillow's `convert` would cut off at 255.

    Raises ValueError for samples that do not say which number is white: signed, 32-bit and floating-point ones.
    """
    from PIL import Image

    kind, mode = image.format, image.mode
    tags = dict(image.tag_v2) if hasattr(image, "tag_v2") else {}
    samples = tags.get(SAMPLE_FORMAT, UNSIGNED)
    signed = set(samples if isinstance(samples, tuple) else (samples,)) - {UNSIGNED, UNDEFINED}
    bits = 16
    if mode.startswith("I;16"):
        bits = min(bits, *np.atleast_1d(tags.get(BITS, bits)))  # 12 in some TIFF files
    elif signed or mode == "F" or (mode == "I" and kind != "PPM"):  # "I" of a PGM file has 16 bits
        raise ValueError("its samples are signed, 32-bit or floating-point: save it with 8 or 16 unsigned bits")
    image = _upright(image)
    if not mode.startswith("I"):
        return image
    grey = np.asarray(image) >> (bits - 8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow turns 8 bits over, but not 16
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1: upright. Damaged EXIF data say nothing."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels are there: only metadata can fail here
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, as viewers show it."""
    from PIL import ImageOps

    return image if orientation(image) == 1 else ImageOps.exif_transpose(image)
