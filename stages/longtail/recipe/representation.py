"""The section `representation` of the parameters: the axes of a recipe up to the epoch at which its method branches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import SHORT, Count, Items, NonNegative, Positive, Section, Share
from stages.longtail.recipe.schedule import Branch

Group = Annotated[int, Field(ge=0, le=4)]  # of convolutions; 0: the input, 1: the first layer


ClassKind = Literal["instance", "sqrt", "balanced", "reversed", "progressive"]


class ClassSampler(Section):
    """Draws a class with probability ~ n^q (`decoupling` Eq. 1, 2; `switching` Eq. 1), then an image of it."""

    kind: ClassKind = "instance"


class ClassBalancedBatches(Section):
    """`balance` Algorithm 1: a batch has `images` images of each of batch_size / images classes."""

    kind: Literal["cbs"] = "cbs"
    images: Count = 4  # Z


class RelativelyBalancedBlocks(Section):
    """`end_to_end` section 3.4: a batch comes from one block of classes, each with a least share. Table 6."""

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
    kind: Literal["focal"] = "focal"
    gamma: NonNegative = 1.0  # that of Cui et al. and Cao et al. for CIFAR


class LDAM(Section):
    kind: Literal["ldam"] = "ldam"
    max_margin: Positive = 0.5
    scale: Positive = 30.0


class LogitAdjusted(Section):
    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegative = 1.0  # 1 is balanced softmax


class ClassDependentTemperatures(Section):
    """CDT (Ye et al. 2020): the training logit of class c is divided by (n_max / n_c)^gamma."""

    kind: Literal["cdt"] = "cdt"
    gamma: NonNegative = 0.4  # of common code for CIFAR-10; 0.2 for CIFAR-100 and Tiny-ImageNet, 0.1 for iNaturalist


Loss = Annotated[
    CrossEntropy | Focal | LDAM | LogitAdjusted | ClassDependentTemperatures, Field(discriminator="kind"), SHORT
]


class NoWeighting(Section):
    kind: Literal["none"] = "none"


class EffectiveNumber(Section):
    """Class weights (1 - beta) / (1 - beta^n) (Cui et al.), scaled to a mean of 1 over the classes."""

    kind: Literal["effective_number"] = "effective_number"
    beta: Annotated[float, Field(ge=0, le=0.9999999)] = 0.9999
    divide_by: Literal["count", "weights"] = "count"  # the batch's size, or its sum of weights as torch does


Weighting = Annotated[NoWeighting | EffectiveNumber, Field(discriminator="kind"), SHORT]


class NoMixing(Section):
    kind: Literal["none"] = "none"


Deviation = Literal["geometric", "arithmetic"]


class MajorFeatureWeakening(Section):
    kind: Literal["mfw"] = "mfw"
    group: Group = 2  # mix after this group of convolutions; 0: the input, 1: the first layer
    alpha: Positive = 2.0  # of Beta(alpha, alpha)
    beta: Positive = 2.0  # softness of the class weight s, Eq. 12
    deviation: Deviation = "arithmetic"  # gamma of Eq. 12


class Mixup(Section):
    """mixup (Zhang et al. 2018); with several groups, of which each batch takes one, manifold mixup (Verma et al.)."""

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
    small_batch_epsilon: Positive = 0.1  # instead, where a batch has no more images than channels, if it is larger
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1  # of the running mean and covariance


Whitening = Annotated[NoWhitening | ZCA, Field(discriminator="kind"), SHORT]


class NoAuxiliary(Section):
    kind: Literal["none"] = "none"

    @property
    def streams(self) -> int:
        """How many batches of images a step trains on."""
        return 1


class AuxiliaryTasks(Section):
    """`balance` Eq. 2: a second head on batches of another sampler, and the rotation task, on one trunk."""

    kind: Literal["tasks"] = "tasks"
    sampler: Sampler = ClassSampler(kind="instance")
    lambda1: NonNegative = 0.5  # weight of the main task's loss
    lambda2: NonNegative = 1.0  # of the second head's
    lambda3: NonNegative = 1.0  # of the rotation task's
    rotation: Literal["none", "task", "augment"] = "none"  # augment: rotated images as more images of their class

    @property
    def streams(self) -> int:
        return 2 if self.rotation == "none" else 4


class Bilateral(Section):
    """BBN (Zhou et al. 2020): a second last block on batches of another sampler, mixed by alpha = 1 - (t / T)^2."""

    kind: Literal["bilateral"] = "bilateral"
    sampler: Sampler = ClassSampler(kind="reversed")
    total: Count | None = None  # T; null: the protocol's epochs, but 100 for 90 and 200 for 180, as its authors' code

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
