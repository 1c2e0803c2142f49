"""The section `dataset` of the parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import Items, Section

LargeSet = Literal["imagenet_lt", "places_lt", "inaturalist2018", "tiny_imagenet", "tiered_imagenet"]


class Lists(Section):
    """Files that list the images, one line `path label` per image; null: the images are in class folders."""

    train: str | None = None
    test: str | None = None


class Dataset(Section):
    name: Literal["digits", "cifar10", "cifar10_four", "cifar100", "folder", LargeSet]
    root: str | None  # where the files are or go; null: $LONGTAIL_DATA, else data/downloads
    size: Annotated[int, Field(ge=5, le=1024)]  # side in pixels with which images are stored; see pictures.py
    watch: str  # the path that DVC hashes to notice that the source changed
    listing: Items[str] = ()  # [images]: DVC first has the files' names, sizes and times written to `watch`
    lists: Lists = Lists()
    classes: Items[str] = ()  # only these, labelled in this order; []: all, as the source has them
    packed: bool = False  # store the files as they are, and cut windows from whole images; size: of the shorter side
