"""The section `classifier` of the parameters: what a method does from the epoch at which it branches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import SHORT, Count, Items, NonNegative, Positive, Section
from stages.longtail.recipe.representation import Loss, Sampler, Weighting
from stages.longtail.recipe.schedule import Schedule

# The statistics that frozen batch normalisation (and whitening) uses: the running averages, as in evaluation; or each
# batch's, as in training, which moves the running averages although no weight moves.
Frozen = Literal["running", "batch"]


class Interlude(Section):
    """Epochs of another sampler between the branch and what follows (`switching` Table 7)."""

    sampler: Sampler
    epochs: Count


class Continue(Section):
    """Train on from the branch; null leaves a setting as the representation has it."""

    kind: Literal["continue"] = "continue"
    sampler: Sampler | None = None
    loss: Loss | None = None
    weighting: Weighting | None = None
    interlude: Interlude | None = None
    trained: Literal["all", "head"] = "all"  # head: the rest is frozen
    frozen: Frozen = "running"
    new_head: bool = False  # start from a freshly initialised head
    epochs: Count | None = None  # so many after the branch; null: to the protocol's last epoch


class Retrain(Section):
    """Train again with a schedule of its own: a new head and what `trained` adds to it, or scales on the old head."""

    kind: Literal["retrain"] = "retrain"
    trained: Literal["head", "scale", "last_block", "all"]  # what is not trained is frozen
    frozen: Frozen = "running"
    scale_bias: bool = False  # for `scale`: the scales multiply the bias as well as the weights
    sampler: Sampler
    loss: Loss
    weighting: Weighting
    epochs: Count
    lr: Positive
    weight_decay: NonNegative
    schedule: Schedule
    lr_scale: Positive = 1.0  # times lr
    after: Continue | None = None  # first train on from the branch like this, then re-train


class TauNormalise(Section):
    """Divide each class's weights by their norm to the power of tau (`decoupling` Eq. 3)."""

    kind: Literal["tau"] = "tau"
    tau: NonNegative | None  # null: the best of `grid` on the held-out images of the split
    grid: Items[NonNegative]


class NearestClassMean(Section):
    """Classify by the nearest class mean of the features (`decoupling` section 4)."""

    kind: Literal["ncm"] = "ncm"
    distance: Literal["cosine", "euclidean"]


class LogitAdjustment(Section):
    """Subtract tau * log(prior) from the logits of the trained network (Menon et al. 2021, section 4.1)."""

    kind: Literal["logit_adjustment"] = "logit_adjustment"
    tau: NonNegative


Classifier = Annotated[
    Continue | Retrain | TauNormalise | NearestClassMean | LogitAdjustment, Field(discriminator="kind"), SHORT
]
