"""A machine that lacks what a recipe asks for, and what is set up where it does not."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime


def runtime(**changes: str) -> Runtime:
    return Runtime.model_validate(
        {"device": "auto", "precision": "fp32", "mode": "bitwise", "threads": None, "test_every": 1} | changes
    )


def test_where_there_is_no_bf16_the_command_for_fp32_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the papers is bf16: there it is asked for as a variant in fp32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: False)
    with pytest.raises(UserError, match=r"python -m stages\.launch PAPER RUN --set runtime\.precision=fp32"):
        devices.resolve(runtime(precision="bf16"))
    assert devices.resolve(runtime()).precision == "fp32"
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: True)
    assert devices.resolve(runtime(precision="bf16")).precision == "bf16"


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("precision", "tf32")])
def test_what_only_gpus_have_is_refused_without_one(key: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"runtime.{key} is {value}"):
        devices.resolve(runtime(**{key: value}))


# Page faults of making and dropping 16 blocks of 8 MiB for the third time.
FAULTS = """
import resource, torch
from stages.longtail.runtime import devices
devices.keep_freed_memory()
def step():
    blocks = [torch.ones(2**21) for _ in range(16)]
    del blocks
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back that way")
def test_what_a_step_frees_the_next_one_has() -> None:
    pages = 16 * 8 * 2**20 // resource.getpagesize()
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < pages / 4  # none, or a block or two for alignment; without it nearly all, mostly
