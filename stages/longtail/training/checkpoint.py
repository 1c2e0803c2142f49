"""Checkpoints: the files that stages hand on, and the scratch copies from which an interrupted stage goes on."""

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
    """Write tensors and plain values: the same bytes for the same content, whatever objects hold it.

    Serialised in memory first, so that a full disk is an ordinary OSError.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def _canonical(value: Any) -> Any:
    """A copy in which equal strings are one object and tensors are compact: pickle writes shared objects only once."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without ever unpickling code. Raises UserError if it is cut short or no checkpoint."""
    content = io.BytesIO(path.read_bytes())  # read here: torch, too, raises OSError where a file is damaged
    try:
        with ONE_AT_A_TIME, warnings.catch_warnings(action="ignore"):
            return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in many ways: KeyError, struct.error, AssertionError...
        raise UserError(
            f"{path} is cut short or no checkpoint: delete it and run again the stage that makes it"
        ) from error


def load_seeds(path: Path, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The states of these seeds from the checkpoint that a stage handed on."""
    content = load(path)
    if not isinstance(content, dict) or not isinstance(states := content.get("seeds"), dict):
        raise UserError(f"{path} is no checkpoint of a stage: delete it and run again the stage that makes it")
    for seed in seeds:
        if seed not in states:
            raise UserError(f"{path} has no seed {seed}, which `seeds` asks for: run again the stage that makes it")
    return {seed: states[seed] for seed in seeds}


def recipe_key(recipe: dict[str, Any], **runtime: Any) -> str:
    """The name of the folder of .scratch/ for all that decides the weights to the last bit.

    Args:
        recipe: parameters and data, plain values; hashed with the code that trains and the libraries that draw.
        runtime: how it is computed; readable in the name, so that the same recipe, computed otherwise, can be found.
    """
    parts = {
        **recipe,
        "code": [imports.digest("stages.represent"), imports.digest("stages.classify")],
        "versions": [torch.__version__, np.__version__],
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    return ",".join([key, *(f"{name}={value}" for name, value in sorted(runtime.items()))])


class Scratch:
    """The checkpoints of one seed of one recipe: the last finished epoch of each stage that trains it now, and every
    epoch at which one ended.

    Other recipes have other keys, hence other folders. Stages of one recipe that train at the same time, such as the
    representations of two methods that branch at different epochs, may go on from each other's checkpoints. Each has
    a folder for its own, and removes no others. Nothing here is needed for a result: deleting .scratch/ only costs the
    time to train again.
    """

    EVERY = 1.0  # seconds: of epochs that take less not all are written, as that would take as long as they do

    def __init__(self, key: str, seed: int, out: Path):
        """out: the folder that the stage writes, by which it finds its own checkpoints again."""
        self.key, self.folder = key, SCRATCH / key / f"seed-{seed}"
        self.own = self.folder / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:8]
        self.pending: tuple[dict[str, Any], bool] | None = None
        self.written = -self.EVERY
        self.parts = list[dict[str, Any]]()  # how the epochs of the newest checkpoint came about
        self.first, self.began, self.facts = 0, time.perf_counter(), dict[str, Any]()

    def latest(self, limit: int) -> dict[str, Any] | None:
        """The newest checkpoint of an epoch not after `limit`."""
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
        """The newest epoch of the same recipe and seed, computed otherwise: its number, where it lies, and the values
        of `runtime` under which it would be gone on from; None if there is none."""
        recipe, *mine = self.key.split(",")
        found = []
        for folder in SCRATCH.glob(f"*/{self.folder.name}"):
            other, *theirs = folder.parent.name.split(",")
            if other == recipe and folder != self.folder and (kept := _epochs(folder, limit)):
                differing = (item.partition("=") for item in theirs if item not in mine)
                found.append((max(kept), folder, {name: value for name, _, value in differing}))
        return max(found, key=lambda one: (one[0], str(one[1])), default=None)

    def begin(self, first: int, facts: dict[str, Any]) -> None:
        """Note `facts` about the process that trains the epochs after `first`, for `notes`.

        The stage's folder is made, so that one that cannot be made is an error before training, not after an epoch.
        """
        self.first, self.began, self.facts = first, time.perf_counter(), facts
        with _told_of_scratch():
            self.own.mkdir(parents=True, exist_ok=True)

    def keep(self, state: dict[str, Any], stage_ends: bool) -> None:
        """Keep `state` of state["epoch"]: written now if EVERY seconds have passed, else by the next one or `close`."""
        self.pending = state, stage_ends
        if stage_ends or time.perf_counter() - self.written >= self.EVERY:
            self.close()
        else:
            self.pending = copy.deepcopy(state), stage_ends  # training goes on with what `state` holds

    def close(self) -> None:
        """Write what is kept in memory alone: to be called however a training ends."""
        if self.pending:
            try:
                with _told_of_scratch():
                    self._write(*self.pending)
            except Exception:
                self.pending = None  # a full disk is not tried again; an interrupted write is
                raise
            self.pending, self.written = None, time.perf_counter()

    def _write(self, state: dict[str, Any], stage_ends: bool) -> None:
        """Write a checkpoint, then delete the stage's previous one, unless a stage ended there."""
        seconds = round(time.perf_counter() - self.began, 1)
        now = {"epochs": [self.first + 1, state["epoch"]], "seconds": seconds, **self.facts}
        path = (self.folder if stage_ends else self.own) / f"epoch-{state['epoch']}.pt"
        save(path, {"state": state, "parts": [*self.notes(0, self.first), now]})
        for before in self.own.glob("epoch-*.pt"):
            if before != path:
                before.unlink(missing_ok=True)
        if stage_ends:
            with suppress(OSError):  # not there, or with a partial file of a process that was killed
                self.own.rmdir()

    def notes(self, after: int, last: int) -> list[dict[str, Any]]:
        """Facts about the processes that trained the epochs after `after` up to `last`, one entry per process."""
        return [part for part in self.parts if after < part["epochs"][0] and part["epochs"][1] <= last]


def _epochs(folder: Path, limit: int) -> dict[int, Path]:
    """The checkpoints in a folder, and in those of stages that train, of epochs not after `limit`."""
    paths = [*folder.glob("*/epoch-*.pt"), *folder.glob("epoch-*.pt")]
    kept = {int(path.stem.removeprefix("epoch-")): path for path in paths}
    return {epoch: path for epoch, path in kept.items() if epoch <= limit}


@contextmanager
def _told_of_scratch() -> Iterator[None]:
    """What fails in the scratch folder need not lie there."""
    try:
        yield
    except OSError as error:
        error.add_note(f"or keep what is trained elsewhere than in {SCRATCH}: LONGTAIL_SCRATCH=FOLDER")
        raise
