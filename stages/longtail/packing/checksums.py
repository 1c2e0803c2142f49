"""The sha256 of files too large to be read whole at every start of a stage: kept beside them until they change."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from stages.longtail.files.artifacts import digest, write_json

LARGE = 2**28  # bytes: smaller files are read in a fraction of a second, and are


def sha256(path: Path) -> str:
    """Hex digest. Of a large file the one in .NAME.sha256.json, if the file's size, time and inode are those in it."""
    status = path.stat()
    if status.st_size < LARGE:
        return digest(path)
    note = path.with_name(f".{path.name}.sha256.json")
    seen = {"bytes": status.st_size, "changed": status.st_mtime_ns, "inode": status.st_ino}
    with suppress(OSError, ValueError):
        kept = json.loads(note.read_text())
        if isinstance(kept, dict) and seen.items() <= kept.items():
            return kept["sha256"]
    value = digest(path)
    with suppress(OSError):  # a folder that only others may write to: read again the next time
        write_json(note, {**seen, "sha256": value})
    return value
