"""How a head's outputs become probabilities, and whether they do."""

from __future__ import annotations

from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration.parameters import Params
from stages.longtail.console.errors import UserError
from stages.longtail.models.network import Architecture
from stages.longtail.recipe.representation import LDAM, Representation


def scale(params: Params, architecture: Architecture) -> float:
    """The factor by which the training loss multiplied the head's outputs: LDAM's scale for its cosines, else 1.

    Raises UserError if the head has cosines and the recipe has no LDAM.
    """
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
    """Whether the softmax of the outputs means something. Distances to class means were never trained by a loss."""
    return not architecture["head"].startswith("ncm")
