"""Fetch a data set and store it as arrays, or large images as one file that holds their files.

Reads   the section `dataset` of the parameters; the source named there (see conf/dataset/)
Writes  OUT/train_images.npy, OUT/test_images.npy  uint8 (n, side, side, channels)
                                                   with dataset.packed the image files instead, see packing/packs.py
        OUT/train_labels.npy, OUT/test_labels.npy  int64 (n,)
        OUT/meta.json                              class names, normalisation, sha256 of the arrays
With --list it writes only
        OUT/listing.json                           a digest of names, sizes and times of the files it would read
"""

from __future__ import annotations

import argparse

from stages.longtail.configuration import command_line
from stages.longtail.files.artifacts import write_array, write_json, write_rows
from stages.longtail.packing.checksums import sha256
from stages.longtail.packing.packs import Pack
from stages.longtail.sources import listing, loading, originals
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
    digests, hashes = {}, {}
    for division, part in (("train", source.train), ("test", source.test)):
        path = args.out / f"{division}_images.npy"
        if isinstance(part.images, originals.Originals):
            part.images.pack(path)
            hashes[division] = originals.hashes(Pack(path))
        else:
            hashed = Hashed(part.images)
            write_rows(path, hashed)
            hashes[division] = hashed.hashes
        write_array(args.out / f"{division}_labels.npy", part.labels)
        digests[division] = [sha256(args.out / f"{division}_{kind}.npy") for kind in ("images", "labels")]
    meta = {"classes": source.classes, "mean": source.mean, "std": source.std, "digest": digests}
    if dataset.packed:
        meta["size"] = dataset.size
    write_json(args.out / "meta.json", meta)
    for note in notes(hashes["train"], source.train.labels, hashes["test"], source.test.labels):
        print(note)
    print(f"{dataset.name}: {len(source.train.labels)} training and {len(source.test.labels)} test images")


if __name__ == "__main__":
    command_line.run(main)
