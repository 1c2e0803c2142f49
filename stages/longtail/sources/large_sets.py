"""The large image sets of the papers: what belongs to each, who publishes it, and what its pixels are normalised by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.longtail.console.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LargeSet:
    """train, test: numbers of images as the papers count them, 0 where they do not say."""

    title: str
    train: int
    test: int
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def check(self, folder: Path) -> None:
        """Raise UserError where `folder` lacks the divisions."""
        for division in ("train", "test"):
            if not (folder / division).is_dir():
                raise UserError(
                    f"{folder / division} is missing: {self.title} belongs in {folder}, as train/<class>/* and "
                    f"test/<class>/*: {self.source}; dataset.root or $LONGTAIL_DATA names the folder above"
                )

    def note(self, train: int, test: int) -> str:
        """What to tell a person who has other numbers of images than the papers; '' if they are the same."""
        for division, found, expected in (("train", train, self.train), ("test", test, self.test)):
            if expected and found != expected:
                return f"note: {self.title} has {expected} images in {division}/, not {found}: its numbers will differ"
        return ""


OLTR = "github.com/zhmiao/OpenLongTailRecognition-OLTR"
SETS = {
    "imagenet_lt": LargeSet(
        "ImageNet-LT",
        *(115_846, 50_000),
        f"images of ImageNet-2012 (image-net.org) that the train and test lists of Liu et al. 2019 name ({OLTR})",
    ),
    "places_lt": LargeSet(
        "Places-LT",
        *(62_500, 36_500),
        f"images of Places365 (places2.csail.mit.edu) that the train and test lists of Liu et al. 2019 name ({OLTR})",
    ),
    # Mean and standard deviation: those of the public code of Kang et al.
    "inaturalist2018": LargeSet(
        "iNaturalist 2018",
        *(437_513, 24_426),
        "the training and, as test, the validation images of the competition (github.com/visipedia/inat_comp)",
        (0.466, 0.471, 0.380),
        (0.195, 0.194, 0.192),
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
