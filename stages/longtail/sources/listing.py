"""A digest of the names, sizes and times of a data set's files, which DVC watches instead of their contents.

Hashing large sets would take too long. DVC has the listing made before it looks for changes, so that a changed folder,
another $LONGTAIL_DATA or a link with a new target makes it read the images again. Links are followed, which DVC would
not do with the folder itself.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from stages.longtail.sources import layouts
from stages.longtail.sources.dataset import Dataset


def of(dataset: Dataset) -> dict[str, Any]:
    """Number of files, bytes, and the sha256 of each file's path, size and time of change, in nanoseconds.

    Raises UserError where the folder or a listed image is missing.
    """
    state, count, size = hashlib.sha256(), 0, 0
    base = os.path.realpath(layouts.folder_of(dataset))

    @cache  # lists may name images in no order, a folder many times
    def lies(folder: Path) -> bytes:
        return os.fsencode(os.path.relpath(os.path.realpath(folder), base)) + b"\0"

    folder: Path | None = None
    for path in layouts.files(dataset):
        if path.parent != folder:  # where it really lies: a link may point elsewhere, to files that look the same
            folder = path.parent
            state.update(lies(folder))
        status = path.stat()
        state.update(os.fsencode(path.name) + b"\0%d\0%d\0" % (status.st_size, status.st_mtime_ns))
        count, size = count + 1, size + status.st_size
    return {"files": count, "bytes": size, "sha256": state.hexdigest()}
