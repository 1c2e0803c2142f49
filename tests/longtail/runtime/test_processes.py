"""Why several processes ended, told in one line; and the first one's word, where there is one process only."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher import api

from stages.longtail.console.errors import Interrupted, UserError
from stages.longtail.runtime import processes
from stages.longtail.runtime.processes import RESTARTS, Killed
from stages.longtail.runtime.runtime import Runtime


def failure(exitcode: int, message: str = "", timestamp: int = 0) -> ProcessFailure:
    made = ProcessFailure(local_rank=0, pid=1, exitcode=exitcode, error_file="none")
    made.message, made.timestamp = {"message": message} if message else made.message, timestamp
    return made


OWN, LOST, STOPPED = failure(1, "error: disk full", 5), failure(1, "process 0 lost the others: gone", 5), failure(143)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({0: LOST, 1: OWN}, UserError("disk full")),
        ({0: OWN, 1: failure(1, "error: later", 6), 2: failure(-9)}, UserError("disk full")),
        ({0: LOST, 1: failure(-9), 2: STOPPED}, Killed("process 1 of 3 was ended by SIGKILL")),
        ({0: failure(-15), 1: failure(1)}, UserError("process 1 of 2 ended with exit code 1")),
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


@pytest.mark.parametrize(
    ("ends", "started", "says"),
    [
        (
            [failure(-9)] * 9,
            RESTARTS + 1,
            f"was ended by SIGKILL, after {RESTARTS} restarts: run the same",
        ),
        ([failure(-9), None], 2, ""),
        ([failure(-9), OWN], 2, "disk full"),
        ([OWN], 1, "disk full"),
        ([failure(1)], 1, "process 0 of 2 ended with exit code 1"),
    ],
)
def test_processes_are_started_again_after_one_was_killed_but_not_after_an_error(
    ends: list[Any], started: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = []

    def run(*_: str) -> None:
        launched.append(1)
        if end := ends[len(launched) - 1]:
            raise ChildFailedError("represent", {0: end})

    monkeypatch.setattr(api, "elastic_launch", lambda *_: run)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(UserError, match=says) if says else nullcontext():
        processes._launch("stages.represent", 2)
    assert len(launched) == started


def test_restarts_of_several_machines_need_a_store_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine would wait for the others under the number of restarts that it caused itself."""
    for name, value in (("USE_AGENT_STORE", "True"), ("MAX_RESTARTS", "3")):
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        processes._join("cpu", 2)


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
