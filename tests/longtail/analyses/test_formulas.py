"""Each figure's formula against a case worked by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from stages.longtail.analyses import (
    balance,
    decoupling,
    drawing,
    end_to_end,
    plane,
    procrustean,
    switching,
    training_curves,
)
from stages.longtail.models import heads
from stages.longtail.recipe.representation import LDAM, CrossEntropy

CROSS_ENTROPY = CrossEntropy()


def table(**columns):
    return pd.DataFrame(columns)


def run(**values):
    """What a Run offers, as far as a formula reads it."""
    return SimpleNamespace(**{"name": "digits-joint", "subset": "digits", **values})


CLASSES = table(rank=[1, 2], **{"class": [1, 0]}, count=[30, 10], shot=["many", "few"], accuracy=[80.0, 50.0])


def test_tau_turns_a_large_weight_into_a_direction():
    weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[0.3, 1.0], [1.0, 0.1]])  # logits 1.2, 1.0 and 4, 0.1; at tau 1 they are 0.3, 1 and 1, 0.1
    rows = decoupling.tau_accuracies(weight, features, torch.tensor([1, 0]), ["many", "few"])
    found = rows.set_index(["tau", "group"]).accuracy
    assert found[0.0, "many"] == 100 and found[0.0, "few"] == 0 and found[0.0, "all"] == 50
    assert found[1.0, "few"] == 100 and found[1.0, "all"] == 100
    # The second class wins once 4 ** (1 - tau) * 0.3 < 1, from tau 0.1315 on.
    assert found[0.1, "few"] == 0 and found[0.15, "few"] == 100


def test_the_plane_is_parted_where_two_classes_are_level_and_ahead():
    weights, bias = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]]), np.array([0.0, 0.0, -1.0])
    # x = 0 up to y = 0.5; from there on |x| = 2 y - 1.
    level, right, left = plane.boundaries(weights, bias, reach=3.0)
    np.testing.assert_allclose(level[:, 0], 0, atol=1e-9)
    assert level[:, 1].min() == pytest.approx(-3, abs=0.05) and level[:, 1].max() == pytest.approx(0.5, abs=0.05)
    for line, sign in ((right, 1), (left, -1)):
        np.testing.assert_allclose(sign * line[:, 0], 2 * line[:, 1] - 1, atol=1e-9)
        assert line[:, 1].min() == pytest.approx(0.5, abs=0.05) and np.abs(line).max() <= 3
    assert plane.boundaries(np.zeros((2, 2)), np.zeros(2), 1.0) == []


def test_weight_norms_are_those_that_the_logits_use():
    linear = nn.Linear(2, 2)
    linear.weight.data = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    scaled = heads.ScaledHead(2, 2)
    scaled.linear.load_state_dict(linear.state_dict())
    scaled.scale.data = torch.tensor([2.0, 0.5])
    heads_of_seeds = {0: linear, 1: scaled}
    found = decoupling.weight_norms(
        run(classes=CLASSES, states=heads_of_seeds, network=lambda seed: SimpleNamespace(head=heads_of_seeds[seed]))
    )
    assert found.set_index("class").norm.to_dict() == {0: (5 + 10) / 2, 1: (2 + 1) / 2}
    assert decoupling.head_weights(heads.CosineHead(2, 2)) is None


def test_sampling_weights_of_30_and_10_images():
    rows = decoupling.sampling([run(classes=CLASSES)]).set_index(["sampler", "progress", "count"]).probability
    assert rows["instance", 0, 30] == 0.75 and rows["balanced", 0, 30] == 0.5
    assert rows["sqrt", 0, 30] == pytest.approx(30**0.5 / (30**0.5 + 10**0.5))
    assert [rows["progressive", t, 30] for t in (0, 0.5, 1)] == [0.75, 0.625, 0.5]


def test_the_test_curve_is_the_mean_over_seeds_and_knows_the_switch():
    history = table(
        seed=[0, 0, 0, 1, 1, 1],
        part=["represent", "represent", "continue"] * 2,
        epoch=[1, 2, 3] * 2,
        test_all=[10.0, np.nan, 30.0, 20.0, np.nan, 50.0],
    )
    curve = switching.test_curve(run(history=history))
    assert curve[["epoch", "accuracy", "switch"]].to_numpy().tolist() == [[1, 15, 2], [3, 40, 2]]
    assert switching.test_curve(run(history=history.assign(part="represent"))).switch.isna().all()
    assert switching.test_curve(run(history=history.assign(part="head"))) is None


def test_events_are_averaged_over_seeds_and_counted():
    def state(learned):
        return {
            "epoch": 4,
            "regularity": {"labels": torch.tensor([0, 1, 1]), "learned": learned, "forgotten": torch.tensor([0, 1, 1])},
        }

    states = {0: state(torch.tensor([4, 2, 3])), 1: state(torch.tensor([2, 2, 2]))}
    rows = switching.events(run(classes=CLASSES, states=states))
    names = ["rank", "class", "learned", "forgotten", "images"]
    # Means 3; 2 and 2.5, which rounds to the even 2: class 1 is the larger one, so it comes first.
    assert rows[names].to_numpy().tolist() == [[1, 1, 2, 1, 2], [2, 0, 3, 0, 1]]
    assert switching.events(run(states={0: {"epoch": 4}})) is None


def test_irregularity_stands_beside_the_printed_one_on_its_subset_alone():
    classes = CLASSES.assign(f_norm=[90.0, 40.0], irregularity=[0.1, 0.2])
    rows = switching.irregularity(run(classes=classes, subset="cifar10-exp-50")).set_index("class")
    assert rows.printed_f_norm.to_dict() == {0: 85.7341, 1: 44.3574}
    assert rows.printed_irregularity.to_dict() == {0: 0.0171, 1: 0.0137}
    assert switching.irregularity(run(classes=classes)).printed_f_norm.isna().all()
    assert switching.irregularity(run(classes=CLASSES)) is None


def test_feature_deviation_of_two_directions():
    train, test = np.array([[2.0, 0.0], [0.0, 5.0]]), np.array([[7.0, 0.0]])
    random = np.random.default_rng(0)
    # All of them: their mean (0.5, 0.5) is sqrt(0.5) from (1, 0).
    assert procrustean.feature_deviation(train, test, 2, random) == pytest.approx(0.5**0.5)
    # One at a time: 0 or sqrt(2), half the time each; the standard error over 1000 draws is 0.022.
    assert procrustean.feature_deviation(train, test, 1, random) == pytest.approx(2**0.5 / 2, abs=0.1)


def test_gain_is_by_class_whatever_its_rank():
    def of(method, accuracy, protocol="p"):
        params = SimpleNamespace(method=method)
        return run(name=method, params=params, protocol=protocol, classes=CLASSES.assign(accuracy=accuracy))

    mixed = of("cbs_rrs", [70.0, 65.0])
    swapped = of("joint", [50.0, 80.0])
    swapped.classes = swapped.classes.iloc[::-1]  # ranked the other way round
    rows = balance.gains([mixed, swapped, of("cbs", [10.0, 60.0]), of("joint", [0.0, 0.0], "another")])
    assert rows.set_index(["baseline", "class"]).gain.to_dict() == {
        ("RRS-Only", 1): 20,
        ("RRS-Only", 0): -15,
        ("CBS-Only", 1): 60,
        ("CBS-Only", 0): 5,
    }
    assert balance.gains([mixed]).empty


def test_channel_correlation_of_a_line_its_mirror_and_a_constant():
    features = torch.tensor([[1.0, 5.0, 2.0], [2.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(end_to_end.channel_correlation(features), expected, atol=1e-12)


def learner(loss=CROSS_ENTROPY):
    return run(classifier=None, representation=SimpleNamespace(loss=loss), classes=CLASSES)


def test_gradients_of_an_undecided_linear_head():
    head = nn.Linear(2, 2)
    head.weight.data.zero_(), head.bias.data.zero_()
    features, labels = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 4.0], [0.0, 0.0]]), torch.tensor([0, 0, 1, 1])
    # p is 1/2 everywhere: row 0 has -(4, 0) / 2 / 4 from its own images and (0, 4) / 2 / 4 from the others.
    parts = end_to_end.class_gradients(head.weight, end_to_end.head_gradients(learner(), head, features, labels))
    np.testing.assert_allclose(parts["positive_norm"], [0.5, 0.5])
    np.testing.assert_allclose(parts["negative_norm"], [0.5, 0.5])
    np.testing.assert_allclose(parts["gradient_norm"], [0.5**0.5, 0.5**0.5])
    torch.nn.functional.cross_entropy(head(features), labels).backward()
    np.testing.assert_allclose(parts["gradient_norm"], head.weight.grad.norm(dim=1), rtol=1e-6)


def test_true_positives_are_means_of_a_class():
    logits = torch.tensor([[0.0, 0.0], [np.log(3), 0.0], [0.0, np.log(9)]])
    found = end_to_end.true_positives(learner(), logits, torch.tensor([0, 0, 1]))
    np.testing.assert_allclose(found, [(0.5 + 0.75) / 2, 0.9], rtol=1e-6)


def test_ldam_takes_its_margin_off_the_true_class_of_training():
    logits = end_to_end.training_logits(learner(LDAM(scale=10.0)), torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
    # The smaller class 0 has the largest margin, 0.5.
    np.testing.assert_allclose(logits, [[0.0, 0.0]], atol=1e-6)


def test_singular_values_of_channels_over_images_and_positions():
    covariance = end_to_end.Covariance()
    whole = torch.tensor([[[1.0, -1.0], [0.0, 0.0]], [[3.0, -3.0], [2.0, -2.0]]])  # (images, channels, positions)
    for part in whole.split(1):
        covariance.add(part)
    # Channel 0: 1, -1, 3, -3; channel 1: 0, 0, 2, -2. Variances 5 and 2, covariance 3: (7 +- sqrt(45)) / 2.
    np.testing.assert_allclose(covariance.singular_values(), [(7 + 45**0.5) / 2, (7 - 45**0.5) / 2])


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (
            ["p/cifar10-exp-100-joint", "p/cifar10-exp-100-joint+method=crt", "p/cifar10-exp-100-mfw+beta=0.5"],
            ["joint", "crt", "mfw+beta=0.5"],
        ),
        (["cifar10-exp-100-joint", "procrustean/cifar10-exp-100-mfw-beta0.5"], ["joint", "mfw-beta0.5"]),
        (["cifar10-exp-100-mfw", "cifar10-exp-100-mfw-beta0.5"], ["mfw", "mfw-beta0.5"]),
        (["procrustean/cifar10-exp-100-joint"], ["cifar10-exp-100-joint"]),
    ],
)
def test_labels_leave_out_what_all_runs_share(names, labels):
    assert list(drawing.labels(table(run=names)).values()) == labels


def test_curves_are_means_over_seeds_of_ten_classes_by_size():
    classes = table(rank=range(1, 13), **{"class": range(11, -1, -1)}, count=range(12, 0, -1))
    states = {
        seed: {"observed": [{"epoch": epoch, "loss": torch.arange(12) + 100.0 * epoch + seed} for epoch in (1, 2)]}
        for seed in (0, 2)
    }
    frame = training_curves.curves(run(classes=classes, states=states), "loss")
    assert frame["rank"].nunique() == 10 and {1, 12} <= set(frame["rank"])
    found = frame.set_index(["epoch", "class"]).loss
    assert found[1, 11] == 11 + 100 + 1 and found[2, 0] == 0 + 200 + 1
    assert training_curves.curves(run(classes=classes, states=states), "loss", "accuracy") is None
    assert training_curves.curves(run(classes=classes, states={0: {}}), "loss") is None
    assert training_curves.some(frame, 2) == [1, 12] and len(training_curves.some(frame, 4)) == 4


def drawn(draw, frame, size=(8, 3.6)):
    """The figure, drawn, and the panels that are seen."""
    figure = Figure(size, layout="constrained")
    draw(frame, figure)
    return figure, [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]


def test_gains_of_many_runs_take_a_second_row_and_no_more_room_each():
    frame = pd.concat(
        [
            table(rank=[1, 2], count=[30, 10], gain=[-1.0, 4.0], run=name, baseline="RRS-Only")
            for name in ("a", "b", "c", "d", "e")
        ]
    )
    one, panels = drawn(balance.draw_gains, frame[frame.run < "e"])
    two, more = drawn(balance.draw_gains, frame)
    assert (len(panels), len(more)) == (4, 5)
    assert two.get_size_inches()[0] == one.get_size_inches()[0] and two.get_size_inches()[1] > one.get_size_inches()[1]
    assert {axes.get_ylim() for axes in more} == {panels[0].get_ylim()}
    assert [axes.get_title() for axes in more] == ["a", "b", "c", "d", "e"]


def test_a_colour_of_the_events_means_as_many_images_in_every_class():
    frame = table(rank=[1, 2, 2], count=[90, 10, 10], images=[90, 9, 1], epochs=5, learned=1, forgotten=0, run="a")

    def colours(frame):
        _, panels = drawn(switching.draw_events, frame)
        points = [axes.collections[0] for axes in panels[:2]]
        return [one.to_rgba(one.get_array()).tolist() for one in points]

    (large,), (small, single) = colours(frame)
    assert large != small != single
    assert colours(frame.assign(images=[90, 90, 1])) == [[large], [large, single]]


def test_singular_values_that_are_rounding_do_not_stretch_the_axis():
    frame = table(
        run="a", layer=["conv_1"] * 3 + ["layer_1"] * 2, index=[1, 2, 3, 1, 2], share=[0.9, 0.1, 1e-15, 0.7, 0.3]
    )
    _, panels = drawn(end_to_end.draw_singular_values, frame)
    assert panels[0].get_ylim() == panels[1].get_ylim() and panels[0].get_ylim()[0] > 1e-3


def test_losses_of_two_classes_are_drawn_on_one_axis_from_0():
    frame = table(run="a", rank=[1, 1, 2, 2], count=[30, 30, 10, 10], epoch=[1, 2, 1, 2], loss=[0.2, 0.1, 5.0, 4.0])
    _, (tail, head) = drawn(balance.draw_class_losses, frame)
    assert tail.get_title() == "10 images" and tail.get_ylim() == head.get_ylim() and tail.get_ylim()[0] == 0
