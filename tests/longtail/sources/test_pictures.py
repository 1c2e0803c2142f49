"""Decoding: deep images by what their format calls white, turned as EXIF says, damaged ones by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from stages.longtail.console.errors import UserError
from stages.longtail.sources import pictures
from stages.longtail.sources.pictures import Pictures, is_image

# From black to white, left to right; at 16 bits a level of 8 bits is 257 levels.
RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint16), (16, 1))


def decode(path: Path, side: int = 16) -> np.ndarray:
    (image,) = Pictures([path], side, True, "train")
    assert image.shape == (side, side, 3) and image.dtype == np.uint8
    return image


def pgm(path: Path, values: np.ndarray, maximum: int) -> None:
    path.write_bytes(b"P5 %d %d %d\n" % (*values.shape[::-1], maximum) + values.astype(">u2").tobytes())


def tiff(path: Path, samples: np.ndarray, **tags: int) -> None:
    """An uncompressed grey TIFF, written tag by tag: Pillow writes only some of the kinds that it reads."""
    entries = {256: samples.shape[1], 257: samples.shape[0], 258: 8 * samples.itemsize, 259: 1, 262: 1}
    entries |= {273: 8, 277: 1, 278: samples.shape[0], 279: samples.nbytes}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    content = samples.tobytes()
    head = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    path.write_bytes(head + content + table + b"\0\0\0\0")


@pytest.mark.parametrize("kind", ["png", "tif", "compressed tif", "big-endian tif", "jp2", "pgm"])
def test_sixteen_bits_keep_every_level(kind: str, tmp_path: Path) -> None:
    path, deep = tmp_path / f"image.{kind.split()[-1]}", RAMP * 257
    if kind == "pgm":
        pgm(path, deep, 65535)
    elif kind == "big-endian tif":
        Image.frombytes("I;16B", (16, 16), deep.astype(">u2").tobytes()).save(path)
    else:
        options = {"compression": "tiff_lzw"} if kind.startswith("compressed") else {}
        Image.fromarray(deep).save(path, **options)
    assert np.array_equal(decode(path), np.repeat(RAMP[..., None], 3, axis=2))


@pytest.mark.parametrize("maximum", [255, 1000, 4095, 65535])
def test_a_pgm_is_scaled_by_its_own_maximum(maximum: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    pgm(path, np.full((8, 8), round(0.3 * maximum)), maximum) if maximum > 255 else path.write_bytes(
        b"P5 8 8 255\n" + bytes([76] * 64)
    )
    assert decode(path).mean() / 255 == pytest.approx(0.30, abs=0.005)


def test_twelve_bits_of_a_tiff_are_scaled_by_twelve(tmp_path: Path) -> None:
    pairs = (RAMP // 16 * 273).reshape(-1, 2).astype(np.uint32)  # 0, 273, ... 4095: two make three bytes
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    data = packed.astype(np.uint8).reshape(16, 24)
    path = tmp_path / "a.tif"
    tiff(path, data, t256=16, t258=12)
    assert np.array_equal(decode(path)[0, :, 0], np.arange(16) * 273 >> 4)


def test_a_sixteen_bit_tiff_whose_zero_is_white_is_turned_over(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", (65535 - RAMP * 257).astype("<u2"), t262=0)
    assert np.array_equal(decode(tmp_path / "a.tif")[..., 1], RAMP)


@pytest.mark.parametrize(
    ("samples", "kind"),
    [("<u4", 1), ("<i4", 2), ("<i2", 2), ("<f4", 3), ("i1", 2)],
    ids=["unsigned 32", "signed 32", "signed 16", "float", "signed 8"],
)
def test_samples_whose_white_no_one_knows_are_refused_by_name(samples: str, kind: int, tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tiff(path, (RAMP // 4).astype(samples), t339=kind)
    with pytest.raises(UserError, match=r"deep\.tif is not a readable image .*save it with 8 or 16 unsigned bits"):
        decode(path)


def test_a_floating_point_pfm_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n8 8\n-1.0\n" + np.full(64, 0.5, "<f4").tobytes())
    with pytest.raises(UserError, match=r"a\.pfm is not a readable image .*floating-point"):
        decode(tmp_path / "a.pfm", 8)


# A red corner in the upper left, as a viewer shows it, of an image stored in each of EXIF's orientations.
CORNERS = {1: (0, 0), 2: (0, 3), 3: (3, 3), 4: (3, 0), 5: (0, 0), 6: (3, 0), 7: (3, 3), 8: (0, 3)}


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_an_image_is_turned_as_exif_says(orientation: int, kind: str, tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[CORNERS[orientation]] = 255
    image = Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / f"a.{kind}", exif=exif)
    seen = decode(tmp_path / f"a.{kind}", 64)[8::16, 8::16, 0] > 128
    assert seen[0, 0] and seen.sum() == 1


def test_a_deep_image_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(RAMP * 257).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "a.png")[..., 0], RAMP[:, ::-1])


def test_damaged_exif_data_do_not_spoil_an_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "red")
    image.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(tmp_path / "a.jpg", 8)[0, 0, 0] > 200


@pytest.mark.parametrize("error", [struct.error, IndexError, KeyError, TypeError, ZeroDivisionError, MemoryError])
def test_whatever_a_reader_raises_names_the_file(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.tif")

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_setup", broken)
    with pytest.raises(UserError, match=r"a\.tif is not a readable image"):
        decode(tmp_path / "a.tif")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damage_gives_an_image_or_a_line_with_the_file(tmp_path: Path) -> None:
    """Each byte of the first 120 of each format set to 255 in turn: readers fail in many ways, or see another image."""
    for kind in ("png", "gif", "bmp", "tif", "ppm", "webp", "jpg"):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2).astype(np.uint8)).save(path)
        content = path.read_bytes()
        for position in range(0, 120, 2):
            path.write_bytes(content[:position] + b"\xff" + content[position + 1 :])
            try:
                decode(path)
            except UserError as error:
                assert str(error).startswith(f"{path} is not a readable image (")


def test_content_and_not_the_suffix_says_what_is_an_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "red")
    for name, kind in {"a": "PNG", "b.jfif": "JPEG", "c.jpeg_original": "JPEG", "d.txt": "GIF"}.items():
        image.save(tmp_path / name, kind)
        assert is_image(tmp_path / name) and decode(tmp_path / name, 8)[0, 0, 0] > 200
    texts = {"notes.txt": "BMW is a make of car", "P6.txt": "P6 or not P6", "boxes.csv": "1,2", "empty": ""}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert not is_image(tmp_path / name)
    (tmp_path / "text.png").write_text("damaged")
    assert is_image(tmp_path / "text.png")  # what calls itself an image is refused when it is read


def test_readers_that_take_any_bytes_or_run_programs_are_not_asked() -> None:
    assert not {"EPS", "TGA", "PCX", "WMF"} & set(pictures.FORMATS)
