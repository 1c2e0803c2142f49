"""A machine that lacks what a recipe asks for: what to ask for instead."""

from __future__ import annotations

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
