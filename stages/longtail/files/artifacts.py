"""Files that appear whole or not at all: each is written beside its place, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from stages.longtail.console.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing bytes that appears as `path` only if the block ends without an exception.

    An OSError without a name, as of a full disk, or with the partial file's name, which would tell the user nothing, is
    given the name `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The machine's name is part of it: on a shared disk two machines may write under the same process number.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{platform.node().partition('.')[0]}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.filename in (None, str(partial)):  # not that of another file that the block reads
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # what failed above is the error to report, not that this cannot be removed
            partial.unlink(missing_ok=True)


def text_path(text: str) -> Path:
    """`text` as a path whose bytes are UTF-8, even where the locale makes Python encode paths otherwise."""
    return Path(os.fsdecode(text.encode()))


def write_text(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not text at all
        raise UserError(f"{path} is not valid json ({error}): delete it and run the stage that makes it") from error


def read_meta(raw: Path) -> dict[str, Any]:
    """Read meta.json, in which `download` describes its arrays: at least classes, mean, std and digest."""
    path = raw / "meta.json"
    meta = read_json(path)
    missing = {"classes", "mean", "std", "digest"} - set(meta if isinstance(meta, dict) else [])
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: delete it and run the download stage")
    return meta


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table with six significant digits per float: enough for every figure, and small, stable diffs in git."""
    write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table with every value as text, empty values as ''. Callers turn columns into numbers."""
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are ValueErrors, and so is the one for bytes that are no text
        raise UserError(f"{path} is not a csv file ({error}): restore it, or run the stage that makes it") from error


def write_array(path: Path, array: np.ndarray) -> None:
    with atomic(path) as file:
        # numpy gets an object that can only `write`. Given a real file it writes past Python, and the error for a full
        # disk then has no errno.
        np.save(cast(Any, SimpleNamespace(write=file.write)), array, allow_pickle=False)


def write_rows(path: Path, rows: Any) -> None:
    """Write the file that write_array writes, row by row, so that the whole never has to be in memory.

    rows: an iterable of arrays that has the whole's `shape` and `dtype`.
    """
    header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": tuple(rows.shape)}
    with atomic(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(np.ascontiguousarray(row).data)


def read_array(path: Path, *, mmap: bool = False) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy's header is Python, so a damaged one fails in many ways
        raise UserError(f"{path} is damaged ({error}): delete it and run the stage that makes it") from error


def digest(path: Path, algorithm: str = "sha256", *, progress: Callable[[int], Any] | None = None) -> str:
    """Hex digest of a file's bytes, read in pieces of 1 MiB; `progress` is told the bytes of each piece."""
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
            if progress:
                progress(len(piece))
    return state.hexdigest()
