"""Fetch a data set and keep it as arrays.

Reads   the section `dataset` of the parameters; the source named there (see conf/dataset/)
Writes  OUT/train_images.npy, OUT/test_images.npy  uint8 (n, side, side, channels)
        OUT/train_labels.npy, OUT/test_labels.npy  int64 (n,)
        OUT/meta.json                              class names, normalisation, sha256 of the arrays
"""

from __future__ import annotations

from stages.longtail.configuration import command_line
from stages.longtail.files.artifacts import digest, write_array, write_json, write_rows
from stages.longtail.sources import datasets
from stages.longtail.sources.dataset import Dataset


def main() -> None:
    args = command_line.parse(__doc__, out="data/raw")
    dataset: Dataset = args.params.section("dataset", Dataset)
    source = datasets.load(dataset)
    digests = {}
    for division, part in (("train", source.train), ("test", source.test)):
        write_rows(args.out / f"{division}_images.npy", part.images)
        write_array(args.out / f"{division}_labels.npy", part.labels)
        digests[division] = [digest(args.out / f"{division}_{kind}.npy") for kind in ("images", "labels")]
    write_json(
        args.out / "meta.json",
        {"classes": source.classes, "mean": source.mean, "std": source.std, "digest": digests},
    )
    print(f"{dataset.name}: {len(source.train.labels)} training and {len(source.test.labels)} test images")


if __name__ == "__main__":
    command_line.run(main)
