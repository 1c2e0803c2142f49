"""What a step of each recipe costs beside plain cross-entropy, and the draw of an epoch: make benchmark

ResNet-32, batch 128, random images of CIFAR's size, one CPU thread or a GPU. "beyond its images": the cost over the
images that a step processes, 2 for a second stream, 4 with rotations. Nothing here asserts.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from stages.longtail.configuration.parameters import parse
from stages.longtail.data import samplers
from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network
from stages.longtail.recipe import representation as recipe
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.sources import loading
from stages.longtail.training.loop import Training
from stages.longtail.training.phase import Phase
from stages.longtail.training.session import architecture

ROOT = Path(__file__).resolve().parents[2]
BATCH, STEPS, ROUNDS = 128, 4, 5
METHODS = (
    *("joint", "switching", "balanced", "cbs", "b3rs", "bet", "focal", "ce_rw", "ldam", "cdt", "balanced_softmax"),
    *("mfw", "mixup", "manifold_mixup", "remix", "cw", "cw_ldam", "bet_ldam_cw"),
    *("cbs_rrs", "cbs_rrs_ss", "cbs_rrs_rotation", "bbn"),
)
IMAGES = {"cbs_rrs": 2, "cbs_rrs_ss": 4, "cbs_rrs_rotation": 4, "bbn": 2}


def composed(method: str) -> tuple[Protocol, recipe.Representation]:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = hydra_compose("config", overrides=["dataset=cifar10", "protocol=procrustean", f"method={method}"])
    OmegaConf.resolve(config)
    plain = OmegaConf.to_container(config)
    return tuple(  # type: ignore[return-value]
        parse(form, plain[name], name)  # type: ignore[index,call-overload]
        for name, form in (("protocol", Protocol), ("representation", recipe.Representation))
    )


class Steps:
    """A few steps of a method, again and again."""

    def __init__(self, method: str, images: Images, device: devices.Compute):
        protocol, representation = composed(method)
        batches = Batches(images, np.arange(len(images.labels)), device.device, 4)
        model = network.create(architecture(protocol, representation, 3, 10), 0)
        self.training = Training(Phase.of(protocol, representation), 0, model, batches, device)

    def seconds_a_step(self) -> float:
        began = time.perf_counter()
        self.training.train_epoch()  # ends with the losses on the host, so the device is done
        return (time.perf_counter() - began) / STEPS


def steps(device: devices.Compute) -> pd.DataFrame:
    """The fastest of some rounds each, the methods taking turns."""
    random = np.random.default_rng(0)
    labels = np.sort(random.choice(10, STEPS * BATCH, p=np.arange(10, 0, -1) / 55))
    pixels = random.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    images = Images(pixels, labels, [], loading.CIFAR_MEAN, loading.CIFAR_STD)
    runs = {method: Steps(method, images, device) for method in METHODS}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(ROUNDS):
        for method, run in runs.items():
            seconds[method].append(run.seconds_a_step())
    plain = min(seconds["joint"])
    rows = []
    for method, times in seconds.items():
        cost = min(times) / plain
        rows.append(
            {
                "method": method,
                "ms a step": round(1000 * min(times), 1),
                "of joint": round(cost, 2),
                "beyond its images": round(cost / IMAGES.get(method, 1), 2),
            }
        )
    return pd.DataFrame(rows)


def draws() -> pd.DataFrame:
    """Seconds to draw an epoch of a million images in 8,142 classes, batch 512."""
    counts = np.maximum(2, 800 * 0.9992 ** np.arange(8142)).astype(int)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(8142), counts))
    kinds: list[recipe.Sampler] = [
        *(recipe.ClassSampler(kind=kind) for kind in ("instance", "sqrt", "balanced", "reversed", "progressive")),  # type: ignore[arg-type]
        recipe.ClassBalancedBatches(),
        recipe.RelativelyBalancedBlocks(blocks=100, ratio=0.01),
    ]
    rows = []
    for sampler in kinds:
        began = time.perf_counter()
        samplers.order(sampler, labels, len(labels), 512, np.random.default_rng(1), 0.5)
        rows.append({"sampler": sampler.kind, "images": len(labels), "seconds": round(time.perf_counter() - began, 2)})
    return pd.DataFrame(rows)


def main() -> None:
    device = devices.resolve(Runtime(device="auto", precision="fp32", threads=1, test_every=1))
    print(f"{device.device.type}, {torch.get_num_threads()} thread, torch {torch.__version__}")
    print(steps(device).to_string(index=False))
    print()
    print(draws().to_string(index=False))


if __name__ == "__main__":
    main()
