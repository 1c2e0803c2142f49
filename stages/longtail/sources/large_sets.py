"""The large image sets of the papers: their size, who publishes them, and with what their pixels are normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from stages.longtail.console.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LargeSet:
    """What is known of a set.

    Args:
        train, test: Numbers of images as the papers count them, 0 where they do not say.
        source: Where the images come from, for a message.
        mean, std: What pixels are normalised with, one value per channel, in [0, 1].
        lists: The published list files for training and test, with their checksums: a sha256, or git's hash of the blob
            if only that is known.
    """

    title: str
    train: int
    test: int
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    lists: dict[str, tuple[str, str]] = field(default_factory=dict)

    def check_list(self, division: str, path: Path) -> None:
        """Raise UserError unless `path` is the published list of a division; its line ends may differ."""
        if not self.lists:
            raise UserError(f"dataset.lists: {self.title} has no published lists: set dataset=folder, or both to null")
        name, expected = self.lists[division]
        if not path.is_file():
            raise UserError(f"{path} is missing: set dataset.lists.{division} to {name} ({LISTS})")
        content = path.read_bytes().replace(b"\r\n", b"\n")
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if expected not in (blob, hashlib.sha256(content).hexdigest()):
            raise UserError(
                f"{path} is not the published {name} (its checksum is another): fetch that ({LISTS}), or set "
                "dataset=folder to use lists of your own"
            )

    def check(self, folder: Path) -> None:
        """Raise UserError if `folder` lacks a division."""
        for division in ("train", "test"):
            if not (folder / division).is_dir():
                raise UserError(
                    f"{folder / division} is missing: {self.title} belongs in {folder}, as train/<class>/* and "
                    f"test/<class>/*: {self.source}; dataset.root or $LONGTAIL_DATA names the folder above"
                )

    def note(self, train: int, test: int) -> str:
        """A note for users whose numbers of images differ from the papers'; '' if they are the same."""
        for division, found, expected in (("train", train, self.train), ("test", test, self.test)):
            if expected and found != expected:
                return f"note: {self.title} has {expected} images in {division}/, not {found}: its numbers will differ"
        return ""


LISTS = "github.com/facebookresearch/classifier-balancing, data/"
OLTR = "github.com/zhmiao/OpenLongTailRecognition-OLTR"
SETS = {
    "imagenet_lt": LargeSet(
        "ImageNet-LT",
        *(115_846, 50_000),
        f"images of ImageNet-2012 (image-net.org) that the train and test lists of Liu et al. 2019 name ({OLTR})",
        lists={
            "train": ("ImageNet_LT_train.txt", "a063f095fcd475db4cf8b0658c4b73955535bbf9"),
            "test": ("ImageNet_LT_test.txt", "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5"),
        },
    ),
    "places_lt": LargeSet(
        "Places-LT",
        *(62_500, 36_500),
        f"images of Places365 (places2.csail.mit.edu) that the train and test lists of Liu et al. 2019 name ({OLTR})",
        lists={
            "train": ("Places_LT_train.txt", "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7"),
            "test": ("Places_LT_test.txt", "44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc"),
        },
    ),
    # Mean and standard deviation: those of the public code of Kang et al.
    "inaturalist2018": LargeSet(
        "iNaturalist 2018",
        *(437_513, 24_426),
        "the training and, as test, the validation images of the competition (github.com/visipedia/inat_comp)",
        (0.466, 0.471, 0.380),
        (0.195, 0.194, 0.192),
        lists={
            "train": ("iNaturalist18_train.txt", "4accdb7584d2f0a5106c40a33ed6afa392189bcc"),
            "test": ("iNaturalist18_val.txt", "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3"),
        },
    ),
    "tiny_imagenet": LargeSet(
        "Tiny-ImageNet",
        *(100_000, 10_000),
        "the training and, as test, the validation images of cs231n.stanford.edu/tiny-imagenet-200.zip",
    ),
    # Mean and standard deviation: those of the public code of Lee et al. 2019, which `procrustean` adapts.
    "tiered_imagenet": LargeSet(
        "Step Tiered-ImageNet",
        *(0, 25_550),
        "of the lists of Ren et al. 2018 (github.com/renmengye/few-shot-ssl-public) 351 training classes with about "
        "1,000 images and 160 test classes with 5, and 50 others of each as test",
        (0.4721, 0.4533, 0.4100),
        (0.2772, 0.2678, 0.2845),
    ),
}
