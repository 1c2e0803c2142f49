"""Learning rates of the committed protocols, epoch by epoch, as the papers state them."""

import math

import pytest
import yaml
from conftest import ROOT

from stages.longtail.configuration.parameters import parse
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.schedule import Constant, Cosine, MultiStep, learning_rate, never_reached


def rates_of(protocol):
    text = (ROOT / "conf/protocol" / f"{protocol}.yaml").read_text()
    settings = parse(Protocol, yaml.safe_load(text)["protocol"], "protocol")
    return [learning_rate(settings.schedule, settings.lr, e, settings.epochs) for e in range(settings.epochs)]


def test_switching_warms_up_for_5_epochs_and_decays_once_after_100():
    """`switching` section 4.2."""
    rates = rates_of("switching")
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5:100] == [0.1] * 95
    assert rates[100:] == pytest.approx([0.01] * 100)


def test_procrustean_warms_up_for_5_epochs_and_decays_after_160_and_180():
    """The LDAM code: times 0.01 from epoch 160, times 0.0001 from epoch 180."""
    rates = rates_of("procrustean")
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5:160] == [0.1] * 155
    assert rates[160:180] == pytest.approx([0.001] * 20)
    assert rates[180:] == pytest.approx([0.00001] * 20)


def test_end_to_end_decays_after_160_and_180_by_a_tenth_each():
    """`end_to_end` appendix III.1."""
    assert rates_of("end_to_end") == pytest.approx([0.1] * 160 + [0.01] * 20 + [0.001] * 20)


def test_small_decays_once_after_20_of_30_epochs():
    assert rates_of("small") == pytest.approx([0.1] * 20 + [0.01] * 10)


def test_cosine_begins_at_the_base_rate_and_never_runs_an_epoch_at_0():
    rates = [learning_rate(Cosine(warmup=0), 0.2, epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)])
    assert rates[0] == 0.2 and rates[5] == pytest.approx(0.1) and rates[-1] > 0.004
    assert rates == sorted(rates, reverse=True)


def test_cosine_after_warm_up_spans_the_remaining_epochs():
    rates = [learning_rate(Cosine(warmup=2), 1.0, epoch, 6) for epoch in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


@pytest.mark.parametrize("epochs", [1, 2])
def test_cosine_of_a_very_short_run_is_defined(epochs):
    assert all(learning_rate(Cosine(warmup=1), 0.1, epoch, epochs) > 0 for epoch in range(epochs))


def test_constant_is_constant_after_its_warm_up():
    assert [learning_rate(Constant(warmup=2), 0.4, epoch, 9) for epoch in range(5)] == [0.2, 0.4, 0.4, 0.4, 0.4]


def test_a_milestone_counts_epochs_before_the_decay():
    schedule = MultiStep(warmup=0, milestones=(1, 3), gamma=0.5)
    assert [learning_rate(schedule, 8, epoch, 9) for epoch in range(5)] == [8, 4, 4, 2, 2]


@pytest.mark.parametrize(
    ("epochs", "words"), [(5, "at milestone 20: training ends at epoch 5"), (20, "milestone 20"), (21, "")]
)
def test_a_milestone_after_the_last_epoch_is_told(epochs, words):
    """A milestone m follows the first m epochs, so that one at the last epoch changes nothing either."""
    note = never_reached(MultiStep(warmup=0, milestones=(20,), gamma=0.1), epochs)
    assert words in note and bool(note) == bool(words)


def test_several_milestones_are_told_and_other_schedules_have_none():
    assert "milestones 160, 180" in never_reached(MultiStep(warmup=0, milestones=(100, 160, 180), gamma=0.1), 120)
    assert never_reached(Cosine(warmup=0), 5) == never_reached(Constant(warmup=0), 5) == ""
