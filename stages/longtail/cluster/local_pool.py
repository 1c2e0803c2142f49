"""A pool of jobs on this machine: a fixed number at the same time, each on its own GPU if it was given GPUs."""

from __future__ import annotations

import queue
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from stages.longtail.cluster.carry_out import Stopped, carry_out
from stages.longtail.console.errors import Interrupted, UserError
from stages.longtail.papers.jobs import Job


class LocalPool:
    """Carries out jobs of a folder. Each slot is for one job at a time: a GPU, such as '0', or '' for all GPUs."""

    def __init__(self, folder: Path, slots: list[str]) -> None:
        self.folder = folder
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for slot in slots:
            self.free.put(slot)
        self.begun: list[subprocess.Popen[bytes]] = []
        self.stopping = threading.Event()
        self.futures: dict[str, Future[bool]] = {}

    def run(self, todo: list[Job]) -> list[str]:
        """Carry out jobs, listed so that each comes after those that it needs. Returns the names of those not done."""
        # A thread for each job: one that waits for what it needs must not keep others from a free slot.
        with ThreadPoolExecutor(max(1, len(todo))) as pool:
            try:
                for job in todo:
                    self.futures[job.name] = pool.submit(self._one, job)
                return [name for name, future in self.futures.items() if not future.result()]
            except Interrupted as stopped:
                self.stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                if str(stopped) != "SIGINT":  # on Ctrl-C the terminal sends the signal to all processes
                    for process in self.begun:
                        process.terminate()  # does nothing if it has ended
                raise

    def _one(self, job: Job) -> bool:
        """Carry out one job when those that it needs have ended and a slot is free. Returns whether it is done."""
        for need in job.needs:
            if need in self.futures:
                self.futures[need].result()
        slot = self.free.get()
        try:
            if self.stopping.is_set():
                return False
            carry_out(self.folder, job.name, "local", {"CUDA_VISIBLE_DEVICES": slot} if slot else {}, self._begun)
        except Stopped:
            print(f"{job.name} was stopped", flush=True)
            return False
        except (UserError, OSError) as error:  # such as a full disk: the other jobs are recorded all the same
            print(f"{job.name} failed: {error}", flush=True)
            return False
        finally:
            self.free.put(slot)
        print(f"{job.name} done", flush=True)
        return True

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        self.begun.append(process)
        if self.stopping.is_set():  # the pool was told to stop while this one began
            process.terminate()
