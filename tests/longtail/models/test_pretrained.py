"""Networks that start from torchvision's weights: the same features, the published file and no other, what is tuned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT, composed
from sessions import CPU

from stages.longtail.configuration import parameters
from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network, pretrained
from stages.longtail.models.network import Architecture
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import Representation
from stages.longtail.training import loop
from stages.longtail.training.loop import Training
from stages.longtail.training.phase import Phase
from stages.longtail.training.session import architecture


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A ResNet-18 of random weights and averages, which stands for the published one, and its file."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path / "weights/x.pth"
    path.parent.mkdir()
    torch.save(model.state_dict(), path)
    name = f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(path.with_name(name))
    monkeypatch.setitem(pretrained.FILES, "resnet18", name)
    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path))
    return model


def of(channels: int = 3, width: int = 64) -> Architecture:
    return Architecture(
        backbone="resnet18", width=width, channels=channels, classes=5, head="linear", whitening={}, bilateral=False,
        auxiliary={},
    )  # fmt: skip


def test_features_are_those_of_torchvisions_network(published: torch.nn.Module) -> None:
    mine = pretrained.create(of(), 0).eval()
    published.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(mine.features(images), published(images), atol=1e-5)
    fresh = network.create(of(), 0)
    assert torch.equal(mine.head.weight, fresh.head.weight), "the head is drawn by the seed"


def test_another_file_is_refused(published: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights" / pretrained.FILES["resnet18"]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"resnet18-.*\.pth is truncated or altered"):
        pretrained.create(of(), 0)
    path.write_bytes(content)
    for other in (of(channels=1), of(width=32)):
        with pytest.raises(UserError, match=r"protocol\.weights needs 3 and 64"):
            pretrained.create(other, 0)


def test_a_file_that_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(UserError, match=r"cannot download https://.*resnet18-f37072fd\.pth \(no route to host\): put"):
        pretrained.create(of(), 0)


def test_the_names_of_the_files_are_torchvisions() -> None:
    for backbone, name in pretrained.FILES.items():
        theirs = torchvision.models.get_model_weights(backbone.replace("resnext50", "resnext50_32x4d"))
        assert theirs.IMAGENET1K_V1.url == f"{pretrained.URL}/{name}"


def presets(name: str, method: str) -> tuple[Protocol, Representation]:
    raw = composed(f"protocol={name}", f"method={method}", "dataset=places_lt", conf=ROOT / "conf")
    params = parameters.Params(raw, Path("params.yaml"))
    return params.section("protocol", Protocol), params.section("representation", Representation)


def test_decoupling_tunes_the_last_block_and_the_head() -> None:
    protocol, representation = presets("decoupling_places", "joint")
    with torch.device("meta"):
        model = network.Network(architecture(protocol, representation, 3, 365))
    trained = loop.trained_parameters(model, Phase.of(protocol, representation))
    assert {name.rpartition(".")[0].removeprefix("groups.") for name in trained} == {
        "head", *(f"4.2.{layer}{number}" for layer in ("conv", "bn") for number in (1, 2, 3)),
    }  # fmt: skip
    (heads, one), (_, times) = loop.rates(trained, Phase.of(protocol, representation))
    assert heads == ["head.weight", "head.bias"] and one == 1 and times == pytest.approx(0.1)
    loop.set_mode(model, Phase.of(protocol, representation))
    assert model.last_block.training and not model.groups[0].training and not model.groups[4][1].training


def test_balance_trains_all_the_trunk_more_slowly_and_the_heads_of_its_tasks() -> None:
    protocol, representation = presets("balance_places_pretrained", "cbs_rrs_ss")
    with torch.device("meta"):
        model = network.Network(architecture(protocol, representation, 3, 365))
    phase = Phase.of(protocol, representation)
    trained = loop.trained_parameters(model, phase)
    assert len(trained) == len(list(model.parameters()))
    (heads, one), (trunk, times) = loop.rates(trained, phase)
    assert one == 1 and times == pytest.approx(0.01)
    assert {name.split(".")[0] for name in heads} == {"head", "auxiliary"}
    assert {name.split(".")[0] for name in trunk} == {"groups", "projection"}


@pytest.mark.parametrize("trained", ["all", "last_block"])
def test_an_epoch_is_that_of_torchs_sgd_with_two_rates(trained: str, change) -> None:  # type: ignore[no-untyped-def]
    raw = change(protocol__trained=trained, protocol__trunk_lr=0.01, protocol__projection=6)
    params = parameters.Params(raw, Path("params.yaml"))
    protocol, representation = params.section("protocol", Protocol), params.section("representation", Representation)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    images = Batches(Images(pixels, np.arange(40) % 4, [], [0.5], [0.25]), np.arange(40), CPU.device, protocol.pad)
    start = architecture(protocol, representation, 1, 4)
    phase = Phase.of(protocol, representation)
    mine = Training(phase, 0, network.create(start, 0), images, CPU)
    theirs = Training(phase, 0, network.create(start, 0), images, CPU)
    heads = [value for name, value in theirs.trained.items() if name.startswith("head.")]
    trunk = [value for name, value in theirs.trained.items() if not name.startswith("head.")]
    options = {"momentum": phase.momentum, "weight_decay": phase.weight_decay, "nesterov": phase.nesterov}
    sgd = torch.optim.SGD([{"params": heads}, {"params": trunk}], lr=0.1, **options)

    def update() -> None:
        for group, rate in zip(sgd.param_groups, (theirs.rate, theirs.rate * 0.01 / protocol.lr), strict=True):
            group["lr"] = rate
        sgd.step()
        theirs.forget_gradients()

    theirs.update = update  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in mine.network.state_dict().items()}
    mine.train_epoch()
    theirs.train_epoch()
    after = mine.network.state_dict()
    for name, value in theirs.network.state_dict().items():
        assert torch.allclose(after[name], value, atol=1e-6), name
    last = f"groups.{len(mine.network.groups) - 1}.{len(mine.network.groups[-1]) - 1}."
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    expected = set(after) if trained == "all" else {name for name in after if name.startswith(("head.", last, "proj"))}
    assert moved == expected
