"""Every parameter of the pipeline, typed. `params.yaml` (composed from conf/) is read here and nowhere else.

A section is a frozen dataclass; a choice between recipes (`mixing`, `classifier`...) is a union of dataclasses told
apart by `kind`. What is unknown, missing, of a wrong type or out of range is refused with a line that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from stages.longtail.errors import UserError


@dataclass(frozen=True)
class Range:
    """Bounds of a number: `low <= x <= high`, or `low < x` where `open_low`."""

    low: float = 0.0
    high: float = float("inf")
    open_low: bool = False


Count = Annotated[int, Range(1)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open_low=True)]
Fraction = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Dataset:
    name: Literal["digits", "cifar10", "cifar100", "folder"]
    root: str | None  # where the files are or go; null: $LONGTAIL_DATA, else data/downloads
    size: Annotated[int, Range(1, 1024)]  # pixels a side; images of a folder are resized to it
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


Sampler = Literal["instance", "sqrt", "balanced", "reversed"]
Loss = Literal["cross_entropy"]


@dataclass(frozen=True)
class NoMixing:
    kind: Literal["none"]


@dataclass(frozen=True)
class MajorFeatureWeakening:
    kind: Literal["mfw"]
    group: Annotated[int, Range(0, 4)]  # mix after this group of convolutions; 0: the input, 1: the first layer
    alpha: Positive  # of Beta(alpha, alpha)
    beta: Positive  # softness of the class weight s, Eq. 12
    deviation: Literal["geometric", "arithmetic"]  # gamma of Eq. 12


Mixing = NoMixing | MajorFeatureWeakening


@dataclass(frozen=True)
class Branch:
    """The epoch at which `classify` takes over from `represent`."""

    at: Literal["start", "last_milestone", "end"]
    plus: Annotated[int, Range(0)]  # epochs after it


@dataclass(frozen=True)
class Representation:
    sampler: Sampler
    loss: Loss
    head: Literal["linear"]
    mixing: Mixing
    branch: Branch


@dataclass(frozen=True)
class Continue:
    """Go on from the branch to the protocol's last epoch; null: as the representation was trained."""

    kind: Literal["continue"]
    sampler: Sampler | None
    loss: Loss | None


@dataclass(frozen=True)
class Retrain:
    """Train a new head, or only its scales, on the frozen representation."""

    kind: Literal["retrain"]
    trained: Literal["head", "scale"]
    sampler: Sampler
    loss: Loss
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


Classifier = Continue | Retrain | TauNormalise | NearestClassMean


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
    if {"protocol", "representation"} <= set(params.names):
        branch_epoch(params.protocol, params.representation)
    if {"split", "classifier"} <= set(params.names):
        kind = params.classifier
        if isinstance(kind, TauNormalise) and kind.tau is None and not (kind.grid and params.split.holdout):
            raise UserError(
                f"{params.path}: classifier.tau is null, so tau is chosen on held-out training images, but "
                "split.holdout is 0 or classifier.grid is empty: set split.holdout, or fix classifier.tau"
            )


def branch_epoch(protocol: Protocol, representation: Representation) -> int:
    """Number of epochs that `represent` trains before `classify` takes over."""
    branch = representation.branch
    start = 0
    if branch.at == "end":
        start = protocol.epochs
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


def suggest(word: str, known: typing.Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"


def build(hint: Any, value: Any, key: str) -> Any:
    """Turn plain yaml `value` into the type `hint`; `key` is the dotted name that an error shows."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, bounds = typing.get_args(hint)
        return _in_range(build(inner, value, key), bounds, key)
    if origin is Literal:
        options = typing.get_args(hint)
        if value not in options:
            hinted = suggest(value, options) if isinstance(value, str) else f" (known: {', '.join(options)})"
            raise UserError(f"{key}: unknown value {value!r}{hinted}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{key}: expected a list, found {value!r}")
        return tuple(build(typing.get_args(hint)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        return _build_union(typing.get_args(hint), value, key)
    if dataclasses.is_dataclass(hint):
        return _build_dataclass(typing.cast(type, hint), value, key)
    if hint is float and type(value) in (int, float):
        if value != value or abs(value) > sys.float_info.max:
            raise UserError(f"{key}: expected a finite number, found {value!r}")
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise UserError(f"{key}: expected {hint.__name__}, found {value!r}")


def _build_union(options: tuple[Any, ...], value: Any, key: str) -> Any:
    if types.NoneType in options:
        if value is None:
            return None
        (hint,) = [option for option in options if option is not types.NoneType]
        return build(hint, value, key)
    kinds = {typing.get_args(typing.get_type_hints(option)["kind"])[0]: option for option in options}
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        known = suggest(kind, kinds) if isinstance(kind, str) else f" (known: {', '.join(kinds)})"
        raise UserError(f"{key}.kind: unknown value {kind!r}{known}")
    return _build_dataclass(kinds[kind], value, key)


def _build_dataclass(cls: type, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{key}: expected keys, found {value!r}")
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in value:
        if name not in hints:
            raise UserError(f"{key}.{name}: unknown key{suggest(str(name), hints)}")
    for name in hints:
        if name not in value:
            raise UserError(f"{key}.{name}: missing: add it, or compose the file from conf/ with dvc exp run")
    return cls(**{name: build(hint, value[name], f"{key}.{name}") for name, hint in hints.items()})


def _in_range(value: Any, bounds: Range, key: str) -> Any:
    if value < bounds.low or value > bounds.high or (bounds.open_low and value == bounds.low):
        low = f"above {bounds.low:g}" if bounds.open_low else f"at least {bounds.low:g}"
        high = "" if bounds.high == float("inf") else f" and at most {bounds.high:g}"
        raise UserError(f"{key}: must be {low}{high}, found {value!r}")
    return value
