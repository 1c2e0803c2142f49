"""How many epochs a recipe trains."""

from __future__ import annotations

from dataclasses import dataclass

from stages.longtail.classification.classifier import Continue, Retrain
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.recipe.schedule import branch_epoch


@dataclass(frozen=True)
class Epochs:
    """The epochs up to the branch, up to the end of training the whole network, and of a head trained after that."""

    branch: int
    stop: int
    head: int

    @property
    def total(self) -> int:
        """As history.csv counts them."""
        return self.stop + self.head


def of(params: Experiment) -> Epochs:
    """The epochs that `represent` and `classify` train with these parameters."""
    classifier, protocol = params.classifier, params.protocol
    branch = branch_epoch(protocol.schedule, protocol.epochs, params.representation.branch)
    go_on = classifier.after if isinstance(classifier, Retrain) else classifier
    stop = branch
    if isinstance(go_on, Continue):
        stop = branch + go_on.epochs if go_on.epochs else protocol.epochs
    return Epochs(branch, stop, classifier.epochs if isinstance(classifier, Retrain) else 0)
