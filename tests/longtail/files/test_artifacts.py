"""Whose name an error has, where a file is written."""

from pathlib import Path

import pytest

from stages.longtail.files.artifacts import atomic


def test_an_error_is_of_the_file_that_was_to_be_written_unless_it_is_another_ones(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    with pytest.raises(OSError) as full, atomic(out):
        raise OSError(28, "No space left on device")
    assert full.value.filename == str(out)
    with pytest.raises(PermissionError) as unreadable, atomic(out):
        raise PermissionError(13, "Permission denied", "cat/1.jpg")
    assert unreadable.value.filename == "cat/1.jpg"
    assert not list(tmp_path.iterdir())
