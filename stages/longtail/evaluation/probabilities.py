"""What makes probabilities of what a head gives."""

from __future__ import annotations

from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration.parameters import Params
from stages.longtail.console.errors import UserError
from stages.longtail.models.network import Architecture
from stages.longtail.recipe.representation import LDAM, Representation


def scale(params: Params, architecture: Architecture) -> float:
    """What the loss that trained the head multiplied its outputs by: LDAM's scale for its cosines, else 1."""
    classifier: Classifier = params.section("classifier", Classifier)
    representation: Representation = params.section("representation", Representation)
    losses = [getattr(classifier, "loss", None), representation.loss]
    if architecture["head"] != "cosine":
        return 1.0
    for loss in losses:
        if isinstance(loss, LDAM):
            return loss.scale
    raise UserError("the network has LDAM's cosine head, but representation.loss is another: run represent again")


def meant(architecture: Architecture) -> bool:
    """False where the head gives distances to class means, whose softmax nothing was trained by."""
    return not architecture["head"].startswith("ncm")
