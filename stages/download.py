"""Fetch a data set and keep it as arrays.

Reads   the section `dataset` of the parameters; the source named there (see conf/dataset/)
Writes  OUT/train_images.npy, OUT/test_images.npy  uint8 (n, side, side, channels)
        OUT/train_labels.npy, OUT/test_labels.npy  int64 (n,)
        OUT/meta.json                              class names, normalisation, sha256 of the arrays
With --list it writes only
        OUT/listing.json                           a digest of names, sizes and times of the files it would read
"""

from __future__ import annotations

import argparse

from stages.longtail.configuration import command_line
from stages.longtail.files.artifacts import digest, write_array, write_json, write_rows
from stages.longtail.sources import listing, loading
from stages.longtail.sources.dataset import Dataset
from stages.longtail.sources.duplicates import Hashed, notes


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="only look at the files: OUT/listing.json, for DVC")


def main() -> None:
    args = command_line.parse(__doc__, options, out="data/raw")
    dataset: Dataset = args.params.section("dataset", Dataset)
    if args.list:
        write_json(args.out / "listing.json", listing.of(dataset))
        return
    source = loading.load(dataset)
    digests, hashed = {}, {}
    for division, part in (("train", source.train), ("test", source.test)):
        hashed[division] = Hashed(part.images)
        write_rows(args.out / f"{division}_images.npy", hashed[division])
        write_array(args.out / f"{division}_labels.npy", part.labels)
        digests[division] = [digest(args.out / f"{division}_{kind}.npy") for kind in ("images", "labels")]
    write_json(
        args.out / "meta.json",
        {"classes": source.classes, "mean": source.mean, "std": source.std, "digest": digests},
    )
    for note in notes(hashed["train"], source.train.labels, hashed["test"], source.test.labels):
        print(note)
    print(f"{dataset.name}: {len(source.train.labels)} training and {len(source.test.labels)} test images")


if __name__ == "__main__":
    command_line.run(main)
