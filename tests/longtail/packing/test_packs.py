"""Packs: what is written is read back, an interrupted packing goes on, damage is one line."""

import fcntl
import pickle

import numpy as np
import pytest

from stages.longtail.console.errors import UserError
from stages.longtail.packing import packs
from stages.longtail.packing.packs import Original, Pack

IMAGES = [Original(bytes([row]) * (row % 7 + 1), row + 1, 2 * row + 1) for row in range(20)]
MARKS = np.arange(100, 120)


def images(first, seen=None, stop=None):
    for row in range(first, len(IMAGES)):
        if row == stop:
            raise KeyboardInterrupt
        if seen is not None:
            seen.append(row)
        yield IMAGES[row]


@pytest.fixture(autouse=True)
def in_small_groups(monkeypatch):
    monkeypatch.setattr(packs, "TOGETHER", 4)


def interrupted(path, stop=11):
    with pytest.raises(KeyboardInterrupt):
        packs.write(path, MARKS, lambda first: images(first, stop=stop))
    assert not path.exists()


def test_what_is_packed_is_read_back_and_numpy_reads_the_bytes(tmp_path):
    path = tmp_path / "train_images.npy"
    packs.write(path, MARKS, images)
    for pack in (Pack(path), pickle.loads(pickle.dumps(Pack(path)))):
        assert len(pack) == 20 and [pack.read(row) for row in range(20)] == [image.content for image in IMAGES]
        assert pack.sizes.tolist() == [[image.height, image.width] for image in IMAGES]
    assert np.load(path).tobytes() == b"".join(image.content for image in IMAGES)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_packing_goes_on_where_it_was_and_ends_the_same(tmp_path):
    whole, path, seen = tmp_path / "whole.npy", tmp_path / "parts.npy", []
    packs.write(whole, MARKS, images)
    interrupted(path)
    packs.write(path, MARKS, lambda first: images(first, seen))
    assert seen == list(range(8, 20)) and path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("which", ["bytes", "index"])
def test_what_a_crash_cut_off_is_packed_again(which, tmp_path):
    whole, path, seen = tmp_path / "whole.npy", tmp_path / "parts.npy", []
    packs.write(whole, MARKS, images)
    interrupted(path)
    part = tmp_path / ".parts.npy.packing" / which
    part.write_bytes(part.read_bytes()[:-5])
    packs.write(path, MARKS, lambda first: images(first, seen))
    assert 0 < seen[0] < 8 and path.read_bytes() == whole.read_bytes()


def test_images_from_the_first_that_changed_are_packed_again(tmp_path):
    path, seen = tmp_path / "parts.npy", []
    interrupted(path)
    changed = MARKS.copy()
    changed[5] = 1
    packs.write(path, changed, lambda first: images(first, seen))
    assert seen == list(range(5, 20)) and Pack(path).read(19) == IMAGES[19].content


def test_two_processes_do_not_write_one_pack(tmp_path):
    path = tmp_path / "one.npy"
    interrupted(path)
    with open(tmp_path / ".one.npy.packing/bytes", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another process writes .*one\.npy"):
            packs.write(path, MARKS, images)
    packs.write(path, MARKS, images)


def test_a_damaged_pack_is_named(tmp_path):
    path = tmp_path / "train_images.npy"
    packs.write(path, MARKS, images)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:50], b"", b"no numpy"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train_images\.npy is damaged"):
            Pack(path)
    path.write_bytes(content)
    pack = Pack(path)
    path.write_bytes(content[:130])
    with pytest.raises(UserError, match="is cut short"):
        pack.read(19)
