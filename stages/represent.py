"""Train the representation: the network up to the epoch at which the method branches.

Reads   the sections `protocol`, `representation`, `seeds` and `runtime` of the parameters
        RAW/*_images.npy, RAW/*_labels.npy, RAW/meta.json, SPLITS/kept.npy, SPLITS/held.npy, SPLITS/classes.csv
Writes  OUT/checkpoint.pt  the network and its momentum of every seed
        OUT/manifest.json  recipe, versions, machine, speed; or MANIFEST
        OUT/history.csv    one row per epoch: learning rate, loss, accuracies; it grows during training

With protocol.shards above 1 and several GPUs, one process per GPU shares the work: see runtime/processes.py.
An interrupted run goes on from the last finished epoch, kept in .scratch/.
"""

from __future__ import annotations

from dataclasses import replace

from stages.longtail.configuration import cells, command_line
from stages.longtail.recipe import schedule
from stages.longtail.runtime import processes
from stages.longtail.training.checkpoint import State
from stages.longtail.training.phase import Phase
from stages.longtail.training.session import Session
from stages.longtail.training.training_params import TrainingParams


def main() -> None:
    args = command_line.parse(
        __doc__, command_line.manifest, out="data/representation", raw="data/raw", splits="data/splits"
    )
    params = TrainingParams.read(args.params)
    if processes.shared("stages.represent", params.protocol.shards, params.runtime):
        return
    if note := schedule.never_reached(params.protocol.schedule, params.protocol.epochs):
        print(f"note: protocol.schedule: {note}")
    session = Session.open(params, args.raw, args.splits, args.out)
    phase = replace(Phase.of(params.protocol, params.representation), stop=params.branch_epoch)
    key = session.trajectory()

    def train(seed: int) -> State:
        state = session.train_seed(seed, phase, key, lambda: session.create(seed))
        return state | {"trajectory": key}

    session.write(session.each(train), args.manifest, cells.recipe(args.params.plain, "represent"))


if __name__ == "__main__":
    command_line.run(main)
