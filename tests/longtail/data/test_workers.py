"""Processes that decode: the same windows whatever their number, and one line where one fails."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from longtail.data.test_packed import CPU, LABELS, stored  # noqa: F401

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment, packed, workers
from stages.longtail.data.batches import Images
from stages.longtail.packing.packs import Original, Pack, write


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch):
    monkeypatch.setattr(workers, "PIECE", 2)


def of(pack, count):
    images = Images(pack, np.resize(LABELS, len(pack)), [], [0.0] * 3, [1.0] * 3, 24)
    return packed.batches(images, np.arange(len(pack)), CPU, crop=16, workers=count)


def batches(images, size):
    return [slice(start, start + size) for start in range(0, images, size)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores
@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_expected_is_what_is_decoded_on_the_spot(stored, count):  # noqa: F811
    """Two epochs of two streams, five images of each in a batch, the last of two; and the second turned as well."""
    images, alone = of(stored[1], count), of(stored[1], 0)
    for epoch in range(2):
        random = np.random.default_rng(epoch)
        orders = [random.integers(0, 6, 12), random.integers(0, 6, 12)]
        draws = [images.draw("resized_crop_flip", order, random) for order in orders]
        images.expect(list(zip(orders, draws, strict=True)), batches(12, 5))
        for start in range(0, 12, 5):
            part = slice(start, start + 5)
            rows = torch.from_numpy(np.concatenate([order[part] for order in orders]))
            windows = torch.from_numpy(np.concatenate([draw[part] for draw in draws]))
            turns = torch.arange(len(rows)) % 4
            turned = torch.cat([augment.rotate(windows, 0 * turns), augment.rotate(windows, turns)])
            got = images.training(rows.repeat(2), turned)
            assert torch.equal(got, alone.training(rows.repeat(2), turned))
    assert torch.equal(torch.cat(list(images.parts(5))), alone.plain(0, 6))


@pytest.fixture
def broken(tmp_path):
    """A pack whose third image is none."""
    path = tmp_path / "train_images.npy"
    write(path, np.arange(4), lambda first: [Original(b"\xff\xd8 no image", 30, 30)] * 4)
    return Pack(path)


@pytest.mark.parametrize("count", [0, 1])
def test_an_image_that_cannot_be_decoded_is_one_line(broken, count):
    with pytest.raises(UserError, match=r"image 0 of .*train_images\.npy cannot be decoded") as raised:
        list(of(broken, count).parts(2))
    assert "\n" not in str(raised.value)


def test_a_process_that_is_killed_is_one_line(stored):  # noqa: F811
    images = of(stored[1], 1)
    rows = np.arange(600) % 6
    images.expect([(rows, images.draw("resized_crop_flip", rows, np.random.default_rng(0)))], batches(len(rows), 6))
    (process,) = images._workers._loader._iterator._workers
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="a process that decodes images ended"):
        for start in range(0, 600, 6):
            images.training(torch.from_numpy(rows[start : start + 6]), torch.zeros(6, 5))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_job_does_not_end_those_that_decode(stored, signum):  # noqa: F811
    images = of(stored[1], 1)
    rows = np.arange(60) % 6
    images.expect([(rows, images.draw("resized_crop_flip", rows, np.random.default_rng(0)))], batches(len(rows), 6))
    images.training(torch.from_numpy(rows[:6]), torch.zeros(6, 5))  # it is at work
    (process,) = images._workers._loader._iterator._workers
    os.kill(process.pid, signum)
    for start in range(6, 60, 6):
        images.training(torch.from_numpy(rows[start : start + 6]), torch.zeros(6, 5))


def test_a_stage_that_fails_half_way_ends(stored, tmp_path):  # noqa: F811
    """Python waits for its processes at its end, and these ignore the signal by which it asks them to go."""
    (tmp_path / "main.py").write_text(
        "import numpy as np, torch\n"
        "from stages.longtail.data import packed\n"
        "from stages.longtail.data.batches import Images\n"
        "from stages.longtail.packing.packs import Pack\n"
        f"images = Images(Pack({str(stored[1].path)!r}), np.zeros(6, int), [], [0.0] * 3, [1.0] * 3, 24)\n"
        "images = packed.batches(images, np.arange(6), torch.device('cpu'), workers=1)\n"
        "rows = np.arange(6000) % 6\n"
        "images.expect([(rows, images.draw('none', rows, None))], [slice(0, 6000)])\n"
        "raise SystemExit(3)\n"
    )
    command = [sys.executable, tmp_path / "main.py"]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100).returncode == 3
