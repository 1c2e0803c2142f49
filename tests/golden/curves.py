"""Golden curves: the first epochs of every method on digits, so that a change that alters training is seen.

tests/golden/<method>.csv was written by `python -m tests.golden.curves [METHOD...]`; tests/test_methods.py compares.
The papers' runs depend on these files instead of the code: writing a curve anew makes all runs of its method stale, so
it is done only when training is meant to change, with the reason in the commit's message. Where torch and processor are
those that wrote the curves (machine.json) they must be the same to the last digit kept; elsewhere numbers are rounded
otherwise, and only a coarse change is seen.
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

import pandas as pd
import torch
import yaml

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
# 9 epochs whose rate falls once, after the second: the branches at it leave 6 for switches in two steps.
SHORT = (
    *("protocol.epochs=9", "protocol.width=4", "protocol.schedule.milestones=[2]", "protocol.schedule.gamma=0.5"),
    "runtime.test_every=2",
)
COLUMNS = ["part", "epoch", "loss", "test_all"]
# Of another machine: weights changed by 3e-7 of themselves move the wildest curves by half of this.
LOSS_TOLERANCE, ACCURACY_TOLERANCE = 0.1, 12.0  # of a loss: 0.1 and a tenth of it; of an accuracy: points
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


def tolerances() -> tuple[float, float]:
    """Of a loss and of an accuracy, here."""
    same = machine() == json.loads((FOLDER / "machine.json").read_text())
    return (EXACT, EXACT) if same else (LOSS_TOLERANCE, ACCURACY_TOLERANCE)


def curve() -> pd.DataFrame:
    """The curve that a run left in this folder."""
    history = pd.read_csv("reports/history.csv")
    return history[COLUMNS].round(4)


def main() -> None:
    from stages.longtail.configuration.composition import compose
    from stages.longtail.training import checkpoint

    methods = sys.argv[1:] or sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml"))
    if sys.argv[1:] and tolerances()[0] != EXACT:
        sys.exit("error: the other curves are of another machine (machine.json): write all of them, without a METHOD")
    (FOLDER / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    for method in methods:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            checkpoint.SCRATCH = Path(folder) / ".scratch"
            os.symlink(ROOT / "conf", "conf")
            Path("params.yaml").write_text(yaml.safe_dump(compose([f"method={method}", *SHORT], ROOT / "conf")))
            with contextlib.redirect_stdout(None):
                run("download", "split", "represent", "classify", "evaluate")
            curve().to_csv(FOLDER / f"{method}.csv", index=False, lineterminator="\n")
        print(method)


if __name__ == "__main__":
    main()
