"""Measures a few training images of each class after every epoch, as `runtime.observe` asks.

They are at most a 25th of the training images, so that this costs little beside training, and equally many of each
class as far as a class has them. They are not augmented, and the network is in evaluation mode. Nothing is drawn at
random, so the training stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network
from stages.longtail.prediction import predict
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import parallel_seeds
from stages.longtail.training.losses import Adjustment

SHARE = 25  # one training image in 25 is observed
POINTS = 40  # of each class and division in the plane


def chosen(labels: np.ndarray, classes: int) -> np.ndarray:
    """Positions of the images to observe, ascending int64: the first of each class, at least one if it has any."""
    return first(labels, classes, max(1, int(len(labels) / (SHARE * classes))))


def first(labels: np.ndarray, classes: int, quota: int) -> np.ndarray:
    """Positions of the first `quota` images of each class, ascending int64."""
    return np.sort(np.concatenate([np.flatnonzero(labels == number)[:quota] for number in range(classes)]))


@dataclass(frozen=True)
class Measures:
    """What is measured after every epoch beside the accuracies. Training stays the same.

    regularity: count the learned and forgotten events of the training images (see Regularity).
    quantities: of a few images; see Observation.
    test: the test images, which only some of these quantities need.
    """

    regularity: bool = False
    quantities: Sequence[str] = ()
    test: Batches | None = None


class Observation:
    """`rows` has a dict for each epoch: epoch, and float32 (classes,) for each quantity.

    accuracy        share of the class's images that are classified correctly; and with it
    classified      training images classified into the class over those that it has, by the observed images
    loss            mean cross-entropy of the class's images
    feature_gradient  mean norm of the gradient of an image's cross-entropy for its features after group `group`
    head_gradient   norm of the gradient of the mean cross-entropy over the training images for the class's weights;
                    the observed images of a class stand for all of it
    plane           of a network with two features: plane_train and plane_test, float32 (n, 3), the features and the
                    class of the first 40 images of each class; plane_head (classes, 3), weights and bias

    The cross-entropy is that of training: of the logits as the loss adjusts them.
    """

    def __init__(
        self,
        quantities: Sequence[str],
        images: Batches,
        classes: int,
        adjust: Adjustment,
        group: int,
        compute: Compute,
        test: Batches | None = None,
    ) -> None:
        """Choose the images.

        Args:
            quantities: those above.
            images: the training images.
            classes: how many.
            adjust: what the loss does to the logits.
            group: of convolutions, for feature_gradient.
            compute: device and number format.
            test: the test images, for plane.
        """
        positions = chosen(images.labels_host, classes)
        self.quantities, self.adjust, self.group, self.compute = quantities, adjust, group, compute
        self.images = images.only(positions)
        counts = [np.bincount(labels, minlength=classes) for labels in (images.labels_host, self.images.labels_host)]
        self.counts, self.observed = (torch.from_numpy(count).to(compute.device) for count in counts)
        self.stands_for = self.counts / self.observed.clamp(min=1)  # training images, by class
        self.plane: dict[str, Batches] = {}
        if "plane" in quantities:
            divisions = {"plane_train": images} | ({"plane_test": test} if test else {})
            self.plane = {name: part.only(first(part.labels_host, classes, POINTS)) for name, part in divisions.items()}
        self.rows: list[dict[str, Any]] = []

    def look(self, network: Network, epoch: int) -> None:
        """Measure the network after an epoch."""
        network.eval()
        classes = len(self.counts)
        sums = {name: torch.zeros(classes, device=self.compute.device) for name in ("hits", "into", "loss", "feature")}
        gradient: Tensor | float = 0.0
        size = predict.TEST_BATCH[self.compute.device.type]
        for start in range(0, len(self.images), size):
            parallel_seeds.check()
            labels = self.images.labels[start : start + size]
            looked = self._part(network, self.images.plain(start, start + size), labels)
            sums["hits"].index_add_(0, labels, (looked["predicted"] == labels).float())
            sums["into"].index_add_(0, looked["predicted"], self.stands_for[labels].float())
            sums["loss"].index_add_(0, labels, looked["losses"])
            if "feature_norms" in looked:
                sums["feature"].index_add_(0, labels, looked["feature_norms"])
            gradient = gradient + looked.get("head_gradient", 0.0)
        row: dict[str, Any] = {"epoch": epoch}
        if "accuracy" in self.quantities:
            row |= {"accuracy": sums["hits"] / self.observed, "classified": sums["into"] / self.counts}
        if "loss" in self.quantities:
            row["loss"] = sums["loss"] / self.observed
        if "feature_gradient" in self.quantities:
            row["feature_gradient"] = sums["feature"] / self.observed
        if isinstance(gradient, Tensor):
            row["head_gradient"] = gradient.norm(dim=1)
        if self.plane:
            row |= self._positions(network)
        self.rows.append({name: value.cpu() if isinstance(value, Tensor) else value for name, value in row.items()})

    def _positions(self, network: Network) -> dict[str, Tensor]:
        """plane_train, plane_test (images, 3) and plane_head (classes, 3): see the class."""
        found = {
            name: torch.cat([predict.features(network, part, self.compute), part.labels[:, None].float()], 1)
            for name, part in self.plane.items()
        }
        with torch.no_grad():
            at = network.logits(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=self.compute.device))
        return {**found, "plane_head": torch.stack([at[1] - at[0], at[2] - at[0], at[0]], 1)}

    def _part(self, network: Network, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """predicted int64 and losses (b,); feature_norms (b,) and head_gradient (classes, features) if asked for."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[-1]

        by_features = "feature_gradient" in self.quantities
        hook = network.groups[self.group - 1].register_forward_hook(keep) if by_features else None
        name = head_weight(network.head) if "head_gradient" in self.quantities else ""
        try:
            with torch.set_grad_enabled(by_features), self.compute.autocast():
                features = network.features(x).float()
        finally:
            if hook:
                hook.remove()
        with torch.set_grad_enabled(by_features or bool(name)):
            logits = network.head(features)
            if name:
                weight = network.head.get_parameter(name).detach().requires_grad_()
                logits = functional_call(network.head, {name: weight}, (features,))
            losses = F.cross_entropy(self.adjust(logits, labels), labels, reduction="none")
            looked = {"predicted": logits.detach().argmax(1), "losses": losses.detach()}
            if name:
                mean = (losses * self.stands_for[labels].float()).sum() / self.counts.sum()
                looked["head_gradient"] = torch.autograd.grad(mean, weight, retain_graph=by_features)[0]
            if by_features:  # in evaluation mode an image's loss depends on its own features alone
                by_image = torch.autograd.grad(losses.sum(), kept[0])[0]
                looked["feature_norms"] = by_image.flatten(1).float().norm(dim=1)
        return looked


def head_weight(head: nn.Module) -> str:
    """The name of the trained weights (classes, features) of a head; '' if it has none."""
    names = {name for name, _ in head.named_parameters()}
    return next((name for name in ("weight", "linear.weight") if name in names), "")
