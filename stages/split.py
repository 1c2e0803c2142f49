"""Draw the imbalanced training subset.

Reads   the section `split` of the parameters; RAW/train_labels.npy, RAW/meta.json
Writes  OUT/kept.npy     int64 (n,), the training images to use
        OUT/held.npy     int64 (m,), the training images held out (none unless split.holdout)
        OUT/classes.csv  class, name, count, shot
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.longtail.configuration import command_line
from stages.longtail.files.artifacts import read_array, read_meta, write_array, write_csv
from stages.longtail.splits import imbalance
from stages.longtail.splits.split import Split


def main() -> None:
    args = command_line.parse(__doc__, out="data/splits", raw="data/raw")
    split: Split = args.params.section("split", Split)
    names = read_meta(args.raw)["classes"]
    path = args.raw / "train_labels.npy"
    labels = imbalance.checked(read_array(path), names, path)
    kept, held = imbalance.draw(labels, names, split)
    counts = np.bincount(labels[kept], minlength=len(names))
    shot = imbalance.shots(counts, split.many, split.few)
    write_array(args.out / "kept.npy", kept)
    write_array(args.out / "held.npy", held)
    classes = pd.DataFrame({"class": range(len(names)), "name": names, "count": counts, "shot": shot})
    write_csv(args.out / "classes.csv", classes)
    groups = ", ".join(f"{shot.count(group)} {group}" for group in ("many", "medium", "few"))
    print(f"{len(kept)} images, {counts.max()} to {counts.min()} a class; classes: {groups}")


if __name__ == "__main__":
    command_line.run(main)
