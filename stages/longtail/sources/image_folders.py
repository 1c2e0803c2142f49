"""Finds classes and images in class folders, root/train/<class>/** and root/test/<class>/**."""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.sources.pictures import is_image

# Folders that programs leave among images: thumbnails of a Synology disk, archives of macOS, and the like.
TOOLS = {"@eaDir", "__MACOSX", "__pycache__", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
TOGETHER = 4096  # files that a pool of threads is given at once: it takes a kilobyte for each
NAMED = 3  # so many examples in a message


class Paths(Sequence[Path]):
    """Paths as one text in memory, because a Path takes ten times as much, which a million of them make felt."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        for path in paths:
            self._text += os.fsencode(path)
            self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, row: int) -> Path: ...
    @overload
    def __getitem__(self, row: slice) -> list[Path]: ...
    def __getitem__(self, row: int | slice) -> Path | list[Path]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return Path(os.fsdecode(bytes(self._text[self._ends[row] : self._ends[row + 1]])))


@dataclass(frozen=True)
class Files:
    """The image files of a division and their labels, int64 (n,), each an index into the class names."""

    paths: Paths
    labels: np.ndarray


@dataclass(frozen=True)
class Found:
    classes: list[str]
    train: Files
    test: Files
    notes: tuple[str, ...] = ()  # what the user should know, such as which files were passed over


def find(root: Path) -> Found:
    """The classes, in the order of their names, and their images, by folder and file name, in root/train and root/test.

    A class's folders are searched at any depth, and links are followed. Names that begin with a dot and the folders in
    TOOLS do not count. Names that look the same (Unicode NFC and NFD) are one class.

    Raises:
        UserError: There are no class folders; a class has no image in a division; a name is not UTF-8; a link leads
            nowhere or in a circle.
    """
    folders = {division: _class_folders(root / division) for division in ("train", "test")}
    if not folders["train"]:
        raise UserError(
            f"{root / 'train'} has no class folders: images belong in train/<class>/ and test/<class>/, but "
            f"{_instead(root)}"
        )
    if not folders["test"] and _class_folders(root / "val"):
        raise UserError(
            f"{root / 'test'} has no class folders, but {root / 'val'} has: call it test if its images are to be "
            "tested on"
        )
    classes = sorted(folders["train"].keys() | folders["test"].keys())
    parts, passed_over = {}, {}
    for division, mine in folders.items():
        parts[division], passed_over[division] = _images(root / division, classes, mine)
    counts = {division: np.bincount(files.labels, minlength=len(classes)) for division, files in parts.items()}
    for label, name in enumerate(classes):
        for division in parts:
            if not counts[division][label]:
                folder = folders[division].get(name, [root / division / name])[0]
                raise UserError(
                    f"class '{name}' has no {division} image: put some in {folder} ({_content(folder)}), or remove the "
                    f"folder '{name}' if it is not a class"
                )
    if len(classes) == 1:
        _not_above_the_classes(folders["train"][classes[0]][0])
    notes = [_note(root / division, paths) for division, paths in passed_over.items() if paths]
    return Found(classes, parts["train"], parts["test"], tuple(notes))


def walk(folder: Path) -> Iterator[Path]:
    """All files below `folder`: a folder's own, then those of its subfolders, by name. Hidden names are left out, links
    followed. Raises UserError where a link leads nowhere or in a circle."""
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise UserError(f"{folder} is a link to a folder that it lies in: remove it")
    subfolders = []
    for path in visible(folder):
        if path.is_dir():
            subfolders.append(path)
        else:
            yield path
    for path in subfolders:
        yield from _walk(path, above | {here})


def visible(folder: Path) -> list[Path]:
    """What lies in the folder, by name, but for hidden names and tools' folders. None if there is no such folder."""
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in TOOLS]
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link to {os.readlink(path)}, which does not exist: repair it or remove it")
    return sorted(paths, key=os.fsencode)  # by bytes: the same order in every locale


def readable(path: Path) -> str:
    """The path as text. Bytes that are not UTF-8 appear as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _class_folders(division: Path) -> dict[str, list[Path]]:
    """The folders of each class. More than one if their names look the same."""
    folders: dict[str, list[Path]] = {}
    for path in visible(division):
        if path.is_dir():
            folders.setdefault(_class_name(path), []).append(path)
    return folders


def _class_name(folder: Path) -> str:
    """The folder's name, decoded as UTF-8: Python decodes names by the locale, which may be another encoding."""
    try:
        return unicodedata.normalize("NFC", os.fsencode(folder.name).decode("utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"the name of the class folder {readable(folder)} is not UTF-8: rename it") from None


def _images(division: Path, classes: list[str], folders: dict[str, list[Path]]) -> tuple[Files, list[Path]]:
    """The division's images, and its files that are not images."""
    labels = array("q")

    def of_classes() -> Iterator[Path]:
        for label, name in enumerate(classes):
            for folder in folders.get(name, []):
                for path in walk(folder):
                    labels.append(label)
                    yield path

    paths = Paths(of_classes())
    kept = images_among(paths)
    loose = [path for path in visible(division) if not path.is_dir()]
    return (
        Files(Paths(path for path, yes in zip(paths, kept, strict=True) if yes), np.array(labels, np.int64)[kept]),
        loose + [path for path, yes in zip(paths, kept, strict=True) if not yes],
    )


def images_among(paths: Sequence[Path]) -> np.ndarray:
    """Which of the files are images, bool (n,)."""
    kept = np.empty(len(paths), bool)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), TOGETHER):
            part = slice(start, start + TOGETHER)
            kept[part] = list(pool.map(is_image, paths[part]))
    return kept


def _note(division: Path, passed_over: list[Path]) -> str:
    """E.g. note: 12 files in train/ are not read as images: cat/notes.txt, dog/a.heic, ..."""
    names = [readable(path.relative_to(division)) for path in passed_over[:NAMED]]
    more = ", ..." if len(passed_over) > NAMED else ""
    many = "1 file is" if len(passed_over) == 1 else f"{len(passed_over)} files are"
    return f"note: {many} not read in {division.name}/, not an image in a class folder: {', '.join(names)}{more}"


def _not_above_the_classes(folder: Path) -> None:
    """Raise UserError if the only class is a folder of folders: those are the classes."""
    below = visible(folder)
    if len(below) > 1 and all(path.is_dir() for path in below):
        raise UserError(
            f"{folder} is the only class, and its images lie one level deeper, in {_names(below)}: if those are the "
            f"classes, move them into {folder.parent}"
        )


def _instead(root: Path) -> str:
    """What lies in `root` in place of train/ and test/."""
    inside = visible(root)
    for path in inside:
        if (path / "train").is_dir():
            return f"they lie one level deeper: set dataset.root to {readable(path)}"
    if visible(root / "train"):
        return f"in train/ {_content(root / 'train')}"
    return _content(root)


def _content(folder: Path) -> str:
    """E.g. there are 2 files (a.txt, b.txt) and 1 folder (x)."""
    if not folder.is_dir():
        return "there is no such folder"
    inside = visible(folder)
    kinds = {"file": [p for p in inside if not p.is_dir()], "folder": [p for p in inside if p.is_dir()]}
    parts = [f"{len(paths)} {kind}{'s' * (len(paths) > 1)} ({_names(paths)})" for kind, paths in kinds.items() if paths]
    return f"there {'is' if inside[1:] == [] else 'are'} {' and '.join(parts)}" if parts else "it is empty"


def _names(paths: list[Path]) -> str:
    return ", ".join(readable(Path(path.name)) for path in paths[:NAMED]) + (", ..." if len(paths) > NAMED else "")
