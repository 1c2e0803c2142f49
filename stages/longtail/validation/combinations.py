"""Refuses combinations of parameters that make no sense together, which no single section can see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from stages.longtail.classification.classifier import Continue, NearestClassMean, Retrain, TauNormalise
from stages.longtail.console.errors import UserError
from stages.longtail.recipe.protocol import Pretrained, Protocol
from stages.longtail.recipe.representation import (
    LDAM,
    ZCA,
    AuxiliaryTasks,
    BatchEmbedded,
    Bilateral,
    ClassBalancedBatches,
    ClassSampler,
    NoAuxiliary,
    NoMixing,
    Representation,
)
from stages.longtail.recipe.schedule import Branch, Cosine, MultiStep, branch_epoch
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.splits.split import Split


def check(sections: dict[str, Any]) -> None:
    """Check the parsed sections of a parameter file, given by name. Raises UserError, without the file's name."""
    seeds, protocol, split = sections.get("seeds"), sections.get("protocol"), sections.get("split")
    representation, classifier = sections.get("representation"), sections.get("classifier")
    if seeds is not None:
        _seeds(seeds)
    for name, section in sections.items():
        _milestones(name, section)
    if protocol:
        _protocol(protocol)
    if representation:
        _representation(representation)
    if representation and classifier:
        _heads(representation, classifier)
    if protocol and representation:
        where, continued = _continued(classifier)
        branch = _branch(protocol, representation, beyond=continued is not None and continued.epochs is not None)
        if continued:
            left = continued.epochs or protocol.epochs - branch
            if not left:
                _nothing_left(where, protocol, representation, continued)
            _interlude(where, continued, left)
            if branch + left > protocol.epochs:
                _beyond(where, protocol, representation, continued, branch)
        _batches(protocol, representation, classifier)
        if protocol.trained != "all" and isinstance(representation.auxiliary, Bilateral):
            raise UserError(
                "protocol.trained is last_block and representation.auxiliary is bilateral, which has two: set "
                "protocol.trained to all"
            )
        if protocol.projection and representation and isinstance(representation.auxiliary, Bilateral):
            raise UserError(
                "protocol.projection is set and representation.auxiliary is bilateral, whose branches are mixed before "
                "the head: set protocol.projection to null"
            )
        _plane(protocol, representation, sections.get("runtime"))
    if split and isinstance(classifier, TauNormalise):
        _tau(classifier, split)


def _protocol(protocol: Protocol) -> None:
    if protocol.weights and protocol.backbone not in get_args(Pretrained):
        raise UserError(
            f"protocol.weights is {protocol.weights}, which torchvision does not have of {protocol.backbone}: set "
            f"protocol.backbone to one of {', '.join(get_args(Pretrained))}, or protocol.weights to null"
        )
    if protocol.width % 2:
        raise UserError(f"protocol.width must be even, found {protocol.width}")
    if protocol.backbone.startswith("resnext") and protocol.width % 16:
        raise UserError(
            f"protocol.width is {protocol.width}, but the 32 groups of {protocol.backbone} need a multiple of 16"
        )
    if protocol.augment == "resized_crop_flip" and protocol.pad:
        raise UserError(
            f"protocol.pad is {protocol.pad}, but resized_crop_flip cuts its windows from the image: set it to 0"
        )
    if protocol.shards > protocol.batch_size:
        raise UserError(
            f"protocol.shards is {protocol.shards}, but protocol.batch_size {protocol.batch_size}: a part of a batch "
            "has one image at least; set protocol.shards lower"
        )

    if not protocol.projection_relu and not protocol.projection:
        raise UserError(
            "protocol.projection_relu is false, but there is no projection: set protocol.projection, or leave it true"
        )


def _plane(protocol: Protocol, representation: Representation, runtime: Runtime | None) -> None:
    """Two features, and a head that is a line between any two classes."""
    if runtime and "plane" in runtime.observe and (protocol.projection != 2 or representation.head != "linear"):
        raise UserError(
            "runtime.observe has plane, which needs two features and a linear head: set protocol.projection to 2 and "
            "representation.head to linear, or take it out"
        )
    if runtime and "plane" in runtime.observe and protocol.shards > 1:
        raise UserError(
            "runtime.observe has plane, which needs all test images in one process: set protocol.shards to 1, or take "
            "it out"
        )


def _seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise UserError("seeds is empty: name at least one, such as [0]")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds repeats a seed: {list(seeds)}")


def _milestones(name: str, section: Any) -> None:
    schedule = getattr(section, "schedule", None)
    if isinstance(schedule, MultiStep) and list(schedule.milestones) != sorted(set(schedule.milestones)):
        raise UserError(f"{name}.schedule.milestones must increase: {list(schedule.milestones)}")


def _representation(representation: Representation) -> None:
    """An auxiliary task has batches of its own, so that neither mixing nor embedded batches go with it."""
    groups = getattr(representation.mixing, "groups", (0,))
    if not groups:
        raise UserError("representation.mixing.groups is empty: name at least one, such as [0], which is the input")
    if isinstance(representation.auxiliary, NoAuxiliary):
        return
    if isinstance(representation.auxiliary, Bilateral) and isinstance(representation.whitening, ZCA):
        raise UserError(
            "representation.auxiliary is bilateral, whose branches are mixed before the head, and "
            "representation.whitening is zca: set one of them to none"
        )
    if not isinstance(representation.mixing, NoMixing):
        raise UserError(
            f"representation.mixing is {representation.mixing.kind} and representation.auxiliary is "
            f"{representation.auxiliary.kind}, which has batches of its own: set one of them to none"
        )
    if isinstance(representation.embedded, BatchEmbedded):
        raise UserError(
            f"representation.embedded is {representation.embedded.kind} and representation.auxiliary is "
            f"{representation.auxiliary.kind}, which has batches of its own: set one of them to none"
        )


def _continued(classifier: Any) -> tuple[str, Continue | None]:
    """The name and the model of the section that says how training goes on from the branch; None if it does not."""
    if isinstance(classifier, Continue):
        return "classifier", classifier
    return "classifier.after", getattr(classifier, "after", None)


def _heads(representation: Representation, classifier: Any) -> None:
    where, continued = _continued(classifier)
    later = continued.loss if continued else None
    cosine = representation.head == "cosine"
    for section, loss in (("representation", representation.loss), (where, later)):
        if loss is not None and isinstance(loss, LDAM) != cosine:
            raise UserError(
                f"{section}.loss is {loss.kind} and representation.head is {representation.head}: LDAM's scale "
                "and margins need the cosine head, and no other loss does; set representation.head to "
                f"{'linear' if cosine else 'cosine'}"
            )
    new_head = isinstance(classifier, Retrain) and classifier.trained != "scale"
    if cosine and not isinstance(classifier, Continue | NearestClassMean) and not new_head:
        raise UserError(
            f"classifier.kind {classifier.kind} rescales the weights or the bias of a linear head, but "
            "representation.head is cosine: set it to linear"
        )
    if isinstance(classifier, Retrain) and isinstance(classifier.loss, LDAM):
        raise UserError("classifier.loss is ldam, but a re-trained head is linear: use another loss")
    for section, part in (("classifier", classifier), (where, continued)):
        if isinstance(part, Continue | Retrain) and part.frozen == "batch" and part.trained == "all":
            raise UserError(f"{section}.frozen is batch, but {section}.trained is all: nothing is frozen")
    if isinstance(classifier, Retrain) and classifier.scale_bias and classifier.trained != "scale":
        raise UserError(f"classifier.scale_bias is true, but classifier.trained is {classifier.trained}, not scale")
    if isinstance(representation.auxiliary, Bilateral) and getattr(classifier, "trained", "") == "last_block":
        raise UserError(
            "classifier.trained is last_block, but representation.auxiliary is bilateral, which has two of them: "
            "set classifier.trained to head or all"
        )


def _branch(protocol: Protocol, representation: Representation, beyond: bool) -> int:
    """The epoch of the branch. beyond: it may lie after the protocol's last epoch, since training goes on from it."""
    epoch = branch_epoch(protocol.schedule, protocol.epochs, representation.branch)
    if epoch < 1 or (epoch > protocol.epochs and not beyond):
        raise UserError(
            f"representation.branch ends at epoch {epoch}, but protocol.epochs is {protocol.epochs}: choose "
            "representation.branch.plus so that it lies between 1 and protocol.epochs, or set classifier.epochs to go "
            "on beyond them"
        )
    return epoch


def _interlude(where: str, continued: Continue, left: int) -> None:
    if continued.interlude and continued.interlude.epochs >= left:
        raise UserError(
            f"{where}.interlude.epochs is {continued.interlude.epochs}, but {left} epochs follow the branch: "
            "set it lower"
        )


def _nothing_left(where: str, protocol: Protocol, representation: Representation, continued: Continue) -> None:
    """Refuse a change that no epoch would use: the result would be another method's, under this one's name."""
    changed = [axis for axis in ("sampler", "loss", "weighting") if _differs(representation, continued, axis)]
    changed += ["trained"] if continued.trained != "all" else []
    changed += [name for name in ("new_head", "interlude") if getattr(continued, name)]
    if changed:
        earlier = f", as -S {branch} does" if (branch := _earlier(protocol)) else ""
        raise UserError(
            f"{where}.{changed[0]} changes what is trained after the branch, but representation.branch is the last "
            f"epoch: set it to an earlier one{earlier}, or {where}.epochs to go on beyond it"
        )


def _earlier(protocol: Protocol) -> str:
    """An override that puts the branch before the last epoch; '' if no epoch comes before it."""
    for branch in (Branch(at="last_milestone", plus=0), Branch(at="deferred", plus=0), Branch(at="start", plus=1)):
        schedule = protocol.schedule
        if branch.at == "last_milestone" and not (isinstance(schedule, MultiStep) and schedule.milestones):
            continue
        if 1 <= branch_epoch(schedule, protocol.epochs, branch) < protocol.epochs:
            return f"'representation.branch={{at: {branch.at}, plus: {branch.plus}}}'"
    return ""


def _differs(representation: Representation, continued: Continue, axis: str) -> bool:
    value = getattr(continued, axis)
    return value is not None and value != getattr(representation, axis)


def _beyond(where: str, protocol: Protocol, representation: Representation, continued: Continue, branch: int) -> None:
    """Refuse what is defined by t / T, the epoch over the protocol's epochs, where training goes on after T."""
    reason = ""
    there = [continued.sampler or representation.sampler, getattr(representation.embedded, "sampler", None)]
    there += [representation.sampler] if branch > protocol.epochs else []
    if (interlude := continued.interlude) and branch + interlude.epochs > protocol.epochs:
        there.append(interlude.sampler)
    there.append(getattr(representation.auxiliary, "sampler", None))
    if isinstance(protocol.schedule, Cosine):
        reason = "the cosine of protocol.schedule has reached 0 there"
    elif isinstance(representation.auxiliary, Bilateral):
        reason = "the alpha of representation.auxiliary has reached 0 there"
    elif any(isinstance(sampler, ClassSampler) and sampler.kind == "progressive" for sampler in there):
        reason = "the progressive sampler has become class-balanced there"
    if reason:
        raise UserError(
            f"{where}.epochs goes on beyond protocol.epochs, {protocol.epochs}, but {reason}: set {where}.epochs to "
            "null, and representation.branch to an epoch before the last"
        )


def _tau(classifier: TauNormalise, split: Split) -> None:
    if classifier.tau is None and not (classifier.grid and split.holdout):
        raise UserError(
            "classifier.tau is null, so tau is chosen on held-out training images, but split.holdout is 0 or "
            "classifier.grid is empty: set split.holdout, or fix classifier.tau"
        )


def _batches(protocol: Protocol, representation: Representation, classifier: Any) -> None:
    for name, sampler in _samplers(representation, classifier):
        if isinstance(sampler, ClassBalancedBatches) and protocol.batch_size % sampler.images:
            raise UserError(
                f"{name}.images is {sampler.images}, which does not divide protocol.batch_size, "
                f"{protocol.batch_size}: change one of them"
            )


def _samplers(representation: Representation, classifier: Any) -> Iterator[tuple[str, Any]]:
    yield "representation.sampler", representation.sampler
    if isinstance(representation.embedded, BatchEmbedded):
        yield "representation.embedded.sampler", representation.embedded.sampler
    if isinstance(representation.auxiliary, AuxiliaryTasks | Bilateral):
        yield "representation.auxiliary.sampler", representation.auxiliary.sampler
    where, continued = _continued(classifier)
    interlude = getattr(continued, "interlude", None)
    for name, part in (("classifier", classifier), (where, continued), (f"{where}.interlude", interlude)):
        yield f"{name}.sampler", getattr(part, "sampler", None)
