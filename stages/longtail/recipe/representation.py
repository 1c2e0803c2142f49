"""The section `representation` of the parameters: how a method trains up to the epoch at which it branches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import SHORT, Count, Items, NonNegative, Positive, Section, Share
from stages.longtail.recipe.schedule import Branch

Group = Annotated[int, Field(ge=0, le=4)]  # of convolutions; 0: the input, 1: the first layer


ClassKind = Literal["instance", "sqrt", "balanced", "reversed", "progressive"]


class ClassSampler(Section):
    """Draws a class with a probability proportional to n^q, then an image of it.

    q is 1 for instance, 1/2 for sqrt, 0 for balanced, -1 for reversed (`decoupling` Eq. 1, `switching` Eq. 1);
    progressive goes from 1 to 0 over the training (`decoupling` Eq. 2).
    """

    kind: ClassKind = "instance"


class ClassBalancedBatches(Section):
    """`balance` Algorithm 1: a batch has `images` images of each of batch_size / images classes."""

    kind: Literal["cbs"] = "cbs"
    images: Count = 4  # Z


class RelativelyBalancedBlocks(Section):
    """`end_to_end` section 3.4: a batch has classes of one block only, each with at least a certain share. Table 6."""

    kind: Literal["b3rs"] = "b3rs"
    blocks: Count = 1  # G
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.05  # r_0 of Eq. 14
    alpha: Positive = 2.0


Sampler = Annotated[ClassSampler | ClassBalancedBatches | RelativelyBalancedBlocks, Field(discriminator="kind"), SHORT]


class NotEmbedded(Section):
    kind: Literal["none"] = "none"


class BatchEmbedded(Section):
    """`end_to_end` Algorithm 1: before every `interval`-th batch come `iterations` batches of another sampler."""

    kind: Literal["bet"] = "bet"
    interval: Count = 60  # T
    iterations: Count = 5  # T_2
    sampler: Sampler = RelativelyBalancedBlocks()


Embedded = Annotated[NotEmbedded | BatchEmbedded, Field(discriminator="kind"), SHORT]


class CrossEntropy(Section):
    kind: Literal["cross_entropy"] = "cross_entropy"


class Focal(Section):
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma."""

    kind: Literal["focal"] = "focal"
    gamma: NonNegative = 1.0  # the value of Cui et al. and Cao et al. for CIFAR


class LDAM(Section):
    """LDAM (Cao et al. 2019): the logit of an image's class is lowered by a margin proportional to n^(-1/4)."""

    kind: Literal["ldam"] = "ldam"
    max_margin: Positive = 0.5
    scale: Positive = 30.0  # the logits, cosines, are multiplied by it


class LogitAdjusted(Section):
    """Cross-entropy with tau * log(prior) added to the logits (Menon et al. 2021)."""

    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegative = 1.0  # 1 is balanced softmax


class ClassDependentTemperatures(Section):
    """CDT (Ye et al. 2020): the training logit of class c is divided by (n_max / n_c)^gamma."""

    kind: Literal["cdt"] = "cdt"
    gamma: NonNegative = 0.4  # public code: 0.4 for CIFAR-10, 0.2 for CIFAR-100 and Tiny-ImageNet, 0.1 for iNaturalist


Loss = Annotated[
    CrossEntropy | Focal | LDAM | LogitAdjusted | ClassDependentTemperatures, Field(discriminator="kind"), SHORT
]


class NoWeighting(Section):
    kind: Literal["none"] = "none"


class EffectiveNumber(Section):
    """Class weights (1 - beta) / (1 - beta^n) (Cui et al. 2019), scaled to a mean of 1 over the classes."""

    kind: Literal["effective_number"] = "effective_number"
    beta: Annotated[float, Field(ge=0, le=0.9999999)] = 0.9999
    divide_by: Literal["count", "weights"] = "count"  # the batch's number of images, or its sum of weights as in torch


Weighting = Annotated[NoWeighting | EffectiveNumber, Field(discriminator="kind"), SHORT]


class NoMixing(Section):
    kind: Literal["none"] = "none"


Deviation = Literal["geometric", "arithmetic"]


class MajorFeatureWeakening(Section):
    """MFW (`procrustean` Algorithm 1): mixes feature maps in pairs, so that those of large classes get weaker."""

    kind: Literal["mfw"] = "mfw"
    group: Group = 2  # mix after this group of convolutions; 0: the input, 1: the first layer
    alpha: Positive = 2.0  # of Beta(alpha, alpha)
    beta: Positive = 2.0  # softness of the class weight s, Eq. 12
    deviation: Deviation = "arithmetic"  # gamma of Eq. 12


class Mixup(Section):
    """mixup (Zhang et al. 2018); with several groups, of which each batch takes one, manifold mixup (Verma 2019)."""

    kind: Literal["mixup"] = "mixup"
    alpha: Positive = 1.0  # of Beta(alpha, alpha)
    groups: Items[Group] = (0,)  # mix after this group of convolutions; 0: the input


class Remix(Section):
    """Remix (Chou et al. 2020, Eq. 7): mixup of the inputs, with labels that lean to the smaller class."""

    kind: Literal["remix"] = "remix"
    alpha: Positive = 1.0
    groups: Items[Group] = (0,)
    kappa: Annotated[float, Field(ge=1)] = 3.0  # a class is larger if it has kappa times the images
    tau: Share = 0.5


Mixing = Annotated[NoMixing | MajorFeatureWeakening | Mixup | Remix, Field(discriminator="kind"), SHORT]


class NoWhitening(Section):
    kind: Literal["none"] = "none"


class ZCA(Section):
    """`end_to_end` Eq. 13: whitening of the features before the head."""

    kind: Literal["zca"] = "zca"
    epsilon: Positive = 1e-5  # added to the covariance's diagonal
    small_batch_epsilon: Positive = 0.1  # if larger, used instead where a batch has no more images than channels
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1  # of the running mean and covariance


Whitening = Annotated[NoWhitening | ZCA, Field(discriminator="kind"), SHORT]


class NoAuxiliary(Section):
    kind: Literal["none"] = "none"

    @property
    def streams(self) -> int:
        """How many batches of images a step trains on."""
        return 1


class AuxiliaryTasks(Section):
    """`balance` Eq. 2: a second head, trained on batches of another sampler, and the rotation task share the trunk."""

    kind: Literal["tasks"] = "tasks"
    sampler: Sampler = ClassSampler(kind="instance")
    lambda1: NonNegative = 0.5  # weight of the main task's loss
    lambda2: NonNegative = 1.0  # of the second head's
    lambda3: NonNegative = 1.0  # of the rotation task's
    rotation: Literal["none", "task", "augment"] = "none"  # augment: rotated images are more images of their class

    @property
    def streams(self) -> int:
        return 2 if self.rotation == "none" else 4


class Bilateral(Section):
    """BBN (Zhou et al. 2020): a second last block on batches of another sampler, mixed by alpha = 1 - (t / T)^2."""

    kind: Literal["bilateral"] = "bilateral"
    sampler: Sampler = ClassSampler(kind="reversed")
    total: Count | None = None  # T; null: the protocol's epochs, but 100 for 90 and 200 for 180 (the authors' code)

    @property
    def streams(self) -> int:
        return 2

    def alpha(self, epoch: int, epochs: int) -> float:
        """The main branch's weight in `epoch` (0 is the first) of a protocol of `epochs` (Zhou et al., Eq. 4)."""
        total = self.total or {90: 100, 180: 200}.get(epochs, epochs)
        return 1 - (epoch / total) ** 2


Auxiliary = Annotated[NoAuxiliary | AuxiliaryTasks | Bilateral, Field(discriminator="kind"), SHORT]


class Representation(Section):
    sampler: Sampler
    embedded: Embedded
    loss: Loss
    weighting: Weighting
    head: Literal["linear", "cosine"]
    whitening: Whitening
    mixing: Mixing
    auxiliary: Auxiliary
    branch: Branch
