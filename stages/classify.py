"""Do what follows the branch: train on, perhaps with another sampler, or re-train, rescale or replace the head.

Reads   the sections `protocol`, `representation`, `classifier`, `seeds` and `runtime` of the parameters
        REPRESENTATION/checkpoint.pt
        RAW/*_images.npy, RAW/*_labels.npy, RAW/meta.json, SPLITS/kept.npy, SPLITS/held.npy, SPLITS/classes.csv
Writes  OUT/checkpoint.pt  the final network of every seed
        OUT/manifest.json  recipe, versions, machine, speed; or MANIFEST
        OUT/history.csv    all epochs, those of the representation first

With protocol.shards above 1 and several GPUs, one process per GPU shares the work: see runtime/processes.py.
An interrupted run goes on from the last finished epoch, kept in .scratch/.
"""

from __future__ import annotations

from pathlib import Path

from stages.longtail.classification.apply_classifier import classify
from stages.longtail.classification.classifier import Classifier, Retrain
from stages.longtail.configuration import cells, command_line
from stages.longtail.console.errors import UserError
from stages.longtail.recipe import schedule
from stages.longtail.runtime import processes
from stages.longtail.training import checkpoint
from stages.longtail.training.checkpoint import State
from stages.longtail.training.session import Session
from stages.longtail.training.training_params import TrainingParams


def main() -> None:
    args = command_line.parse(
        __doc__,
        command_line.manifest,
        out="data/classifier",
        representation="data/representation",
        raw="data/raw",
        splits="data/splits",
    )
    params, classifier = TrainingParams.read(args.params), args.params.section("classifier", Classifier)
    if processes.shared("stages.classify", params.protocol.shards, params.runtime):
        return
    if isinstance(classifier, Retrain) and (note := schedule.never_reached(classifier.schedule, classifier.epochs)):
        print(f"note: classifier.schedule: {note}")
    session = Session.open(params, args.raw, args.splits, args.out)
    path = args.representation / "checkpoint.pt"
    branch = params.branch_epoch
    represented = checkpoint.load_seeds(path, params.seeds)
    for state in represented.values():
        check(path, state, session, branch)
    states = session.each(lambda seed: classify(session, seed, represented[seed], classifier))
    session.write(states, args.manifest, cells.recipe(args.params.plain, "runs"))


def check(path: Path, state: State, session: Session, branch: int) -> None:
    """Refuse a representation that the parameters and the data do not describe."""
    for key, value in session.architecture.items():
        found = state["architecture"].get(key)
        if found != value:
            raise UserError(
                f"{path} is of another network: its {key} is {found}, the parameters and the data say {value}: run the "
                "represent stage again"
            )
    if session.params.runtime.regularity and "regularity" not in state:
        raise UserError(f"{path} has no events, which runtime.regularity asks for: run the represent stage again")
    if session.params.runtime.observe and "observed" not in state:
        raise UserError(f"{path} has nothing observed, which runtime.observe asks for: run the represent stage again")
    if state["epoch"] != branch:
        raise UserError(
            f"{path} stopped at epoch {state['epoch']}, but representation.branch says {branch}: run the represent "
            "stage again"
        )


if __name__ == "__main__":
    command_line.run(main)
