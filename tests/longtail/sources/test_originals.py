"""Image files as they are: which are kept, which written anew, and an unreadable one by its name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.longtail.console.errors import UserError
from stages.longtail.data import decoding
from stages.longtail.packing.packs import Pack
from stages.longtail.sources import originals, pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8).repeat(4, 0).repeat(4, 1)
EXIF = Image.Exif()
EXIF[274] = 6  # to be turned clockwise


def save(path: Path, image: Image.Image, kind: str, **options: object) -> bytes:
    image.save(path, kind, **options)
    return path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": EXIF}], ids=["plain", "progressive", "turned"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_kept_to_the_byte_and_decoded_as_pillow_does(mode: str, options: dict, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = save(path, Image.fromarray(PIXELS).convert(mode), "JPEG", **options)
    image = originals.read(path)
    assert image.content == content
    assert (image.height, image.width) == ((36, 24) if "exif" in options else (24, 36))
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert("RGB"))
    expected = np.rot90(expected, -1) if "exif" in options else expected
    decoded = decoding.decode(content).permute(1, 2, 0).numpy()
    assert np.abs(decoded.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("P", "GIF"), ("RGB", "WEBP")])
def test_another_image_is_packed_as_png_with_its_pixels(mode: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    save(path, Image.fromarray(PIXELS).convert(mode), kind)
    image = originals.read(path)
    with Image.open(io.BytesIO(image.content)) as stored, Image.open(path) as original:
        assert stored.format == "PNG" and stored.size == (image.width, image.height) == (36, 24)
        assert np.array_equal(np.asarray(stored), np.asarray(original.convert("RGB")))
        assert np.array_equal(decoding.decode(image.content).permute(1, 2, 0), np.asarray(stored))


def test_packing_goes_on_after_an_unreadable_file_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TOGETHER", 1)
    monkeypatch.setattr("stages.longtail.packing.packs.TOGETHER", 1)
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    contents = [save(path, Image.new("RGB", (8, 8), (60 * row, 0, 0)), "JPEG") for row, path in enumerate(paths)]
    paths[2].write_bytes(contents[2][:-20])
    files = originals.Originals(paths, "train")
    with pytest.raises(UserError, match=r"2\.jpg is not a readable image"):
        files.pack(tmp_path / "train_images.npy")
    paths[2].write_bytes(contents[2])
    read: list[Path] = []
    real = originals.read
    monkeypatch.setattr(originals, "read", lambda path: read.append(path) or real(path))
    files.pack(tmp_path / "train_images.npy")
    pack = Pack(tmp_path / "train_images.npy")
    assert read == paths[2:] and [pack.read(row) for row in range(4)] == contents
    assert len(np.unique(originals.hashes(pack), axis=0)) == 4
