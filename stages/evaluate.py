"""Test the final networks.

Reads   the sections `seeds` and `runtime` of the parameters; CLASSIFIER/checkpoint.pt, CLASSIFIER/history.csv
        RAW/test_images.npy, RAW/test_labels.npy, RAW/meta.json, SPLITS/kept.npy, SPLITS/held.npy, SPLITS/classes.csv
Writes  OUT/metrics.json   acc of the last epoch, best of the best test epoch, std of each over seeds, all in percent
        OUT/per_class.csv  rank, class, name, count, shot, accuracy and its std; rank 1 has the most training images
        OUT/shots.csv      group, accuracy
        OUT/confusion.csv  actual, predicted, an image a row, of the first seed
        OUT/history.csv    seed, stage, epoch, learning rate, loss, accuracies
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.longtail import cli, compute
from stages.longtail.artifacts import write_csv, write_json
from stages.longtail.data import split
from stages.longtail.data.batches import Batches, read_division
from stages.longtail.learning import checkpoint
from stages.longtail.measure import predict, summary
from stages.longtail.models import network


def main() -> None:
    args = cli.parse(__doc__, out="reports", classifier="data/classifier", raw="data/raw", splits="data/splits")
    device = compute.resolve(args.params.runtime)
    subset = split.read(args.splits)
    division = read_division(args.raw, "test")
    images = Batches(division, np.arange(len(division.labels)), device.device)
    states = checkpoint.load(args.classifier / "checkpoint.pt")["seeds"]
    matrices = []
    for seed in args.params.seeds:
        model = network.restore(states[seed]["architecture"], states[seed]["network"], device.device)
        predictions = predict.predict(model, images, device)
        matrices.append(predict.confusion(predictions, images.labels, len(subset.classes)))
    history = pd.read_csv(args.classifier / "history.csv")

    metrics = summary.metrics(matrices, history, subset.shots)
    write_json(args.out / "metrics.json", metrics)
    write_csv(args.out / "per_class.csv", summary.per_class(matrices, subset.classes))
    write_csv(args.out / "shots.csv", summary.shots(metrics))
    write_csv(args.out / "confusion.csv", summary.confusion(matrices[0], subset.classes["name"].tolist()))
    write_csv(args.out / "history.csv", history)
    print(", ".join(f"{group} {value:.2f}" for group, value in metrics["acc"].items()))


if __name__ == "__main__":
    cli.run(main)
