"""Why several processes ended, told in one line; and the first one's word, where there is one process only."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.longtail.console.errors import Interrupted, UserError
from stages.longtail.runtime import processes
from stages.longtail.runtime.runtime import Runtime


def failure(exitcode: int, message: str = "", timestamp: int = 0) -> Any:
    said = {"message": message} if message else "To enable traceback see..."
    return SimpleNamespace(exitcode=exitcode, message=said, timestamp=timestamp)


OWN, LOST, STOPPED = failure(1, "error: disk full", 5), failure(1, "process 0 lost the others: gone", 5), failure(143)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({0: LOST, 1: OWN}, UserError("disk full")),
        ({0: OWN, 1: failure(1, "error: later", 6), 2: failure(-9)}, UserError("disk full")),
        ({0: LOST, 1: failure(-9), 2: STOPPED}, UserError("process 1 of 3 was ended by SIGKILL: run the same command")),
        ({0: failure(-15), 1: failure(1)}, UserError("process 1 of 2 was ended by exit code 1: run the same command")),
        ({0: STOPPED, 1: STOPPED}, Interrupted("SIGTERM")),
        ({0: LOST, 1: STOPPED}, Interrupted("SIGTERM")),
        ({0: LOST}, UserError("process 0 lost the others: gone")),
    ],
)
def test_the_reason_is_that_of_the_process_that_failed_and_not_of_those_it_took_along(
    failures: dict[int, Any], expected: BaseException
) -> None:
    found = processes._reason(failures, len(failures))
    assert type(found) is type(expected) and str(found).startswith(str(expected))


def test_one_process_is_given_back_what_it_gives() -> None:
    values = torch.arange(3)
    assert processes.total(values) is values and processes.collected(values) is values
    assert processes.agreed(lambda: "mine") == "mine"
    assert (processes.rank(), processes.count(), processes.here()) == (0, 1, 1)


@pytest.mark.parametrize(
    ("shards", "gpus", "asked", "started"),
    [(8, 2, None, 2), (2, 4, None, 2), (8, 1, None, 0), (1, 4, None, 0), (8, 4, 3, 3)],
)
def test_a_process_is_started_for_each_gpu_but_for_no_more_than_there_are_parts(
    shards: int, gpus: int, asked: int | None, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = []
    monkeypatch.setattr(processes, "_launch", lambda module, number: launched.append(number))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    runtime = Runtime(device="auto", precision="fp32", threads=None, test_every=1, processes=asked)
    assert processes.shared("stages.represent", shards, runtime) == bool(started)
    assert launched == [started] * bool(started)
    with pytest.raises(UserError, match="torch sees"):
        processes.shared("stages.represent", 16, runtime.model_copy(update={"processes": gpus + 1}))
