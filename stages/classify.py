"""Everything after the branch: go on with another sampler, re-train the head, rescale it, replace it, or change nothing.

Reads   the sections `protocol`, `representation`, `classifier`, `seeds` and `runtime` of the parameters
        REPRESENTATION/checkpoint.pt
        RAW/*_images.npy, RAW/*_labels.npy, RAW/meta.json, SPLITS/kept.npy, SPLITS/held.npy, SPLITS/classes.csv
Writes  OUT/checkpoint.pt  the final network of every seed
        OUT/history.csv    all epochs, those of the representation first

An interrupted run goes on from the last finished epoch, kept in .scratch/.
"""

from __future__ import annotations

from stages.longtail import cli, compute, params
from stages.longtail.errors import UserError
from stages.longtail.learning import checkpoint, classifiers, seeds
from stages.longtail.params import Continue, Retrain, TauNormalise


def main() -> None:
    args = cli.parse(
        __doc__,
        out="data/classifier",
        representation="data/representation",
        raw="data/raw",
        splits="data/splits",
    )
    protocol, representation, runtime = args.params.protocol, args.params.representation, args.params.runtime
    classifier = args.params.classifier
    device = compute.resolve(runtime)
    task = seeds.Task.read(args.raw, args.splits, device, protocol.pad)
    path = args.representation / "checkpoint.pt"
    learned = checkpoint.load(path)["seeds"]
    expected = task.architecture(protocol, representation.head)
    branch = params.branch_epoch(protocol, representation)

    states = {}
    for seed in args.params.seeds:
        if seed not in learned:
            raise UserError(f"{path} has no seed {seed}, which `seeds` asks for: run the represent stage again")
        state = learned[seed]
        for key, value in expected.items():
            if state["architecture"][key] != value:
                raise UserError(
                    f"{path} is of another network: its {key} is {state['architecture'][key]}, the parameters and the "
                    f"data say {value}: run the represent stage again"
                )
        if state["epoch"] != branch:
            raise UserError(
                f"{path} stopped at epoch {state['epoch']}, but representation.branch says {branch}: run the represent "
                "stage again"
            )
        if isinstance(classifier, Continue):
            states[seed] = classifiers.go_on(
                seed, state, protocol, representation, classifier, task, runtime, device
            )
        elif isinstance(classifier, Retrain):
            states[seed] = classifiers.retrain(seed, state, protocol, classifier, task, runtime, device)
        elif isinstance(classifier, TauNormalise):
            states[seed] = classifiers.tau_normalise(state, classifier, task, device)
        else:
            states[seed] = classifiers.nearest_class_mean(state, classifier, task, device)
    seeds.write_states(args.out, states)


if __name__ == "__main__":
    cli.run(main)
