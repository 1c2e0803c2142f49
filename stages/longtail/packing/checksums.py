"""The sha256 of large files, kept beside them until they change: a stage that starts does not read them whole again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from stages.longtail.files.artifacts import digest, write_json

LARGE = 2**28  # bytes: smaller files are read each time, in a fraction of a second


def sha256(path: Path) -> str:
    """A file's sha256 in hex; of a large file the one in .NAME.sha256.json, if its size, time and inode match."""
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
    with suppress(OSError):  # in a folder without permission to write the file is read again the next time
        write_json(note, {**seen, "sha256": value})
    return value
