"""Checkpoints: the files that one stage leaves for the next, and scratch copies from which interrupted stages go on."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import atomic
from stages.longtail.provenance import imports
from stages.longtail.runtime.devices import ONE_AT_A_TIME

State = dict[str, Any]  # of one seed: plain values and tensors, see loop.Training.state
SCRATCH = Path(os.environ.get("LONGTAIL_SCRATCH") or ".scratch")


def save(path: Path, content: State) -> None:
    """Write tensors and plain values. The same content gives the same bytes, whatever objects hold it.

    It is serialised in memory first, so that a full disk raises an ordinary OSError.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def _canonical(value: Any) -> Any:
    """A copy in which equal strings are one object and tensors are contiguous, since pickle writes an object once."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without unpickling code. Raises UserError if the file is cut short or not a checkpoint."""
    content = io.BytesIO(path.read_bytes())  # read here, because torch raises OSError for damaged files as well
    try:
        with ONE_AT_A_TIME, warnings.catch_warnings(action="ignore"):
            return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in many ways: KeyError, struct.error, AssertionError...
        raise UserError(
            f"{path} is cut short or not a checkpoint: delete it and run again the stage that makes it"
        ) from error


def load_seeds(path: Path, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The states of these seeds from a stage's checkpoint. Raises UserError if it is none, or a seed is missing."""
    content = load(path)
    if not isinstance(content, dict) or not isinstance(states := content.get("seeds"), dict):
        raise UserError(f"{path} is not a checkpoint of a stage: delete it and run again the stage that makes it")
    for seed in seeds:
        if seed not in states:
            raise UserError(f"{path} has no seed {seed}, which `seeds` asks for: run again the stage that makes it")
    return {seed: states[seed] for seed in seeds}


def recipe_key(recipe: dict[str, Any], **runtime: Any) -> str:
    """The name of a folder in .scratch/. It differs as soon as anything could change a bit of the weights.

    Args:
        recipe: parameters and data, plain values. They are hashed, with the training code and the versions of torch and
            NumPy, which draw random numbers.
        runtime: how it is computed. These values can be read in the name, so that the same recipe computed in another
            way can be found.
    """
    parts = {
        **recipe,
        "code": [imports.digest("stages.represent"), imports.digest("stages.classify")],
        "versions": [torch.__version__, np.__version__],
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    return ",".join([key, *(f"{name}={value}" for name, value in sorted(runtime.items()))])


class Scratch:
    """The checkpoints of one seed of one recipe.

    There is one of the last finished epoch of each stage that trains it now, and one of every epoch at which a stage
    ended. Other recipes have other keys, and so other folders. Stages of one recipe that train at the same time, such
    as the representations of two methods that branch at different epochs, may go on from each other's checkpoints.
    Each stage writes to a folder of its own, and deletes only what is there. No result needs these files: whoever
    deletes .scratch/ only loses the time to train again.
    """

    EVERY = 1.0  # seconds between two writings: to write each epoch shorter than this would take as long as training

    def __init__(self, key: str, seed: int, out: Path):
        """Name the folders.

        Args:
            key: of `recipe_key`.
            seed: of the training.
            out: the folder that the stage writes; by it the stage finds its own checkpoints again.
        """
        self.key, self.folder = key, SCRATCH / key / f"seed-{seed}"
        self.own = self.folder / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:8]
        self.pending: tuple[dict[str, Any], bool] | None = None
        self.written = -self.EVERY
        self.parts = list[dict[str, Any]]()  # how the epochs of the newest checkpoint came about
        self.first, self.began, self.facts = 0, time.perf_counter(), dict[str, Any]()

    def latest(self, limit: int) -> dict[str, Any] | None:
        """The state of the newest checkpoint up to the epoch `limit`; None if there is none."""
        while True:
            kept = _epochs(self.folder, limit)
            if not kept:
                return None
            try:
                content = load(kept[max(kept)])
            except FileNotFoundError:  # another stage of the same recipe, at the same time, has gone on from it
                continue
            self.parts = content["parts"]
            return content["state"]

    def elsewhere(self, limit: int) -> tuple[int, Path, dict[str, str]] | None:
        """The newest epoch of the same recipe and seed that was computed with another `runtime`.

        limit: the last epoch that counts.

        Returns:
            The epoch, the folder of its checkpoint, and the values of `runtime` with which a stage goes on from it.
            None if there is no such epoch.
        """
        recipe, *mine = self.key.split(",")
        found = []
        for folder in SCRATCH.glob(f"*/{self.folder.name}"):
            other, *theirs = folder.parent.name.split(",")
            if other == recipe and folder != self.folder and (kept := _epochs(folder, limit)):
                differing = (item.partition("=") for item in theirs if item not in mine)
                found.append((max(kept), folder, {name: value for name, _, value in differing}))
        return max(found, key=lambda one: (one[0], str(one[1])), default=None)

    def begin(self, first: int, facts: dict[str, Any]) -> None:
        """Keep `facts` about the process that trains the epochs after `first`, for `notes`.

        This also makes the stage's folder, so that a folder that cannot be made is an error before training, not after
        an epoch.
        """
        self.first, self.began, self.facts = first, time.perf_counter(), facts
        with _told_of_scratch():
            self.own.mkdir(parents=True, exist_ok=True)

    def keep(self, state: dict[str, Any], stage_ends: bool) -> None:
        """Keep a state: write it now if EVERY seconds have passed, else leave that to the next call or to `close`.

        state: of the epoch state["epoch"]. stage_ends: whether this is the stage's last epoch; it is written now.
        """
        self.pending = state, stage_ends
        if stage_ends or time.perf_counter() - self.written >= self.EVERY:
            self.close()
        else:
            self.pending = copy.deepcopy(state), stage_ends  # training goes on with what `state` holds

    def close(self) -> None:
        """Write what so far is only in memory. To be called whenever a training ends, also by an error."""
        if self.pending:
            try:
                with _told_of_scratch():
                    self._write(*self.pending)
            except Exception:
                self.pending = None  # a full disk is not tried again, but an interrupted write is
                raise
            self.pending, self.written = None, time.perf_counter()

    def _write(self, state: dict[str, Any], stage_ends: bool) -> None:
        """Write a checkpoint and then delete the stage's previous one, unless a stage ended at that epoch."""
        seconds = round(time.perf_counter() - self.began, 1)
        now = {"epochs": [self.first + 1, state["epoch"]], "seconds": seconds, **self.facts}
        path = (self.folder if stage_ends else self.own) / f"epoch-{state['epoch']}.pt"
        save(path, {"state": state, "parts": [*self.notes(0, self.first), now]})
        for before in self.own.glob("epoch-*.pt"):
            if before != path:
                before.unlink(missing_ok=True)
        if stage_ends:
            with suppress(OSError):  # it does not exist, or holds the partial file of a process that was killed
                self.own.rmdir()

    def notes(self, after: int, last: int) -> list[dict[str, Any]]:
        """The facts about each process that trained some of the epochs after `after`, up to `last`."""
        return [part for part in self.parts if after < part["epochs"][0] and part["epochs"][1] <= last]


def _epochs(folder: Path, limit: int) -> dict[int, Path]:
    """The checkpoints up to the epoch `limit`, by epoch, in a folder and in the folders of stages below it."""
    paths = [*folder.glob("*/epoch-*.pt"), *folder.glob("epoch-*.pt")]
    kept = {int(path.stem.removeprefix("epoch-")): path for path in paths}
    return {epoch: path for epoch, path in kept.items() if epoch <= limit}


@contextmanager
def _told_of_scratch() -> Iterator[None]:
    """Tell whoever sees an OSError from the scratch folder that it can be another folder."""
    try:
        yield
    except OSError as error:
        error.add_note(f"or keep what is trained elsewhere than in {SCRATCH}: LONGTAIL_SCRATCH=FOLDER")
        raise
