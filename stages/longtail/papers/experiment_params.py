"""The sections of the parameters that decide a result, for the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration.parameters import Params, parse
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import Representation
from stages.longtail.sources.dataset import Dataset
from stages.longtail.splits.split import Split

FORMS: dict[str, Any] = {
    "dataset": Dataset,
    "split": Split,
    "protocol": Protocol,
    "representation": Representation,
    "classifier": Classifier,
}


@dataclass(frozen=True)
class Experiment:
    method: str
    seeds: tuple[int, ...]
    dataset: Dataset
    split: Split
    protocol: Protocol
    representation: Representation
    classifier: Classifier

    @classmethod
    def read(cls, params: Params) -> Experiment:
        return cls(params.method, params.seeds, **{name: params.section(name, form) for name, form in FORMS.items()})

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Experiment:
        """The experiment that composed sections describe."""
        sections = {name: parse(form, plain[name], name) for name, form in FORMS.items()}
        return cls(plain["method"], tuple(plain["seeds"]), **sections)
