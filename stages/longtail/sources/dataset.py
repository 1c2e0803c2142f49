"""The section `dataset` of the parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.section import Section

LargeSet = Literal["imagenet_lt", "places_lt", "inaturalist2018", "tiny_imagenet", "tiered_imagenet"]


class Dataset(Section):
    name: Literal["digits", "cifar10", "cifar100", "folder", LargeSet]
    root: str | None  # where the files are or go; null: $LONGTAIL_DATA, else data/downloads
    size: Annotated[int, Field(ge=5, le=1024)]  # pixels a side that images are stored with; see image_folders
    watch: str  # the path that DVC hashes to see that the source changed; the folder itself for a folder dataset
