"""Samplers by their statistics over many epochs, with fixed seeds, so that a verdict never changes."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chisquare

from stages.longtail.console.errors import UserError
from stages.longtail.data import random_draws, samplers
from stages.longtail.recipe.representation import (
    BatchEmbedded,
    ClassBalancedBatches,
    ClassSampler,
    NotEmbedded,
    RelativelyBalancedBlocks,
)

COUNTS = np.array([100, 49, 16, 4])
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(4), COUNTS))  # images of a class lie apart
# p_j = n_j^q / sum n^q by hand, q = 1/2, 0, -1; the reciprocals are over their common denominator, 19600.
SHARES = {"sqrt": [10, 7, 4, 2], "balanced": [1, 1, 1, 1], "reversed": [196, 400, 1225, 4900]}
EPOCHS = 300
KINDS = [*SHARES, "instance", "progressive", "cbs", "b3rs"]


def recipe(kind):
    if kind == "cbs":
        return ClassBalancedBatches(images=4)
    return RelativelyBalancedBlocks(blocks=2) if kind == "b3rs" else ClassSampler(kind=kind)


def epoch(sampler, number, seed=0, embedded=NotEmbedded(), labels=LABELS, batch_size=16):  # noqa: B008, frozen
    sampler = recipe(sampler) if isinstance(sampler, str) else sampler
    random = random_draws.generator(seed, number, "sampler")
    return samplers.epoch(sampler, embedded, labels, batch_size, random, number, EPOCHS)


def batches(order, size):
    return np.split(order, range(size, len(order), size))


@pytest.fixture(scope="module", params=SHARES)
def sampled(request):
    """(sampler, its orders of many epochs)"""
    return request.param, [epoch(request.param, number) for number in range(EPOCHS)]


def expected(sampler, total):
    return np.array(SHARES[sampler]) * (total / sum(SHARES[sampler]))


@pytest.mark.parametrize("sampler", [*SHARES, "instance"])
def test_class_probabilities_follow_the_formula(sampler):
    shares = np.array(SHARES.get(sampler, COUNTS))
    assert samplers.class_probabilities(sampler, COUNTS) == pytest.approx(shares / shares.sum(), rel=1e-12)


def test_classes_are_drawn_as_often_as_the_formula_says(sampled):
    sampler, orders = sampled
    drawn = np.bincount(LABELS[np.concatenate(orders)])
    assert chisquare(drawn, expected(sampler, drawn.sum())).pvalue > 0.001


def test_classes_are_drawn_independently_from_image_to_image(sampled):
    """Neighbouring draws are pairs of independent classes: nothing is sorted, dealt in blocks or balanced by force."""
    sampler, orders = sampled
    pairs = np.zeros((4, 4))
    for order in orders:
        np.add.at(pairs, (LABELS[order[0:-1:2]], LABELS[order[1::2]]), 1)
    share = np.array(SHARES[sampler]) / sum(SHARES[sampler])
    assert chisquare(pairs.ravel(), np.outer(share, share).ravel() * pairs.sum()).pvalue > 0.001


def test_the_number_of_draws_of_a_class_varies_as_a_binomial(sampled):
    sampler, orders = sampled
    share = SHARES[sampler][0] / sum(SHARES[sampler])
    firsts = [np.count_nonzero(LABELS[order] == 0) for order in orders]
    assert np.var(firsts) == pytest.approx(len(LABELS) * share * (1 - share), rel=0.3)


@pytest.mark.parametrize("label", range(4))
def test_every_image_of_a_class_is_drawn_equally_often(sampled, label):
    drawn = np.bincount(np.concatenate(sampled[1]), minlength=len(LABELS))[label == LABELS]
    assert chisquare(drawn).pvalue > 0.001


def comes_in_decks(order, labels, together=1):
    """Every run of as many draws of a class as it has images, from the start, is without replacement; where draws come
    in groups, as many as are whole groups."""
    for label, count in enumerate(np.bincount(labels)):
        size = count - count % together if count >= together else count
        for deck in batches(order[labels[order] == label], size):
            if len(set(deck)) < len(deck):
                return False
    return True


def test_images_come_without_replacement_until_their_class_is_used_up(sampled):
    assert all(comes_in_decks(order, LABELS) for order in sampled[1])


def test_a_used_up_class_is_shuffled_anew():
    images = [image for image in epoch("reversed", 0) if LABELS[image] == 3]
    decks = {tuple(images[start : start + 4]) for start in range(0, len(images) - 3, 4)}
    assert len(images) > 80  # more than 20 decks of 4 images, of 24 possible orders
    assert 8 < len(decks) <= 24


@pytest.mark.parametrize("sampler", KINDS)
def test_an_epoch_is_as_many_draws_as_images(sampler):
    order = epoch(sampler, 0)
    assert order.shape == LABELS.shape and order.dtype == np.int64


@pytest.mark.parametrize("sampler", KINDS)
@pytest.mark.parametrize("length", [0, 1, 16, 500])
def test_an_order_is_as_long_as_asked_for(sampler, length):
    order = samplers.order(recipe(sampler), LABELS, length, 16, np.random.default_rng(0))
    assert order.shape == (length,) and order.dtype == np.int64


def test_instance_is_a_permutation_with_every_image_anywhere():
    orders = np.stack([epoch("instance", number, labels=LABELS[:8]) for number in range(2000)])
    assert (np.sort(orders, axis=1) == np.arange(8)).all()
    for place in range(8):
        assert chisquare(np.bincount(orders[:, place])).pvalue > 0.001


def test_instance_takes_every_image_once_more_if_more_are_asked_for():
    order = samplers.order(recipe("instance"), LABELS, 400, 16, np.random.default_rng(0))  # 169 images
    rounds = batches(order, len(LABELS))
    assert [len(set(images)) for images in rounds] == [169, 169, 62]
    assert (rounds[0] != rounds[1]).any()


@pytest.mark.parametrize("sampler", KINDS)
@pytest.mark.parametrize("embedded", [NotEmbedded(), BatchEmbedded(interval=3, iterations=2)], ids=lambda e: e.kind)
def test_the_same_seed_and_epoch_give_the_same_draw_and_others_another(sampler, embedded):
    def drawn(number, seed):
        return epoch(sampler, number, seed, embedded)[: len(LABELS)]

    assert (drawn(3, seed=2) == drawn(3, seed=2)).all()
    for other in (drawn(4, seed=2), drawn(3, seed=3), drawn(2, seed=3)):
        assert (drawn(3, seed=2) != other).any()


def test_progressive_goes_from_instance_to_class_balanced_by_equation_2():
    counts = np.array([6, 3, 1])
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 0.0), counts / 10)
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 1.0), 1 / 3)
    expected = 0.75 * counts / 10 + 0.25 / 3
    np.testing.assert_allclose(samplers.class_probabilities("progressive", counts, 0.25), expected)


def test_progressive_draws_by_the_progress_it_is_given():
    labels = np.repeat([0, 1], [900, 100])
    drawn = samplers.order(recipe("progressive"), labels, len(labels), 16, np.random.default_rng(0), 0.5)
    assert abs((labels[drawn] == 1).mean() - 0.3) < 0.05  # half of 0.1 and half of 0.5


@pytest.mark.parametrize(("numbers", "balanced"), [((0, 100), 49.5 / 300), ((200, 300), 249.5 / 300)])
def test_progress_is_the_share_of_the_epochs_that_are_done(numbers, balanced):
    """The mean of t / T over t = 0 to 99 and over t = 200 to 299, T = 300, weighs the class-balanced end."""
    drawn = np.bincount(LABELS[np.concatenate([epoch("progressive", number) for number in range(*numbers)])])
    shares = (1 - balanced) * COUNTS / 169 + balanced / 4
    assert chisquare(drawn, shares * drawn.sum()).pvalue > 0.001


# Class-balanced batches. 7 classes, k = 12 / 4 = 3 of them in a batch; 82 images are 6 batches and 10 images more.
CBS = ClassBalancedBatches(images=4)
CBS_COUNTS = [30, 17, 12, 8, 6, 5, 4]
CBS_LABELS = np.random.default_rng(6).permutation(np.repeat(np.arange(7), CBS_COUNTS))


@pytest.fixture(scope="module")
def balanced():
    """Orders of many epochs."""
    return [epoch(CBS, number, labels=CBS_LABELS, batch_size=12) for number in range(EPOCHS)]


def test_a_balanced_batch_has_z_images_of_each_of_k_classes(balanced):
    for order in balanced:
        *full, last = batches(CBS_LABELS[order], 12)
        assert [len(batch) for batch in full] == [12] * 6 and len(last) == 10
        for batch in full:
            assert sorted(np.bincount(batch, minlength=7)) == [0, 0, 0, 0, 4, 4, 4]
        assert sorted(np.bincount(last, minlength=7)) == [0, 0, 0, 0, 2, 4, 4]


def test_classes_are_in_balanced_batches_equally_often(balanced):
    drawn = sum(np.bincount(CBS_LABELS[order[:72]], minlength=7) for order in balanced)
    assert chisquare(drawn / 4).pvalue > 0.001  # four images of a class come at once


@pytest.mark.parametrize("batch", range(3))
def test_any_k_classes_make_a_balanced_batch_equally_often(batch):
    together = {subset: 0 for subset in combinations(range(7), 3)}
    for number in range(1400):
        drawn = samplers.balanced_batches(7, 36, 12, 4, random_draws.generator(0, number, "sampler"))
        together[tuple(sorted(set(drawn[batch * 12 : batch * 12 + 12])))] += 1
    assert chisquare(list(together.values())).pvalue > 0.001


@pytest.mark.parametrize("label", range(7))
def test_every_image_of_a_class_is_in_balanced_batches_equally_often(balanced, label):
    drawn = np.bincount(np.concatenate(balanced), minlength=82)[label == CBS_LABELS]
    assert chisquare(drawn).pvalue > 0.001


def test_balanced_batches_take_images_without_replacement_until_their_class_is_used_up(balanced):
    """So the Z images of a class differ wherever it has Z."""
    counts, z = np.bincount(CBS_LABELS), 4
    assert all(comes_in_decks(order, CBS_LABELS, z) for order in balanced)
    for order in balanced:
        for batch in batches(order[:72], 12):
            for label in np.flatnonzero(counts >= z):
                images = batch[CBS_LABELS[batch] == label]
                assert len(set(images)) == len(images)


def test_with_fewer_classes_than_k_every_class_comes_before_any_comes_again():
    drawn = samplers.balanced_batches(3, 16 * 200, 16, 2, np.random.default_rng(0)).reshape(200, 8, 2)
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (np.sort(drawn[:, :3, 0]) == np.arange(3)).all() and (np.sort(drawn[:, 3:6, 0]) == np.arange(3)).all()
    assert (drawn[:, 6, 0] != drawn[:, 7, 0]).all()
    assert chisquare(np.bincount(drawn[:, 6:, 0].ravel())).pvalue > 0.001


def test_with_fewer_classes_than_k_an_epoch_still_is_as_many_draws_as_images():
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    order = epoch(ClassBalancedBatches(images=2), 0, labels=labels, batch_size=16)
    assert [sorted(np.bincount(batch)) for batch in batches(labels[order], 16)[:2]] == [[4, 6, 6]] * 2
    assert len(order) == 35 and comes_in_decks(order, labels, 2)


def test_more_blocks_than_classes_are_refused():
    assert len(epoch(RelativelyBalancedBlocks(blocks=4), 0)) == 169
    with pytest.raises(UserError, match="b3rs sampler is 5, for 4 classes"):
        epoch(RelativelyBalancedBlocks(blocks=5), 0)


def test_every_block_comes_as_often_as_any_other_over_many_epochs():
    """Also if an epoch has fewer batches than there are blocks: 3 of 8, or fewer, images in an epoch of 20."""
    labels = np.repeat(np.arange(5), [6, 5, 4, 3, 2])  # a block is a class
    orders = [epoch(RelativelyBalancedBlocks(blocks=5), n, labels=labels, batch_size=8) for n in range(EPOCHS)]
    firsts = [batch[0] for order in orders for batch in batches(labels[order], 8)]
    assert chisquare(np.bincount(firsts, minlength=5)).pvalue > 0.001


@pytest.mark.parametrize(("interval", "iterations"), [(3, 2), (1, 1), (20, 5), (1000, 5)])
def test_the_total_is_what_so_many_epochs_draw(interval, iterations):
    embedded = BatchEmbedded(interval=interval, iterations=iterations)
    drawn = np.cumsum([0] + [len(epoch("instance", number, embedded=embedded)) for number in range(7)])
    assert [samplers.total(len(LABELS), embedded, 16, epochs) for epochs in range(8)] == drawn.tolist()
    assert samplers.total(len(LABELS), NotEmbedded(), 16, 7) == 7 * len(LABELS)


# Batch embedded training, by hand: an epoch of 10 images is 3 batches of 3 and one of 1.
SMALL = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
INNER = RelativelyBalancedBlocks(blocks=1, ratio=1.0)  # one image of each class in a batch
LAYOUTS = {  # epoch: its batches, o of the sampler, E embedded; every third o of all epochs comes after two E
    0: "ooEEoo",
    1: "oEEooo",
    2: "EEoooEEo",
    3: "ooEEoo",
}


@pytest.mark.parametrize("number", LAYOUTS)
@pytest.mark.parametrize("sampler", ["instance", "reversed"])
def test_embedded_batches_come_before_every_interval_th_batch_of_all_epochs(number, sampler):
    plain = epoch(sampler, number, labels=SMALL, batch_size=3)
    embedded = BatchEmbedded(interval=3, iterations=2, sampler=INNER)
    cut = batches(epoch(sampler, number, embedded=embedded, labels=SMALL, batch_size=3), 3)
    assert len(cut) == len(LAYOUTS[number])
    which = {kind: [b for b, k in zip(cut, LAYOUTS[number], strict=True) if k == kind] for kind in "oE"}
    assert [len(batch) for batch in which["o"]] == [3, 3, 3, 1]
    assert (np.concatenate(which["o"]) == plain).all()
    assert all(sorted(SMALL[batch]) == [0, 1, 2] for batch in which["E"])


def test_an_interval_of_one_embeds_before_every_batch():
    embedded = BatchEmbedded(interval=1, iterations=1, sampler=INNER)
    cut = batches(epoch("instance", 5, embedded=embedded, labels=SMALL, batch_size=3), 3)
    assert (np.concatenate(cut[1::2]) == epoch("instance", 5, labels=SMALL, batch_size=3)).all()
    assert all(sorted(SMALL[batch]) == [0, 1, 2] for batch in cut[0::2])


@pytest.mark.parametrize("inner", KINDS)
def test_an_epoch_without_an_interval_th_batch_is_that_of_the_sampler_alone(inner):
    embedded = BatchEmbedded(interval=60, iterations=5, sampler=recipe(inner))  # 11 batches an epoch: the 60th is in 5
    assert len(epoch("instance", 5, embedded=embedded)) == 169 + 5 * 16
    assert (epoch("instance", 2, embedded=embedded) == epoch("instance", 2)).all()


def test_no_embedded_batches_with_fewer_classes_than_k_either():
    embedded = BatchEmbedded(interval=60, iterations=5, sampler=ClassBalancedBatches(images=1))
    assert (epoch("instance", 2, embedded=embedded) == epoch("instance", 2)).all()


def test_embedded_batches_go_on_in_the_cycle_of_blocks_at_the_next_visit():
    labels = np.repeat([0, 1, 2, 3], [8, 6, 4, 2])  # blocks: classes 0 and 2, 1 and 3
    inner = RelativelyBalancedBlocks(blocks=2, ratio=1.0)
    embedded = BatchEmbedded(interval=2, iterations=3, sampler=inner)
    cut = batches(epoch("instance", 0, embedded=embedded, labels=labels, batch_size=4), 4)  # oEEEo oEEEo o
    assert len(cut) == 5 + 2 * 3
    seen = [set(labels[cut[place]]) for place in (1, 2, 3, 6, 7, 8)]
    assert seen == [{0, 2}, {1, 3}] * 3


@pytest.mark.parametrize(("number", "share"), [(0, 0.1), (299, 0.1 / 300 + 0.5 * 299 / 300)])
def test_an_embedded_progressive_sampler_follows_the_progress_as_well(number, share):
    labels = np.repeat([0, 1], [900, 100])
    embedded = BatchEmbedded(interval=1, iterations=9, sampler=ClassSampler(kind="progressive"))
    order = epoch("instance", number, embedded=embedded, labels=labels, batch_size=100)
    inner = labels[order.reshape(10, 10, 100)[:, :9]]
    assert chisquare(np.bincount(inner.ravel()), [9000 * (1 - share), 9000 * share]).pvalue > 0.001
