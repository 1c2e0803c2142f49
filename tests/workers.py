"""Run stages in processes that share them, one folder after the other: torchrun -m tests.workers STAGE,STAGE FOLDER...

What they have in common is started once. The first process alone is heard.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(processes: int, folders: list[Path], *stages: str) -> subprocess.Popen[str]:
    """Start the stages in every folder, each shared by so many processes."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "tests.workers"]
    command = [sys.executable, "-m", *torchrun, ",".join(stages), *map(str, folders)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main() -> None:
    stages, folders = sys.argv[1].split(","), sys.argv[2:]
    for folder in folders:
        os.chdir(folder)
        for stage in stages:
            sys.argv = [stage]
            importlib.import_module(f"stages.{stage}").main()


if __name__ == "__main__":
    main()
