"""Large files are hashed once, and again when they change."""

import hashlib
import os

import pytest

from stages.longtail.packing import checksums


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read whole."""
    seen, real = [], checksums.digest
    monkeypatch.setattr(checksums, "digest", lambda path: seen.append(path.name) or real(path))
    monkeypatch.setattr(checksums, "LARGE", 4)
    return seen


def test_a_large_file_is_read_once_until_it_changes(tmp_path, hashed):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    for _ in range(3):
        assert checksums.sha256(path) == hashlib.sha256(b"12345").hexdigest()
    assert hashed == ["a"]
    path.write_bytes(b"12346")  # of the same size
    os.utime(path, ns=(1, 1))
    assert checksums.sha256(path) == hashlib.sha256(b"12346").hexdigest() and hashed == ["a", "a"]


def test_a_small_file_is_read_every_time_and_leaves_nothing_beside_it(tmp_path, hashed):
    path = tmp_path / "a"
    path.write_bytes(b"123")
    assert checksums.sha256(path) == checksums.sha256(path) and hashed == ["a", "a"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": "x"}'])
def test_a_damaged_note_is_not_believed(content, tmp_path, hashed):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    (tmp_path / ".a.sha256.json").write_text(content)
    assert checksums.sha256(path) == hashlib.sha256(b"12345").hexdigest()
