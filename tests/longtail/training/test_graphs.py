"""The bookkeeping of CUDA graphs, with a recorder that runs on a CPU; tests/test_cuda.py has the real one."""

import threading

import pytest
import torch
from test_loop import MANIFOLD, begin, division, phase

from stages.longtail.console.errors import Interrupted
from stages.longtail.runtime.devices import ONE_AT_A_TIME
from stages.longtail.training import graphs, loop
from stages.longtail.training.graphs import EAGER, Graphs


class Recorder:
    """As CUDA does it: recording runs nothing, replaying runs what was recorded, on the tensors of then."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, step, pool):
        self.recorded += 1
        loss, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)

        def replay():
            self.replayed += 1
            for mine, new in zip((loss, hits), step(), strict=True):
                mine.copy_(new)

        return replay, (loss, hits)


def trained(settings, epochs=6, record=None):
    run = begin(settings)
    if record:
        run.step = Graphs(run.train_step, run.forget_gradients, record=record)
    return [run.train_epoch() for _ in range(epochs)], run.state()


@pytest.mark.parametrize("changes", [{}, {"mixing": MANIFOLD}], ids=["plain", "variants"])
def test_with_graphs_the_same_is_trained_the_last_smaller_batch_included(changes):
    settings, recorder = phase(stop=6, **changes), Recorder()
    (rows, state), (plain_rows, plain) = trained(settings, record=recorder), trained(settings)
    assert rows == plain_rows
    for part in ("network", "momentum"):
        assert all(torch.equal(value, plain[part][name]) for name, value in state[part].items())
    steps = 6 * -(-len(division()) // settings.batch_size)
    assert recorder.recorded >= 2 and recorder.replayed == steps - EAGER * kinds(settings)


def kinds(settings):
    """Of batches that come often enough to be recorded: sizes, times groups of manifold mixup."""
    seen = {}
    run = begin(settings)
    run.step = lambda variant, rows, *rest: (
        seen.update({(variant, len(rows)): seen.get((variant, len(rows)), 0) + 1}),
        (torch.zeros(()), torch.zeros(())),
    )[1]
    for _ in range(6):
        run.train_epoch()
    return sum(min(count, EAGER) for count in seen.values()) / EAGER


def test_a_rate_on_the_device_changes_between_replays():
    """The rate is a tensor that the recorded step reads: it must fall when the schedule says so."""
    settings = phase(stop=6, schedule=loop.schedule.MultiStep(warmup=0, milestones=(4,), gamma=0.1))
    plain_rows, plain = trained(settings)
    run = begin(settings)
    run.rate = torch.zeros(())
    run.step = Graphs(run.train_step, run.forget_gradients, record=Recorder())
    for row in plain_rows:
        assert run.train_epoch() == pytest.approx(row, rel=1e-4)
        assert run.rate.item() == pytest.approx(row["lr"])
    assert all(
        torch.allclose(run.state()["network"][name], value, atol=1e-5) for name, value in plain["network"].items()
    )


def test_where_recording_fails_training_goes_on_without(monkeypatch, capsys):
    """What the recording left in the gradients goes, nothing is recorded any more, and it is said once."""
    monkeypatch.setattr(graphs, "broken", threading.Event())
    settings = phase(stop=6)
    plain_rows, plain = trained(settings)
    run = begin(settings)
    tried = []

    def broken(step, pool):
        tried.append(1)
        for parameter in run.trained.values():
            parameter.grad = torch.full_like(parameter, 7.0)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    run.step = Graphs(run.train_step, run.forget_gradients, record=broken)
    for row in plain_rows:
        assert run.train_epoch() == row
    assert all(torch.equal(value, plain["network"][name]) for name, value in run.state()["network"].items())
    said = capsys.readouterr().out.splitlines()
    assert said == ["training goes on without CUDA graphs: operation not permitted when stream is capturing"]
    assert tried == [1]


def eager(record):
    """Graphs of sums, the next of which will be recorded."""
    engine = Graphs(lambda variant, rows: (rows.sum(), rows.sum()), lambda: None, record=record)
    for _ in range(EAGER):
        engine(0, torch.ones(2))
    return engine


def test_the_cause_of_a_failed_recording_is_told_not_that_ending_it_failed_too(monkeypatch, capsys):
    monkeypatch.setattr(graphs, "broken", threading.Event())

    def broken(step, pool):
        try:
            raise RuntimeError("this waits for the device")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    eager(broken)(0, torch.ones(2))
    assert capsys.readouterr().out == "training goes on without CUDA graphs: this waits for the device\n"


def test_a_seed_that_waited_for_another_whose_recording_fails_records_nothing(monkeypatch):
    monkeypatch.setattr(graphs, "broken", threading.Event())
    recorder = Recorder()
    engine = eager(recorder)
    with ONE_AT_A_TIME:  # the other one is at it
        waiting = threading.Thread(target=engine, args=(0, torch.ones(2)))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        graphs.broken.set()
    waiting.join()
    assert recorder.recorded == 0


def test_what_cannot_be_recorded_is_called_each_time():
    recorder = Recorder()
    engine = Graphs(lambda variant, rows: (rows.sum(), rows.sum()), lambda: None, None, False, recorder)
    for number in range(2 * EAGER):
        assert engine(0, torch.full((2,), float(number)))[0] == 2 * number
    assert recorder.recorded == 0


def test_told_to_stop_while_it_records_it_stops(monkeypatch):
    monkeypatch.setattr(graphs, "broken", threading.Event())

    def interrupted(step, pool):
        try:
            raise Interrupted("SIGINT")
        finally:
            raise RuntimeError("the recording was cut short")

    engine = eager(interrupted)
    with pytest.raises(Interrupted):
        engine(0, torch.ones(2))


def test_what_the_graphs_read_lives_as_long_as_they_do():
    pixels = torch.zeros(3)
    assert Graphs(lambda: None, lambda: None, pixels).held is pixels and graphs.EAGER > 0
