"""Golden curves: the first epochs of every method on digits, so that a change that alters training is seen.

tests/golden/<method>.csv was written by `python -m tests.golden.curves [METHOD...]`; tests/test_methods.py compares.
machines.json says on which machine each was: where torch and processor are those, curves must be the same to the last
digit kept; elsewhere numbers are rounded otherwise, and only a coarse change is seen. One method's curve can be written
on any machine.

The papers' runs depend on these files instead of the code: a curve written anew makes all runs of its method stale. So
a file stays as it is as long as what is trained now agrees with it, and changes only where training has changed: then
the commit's message says why.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from stages.longtail.console.errors import UserError

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
# 9 epochs whose rate falls once, after the second: the branches at it leave 6 for switches in two steps.
SHORT = (
    *("protocol.epochs=9", "protocol.width=4", "protocol.schedule.milestones=[2]", "protocol.schedule.gamma=0.5"),
    "runtime.test_every=2",
)
COLUMNS = ["part", "epoch", "loss", "test_all"]
# Of another machine, whose rounding differs a little, and more with every step. A loss may differ by such a part of
# itself and as much again; accuracies, which jump from epoch to epoch while the rate is high, in their mean, in points.
# The most between AVX2 and AVX-512: 0.0012 in the first epoch, 0.06 in all, 3.5 points.
FIRST_LOSS_TOLERANCE, LOSS_TOLERANCE, ACCURACY_TOLERANCE = 0.005, 0.1, 6.0
EXACT = 2e-4  # of curves of this machine, in the unit of either: they are kept with four decimals


def run(*stages: str) -> None:
    """Run stages in this process and folder, as their scripts do."""
    for stage in stages:
        arguments, sys.argv = sys.argv, [stage]
        try:
            importlib.import_module(f"stages.{stage}").main()
        finally:
            sys.argv = arguments


def machine() -> dict[str, str]:
    """What decides how numbers are rounded."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else [platform.platform(), platform.processor()]
    kinds = ("model name", "cpu family", "model\t", "stepping", "cache size")
    processor = sorted({" ".join(line.split()) for line in lines if line.startswith(kinds)}) or lines
    kernels = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "processor": ", ".join(processor), "kernels": kernels}


def machines() -> list[dict[str, Any]]:
    """Each with the names of the `curves` that it wrote."""
    return json.loads((FOLDER / "machines.json").read_text())


def golden(method: str) -> pd.DataFrame:
    path = FOLDER / f"{method}.csv"
    if not path.exists():
        raise UserError(f"{method} has no golden curve yet: write it with python -m tests.golden.curves {method}")
    return pd.read_csv(path)


def changed(method: str, ours: pd.DataFrame) -> bool:
    """Is what was trained here another training than that of the golden curve?"""
    theirs = golden(method)
    if not ours[["part", "epoch"]].equals(theirs[["part", "epoch"]]):
        return True
    here = machine()
    same = any(each["machine"] == here and method in each["curves"] for each in machines())
    loss = (ours.loss - theirs.loss).abs() / (1 + theirs.loss)
    accuracy = (ours.test_all - theirs.test_all).abs()
    if same:
        return bool(loss.max() > EXACT or accuracy.max() > EXACT)
    return bool(
        loss.iloc[0] > FIRST_LOSS_TOLERANCE or loss.max() > LOSS_TOLERANCE or accuracy.mean() > ACCURACY_TOLERANCE
    )


def write(method: str, ours: pd.DataFrame) -> None:
    """The curve, and that this machine wrote it."""
    ours.to_csv(FOLDER / f"{method}.csv", index=False, lineterminator="\n")
    others, here = [], {"machine": machine(), "curves": [method]}
    for each in machines():
        each["curves"] = [name for name in each["curves"] if name != method]
        if each["machine"] == here["machine"]:
            here["curves"] = sorted([*each["curves"], method])
        elif each["curves"]:
            others.append(each)
    (FOLDER / "machines.json").write_text(json.dumps([*others, here], indent=1) + "\n")


def curve() -> pd.DataFrame:
    """The curve that a run left in this folder."""
    history = pd.read_csv("reports/history.csv")
    return history[COLUMNS].round(4)


def train(method: str) -> pd.DataFrame:
    """The curve of a method, trained in a folder that goes."""
    from stages.longtail.configuration.composition import compose
    from stages.longtail.training import checkpoint

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        checkpoint.SCRATCH = Path(folder) / ".scratch"
        os.symlink(ROOT / "conf", "conf")
        Path("params.yaml").write_text(yaml.safe_dump(compose([f"method={method}", *SHORT], ROOT / "conf")))
        with contextlib.redirect_stdout(None):
            run("download", "split", "represent", "classify", "evaluate")
        return curve()


def main() -> None:
    for method in sys.argv[1:] or sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml")):
        ours = train(method)
        if (FOLDER / f"{method}.csv").exists() and not changed(method, ours):
            print(f"{method}: kept, training is what it was")
            continue
        write(method, ours)
        print(f"{method}: written")


if __name__ == "__main__":
    main()
