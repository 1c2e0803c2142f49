"""A pack: the unchanged bytes of many image files, one after the other in one file.

It holds two numpy arrays in one .npy file. The first has the bytes of all files, uint8 (bytes,). The second is an
index, int64 (n, 4): where each file begins, its length, and the height and width of its upright image. `numpy.load`
reads the first only.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from stages.longtail.console.errors import UserError

TOGETHER = 256  # images between two updates of the index: after an interruption at most so many are packed again


class Original(NamedTuple):
    """An image file's bytes, and the height and width of the image."""

    content: bytes
    height: int
    width: int


def write(path: Path, marks: np.ndarray, read: Callable[[int], Iterable[Original]]) -> None:
    """Pack images into `path`, which appears when it is complete.

    Until then the images lie beside it, in .NAME.packing/, so that an interrupted packing goes on from there.

    Args:
        path: of the pack.
        marks: int64 (n,), one number per image that changes if its file changes. Images that are packed already are
            kept up to the first one whose number has changed.
        read: gives the images from a position on, in order.
    Raises:
        UserError: another process writes the same pack.
    """
    folder = path.with_name(f".{path.name}.packing")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with open(folder / "bytes", "ab+") as content, open(folder / "index", "ab+") as index:
            try:
                fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another process writes {path}: wait for it, or end it") from None
            rows = _resume(content, index, marks)
            begin = int(rows[-1, :2].sum()) if len(rows) else 0
            if not len(rows):
                content.write(_header(0))
            images = zip(marks[len(rows) :].tolist(), read(len(rows)), strict=True)
            while group := list(islice(images, TOGETHER)):
                lines = np.empty((len(group), 5), np.int64)
                for line, (mark, image) in zip(lines, group, strict=True):
                    content.write(image.content)
                    line[:] = begin, len(image.content), image.height, image.width, mark
                    begin += len(image.content)
                _settle(content)
                index.write(lines.tobytes())
                index.flush()
            whole = np.fromfile(folder / "index", np.int64).reshape(-1, 5)
            np.lib.format.write_array(content, np.ascontiguousarray(whole[:, :4]), allow_pickle=False)
            _settle(content)
            with open(folder / "bytes", "rb+") as begins:  # `content` can only append
                begins.write(_header(begin))
                _settle(begins)
            (folder / "bytes").replace(path)
    except OSError as error:
        if error.filename is None or Path(error.filename).parent == folder:  # not that of an image
            error.filename = str(path)
        raise
    shutil.rmtree(folder)


def _header(size: int) -> bytes:
    """The .npy header of an array of `size` bytes. numpy pads it so that its own length is the same for every size."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _resume(content: IO[bytes], index: IO[bytes], marks: np.ndarray) -> np.ndarray:
    """Cut both files back to the first images that are packed and unchanged.

    Args:
        content, index: the files of the pack's bytes and of its index, which has a fifth column for the marks.
        marks: see write.
    Returns:
        The lines of the index that are left, int64 (m, 5).
    """
    index.seek(0)
    found = index.read()
    rows = np.frombuffer(found[: len(found) // 40 * 40], np.int64).reshape(-1, 5)[: len(marks)]
    size = content.seek(0, os.SEEK_END) - len(_header(0))
    good = (rows[:, 4] == marks[: len(rows)]) & (rows[:, :2].sum(1) <= size)
    rows = rows[: len(rows) if good.all() else int(good.argmin())]
    index.truncate(40 * len(rows))
    content.truncate(len(_header(0)) + int(rows[-1, :2].sum()) if len(rows) else 0)
    return rows


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


class Pack:
    """Reads a pack one image at a time, and keeps none in memory.

    Raises UserError if the file is cut short or is not a pack. Worker processes may share a Pack, because a read does
    not move the position in the file.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                (size,) = _shape(file)
                self.start = file.tell()
                file.seek(self.start + size)
                self.index = np.lib.format.read_array(file, allow_pickle=False)
            if self.index.shape[1:] != (4,):
                raise ValueError("its index has another form")
        except OSError:
            raise
        except Exception as error:  # numpy's header is Python, so a damaged one fails in many ways
            raise UserError(f"{path} is damaged ({error}): delete it and run the stage that makes it") from error

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, int64 (n, 2)."""
        return self.index[:, 2:]

    def read(self, row: int) -> bytes:
        """The file of an image."""
        begin, length = self.index[row, :2].tolist()
        content = os.pread(self._file.fileno(), length, self.start + begin)
        if len(content) < length:
            raise UserError(f"{self.path} is cut short: delete it and run the stage that makes it")
        return content

    @cached_property
    def _file(self) -> IO[bytes]:
        return open(self.path, "rb", buffering=0)

    def __getstate__(self) -> dict[str, object]:
        """What is pickled for processes that are not forked, which open the file themselves."""
        return {name: value for name, value in self.__dict__.items() if name != "_file"}


def is_pack(path: Path) -> bool:
    """Whether the .npy file is a pack, and not an array of images."""
    with open(path, "rb") as file:
        try:
            return len(_shape(file)) == 1
        except ValueError:
            return False


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[0]
