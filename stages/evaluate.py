"""Measure the final networks on the test images.

Reads   the sections `seeds`, `runtime`, `representation` and `classifier` of the parameters, the last two for the scale
        of LDAM's cosines; CLASSIFIER/checkpoint.pt, CLASSIFIER/history.csv
        RAW/test_images.npy, RAW/test_labels.npy, RAW/meta.json, SPLITS/classes.csv
Writes  CLASSIFIER/logits.npz  the logits of every seed and test image, from which all that follows is computed
        OUT/predictions.npz    the predicted class of every test image, and the labels
        OUT/metrics.json   acc and top5 of the last epoch, best of the best test epoch, their std over seeds, percent;
                           with split.holdout also selected, of the epoch that is best on held-out training images;
                           with two seeds or more also bias2, variance and total_error, as fractions
        OUT/metrics_more.json  intervals, other means, calibration, shifted priors, see docs/metrics.md
        OUT/per_class.csv  rank, class, name, count, shot, accuracy and its std; rank 1 has the most training images;
                           with runtime.regularity also f_norm and irregularity
        OUT/shots.csv      group, accuracy
        OUT/confusion.csv  actual, predicted; one row per test image and seed
        OUT/history.csv    seed, part, epoch, learning rate, loss, accuracies
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from stages.longtail.configuration import command_line
from stages.longtail.console.errors import UserError
from stages.longtail.data import packed, subsets
from stages.longtail.data.batches import read_division
from stages.longtail.evaluation import details, outputs, probabilities, repeated_runs, summary
from stages.longtail.evaluation.outputs import Outputs
from stages.longtail.evaluation.rounding import FRACTION, PERCENT, rounded, text
from stages.longtail.files.artifacts import read_csv, write_csv, write_json
from stages.longtail.models import network
from stages.longtail.prediction import predict
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.training import checkpoint


def main() -> None:
    args = command_line.parse(
        __doc__, out="reports", classifier="data/classifier", raw="data/raw", splits="data/splits"
    )
    runtime: Runtime = args.params.section("runtime", Runtime)
    device = devices.resolve(runtime)
    classes = subsets.read_classes(args.splits)
    division = read_division(args.raw, "test")
    path = args.classifier / "checkpoint.pt"
    states = checkpoint.load_seeds(path, args.params.seeds)
    if runtime.regularity and not all("regularity" in state for state in states.values()):
        raise UserError(f"{path} has no events, which runtime.regularity asks for: run again the stage that makes it")
    crop = states[args.params.seeds[0]]["architecture"].get("crop")
    images = packed.batches(
        division, np.arange(len(division.labels)), device.device, crop=crop, workers=runtime.workers
    )
    answers = []
    for state in states.values():
        model = network.restore(state["architecture"], state["network"], device.device)
        answers.append(
            predict.logits(model, images, device, probabilities.scale(args.params, model.architecture)).numpy()
        )
    tested = Outputs(np.stack(answers), images.labels_host, tuple(states))
    outputs.write(args.classifier / "logits.npz", tested)
    outputs.write_predictions(args.out / "predictions.npz", tested)
    labels = torch.from_numpy(tested.labels)
    matrices = [predict.confusion(torch.from_numpy(one), labels, len(classes)) for one in tested.predicted]
    top5 = [summary.top_k(logits, tested.labels) for logits in tested.logits]
    history = read_csv(args.classifier / "history.csv")
    numbers = [column for column in history if column != "part"]
    history[numbers] = history[numbers].apply(pd.to_numeric)

    metrics = summary.metrics(matrices, history, classes["shot"].tolist())
    if all("tau" in state for state in states.values()):
        metrics["tau"] = float(np.mean([state["tau"] for state in states.values()]))
    metrics["top5"] = {"all": rounded(float(np.mean(top5)), PERCENT)}
    if len(answers) > 1:
        metrics["top5_std"] = {"all": rounded(float(np.std(top5, ddof=1)), PERCENT)}
        parts = repeated_runs.decomposition(tested.predicted, tested.labels)
        metrics |= {name: rounded(value, FRACTION) for name, value in parts.items()}
    if runtime.regularity:
        events = repeated_runs.mean_events([state["regularity"] for state in states.values()])
        classes = classes.join(repeated_runs.irregularity(*events, len(classes)))
        metrics["pearson"] = repeated_runs.pearson(classes["count"].to_numpy(), classes["irregularity"].to_numpy())
    write_json(args.out / "metrics.json", metrics)
    meant = probabilities.meant(model.architecture)
    write_json(args.out / "metrics_more.json", details.metrics(tested, matrices, history, classes, meant))
    write_csv(args.out / "per_class.csv", summary.per_class(matrices, classes))
    write_csv(args.out / "shots.csv", summary.shots(metrics))
    write_csv(args.out / "confusion.csv", summary.confusion(np.sum(matrices, axis=0), classes["name"].tolist()))
    write_csv(args.out / "history.csv", history)
    print(", ".join(f"{group} {text(value, 2)}" for group, value in metrics["acc"].items()))


if __name__ == "__main__":
    command_line.run(main)
