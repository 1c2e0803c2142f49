"""The digits by their documented division, real CIFAR against torchvision, and a person's own folder."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from stages.longtail.console.errors import UserError
from stages.longtail.sources import loading
from stages.longtail.sources.dataset import Dataset


@pytest.fixture(scope="module")
def digits():
    return loading.load(Dataset(name="digits", root=None, size=8, watch=""))


def test_digits_train_on_120_of_each_class_and_test_on_the_others(digits):
    assert np.bincount(digits.train.labels).tolist() == [120] * 10
    assert np.bincount(digits.test.labels).tolist() == [58, 62, 57, 63, 61, 62, 61, 59, 54, 60]  # of 178, 182, ...
    assert digits.classes == [str(c) for c in range(10)]


def test_digits_train_on_the_first_120_of_each_class_in_the_bundled_order(digits):
    bunch = load_digits()
    train, test, seen = [], [], [0] * 10
    for image, label in zip(bunch.images, bunch.target, strict=True):
        seen[label] += 1
        part = train if seen[label] <= 120 else test
        part.append((np.floor(image * 255 / 16 + 0.5).astype(int).tolist(), label))
    for part, division in ((train, digits.train), (test, digits.test)):
        assert division.images[..., 0].tolist() == [image for image, _ in part]
        assert division.labels.tolist() == [label for _, label in part]


def test_digits_train_and_test_share_no_image(digits):
    train, test = ({image.tobytes() for image in part.images} for part in (digits.train, digits.test))
    assert len(train) == 1200 and len(test) == 597
    assert not train & test


def test_digits_are_grey_uint8_of_the_whole_range(digits):
    for part in (digits.train, digits.test):
        assert part.images.dtype == np.uint8 and part.images.shape[1:] == (8, 8, 1)
        assert part.images.min() == 0 and part.images.max() == 255
        assert part.labels.dtype == np.int64


def test_digits_are_normalised_by_their_own_training_pixels(digits):
    assert digits.mean == [round(float((digits.train.images / 255).mean()), 4)]
    assert digits.std == [round(float((digits.train.images / 255).std()), 4)]


def test_digits_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"dataset\.size"):
        loading.load(Dataset(name="digits", root=None, size=32, watch=""))


def test_some_classes_are_labelled_in_the_order_in_which_they_are_named(digits):
    some = loading.load(Dataset(name="digits", root=None, size=8, watch="", classes=("7", "1")))
    assert some.classes == ["7", "1"] and (some.mean, some.std) == (digits.mean, digits.std)
    for part, whole in ((some.train, digits.train), (some.test, digits.test)):
        rows = np.flatnonzero(np.isin(whole.labels, [7, 1]))
        assert np.array_equal(part.images, whole.images[rows])
        assert np.array_equal(part.labels, np.where(whole.labels[rows] == 7, 0, 1))
        assert part.labels.dtype == np.int64


@pytest.mark.parametrize(("classes", "message"), [(("7", "nine"), "no class 'nine'"), (("7", "7"), "names '7' twice")])
def test_classes_that_are_not_there_or_twice_are_refused(classes, message):
    with pytest.raises(UserError, match=rf"dataset\.classes.*{message}"):
        loading.load(Dataset(name="digits", root=None, size=8, watch="", classes=classes))


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def cifar(request, cifar_root):
    """(source, torchvision's training division, its test division)"""
    import torchvision.datasets

    official = getattr(torchvision.datasets, request.param.upper())
    source = loading.load(Dataset(name=request.param, root=str(cifar_root), size=32, watch=""))
    return source, official(str(cifar_root), train=True), official(str(cifar_root), train=False)


def test_cifar_images_and_labels_are_those_of_torchvision(cifar):
    source, train, test = cifar
    for division, official in ((source.train, train), (source.test, test)):
        assert division.images.dtype == np.uint8 and division.labels.dtype == np.int64
        assert np.array_equal(division.images, official.data)
        assert division.labels.tolist() == official.targets
        image, label = official[17]  # through PIL, as a DataLoader would see it
        assert np.array_equal(division.images[17], np.asarray(image)) and division.labels[17] == label


def test_cifar_has_the_official_counts_and_class_names(cifar):
    source, train, _ = cifar
    classes = len(source.classes)
    assert np.bincount(source.train.labels).tolist() == [50_000 // classes] * classes
    assert np.bincount(source.test.labels).tolist() == [10_000 // classes] * classes
    assert source.classes == train.classes
    first = {10: ("frog", "cat"), 100: ("cattle", "mountain")}[classes]
    assert (source.classes[source.train.labels[0]], source.classes[source.test.labels[0]]) == first


def test_cifar_100_is_normalised_as_cifar_10_is(cifar):
    assert cifar[0].mean == [0.4914, 0.4822, 0.4465]
    assert cifar[0].std == [0.2023, 0.1994, 0.2010]


def test_an_altered_cifar_file_is_refused_before_it_is_unpickled(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match="data_batch_1 is truncated or altered"):
        loading.load(Dataset(name="cifar10", root=str(tmp_path), size=32, watch=""))


def paint(folder, colours):
    folder.mkdir(parents=True)
    for name, colour in colours.items():
        Image.new("RGB", (5, 7), colour).save(folder / name)


@pytest.fixture
def own(tmp_path):
    paint(tmp_path / "train/cat", {"b.png": (10, 20, 30), "a.png": (40, 50, 60)})
    paint(tmp_path / "train/ant", {"c.png": (1, 2, 3)})
    paint(tmp_path / "test/cat", {"d.png": (7, 8, 9)})
    paint(tmp_path / "test/ant", {"e.png": (4, 5, 6)})
    return tmp_path


def test_a_folder_is_read_by_sorted_class_and_file_and_resized(own):
    (own / "train/cat/notes.txt").write_text("no image")
    source = loading.load(Dataset(name="folder", root=str(own), size=5, watch=""))
    assert source.classes == ["ant", "cat"]
    assert source.train.labels.tolist() == [0, 1, 1] and source.test.labels.tolist() == [0, 1]
    assert source.train.images.shape == (3, 5, 5, 3)
    assert source.train.images[:, 2, 1].tolist() == [[1, 2, 3], [40, 50, 60], [10, 20, 30]]
    assert source.test.images[:, 0, 0].tolist() == [[4, 5, 6], [7, 8, 9]]


def test_some_classes_of_a_folder(own):
    source = loading.load(Dataset(name="folder", root=str(own), size=5, watch="", classes=("cat",)))
    assert source.classes == ["cat"] and source.train.images[:, 2, 1].tolist() == [[40, 50, 60], [10, 20, 30]]


def test_a_folder_with_a_corrupt_image_or_an_empty_class_is_refused_by_name(own):
    (own / "test/cat/d.png").unlink()
    with pytest.raises(UserError, match="class 'cat' has no test image"):
        loading.load(Dataset(name="folder", root=str(own), size=5, watch=""))
    (own / "test/cat/broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=r"broken\.png is not a readable image"):
        loading.load(Dataset(name="folder", root=str(own), size=5, watch=""))
