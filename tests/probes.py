"""Cells for workers to import. `acts` says what becomes of the worker."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon import ReconError
from recon.benchmark import Planned
from recon.records import Stored


@dataclass(frozen=True)
class Probe:
    name: str
    acts: str
    folder: str
    modules = ("recon.metrics",)

    @property
    def title(self):
        return f"probe {self.name}"

    def compute(self, data, report):
        log = Path(self.folder) / self.name
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        report(0.5, "half")
        if self.acts == "dies" or (self.acts == "dies once" and len(log.read_text().splitlines()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.acts == "fails":
            raise ReconError("no such luck")
        if self.acts == "breaks":
            raise KeyError("a bug")
        if self.acts == "sleeps":
            time.sleep(600)
        while self.acts == "dreams":
            report(0.5, "asleep")
            time.sleep(0.2)
        data += 1  # images are the cell's own, wherever it is computed
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return Stored({"name": self.name, "cores": cores, "threads": os.environ.get("OMP_NUM_THREADS")}, {"x": data})


@dataclass(frozen=True)
class Probes:
    folder: Path

    def make(self, name, acts="works"):
        """A planned probe whose images are three times the letter."""
        return Planned(Probe(name, acts, str(self.folder)), np.full(3, ord(name), np.float32), f"key-{name}")

    def begun(self):
        """Processes in which each probe was begun."""
        return {p.name: p.read_text().split() for p in self.folder.iterdir()}
