"""The papers' large image sets: missing, cut to squares, read a few at a time, and a tiny one through the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, Workplace, tiny
from inprocess import ok, refused, start
from PIL import Image
from torchvision import transforms

from stages.longtail.configuration.composition import compose
from stages.longtail.files import artifacts
from stages.longtail.models import network
from stages.longtail.packing.packs import Pack
from stages.longtail.papers import published
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.sources import loading, pictures
from stages.longtail.sources.dataset import Dataset
from stages.longtail.sources.large_sets import SETS

PUBLISHERS = {
    "imagenet_lt": "Liu et al. 2019",
    "places_lt": "Liu et al. 2019",
    "inaturalist2018": "visipedia/inat_comp",
    "tiny_imagenet": "cs231n.stanford.edu",
    "tiered_imagenet": "Ren et al. 2018",
}


def paint(root: Path, name: str, counts: dict[str, int], size: tuple[int, int] = (40, 30)) -> None:
    """Photograph-like noise: `counts` images in train/ and two in test/ of each class, a colour a class."""
    random = np.random.default_rng(0)
    for division in ("train", "test"):
        for label, (kind, count) in enumerate(counts.items()):
            folder = root / name / division / kind
            folder.mkdir(parents=True)
            for number in range(count if division == "train" else 2):
                pixels = random.integers(0, 90, (size[1], size[0], 3), np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(folder / f"{number}.png")


def dataset(name: str, root: Path | None, size: int) -> Dataset:
    return Dataset(name=name, root=root and str(root), size=size, watch="")  # type: ignore[arg-type]


def test_every_large_set_of_the_parameters_is_known_and_has_a_preset() -> None:
    assert SETS.keys() == PUBLISHERS.keys()
    for name in SETS:
        assert compose([f"dataset={name}"], ROOT / "conf")["dataset"]["name"] == name


@pytest.mark.parametrize("name", PUBLISHERS)
def test_a_missing_set_is_one_line_with_the_path_the_layout_and_the_publisher(
    name: str, here: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = compose([f"dataset={name}"], ROOT / "conf")
    for root, where in ((None, "data/downloads"), ("given", "given")):
        here.write(tiny(dataset={**raw["dataset"], "root": root}))
        refused("download", f"{where}/{name}/train is missing", "test/<class>/*", PUBLISHERS[name], "$LONGTAIL_DATA")
    monkeypatch.setenv("LONGTAIL_DATA", "elsewhere")
    here.write(tiny(dataset=raw["dataset"]))
    refused("download", f"elsewhere/{name}/train is missing")
    Path(f"elsewhere/{name}/train").mkdir(parents=True)
    refused("download", f"elsewhere/{name}/test is missing")


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (41, 30), (31, 47), (32, 32)], ids=str)
@pytest.mark.parametrize("side", [24, 32])
def test_an_image_is_cut_as_torchvision_prepares_test_images(tmp_path: Path, size: tuple[int, int], side: int) -> None:
    paint(tmp_path, "places_lt", {"a": 1}, size)
    source = loading.load(dataset("places_lt", tmp_path, side))
    (cut,) = source.train.images
    with Image.open(tmp_path / "places_lt/train/a/0.png") as image:
        expected = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(side)])(image)
        assert np.array_equal(cut, np.asarray(expected))
    # The middle of what is stored is the middle of the image: testing on a crop of it is the common preparation.
    with Image.open(tmp_path / "places_lt/train/a/0.png") as image:
        smaller = transforms.CenterCrop(side - 8)(transforms.Resize(side)(image))
        assert np.array_equal(cut[4:-4, 4:-4], np.asarray(smaller))


def test_normalisation_is_that_of_the_papers_code(tmp_path: Path) -> None:
    for name, mean in (("imagenet_lt", [0.485, 0.456, 0.406]), ("inaturalist2018", [0.466, 0.471, 0.380])):
        paint(tmp_path, name, {"a": 1})
        assert loading.load(dataset(name, tmp_path, 8)).mean == mean


def test_images_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TOGETHER", 2)
    paint(tmp_path, "imagenet_lt", {"a": 5, "b": 2})
    train = loading.load(dataset("imagenet_lt", tmp_path, 8)).train
    read: list[str] = []
    real = pictures.Pictures.read
    monkeypatch.setattr(pictures.Pictures, "read", lambda self, path: read.append(path.name) or real(self, path))
    assert train.labels.tolist() == [0] * 5 + [1] * 2 and train.images.shape == (7, 8, 8, 3) and not read
    images = iter(train.images)
    first = next(images)
    assert sorted(read) == ["0.png", "1.png"] and first.shape == (8, 8, 3)
    assert len(list(images)) == 6 and len(read) == 7


def test_rows_are_written_as_numpy_writes_the_array(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    artifacts.write_rows(tmp_path / "rows.npy", array)
    np.save(tmp_path / "whole.npy", array)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_another_number_of_images_than_the_papers_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint(tmp_path, "imagenet_lt", {"a": 1})
    loading.load(dataset("imagenet_lt", tmp_path, 8))
    assert "ImageNet-LT has 115846 images in train/, not 1" in capsys.readouterr().out
    assert SETS["imagenet_lt"].note(115_846, 50_000) == ""


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet_lt"])
def test_a_corrupt_image_is_named(name: str, here: Workplace) -> None:
    paint(Path("data/downloads"), name, {"a": 2})
    path = Path(f"data/downloads/{name}/train/a/1.png")
    path.write_bytes(b"no image")
    here.write(tiny(dataset=compose([f"dataset={name}"], ROOT / "conf")["dataset"]))
    line = start("download")
    assert isinstance(line, str) and f"{path} is not a readable image" in line
    assert not Path("data/raw/train_images.npy").exists() and not Path("data/raw/meta.json").exists()


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_only_image_files_can_be_packed(name: str, here: Workplace) -> None:
    here.write(tiny(dataset=compose([f"dataset={name}"], ROOT / "conf")["dataset"] | {"packed": True}))
    refused("download", f"dataset.packed is true, but {name} has no image files")


@pytest.mark.parametrize(
    ("overrides", "size", "crop"),
    [
        (("dataset=imagenet_lt", "protocol=balance_imagenet", "method=cbs_rrs_ss"), 32, 24),
        (("dataset=tiered_imagenet", "protocol=procrustean_tiered", "method=mfw"), 24, None),
        (("dataset=inaturalist2018", "protocol=switching_inaturalist", "method=switching"), 32, 24),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else str(value),
)
def test_a_tiny_set_goes_through_all_stages(
    overrides: tuple[str, ...], size: int, crop: int | None, here: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain and resized crops, turns, the projection and the mixing included; testing sees the crop, too."""
    raw = compose(overrides, ROOT / "conf")
    paint(Path("data/downloads"), raw["dataset"]["name"], {"a": 9, "b": 4, "c": 2})
    raw["dataset"]["size"], raw["runtime"]["threads"] = size, 1
    raw["protocol"] |= {"width": 8, "epochs": 2, "batch_size": 8, "crop": crop, "projection": 16}
    raw["protocol"]["schedule"] = {"kind": "constant", "warmup": 0}
    raw["protocol"]["shards"] = min(2, raw["protocol"].get("shards", 1))  # of 8 images
    raw["representation"]["branch"] = {"at": "start", "plus": 1}
    here.write(raw)
    seen = set()
    features = network.Network.features

    def spy(self: network.Network, x: torch.Tensor, *arguments: object, **more: object) -> torch.Tensor:
        seen.add(tuple(x.shape[1:]))
        return features(self, x, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(network.Network, "features", spy)
    ok("download", "split", "represent", "classify", "evaluate")
    side = crop or size
    assert seen == {(3, side, side)}
    if raw["dataset"].get("packed"):
        assert len(Pack(Path("data/raw/train_images.npy"))) == 15
        assert json.loads(Path("data/raw/meta.json").read_text())["size"] == size
    else:
        assert np.load("data/raw/train_images.npy", mmap_mode="r").shape == (15, size, size, 3)
    assert pd.read_csv("data/splits/classes.csv")["count"].tolist() == [9, 4, 2]
    metrics = json.loads(Path("reports/metrics.json").read_text())
    history = pd.read_csv("reports/history.csv")
    assert metrics["acc"]["all"] == pytest.approx(history["test_all"].iloc[-1], abs=1e-3)
    state = torch.load("data/classifier/checkpoint.pt", weights_only=True)["seeds"][0]
    assert state["architecture"]["projection"] == state["network"]["head.weight"].shape[1] == 16


LARGE = {"imagenet": "imagenet_lt", "places": "places_lt", "inaturalist": "inaturalist2018"} | {
    "tiny": "tiny_imagenet",
    "tiered": "tiered_imagenet",
}


@pytest.mark.parametrize("path", sorted((ROOT / "conf/protocol").glob("*_*.yaml")), ids=lambda path: path.stem)
def test_every_protocol_of_a_large_set_is_accepted_and_named_as_its_file(path: Path) -> None:
    sets = [LARGE[word] for word in path.stem.split("_") if word in LARGE]
    if not sets:
        assert path.stem in ("end_to_end", "procrustean_toy")
        return
    params = Experiment.of(compose([f"protocol={path.stem}", f"dataset={sets[0]}"], ROOT / "conf"))
    protocol = params.protocol
    assert protocol.name == path.stem and (protocol.crop or 0) <= params.dataset.size
    shots = (params.split.many, params.split.few)
    assert shots == ((99, 21) if path.stem.startswith("balance") else (100, 20))


def test_resnet_12_of_images_too_small_for_it_is_refused(ready: Workplace) -> None:
    ready.write(tiny(protocol__backbone="resnet12"))
    refused("represent", "protocol.backbone is resnet12", "16 pixels a side, not 8")


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        ("dataset=imagenet_lt protocol=decoupling_imagenet method=crt", 49.5),
        ("dataset=inaturalist2018 protocol=decoupling_inaturalist method=joint protocol.epochs=200", 65.8),
        ("dataset=tiered_imagenet protocol=procrustean_tiered method=mfw_step", 46.1),
        ("dataset=tiny_imagenet protocol=procrustean_tiny method=mfw split.ratio=10", 51.0),
        ("dataset=places_lt protocol=balance_places method=cbs_rrs", 27.8),
    ],
)
def test_a_run_on_a_large_set_finds_its_published_number(overrides: str, value: float) -> None:
    conf = ROOT / "conf"
    _, numbers = published.cell(Experiment.of(compose(overrides.split(), conf)), ROOT / "reports/papers", conf)
    assert numbers["all"] == value
