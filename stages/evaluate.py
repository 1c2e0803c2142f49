"""Test the final networks.

Reads   the sections `seeds` and `runtime` of the parameters; CLASSIFIER/checkpoint.pt, CLASSIFIER/history.csv
        RAW/test_images.npy, RAW/test_labels.npy, RAW/meta.json, SPLITS/classes.csv
Writes  OUT/metrics.json   acc and top5 of the last epoch, best of the best test epoch, their std over seeds, percent;
                           with two seeds or more also bias2, variance and total_error, as fractions
        OUT/per_class.csv  rank, class, name, count, shot, accuracy and its std; rank 1 has the most training images;
                           with runtime.regularity also f_norm and irregularity
        OUT/shots.csv      group, accuracy
        OUT/confusion.csv  actual, predicted, an image a row, of the first seed
        OUT/history.csv    seed, part, epoch, learning rate, loss, accuracies
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.longtail import cli, compute
from stages.longtail.artifacts import read_csv, write_csv, write_json
from stages.longtail.data import split
from stages.longtail.data.batches import Batches, read_division
from stages.longtail.errors import UserError
from stages.longtail.learning import checkpoint
from stages.longtail.measure import predict, repeated, summary
from stages.longtail.models import network


def main() -> None:
    args = cli.parse(__doc__, out="reports", classifier="data/classifier", raw="data/raw", splits="data/splits")
    device = compute.resolve(args.params.runtime)
    classes = split.read_classes(args.splits)
    division = read_division(args.raw, "test")
    path = args.classifier / "checkpoint.pt"
    states = checkpoint.load_seeds(path, args.params.seeds)
    if args.params.runtime.regularity and not all("regularity" in state for state in states.values()):
        raise UserError(f"{path} has no events, which runtime.regularity asks for: run again the stage that makes it")
    crop = states[args.params.seeds[0]]["architecture"].get("crop")
    images = Batches(division, np.arange(len(division.labels)), device.device, crop=crop)
    matrices, predicted, top5 = [], [], []
    for state in states.values():
        model = network.restore(state["architecture"], state["network"], device.device)
        predictions = predict.predict(model, images, device)
        hits = (predict.top(model, images, device) == images.labels[:, None]).any(1)
        top5.append(100 * float(predict.class_mean(hits, images.labels, len(classes))))
        predicted.append(predictions.cpu().numpy())
        matrices.append(predict.confusion(predictions, images.labels, len(classes)))
    history = read_csv(args.classifier / "history.csv")
    numbers = [column for column in history if column != "part"]
    history[numbers] = history[numbers].apply(pd.to_numeric)

    metrics = summary.metrics(matrices, history, classes["shot"].tolist())
    if all("tau" in state for state in states.values()):
        metrics["tau"] = float(np.mean([state["tau"] for state in states.values()]))
    metrics["top5"] = {"all": round(float(np.mean(top5)), 4)}
    if len(predicted) > 1:
        metrics["top5_std"] = {"all": round(float(np.std(top5, ddof=1)), 4)}
        metrics |= repeated.decomposition(np.stack(predicted), images.labels_host)
    if args.params.runtime.regularity:
        events = repeated.mean_events([state["regularity"] for state in states.values()])
        classes = classes.join(repeated.irregularity(*events, len(classes)))
        metrics["pearson"] = repeated.pearson(classes["count"].to_numpy(), classes["irregularity"].to_numpy())
    write_json(args.out / "metrics.json", metrics)
    write_csv(args.out / "per_class.csv", summary.per_class(matrices, classes))
    write_csv(args.out / "shots.csv", summary.shots(metrics))
    write_csv(args.out / "confusion.csv", summary.confusion(matrices[0], classes["name"].tolist()))
    write_csv(args.out / "history.csv", history)
    print(", ".join(f"{group} {value:.2f}" for group, value in metrics["acc"].items()))


if __name__ == "__main__":
    cli.run(main)
