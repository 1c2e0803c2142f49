"""A classifier that goes on from the branch: with other axes, another head, beyond the protocol's epochs."""

from dataclasses import replace

import pytest
import sessions
import torch
from sessions import BALANCED, CONTINUE, CPU, INSTANCE, REVERSED, STATE, changed, classify, equal, forget, represented

from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import (
    AuxiliaryTasks,
    BatchEmbedded,
    Bilateral,
    CrossEntropy,
    EffectiveNumber,
    Mixup,
    NoWeighting,
)
from stages.longtail.training.phase import Phase

phases, session_of = sessions.phases, sessions.session_of  # pytest finds fixtures among a module's names


def test_going_on_unchanged_is_never_having_stopped(session_of):
    session = session_of(CONTINUE)
    branched = classify(session, 0, represented(session))
    forget(session)
    whole = represented(session, stop=4)
    assert equal(whole, branched)
    assert [row["epoch"] for row in branched["history"]] == [1, 2, 3, 4]
    for key in ("lr", "loss", "train_acc", "test_all"):
        assert [row[key] for row in branched["history"]] == [row[key] for row in whole["history"]]


def test_switching_goes_on_with_the_reversed_sampler(session_of):
    session = session_of(CONTINUE | {"sampler": "reversed"})
    state = represented(session)
    switched = classify(session, 0, state)
    assert equal(by_hand(session, state, sampler=REVERSED, stop=4), switched)
    plain = session_of(CONTINUE)
    assert not equal(classify(plain, 0, state), switched)


def by_hand(session, state, **axes):
    """Train on from a state, without the classifier's code."""
    phase = replace(Phase.of(session.params.protocol, session.params.representation), **axes)
    key = f"by hand {sorted(map(str, axes.items()))}"
    return session.train_seed(
        0, phase, key, lambda: networks.restore(state["architecture"], state["network"], CPU.device), state
    )


def test_an_interlude_comes_between_the_branch_and_what_follows(session_of):
    """`switching` Table 7: an epoch of one sampler, then another for the rest."""
    classifier = CONTINUE | {"sampler": "balanced", "interlude": {"sampler": "reversed", "epochs": 1}}
    session = session_of(classifier, representation__branch={"at": "start", "plus": 2})
    state = represented(session)
    result = classify(session, 0, state)
    middle = by_hand(session, state, sampler=REVERSED, stop=3)
    assert equal(result, by_hand(session, middle, sampler=BALANCED, stop=4))
    assert [row["epoch"] for row in result["history"]] == [1, 2, 3, 4]
    without = classify(session_of(CONTINUE | {"sampler": "balanced"}), 0, state)
    assert not equal(result, without)


def test_going_on_can_start_from_a_new_head_that_has_no_momentum(session_of):
    session = session_of(CONTINUE | {"new_head": True})
    state = represented(session)
    result = classify(session, 0, state)
    model = networks.restore(state["architecture"], state["network"], CPU.device)
    networks.new_head(model, 0)
    momentum = {name: torch.zeros_like(value) if "head" in name else value for name, value in state["momentum"].items()}
    begun = state | {"network": dict(model.state_dict()), "momentum": momentum}
    assert equal(result, by_hand(session, begun, stop=4))
    assert any(value.any() for name, value in state["momentum"].items() if "head" in name)
    assert [row["epoch"] for row in result["history"]] == [1, 2, 3, 4]


def test_going_on_can_freeze_the_trunk(session_of):
    session = session_of(CONTINUE | {"trained": "head", "sampler": "reversed"})
    state = represented(session)
    result = classify(session, 0, state)
    assert changed(state, result) == {"head.weight", "head.bias"}
    assert equal(result, by_hand(session, state, trained="head", sampler=REVERSED, stop=4))


def test_going_on_can_last_beyond_the_protocols_epochs_at_its_last_rate(session_of):
    """The protocol has 4 epochs, 0.1 before its milestone at 2 and 0.01 after it."""
    session = session_of(CONTINUE | {"epochs": 5})
    result = classify(session, 0, represented(session))
    assert [row["epoch"] for row in result["history"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["lr"] for row in result["history"]] == pytest.approx([0.1] * 2 + [0.01] * 5)
    assert "test_all" in result["history"][-1]


def test_going_on_keeps_the_axes_that_it_does_not_name(session_of, phases):
    classify(session_of(CONTINUE | {"weighting": "effective_number"}), 0, STATE)
    classify(session_of(CONTINUE | {"sampler": "reversed"}, representation__mixing="mixup"), 0, STATE)
    classify(session_of(CONTINUE, representation__embedded="bet"), 0, STATE)
    classify(session_of(CONTINUE, representation__auxiliary="tasks"), 0, STATE)
    classify(session_of(CONTINUE, representation__auxiliary="bilateral"), 0, STATE)
    assert [phase.weighting for phase in phases] == [EffectiveNumber(), *[NoWeighting()] * 4]
    assert [phase.sampler for phase in phases] == [INSTANCE, REVERSED, INSTANCE, INSTANCE, INSTANCE]
    assert phases[1].mixing == Mixup() and phases[2].embedded == BatchEmbedded()
    assert phases[3].auxiliary == AuxiliaryTasks() and phases[4].auxiliary == Bilateral()
    assert {(phase.loss, phase.stop, phase.last, phase.stream) for phase in phases} == {(CrossEntropy(), 4, 4, 0)}
