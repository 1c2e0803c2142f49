"""`predict` on image files: the answers of the test, for people and for programs, whatever else lies among them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Workplace, tiny
from inprocess import ok, start
from PIL import Image
from scipy.special import softmax

from stages.longtail.evaluation import outputs


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str]:
    capfd.readouterr()
    code = start("predict", *arguments)
    return code, capfd.readouterr().out


@pytest.fixture
def images(here: Workplace) -> Path:
    """A trained classifier of coloured images, which are not square: 6 of each of 3 classes to train, 3 to test on."""
    random = np.random.default_rng(0)
    for division, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("ash", "birch", "cedar")):
            folder = Path("images") / division / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (14, 20, 3), np.uint8)
                pixels[..., label] += 60
                Image.fromarray(pixels).save(folder / f"{number}.png")
    dataset = yaml.safe_load((here.folder / "conf/dataset/folder.yaml").read_text())["dataset"]
    dataset |= {"root": "images", "size": 8} | ({"watch": "images"} if "listing" not in dataset else {})
    here.write(tiny(dataset=dataset, split__profile="none", split__ratio=1, split__n_max=None))
    ok("download", "split", "represent", "classify", "evaluate")
    return Path("images")


def test_the_test_images_get_the_answers_of_the_test(images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out = said(capfd, "--csv", "--top", "3", "images/test")
    assert code is None
    got = pd.read_csv(io.StringIO(out))
    assert list(got) == ["file", "rank", "class", "probability"] and len(got) == 27
    expected = softmax(outputs.read(Path("data/classifier/logits.npz")).logits[0].astype(float), 1)
    names = ["ash", "birch", "cedar"]
    for number, path in enumerate(sorted(Path("images/test").rglob("*.png"))):
        rows = got[got.file == str(path)]
        assert rows["rank"].tolist() == [1, 2, 3] and rows.probability.is_monotonic_decreasing
        shares = dict(zip(rows["class"], rows.probability, strict=True))
        assert [shares[name] for name in names] == pytest.approx(expected[number].tolist(), abs=2e-3)


def test_wrong_files_are_a_line_each_and_the_others_are_answered(
    images: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own/deeper").mkdir(parents=True)
    shutil.copy("images/test/ash/0.png", "own/deeper/photo.png")
    shutil.copy("images/test/ash/1.png", "own/other.png")
    Path("own/broken.png").write_bytes(Path("own/other.png").read_bytes()[:60])
    errors = io.StringIO()
    monkeypatch.setattr("stages.predict.report", lambda line: errors.write(line + "\n"))
    code, out = said(capfd, "own", "nowhere.png")
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["own/deeper/photo.png", "own/other.png"]
    first, second = errors.getvalue().splitlines()
    assert "own/broken.png is not a readable image" in first and "nowhere.png does not exist" in second


def test_a_line_has_the_likeliest_classes_with_their_probabilities(
    images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, out = said(capfd, "--top", "2", "images/test/ash/0.png")
    path, answers = out.strip().split(": ")
    pairs = [part.split() for part in answers.split(", ")]
    assert path == "images/test/ash/0.png" and len(pairs) == 2 and float(pairs[0][1]) >= float(pairs[1][1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("empty",), "empty has no image"),
        (("--seed", "7", "images"), "has no seed 7"),
        (("--top", "0", "images"), "--top is 0"),
    ],
)
def test_what_cannot_be_answered_is_refused(images: Path, arguments: tuple[str, ...], words: str) -> None:
    Path("empty").mkdir()
    assert words in str(start("predict", *arguments))


def test_grey_networks_get_grey_images_and_distances_give_no_probabilities(
    carry_out: object, split_digits: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = carry_out("method=ncm")  # type: ignore[operator]
    pixels = np.load(split_digits / "data/raw/test_images.npy")[:20, ..., 0]
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    code, out = said(capfd, "--csv", "--top", "1", *(f"{number:02}.png" for number in range(20)))
    got = pd.read_csv(io.StringIO(out))
    predicted, _ = outputs.read_predictions(folder / "reports/predictions.npz")
    assert code is None and got["class"].tolist() == predicted[0, :20].tolist() and got.probability.isna().all()
