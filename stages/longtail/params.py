"""Every parameter of the pipeline, typed. `params.yaml` (composed from conf/) is read here and nowhere else.

A section is a frozen dataclass; a choice between recipes (`mixing`, `classifier`...) is a union of dataclasses told
apart by `kind`. What is unknown, missing, of a wrong type or out of range is refused with a line that names the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from stages.longtail.errors import UserError
from stages.longtail.schema import Count, NonNegative, Positive, Range, build, suggest


@dataclass(frozen=True)
class Dataset:
    name: Literal["digits", "cifar10", "cifar100", "folder"]
    root: str | None  # where the files are or go; null: $LONGTAIL_DATA, else data/downloads
    size: Annotated[int, Range(5, 1024)]  # pixels a side; images of a folder are resized to it
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


@dataclass(frozen=True)
class Protocol:
    """What a paper keeps fixed while it compares methods."""

    name: str
    backbone: Literal["resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
    width: Count  # channels of the first group of blocks; 16 in the papers
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Range(0, 1)]
    weight_decay: NonNegative
    schedule: Schedule
    augment: Literal["none", "crop", "crop_flip"]
    pad: Annotated[int, Range(0, 64)]  # pixels of zero padding before the crop


Sampler = Literal["instance", "sqrt", "balanced", "reversed", "progressive"]


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


Loss = CrossEntropy | Focal | LDAM | LogitAdjusted


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


Mixing = NoMixing | MajorFeatureWeakening


@dataclass(frozen=True)
class Branch:
    """The epoch at which `classify` takes over from `represent`."""

    at: Literal["start", "last_milestone", "deferred", "end"]  # deferred: 80% of the epochs (Cao et al.)
    plus: Annotated[int, Range(0)]  # epochs after it


@dataclass(frozen=True)
class Representation:
    sampler: Sampler
    loss: Loss
    weighting: Weighting
    head: Literal["linear", "cosine"]
    mixing: Mixing
    branch: Branch


@dataclass(frozen=True)
class Continue:
    """Go on from the branch to the protocol's last epoch; null: as the representation was trained."""

    kind: Literal["continue"]
    sampler: Sampler | None
    loss: Loss | None
    weighting: Weighting | None


@dataclass(frozen=True)
class Retrain:
    """Train a new head, or only its scales, on the frozen representation."""

    kind: Literal["retrain"]
    trained: Literal["head", "scale"]
    sampler: Sampler
    loss: Loss
    weighting: Weighting
    epochs: Count
    lr: Positive
    weight_decay: NonNegative
    schedule: Schedule


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
    """How, not what, to compute. All of it can change the last bits of a result, so all of it is part of a recipe."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Count | None  # of the CPU; null: all that torch finds
    test_every: Count  # epochs between tests during training; the last epoch is always tested


SECTIONS: dict[str, Any] = {
    "method": str,
    "dataset": Dataset,
    "split": Split,
    "protocol": Protocol,
    "representation": Representation,
    "classifier": Classifier,
    "seeds": tuple[Annotated[int, Range(0, 2**31 - 1)], ...],
    "runtime": Runtime,
}


class Params:
    """The sections of one parameter file, each parsed when it is first read. `read` holds the names of those read."""

    def __init__(self, raw: dict[str, Any], path: Path):
        self.path = path
        self.read: set[str] = set()
        self._raw = raw
        check(self)
        self.read.clear()

    def _section(self, name: str) -> Any:
        if name not in self._raw:
            raise UserError(f"{self.path}: section '{name}' is missing: compose it with dvc exp run, or add it")
        self.read.add(name)
        return build(SECTIONS[name], self._raw[name], f"{self.path}: {name}")

    def plain(self, name: str) -> Any:
        """A section as the file has it."""
        self.read.add(name)
        return self._raw.get(name)

    @property
    def method(self) -> str:
        return self._section("method")

    @property
    def dataset(self) -> Dataset:
        return self._section("dataset")

    @property
    def split(self) -> Split:
        return self._section("split")

    @property
    def protocol(self) -> Protocol:
        return self._section("protocol")

    @property
    def representation(self) -> Representation:
        return self._section("representation")

    @property
    def classifier(self) -> Classifier:
        return self._section("classifier")

    @property
    def seeds(self) -> tuple[int, ...]:
        return self._section("seeds")

    @property
    def runtime(self) -> Runtime:
        return self._section("runtime")

    @cached_property
    def names(self) -> list[str]:
        return [name for name in SECTIONS if name in self._raw]


def load(path: Path) -> Params:
    """Read and validate a parameter file; raises UserError with one line that names the key."""
    try:
        raw = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid yaml: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections {', '.join(SECTIONS)}, found {type(raw).__name__}")
    return Params(raw, path)


def check(params: Params) -> None:
    """Refuse what no single section can see. Only the sections that the file has are looked at."""
    for name in params._raw:
        if name not in SECTIONS:
            raise UserError(f"{params.path}: unknown section '{name}'{suggest(str(name), SECTIONS)}")
    for name in params.names:
        params._section(name)
    if {"seeds"} <= set(params.names):
        if not params.seeds:
            raise UserError(f"{params.path}: seeds is empty: name at least one, such as [0]")
        if len(set(params.seeds)) < len(params.seeds):
            raise UserError(f"{params.path}: seeds repeats a seed: {list(params.seeds)}")
    for name in [name for name in params.names if name in ("protocol", "classifier")]:
        schedule = getattr(params._section(name), "schedule", None)
        if isinstance(schedule, MultiStep) and list(schedule.milestones) != sorted(set(schedule.milestones)):
            raise UserError(f"{params.path}: {name}.schedule.milestones must increase: {list(schedule.milestones)}")
    if "protocol" in params.names and params.protocol.width % 2:
        raise UserError(f"{params.path}: protocol.width must be even, found {params.protocol.width}")
    if {"protocol", "representation"} <= set(params.names):
        branch_epoch(params.protocol, params.representation)
    if {"representation", "classifier"} <= set(params.names):
        _check_axes(params)
    if {"split", "classifier"} <= set(params.names):
        kind = params.classifier
        if isinstance(kind, TauNormalise) and kind.tau is None and not (kind.grid and params.split.holdout):
            raise UserError(
                f"{params.path}: classifier.tau is null, so tau is chosen on held-out training images, but "
                "split.holdout is 0 or classifier.grid is empty: set split.holdout, or fix classifier.tau"
            )


def _check_axes(params: Params) -> None:
    """Refuse combinations that make no sense."""
    representation, classifier, path = params.representation, params.classifier, params.path
    later = getattr(classifier, "loss", None) if isinstance(classifier, Continue) else None
    cosine = representation.head == "cosine"
    for section, loss in (("representation", representation.loss), ("classifier", later)):
        if loss is not None and isinstance(loss, LDAM) != cosine:
            raise UserError(
                f"{path}: {section}.loss is {loss.kind} and representation.head is {representation.head}: LDAM's scale "
                "and margins need the cosine head, and no other loss does; set representation.head to "
                f"{'linear' if cosine else 'cosine'}"
            )
    if (
        cosine
        and not isinstance(classifier, Continue | NearestClassMean)
        and getattr(classifier, "trained", "") != "head"
    ):
        raise UserError(
            f"{path}: classifier.kind {classifier.kind} rescales the weights or the bias of a linear head, but "
            "representation.head is cosine: set it to linear"
        )
    if isinstance(classifier, Retrain) and isinstance(classifier.loss, LDAM):
        raise UserError(f"{path}: classifier.loss is ldam, but a re-trained head is linear: use another loss")


def branch_epoch(protocol: Protocol, representation: Representation) -> int:
    """Number of epochs that `represent` trains before `classify` takes over."""
    branch = representation.branch
    start = 0
    if branch.at == "end":
        start = protocol.epochs
    elif branch.at == "deferred":
        start = protocol.epochs * 4 // 5
    elif branch.at == "last_milestone":
        if not isinstance(protocol.schedule, MultiStep) or not protocol.schedule.milestones:
            raise UserError(
                f"representation.branch.at is last_milestone, but protocol.schedule of '{protocol.name}' has no "
                "milestones: use start or end"
            )
        start = protocol.schedule.milestones[-1]
    epoch = start + branch.plus
    if not 1 <= epoch <= protocol.epochs:
        raise UserError(
            f"representation.branch ends at epoch {epoch}, but protocol.epochs is {protocol.epochs}: "
            "choose representation.branch.plus so that it lies between 1 and protocol.epochs"
        )
    return epoch
