"""Every parameter of the pipeline, typed: the sections of `params.yaml` and the axes of a recipe.

A section is a frozen dataclass; a choice between recipes (`mixing`, `classifier`...) is a union of dataclasses told
apart by `kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from stages.longtail.configuration.schema import Count, NonNegative, Positive, Range

LargeSet = Literal["imagenet_lt", "places_lt", "inaturalist2018", "tiny_imagenet", "tiered_imagenet"]


@dataclass(frozen=True)
class Dataset:
    name: Literal["digits", "cifar10", "cifar100", "folder", LargeSet]
    root: str | None  # where the files are or go; null: $LONGTAIL_DATA, else data/downloads
    size: Annotated[int, Range(5, 1024)]  # pixels a side that images are stored with; see data/image_folders
    watch: str  # the path that DVC hashes to see that the source changed; the folder itself for a folder dataset


@dataclass(frozen=True)
class Split:
    profile: Literal["exp", "step", "none"]
    ratio: Annotated[float, Range(1)]  # images of the largest class over images of the smallest
    n_max: Count | None  # images of the largest class; null: as many as the smallest source class has
    seed: Annotated[int, Range(0, 2**32 - 1)]  # RandomState accepts no larger one
    holdout: Annotated[int, Range(0)]  # images of each class kept out of the subset, to choose tau on
    many: Annotated[int, Range(0)]  # many-shot: more training images than this
    few: Annotated[int, Range(0)]  # few-shot: fewer training images than this


@dataclass(frozen=True)
class Constant:
    kind: Literal["constant"]
    warmup: Annotated[int, Range(0)]  # epochs of linear warm-up


@dataclass(frozen=True)
class MultiStep:
    kind: Literal["multistep"]
    warmup: Annotated[int, Range(0)]
    milestones: tuple[Count, ...]  # epochs completed when the rate is multiplied by gamma
    gamma: Positive


@dataclass(frozen=True)
class Cosine:
    kind: Literal["cosine"]
    warmup: Annotated[int, Range(0)]


Schedule = Constant | MultiStep | Cosine


OfCifar = Literal["resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
OfImageNet = Literal[
    "resnet10", "resnet12", "resnet18", "resnet50", "resnet101", "resnet152", "resnext50", "resnext152"
]


@dataclass(frozen=True)
class Protocol:
    """What a paper keeps fixed while it compares methods."""

    name: str
    backbone: Literal[OfCifar, OfImageNet]
    width: Count  # channels of the first group of convolutions; in the papers 16 for CIFAR's networks, 64 for others
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Range(0, 1)]
    weight_decay: NonNegative
    schedule: Schedule
    augment: Literal["none", "crop", "crop_flip", "resized_crop_flip"]
    pad: Annotated[int, Range(0, 64)]  # pixels of zero padding before the crop
    crop: Count | None = None  # pixels a side that the network sees, at testing from the middle; null: the whole image
    projection: Count | None = None  # outputs of a linear layer and a ReLU before the head; null: there is none


@dataclass(frozen=True)
class ClassSampler:
    """Draws a class with probability ~ n^q (`decoupling` Eq. 1, 2; `switching` Eq. 1), then an image of it."""

    kind: Literal["instance", "sqrt", "balanced", "reversed", "progressive"] = "instance"


@dataclass(frozen=True)
class ClassBalancedBatches:
    """`balance` Algorithm 1: a batch has `images` images of each of batch_size / images classes."""

    kind: Literal["cbs"] = "cbs"
    images: Count = 4  # Z


@dataclass(frozen=True)
class RelativelyBalancedBlocks:
    """`end_to_end` section 3.4: a batch comes from one block of classes, each with a least share. Table 6."""

    kind: Literal["b3rs"] = "b3rs"
    blocks: Count = 1  # G
    ratio: Annotated[float, Range(0, 1, open_low=True)] = 0.05  # r_0 of Eq. 14
    alpha: Positive = 2.0


Sampler = ClassSampler | ClassBalancedBatches | RelativelyBalancedBlocks


@dataclass(frozen=True)
class NotEmbedded:
    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class BatchEmbedded:
    """`end_to_end` Algorithm 1: before every `interval`-th batch come `iterations` batches of another sampler."""

    kind: Literal["bet"] = "bet"
    interval: Count = 60  # T
    iterations: Count = 5  # T_2
    sampler: Sampler = RelativelyBalancedBlocks()


Embedded = NotEmbedded | BatchEmbedded


@dataclass(frozen=True)
class CrossEntropy:
    kind: Literal["cross_entropy"] = "cross_entropy"


@dataclass(frozen=True)
class Focal:
    kind: Literal["focal"] = "focal"
    gamma: NonNegative = 1.0  # that of Cui et al. and Cao et al. for CIFAR


@dataclass(frozen=True)
class LDAM:
    kind: Literal["ldam"] = "ldam"
    max_margin: Positive = 0.5
    scale: Positive = 30.0


@dataclass(frozen=True)
class LogitAdjusted:
    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegative = 1.0  # 1 is balanced softmax


@dataclass(frozen=True)
class ClassDependentTemperatures:
    """CDT (Ye et al. 2020): the training logit of class c is divided by (n_max / n_c)^gamma."""

    kind: Literal["cdt"] = "cdt"
    gamma: NonNegative = 0.3


Loss = CrossEntropy | Focal | LDAM | LogitAdjusted | ClassDependentTemperatures


@dataclass(frozen=True)
class NoWeighting:
    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class EffectiveNumber:
    """Class weights (1 - beta) / (1 - beta^n) (Cui et al.), scaled to a mean of 1 over the classes."""

    kind: Literal["effective_number"] = "effective_number"
    beta: Annotated[float, Range(0, 0.9999999)] = 0.9999
    divide_by: Literal["count", "weights"] = "count"  # the batch's size, or its sum of weights as torch does


Weighting = NoWeighting | EffectiveNumber


@dataclass(frozen=True)
class NoMixing:
    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class MajorFeatureWeakening:
    kind: Literal["mfw"] = "mfw"
    group: Annotated[int, Range(0, 4)] = 2  # mix after this group of convolutions; 0: the input, 1: the first layer
    alpha: Positive = 2.0  # of Beta(alpha, alpha)
    beta: Positive = 2.0  # softness of the class weight s, Eq. 12
    deviation: Literal["geometric", "arithmetic"] = "geometric"  # gamma of Eq. 12


Groups = tuple[Annotated[int, Range(0, 4)], ...]


@dataclass(frozen=True)
class Mixup:
    """mixup (Zhang et al. 2018); with several groups, of which each batch takes one, manifold mixup (Verma et al.)."""

    kind: Literal["mixup"] = "mixup"
    alpha: Positive = 1.0  # of Beta(alpha, alpha)
    groups: Groups = (0,)  # mix after this group of convolutions; 0: the input


@dataclass(frozen=True)
class Remix:
    """Remix (Chou et al. 2020, Eq. 7): mixup of the inputs, with labels that lean to the smaller class."""

    kind: Literal["remix"] = "remix"
    alpha: Positive = 1.0
    groups: Groups = (0,)
    kappa: Annotated[float, Range(1)] = 3.0  # a class is larger if it has kappa times the images
    tau: Annotated[float, Range(0, 1)] = 0.5


Mixing = NoMixing | MajorFeatureWeakening | Mixup | Remix


@dataclass(frozen=True)
class NoWhitening:
    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class ZCA:
    """`end_to_end` Eq. 13: whitening of the features before the head."""

    kind: Literal["zca"] = "zca"
    epsilon: Positive = 1e-5  # added to the covariance's diagonal
    momentum: Annotated[float, Range(0, 1, open_low=True)] = 0.1  # of the running mean and covariance


Whitening = NoWhitening | ZCA


@dataclass(frozen=True)
class NoAuxiliary:
    kind: Literal["none"] = "none"

    @property
    def streams(self) -> int:
        """How many batches of images a step trains on."""
        return 1


@dataclass(frozen=True)
class AuxiliaryTasks:
    """`balance` Eq. 2: a second head on batches of another sampler, and the rotation task, on one trunk."""

    kind: Literal["tasks"] = "tasks"
    sampler: Sampler = ClassSampler("instance")
    lambda1: NonNegative = 0.5  # weight of the main task's loss
    lambda2: NonNegative = 1.0  # of the second head's
    lambda3: NonNegative = 1.0  # of the rotation task's
    rotation: Literal["none", "task", "augment"] = "none"  # augment: rotated images as more images of their class

    @property
    def streams(self) -> int:
        return 2 if self.rotation == "none" else 4


@dataclass(frozen=True)
class Bilateral:
    """BBN (Zhou et al. 2020): a second last block on batches of another sampler, mixed by alpha = 1 - (t / T)^2."""

    kind: Literal["bilateral"] = "bilateral"
    sampler: Sampler = ClassSampler("reversed")

    @property
    def streams(self) -> int:
        return 2


Auxiliary = NoAuxiliary | AuxiliaryTasks | Bilateral


@dataclass(frozen=True)
class Branch:
    """The epoch at which `classify` takes over from `represent`."""

    at: Literal["start", "last_milestone", "deferred", "end"]  # deferred: 80% of the epochs (Cao et al.)
    plus: Annotated[int, Range(0)]  # epochs after it


@dataclass(frozen=True)
class Representation:
    sampler: Sampler
    embedded: Embedded
    loss: Loss
    weighting: Weighting
    head: Literal["linear", "cosine"]
    whitening: Whitening
    mixing: Mixing
    auxiliary: Auxiliary
    branch: Branch


@dataclass(frozen=True)
class Interlude:
    """Epochs of another sampler between the branch and what follows (`switching` Table 7)."""

    sampler: Sampler
    epochs: Count


@dataclass(frozen=True)
class Continue:
    """Go on from the branch; null: as the representation was trained."""

    kind: Literal["continue"]
    sampler: Sampler | None
    loss: Loss | None
    weighting: Weighting | None
    interlude: Interlude | None = None
    trained: Literal["all", "head"] = "all"  # head: the trunk is frozen, in evaluation mode
    new_head: bool = False  # start from a freshly initialised head
    epochs: Count | None = None  # after the branch; null: to the protocol's last epoch


@dataclass(frozen=True)
class Retrain:
    """Train again, on its own schedule: a new head and what `trained` adds to it, or only the scales of the old one."""

    kind: Literal["retrain"]
    trained: Literal["head", "scale", "last_block", "all"]  # what is not trained is frozen, in evaluation mode
    sampler: Sampler
    loss: Loss
    weighting: Weighting
    epochs: Count
    lr: Positive
    weight_decay: NonNegative
    schedule: Schedule
    lr_scale: Positive = 1.0  # times lr
    after: Continue | None = None  # first go on from the branch like this, then re-train


@dataclass(frozen=True)
class TauNormalise:
    kind: Literal["tau"]
    tau: NonNegative | None  # null: the best of `grid` on the held-out images of the split
    grid: tuple[NonNegative, ...]


@dataclass(frozen=True)
class NearestClassMean:
    kind: Literal["ncm"]
    distance: Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class LogitAdjustment:
    """Subtract tau * log(prior) from the logits of the trained network (Menon et al. 2021, section 4.1)."""

    kind: Literal["logit_adjustment"]
    tau: NonNegative


Classifier = Continue | Retrain | TauNormalise | NearestClassMean | LogitAdjustment


@dataclass(frozen=True)
class Runtime:
    """How, not what, to compute. What can change the last bits of a result is part of a recipe."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Count | None  # of the CPU; null: all that torch finds
    test_every: Count  # epochs between tests during training; the last epoch is always tested
    mode: Literal["bitwise", "fast"] = "bitwise"  # the same bits each time, or whatever kernels are fastest
    at_once: Count | None = None  # seeds, with the results of each alone; null: 8 on a GPU if small images, else 1
    regularity: bool = False  # count each training image's learned and forgotten events (`switching` appendix A)
