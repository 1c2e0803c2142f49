"""Class counts against exact integer arithmetic and the papers; the draw against the common code, in plain loops."""

import numpy as np
import pytest

from stages.longtail.console.errors import UserError
from stages.longtail.splits import imbalance
from stages.longtail.splits.split import Split

# Worked out by hand, 5000 / ratio ** (i / 9) rounded down; ratio 50 is printed in `switching`, Table 12.
CIFAR10 = {
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    20: [5000, 3584, 2569, 1842, 1320, 946, 678, 486, 348, 250],
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    200: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
    500: [5000, 2506, 1256, 629, 315, 158, 79, 39, 19, 10],
    1000: [5000, 2320, 1077, 500, 232, 107, 50, 23, 10, 5],
}
CIFAR100_TOTAL = {10: 19573, 20: 15907, 50: 12608, 100: 10847, 200: 9502, 500: 8155}
DEFAULT = {"profile": "exp", "ratio": 10, "n_max": None, "seed": 0, "holdout": 0, "many": 100, "few": 20}


def split(**changes):
    return Split(**{**DEFAULT, **changes})


def exact_exponential(n_max, ratio, classes):
    """Largest whole n with n ** (C - 1) * ratio ** i <= n_max ** (C - 1): no rounding anywhere."""
    counts = []
    for i in range(classes):
        n = n_max
        while n ** (classes - 1) * ratio**i > n_max ** (classes - 1):
            n -= 1
        counts.append(n)
    return counts


def drawn_as_in_the_common_code(labels, wanted, seed):
    """What the LDAM code does, with numpy's global generator."""
    before = np.random.get_state()
    np.random.seed(seed)
    kept = []
    for label, want in enumerate(wanted):
        indices = np.where(labels == label)[0]
        np.random.shuffle(indices)
        kept.extend(indices[:want].tolist())
    np.random.set_state(before)
    return kept


def mixed_labels(*counts):
    """Labels with `counts` images per class, in no order."""
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("ratio", CIFAR10)
def test_exponential_counts_of_cifar10_are_the_golden_ones(ratio):
    counts = imbalance.class_counts("exp", ratio, 5000, 10)
    assert counts.dtype == np.int64
    assert counts.tolist() == CIFAR10[ratio] == exact_exponential(5000, ratio, 10)


@pytest.mark.parametrize(("ratio", "total"), {10: 20431, 50: 13996, 100: 12406, 200: 11203}.items())
def test_exponential_totals_of_cifar10_are_the_golden_ones(ratio, total):
    assert imbalance.class_counts("exp", ratio, 5000, 10).sum() == total


@pytest.mark.parametrize("ratio", CIFAR100_TOTAL)
def test_exponential_counts_of_cifar100_are_the_golden_ones(ratio):
    counts = imbalance.class_counts("exp", ratio, 500, 100)
    assert counts.sum() == CIFAR100_TOTAL[ratio]
    assert counts.tolist() == exact_exponential(500, ratio, 100)
    assert counts[0] == 500 and counts[-1] == 500 // ratio


@pytest.mark.parametrize(("ratio", "minor"), {10: 500, 20: 250, 50: 100, 100: 50, 200: 25, 500: 10, 1000: 5}.items())
def test_step_counts_of_cifar10_are_two_plateaus(ratio, minor):
    assert imbalance.class_counts("step", ratio, 5000, 10).tolist() == [5000] * 5 + [minor] * 5


@pytest.mark.parametrize(("ratio", "minor"), {10: 50, 20: 25, 50: 10, 100: 5, 200: 2, 500: 1}.items())
def test_step_counts_of_cifar100_round_down(ratio, minor):
    assert imbalance.class_counts("step", ratio, 500, 100).tolist() == [500] * 50 + [minor] * 50


def test_step_with_an_odd_number_of_classes_has_one_more_minor_class():
    assert imbalance.class_counts("step", 5, 20, 5).tolist() == [20, 20, 4, 4, 4]


@pytest.mark.parametrize("seed", [0, 1, 123])
@pytest.mark.parametrize("profile", ["exp", "step"])
def test_draw_keeps_the_same_images_in_the_same_order_as_the_common_code(profile, seed):
    labels = mixed_labels(70, 70, 75, 90)
    kept, held = imbalance.draw(labels, list("abcd"), split(profile=profile, seed=seed))
    wanted = [70, 32, 15, 7] if profile == "exp" else [70, 70, 7, 7]
    assert kept.tolist() == drawn_as_in_the_common_code(labels, wanted, seed)
    assert kept.dtype == held.dtype == np.int64 and len(held) == 0


def test_draw_of_real_cifar10_is_that_of_the_common_code(cifar_root):
    from torchvision.datasets import CIFAR10 as Official

    labels = np.array(Official(str(cifar_root)).targets)
    for ratio in (50, 100):
        kept, _ = imbalance.draw(labels, [str(c) for c in range(10)], split(ratio=ratio))
        assert kept.tolist() == drawn_as_in_the_common_code(labels, CIFAR10[ratio], 0)


def test_another_seed_draws_other_images():
    labels = mixed_labels(70, 70)
    first, second = (imbalance.draw(labels, ["a", "b"], split(seed=seed))[0] for seed in (0, 1))
    assert set(first[70:]) != set(second[70:])


def test_held_out_images_are_the_last_of_each_shuffled_class_and_apart_from_the_kept():
    labels = mixed_labels(30, 30, 30)
    whole = drawn_as_in_the_common_code(labels, [30, 30, 30], 7)
    kept, held = imbalance.draw(labels, list("abc"), split(seed=7, holdout=4))
    assert not set(kept) & set(held)
    assert held.tolist() == whole[26:30] + whole[56:60] + whole[86:90]
    assert np.bincount(labels[held]).tolist() == [4, 4, 4]
    assert np.bincount(labels[kept]).tolist() == [26, 8, 2]  # n_max is what the hold-out leaves: 26, 26 / sqrt 10, 2.6


def test_holding_images_out_keeps_the_same_subset_where_n_max_leaves_room():
    labels = mixed_labels(30, 30, 30)
    without, _ = imbalance.draw(labels, list("abc"), split(n_max=20))
    with_holdout, _ = imbalance.draw(labels, list("abc"), split(n_max=20, holdout=10))
    assert without.tolist() == with_holdout.tolist()


def test_profile_none_keeps_every_image_that_is_not_held_out():
    labels = mixed_labels(5, 9)
    kept, held = imbalance.draw(labels, ["a", "b"], split(profile="none", ratio=1, holdout=2))
    assert sorted([*kept, *held]) == list(range(14))
    assert np.bincount(labels[kept]).tolist() == [3, 7]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratio": 1000}, "split.ratio 1000 .*'b'"),
        ({"n_max": 21}, "split.n_max asks for 21 images of class 'a', which has 20"),
        ({"profile": "none"}, "split.profile is none"),
    ],
)
def test_impossible_subsets_are_refused_by_name(changes, words):
    with pytest.raises(UserError, match=words):
        imbalance.draw(mixed_labels(20, 20), ["a", "b"], split(**changes))


@pytest.mark.parametrize("changes", [{"holdout": 25}, {"holdout": 5, "n_max": 20}])
def test_a_hold_out_that_leaves_too_few_images_is_named_in_the_error(changes):
    with pytest.raises(UserError) as refusal:
        imbalance.draw(mixed_labels(20, 20), ["a", "b"], split(**changes))
    assert "split.holdout" in str(refusal.value)
    assert " -" not in str(refusal.value)  # no class has -5 images


def test_shots_have_their_bounds_in_the_medium_group():
    assert imbalance.shots(np.array([101, 100, 20, 19]), 100, 20) == ["many", "medium", "medium", "few"]


def test_shots_of_cifar100_at_ratio_100_are_35_35_30():
    shots = imbalance.shots(np.array(exact_exponential(500, 100, 100)), 100, 20)
    assert [shots.count(group) for group in ("many", "medium", "few")] == [35, 35, 30]


def test_bounds_of_liu_et_al_can_be_written():
    assert imbalance.shots(np.array([100, 99, 21, 20]), 99, 21) == ["many", "medium", "medium", "few"]
    with pytest.raises(UserError, match=r"split\.few"):
        imbalance.shots(np.array([5]), 10, 12)
