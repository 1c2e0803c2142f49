"""B3RS against `end_to_end` section 3.4 worked by hand, and its draws by chi-square with fixed seeds."""

import numpy as np
import pytest
from scipy.stats import chisquare

from stages.longtail.data import b3rs
from stages.longtail.recipe.representation import RelativelyBalancedBlocks


def test_blocks_take_every_gth_class_of_those_sorted_by_size():
    counts = np.array([3, 50, 8, 100, 1, 20, 9])  # sorted: classes 3, 1, 5, 6, 2, 0, 4
    assert [block.tolist() for block in b3rs.blocks(counts, 3)] == [[3, 6, 4], [1, 2], [5, 0]]


def test_one_block_has_all_classes_and_as_many_blocks_as_classes_have_one_each():
    counts = np.array([2, 4, 3])
    assert [block.tolist() for block in b3rs.blocks(counts, 1)] == [[1, 2, 0]]
    assert [block.tolist() for block in b3rs.blocks(counts, 3)] == [[1], [2], [0]]


@pytest.mark.parametrize(
    ("smallest", "ratio", "least"),
    [
        (5, 0.01, 0.01),  # S = (5 / 2) / (128 / 10) = 0.195, so r_0
        (25, 0.01, 0.01),  # 0.977
        (26, 0.01, 0.01015625),  # 13 / 12.8 = 1.015625, so S r_0
        (50, 0.05, 0.09765625),  # CIFAR-10-LT at ratio 100: 25 / 12.8 = 1.953125
        (255, 0.005, 0.0498046875),  # 9.9609375
        (256, 0.005, 0.1),  # 10, so 1 / F
        (5000, 0.001, 0.1),
        (100, 0.05, 0.1),  # 3.90625, but S r_0 = 0.195 is more than 1 / F
    ],
)
def test_r_min_is_that_of_equation_14(smallest, ratio, least):
    assert b3rs.least_ratio(smallest, 128, 10, ratio, 2.0) == pytest.approx(least, rel=1e-12)


def test_r_min_counts_the_smallest_class_in_epochs_of_alpha():
    assert b3rs.least_ratio(50, 128, 10, 0.01, 1.0) == pytest.approx(0.0390625, rel=1e-12)  # S = 50 / 12.8
    assert b3rs.least_ratio(50, 128, 10, 0.01, 4.0) == 0.01  # S = 12.5 / 12.8


def test_ratios_are_r_min_for_the_tail_and_in_proportion_for_the_rest():
    """Eq. 15 with the factor that sums to 1: classes of 5, 3 and 2 at 0.1 each leave 0.7 for 60 and 30."""
    ratios = b3rs.ratios(np.array([60, 5, 30, 3, 2]), 0.1)
    assert ratios == pytest.approx([0.7 * 2 / 3, 0.1, 0.7 / 3, 0.1, 0.1], rel=1e-12)


def test_ratios_above_r_min_stay_as_they_are():
    assert b3rs.ratios(np.array([5, 3, 2]), 0.1) == pytest.approx([0.5, 0.3, 0.2], rel=1e-12)


def test_a_class_at_r_min_exactly_is_of_the_tail():
    assert b3rs.ratios(np.array([6, 3, 1]), 0.1) == pytest.approx([0.6, 0.3, 0.1], rel=1e-12)


def test_a_class_that_the_others_push_below_r_min_is_raised_to_it():
    """20 of 100 is more than 0.19, but 0.2 / 0.99 of the 0.81 that the smallest leaves is not."""
    assert b3rs.ratios(np.array([79, 20, 1]), 0.19) == pytest.approx([0.62, 0.19, 0.19], rel=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10])
def test_r_min_of_one_over_f_is_balance(classes):
    counts = np.random.default_rng(classes).integers(1, 1000, classes)
    assert b3rs.ratios(counts, 1 / classes) == pytest.approx(1 / classes, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_ratios_sum_to_one_with_none_below_r_min_and_the_order_kept(seed):
    random = np.random.default_rng(seed)
    counts = np.sort(random.zipf(1.5, 12).clip(1, 5000))
    least = random.uniform(0, 1 / 12)
    ratios = b3rs.ratios(counts, least)
    assert ratios.sum() == pytest.approx(1, rel=1e-12)
    assert ratios.min() >= least * (1 - 1e-12) and (np.diff(ratios) >= -1e-15).all()
    rest = ratios > least * (1 + 1e-12)
    assert np.ptp(ratios[rest] / counts[rest]) < 1e-12  # in proportion
    assert not (rest & (counts / counts.sum() <= least)).any()  # whoever is small is raised


def test_sizes_are_shares_of_the_batch_and_sum_to_it():
    assert b3rs.sizes(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert b3rs.sizes(np.array([0.54, 0.29, 0.17]), 10).tolist() == [6, 3, 1]  # 1.7 down to 1, 9 by .54 : .29
    assert sorted(b3rs.sizes(np.full(10, 0.1), 128)) == [12, 12] + [13] * 8


@pytest.mark.parametrize(("least", "samples"), [(0.002, 1), (0.01, 5), (0.02, 10), (0.03, 15), (0.04, 20)])
def test_each_tail_class_has_the_samples_of_table_7(least, samples):
    """A block of ImageNet-LT: 10 classes, a batch of 512; "same number of samples in each batch tail classes"."""
    counts = np.array([6400, 2100, 900, 300, 100, 10, 9, 8, 7, 5])
    ratios = b3rs.ratios(counts, least)
    tail = ratios <= least * (1 + 1e-12)
    assert tail.sum() >= 5
    sizes = b3rs.sizes(ratios, 512)
    assert sizes[tail].tolist() == [samples] * tail.sum()
    assert sizes.sum() == 512


def test_tail_classes_have_the_same_number_of_images_and_none_is_left_out():
    """Three classes at r_min = 0.005, 0.32 of 64 images each."""
    smallest = b3rs.sizes(b3rs.ratios(np.array([500, 300, 5, 5, 5]), 0.005), 64)[2:]
    assert len(set(smallest)) == 1 and smallest.min() > 0


# 6 classes in 2 blocks, classes 4, 0, 5 and classes 2, 3, 1. r_0 = 0.25 is r_min, as S = (1 / 2) / (8 / 3) < 1. Of the
# first block's 16, 4 and 2 images the last two are raised, of the second's 8, 3 and 1 as well: 4, 2 and 2 in a batch.
COUNTS = np.array([4, 1, 8, 3, 16, 2])
LABELS = np.random.default_rng(7).permutation(np.repeat(np.arange(6), COUNTS))
SIZES = [[2, 0, 0, 0, 4, 2], [0, 2, 4, 2, 0, 0]]
SAMPLER = RelativelyBalancedBlocks(blocks=2, ratio=0.25, alpha=2.0)


@pytest.fixture(scope="module")
def drawn():
    """Images of 3000 batches, (3000, 8)"""
    return b3rs.order(SAMPLER, LABELS, 24_000, 8, np.random.default_rng(0)).reshape(3000, 8)


def test_batches_take_the_blocks_in_a_cycle_each_with_the_same_sizes_always(drawn):
    for number, batch in enumerate(drawn):
        assert np.bincount(LABELS[batch], minlength=6).tolist() == SIZES[number % 2]


def test_all_blocks_have_the_same_batch_imbalance_ratio():
    """Classes of 2^0 to 2^11 images, every third in a block: proportions of 512 to 64 to 8 to 1 in each."""
    labels = np.repeat(np.arange(12), 2 ** np.arange(12))
    sampler = RelativelyBalancedBlocks(blocks=3, ratio=0.0625, alpha=2.0)
    batches = b3rs.order(sampler, labels, 64 * 9, 64, np.random.default_rng(0)).reshape(9, 64)
    sizes = [np.sort(np.bincount(labels[batch], minlength=12))[-4:] for batch in batches]
    # r_min is 1 / 16, 4 of 64 images, for the two smallest; of the 56 left the others have 49.8 and 6.2.
    assert all(size.tolist() == [4, 4, 6, 50] for size in sizes)


@pytest.mark.parametrize("place", range(8))
def test_the_classes_of_a_batch_are_shuffled(drawn, place):
    for block, sizes in enumerate(SIZES):
        seen = np.bincount(LABELS[drawn[block::2, place]], minlength=6)
        there = np.array(sizes) > 0
        assert chisquare(seen[there], np.array(sizes)[there] * (1500 / 8)).pvalue > 0.001


def test_two_images_of_a_class_in_a_batch_are_drawn_independently(drawn):
    """With replacement: class 5 has as many images as a batch takes of it, and both draws may be the same one."""
    for label in (0, 3, 5):
        images = np.flatnonzero(label == LABELS)
        pairs = np.stack([batch[LABELS[batch] == label] for batch in drawn if (LABELS[batch] == label).any()])
        cells = np.searchsorted(images, pairs) @ [len(images), 1]
        assert chisquare(np.bincount(cells, minlength=len(images) ** 2)).pvalue > 0.001


@pytest.mark.parametrize("label", [0, 2, 3, 4, 5])
def test_every_image_of_a_class_is_drawn_equally_often(drawn, label):
    images = np.bincount(drawn.ravel(), minlength=len(LABELS))[label == LABELS]
    assert chisquare(images).pvalue > 0.001


def test_a_class_of_one_image_comes_as_often_as_its_share(drawn):
    (only,) = np.flatnonzero(LABELS == 1)
    assert ((drawn == only).sum(1) == np.tile([0, 2], 1500)).all()


def test_the_last_batch_may_be_smaller():
    order = b3rs.order(SAMPLER, LABELS, 8 * 3 + 5, 8, np.random.default_rng(0))
    assert order.shape == (29,) and order.dtype == np.int64
    assert (np.bincount(LABELS[order[24:]], minlength=6) <= SIZES[1]).all()


def test_one_block_of_balanced_classes_makes_balanced_batches():
    labels = np.repeat(np.arange(4), [40, 30, 20, 10])
    order = b3rs.order(RelativelyBalancedBlocks(blocks=1, ratio=1.0), labels, 96, 8, np.random.default_rng(0))
    assert all(np.bincount(labels[batch]).tolist() == [2, 2, 2, 2] for batch in order.reshape(12, 8))


def test_on_cifar_100_with_table_6_a_batch_has_every_tenth_class():
    """Of 500 to 5 images each: 10 blocks, and S = 2.5 / 12.8 < 1, so r_min is r_0 = 0.01, one image of 128."""
    counts = (500 * 0.01 ** (np.arange(100) / 99) + 1e-9).astype(int)
    labels = np.repeat(np.arange(100), counts)
    sampler = RelativelyBalancedBlocks(blocks=10, ratio=0.01, alpha=2.0)
    batches = labels[b3rs.order(sampler, labels, 10 * 128, 128, np.random.default_rng(0))].reshape(10, 128)
    for first, batch in enumerate(batches):
        sizes = np.bincount(batch, minlength=100)
        assert np.flatnonzero(sizes).tolist() == list(range(first, 100, 10))
        assert sizes[90 + first] == 1
