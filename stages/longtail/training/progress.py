"""Shows progress: a bar on a terminal, and elsewhere a line per tenth of the run and at least every five minutes.

`launch --status` reads these lines in the logs of its jobs.
"""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm

from stages.longtail.runtime import processes


class Progress:
    """The progress of one seed.

    first, last: epochs completed at the start and at the end. images: how many are trained on between them.
    """

    EVERY = 300.0  # seconds

    def __init__(self, what: str, first: int, last: int, images: int):
        self.what, self.first, self.last = what, first, last
        self.images = images / max(last - first, 1)  # an epoch
        self.begin = self.told = time.perf_counter()
        silent = True if processes.rank() else None  # None: where there is no terminal
        self.bar = tqdm(total=last, initial=first, desc=what, unit="epoch", disable=silent, smoothing=0.1)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell of a finished epoch: its row of the history."""
        test = f", test {row['test_all']:.1f}" if "test_all" in row else ""
        test += f", held out {row['held_all']:.1f}" if "held_all" in row else ""
        now = time.perf_counter()
        done, seconds = row["epoch"] - self.first, now - self.begin
        speed = f"{done * self.images / seconds:.0f} images/s"
        text = f"loss {row['loss']:.3f}, train {row['train_acc']:.1f}{test}, {speed}"
        self.bar.set_postfix_str(text)
        self.bar.update()
        is_tenth = row["epoch"] * 10 // self.last > (row["epoch"] - 1) * 10 // self.last
        if self.bar.disable and (is_tenth or now - self.told >= self.EVERY):
            self.told = now
            left = seconds / done * (self.last - row["epoch"])
            print(f"{self.what}: epoch {row['epoch']} of {self.last}, {text}, {left:.0f} s left", flush=True)
