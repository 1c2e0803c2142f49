"""Writes a training stage's files: history.csv, which grows during training, checkpoint.pt and the manifest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.files.artifacts import digest, write_csv, write_json
from stages.longtail.prediction import accuracy
from stages.longtail.provenance import manifest
from stages.longtail.runtime.devices import ONE_AT_A_TIME, Compute
from stages.longtail.training import checkpoint
from stages.longtail.training.checkpoint import State

HISTORY = ["seed", "part", "epoch", "lr", "loss", "train_acc", *(f"test_{group}" for group in accuracy.GROUPS)]
HELD = [f"held_{group}" for group in accuracy.GROUPS]  # beside these where training images are held out


class Record:
    """One per stage. Every seed reports its epochs here, and at the end it writes the stage's outputs."""

    EVERY = 3.0  # seconds between two writings of the growing history.csv

    def __init__(self, out: Path) -> None:
        self.out = out
        self.began = self.written = time.perf_counter()
        self.trained: list[int] = []  # images that each seed trained on in this process, checkpoints not counted
        self.earlier: list[dict[str, Any]] = []  # facts about the processes that trained earlier epochs
        self.rows: dict[int, list[dict[str, Any]]] = {}

    def epoch(self, seed: int, history: list[dict[str, Any]]) -> None:
        """A seed has finished an epoch: `history` is all of its epochs so far."""
        with ONE_AT_A_TIME:
            self.rows[seed] = [{"seed": seed, "part": "so far", **row} for row in history]
            if time.perf_counter() - self.written > self.EVERY:
                self._write_history([row for seed in sorted(self.rows) for row in self.rows[seed]])
                self.written = time.perf_counter()

    def write(
        self,
        states: dict[int, State],
        branch: int,
        compute: Compute,
        at_once: int,
        manifest_path: Path | None,
        recipe: str,
    ) -> None:
        """Write every seed's state as checkpoint.pt, its epochs as history.csv, and the manifest.

        Args:
            states: of the seeds.
            branch: up to this epoch a row's part is `represent`, after it `continue`. Epochs of a head that was made
                afterwards have the part `head`, and their numbers go on from there.
            compute, at_once: for the manifest.
            manifest_path: None: manifest.json beside the checkpoint.
            recipe: of the parameters, see cells.recipe; for the manifest.
        """
        rows = []
        for seed, state in states.items():
            for row in state["history"]:
                rows.append({"seed": seed, "part": "represent" if row["epoch"] <= branch else "continue", **row})
            for row in state.get("head_history", []):
                epoch = state["history"][-1]["epoch"] + row["epoch"]
                rows.append({"seed": seed, "part": "head", **row, "epoch": epoch})
        self._write_history(rows)
        checkpoint.save(self.out / "checkpoint.pt", {"seeds": states})
        took = manifest.describe(compute, at_once, time.perf_counter() - self.began, sum(self.trained))
        took = {"recipe": recipe, **took, "earlier": self.earlier, "checkpoint": digest(self.out / "checkpoint.pt")}
        write_json(manifest_path or self.out / "manifest.json", took)

    def _write_history(self, rows: list[dict[str, Any]]) -> None:
        columns = HISTORY + (HELD if any(HELD[0] in row for row in rows) else [])
        write_csv(self.out / "history.csv", pd.DataFrame(rows, columns=columns))
