"""Audit a network that other code has trained, from its files, by the command line."""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon.cells.base import data_record
from recon.cells.foreign import Arrays, Foreign, fitted
from recon.cells.instances import plain
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.records import Stored, provenance, read_json
from recon.tasks import TaskData, load_task

EXACT = 0.01  # L2 distance of an image that came back exactly: a tenth of what the audit counts as recovered


@dataclass(frozen=True)
class AuditCell:
    """One network to train by other code, and to audit.

    Attributes:
      task: name of the task, of one channel.
      n_train: number of images that are drawn; of federated averaging, a client has a part of them.
      network: the code that trains, two hidden layers.
      seed: chooses the images and the initial weights.
    """

    task: str
    n_train: int
    network: Foreign
    seed: int = 0

    @property
    def alone(self) -> bool:
        """Its time is judged."""
        return True

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.task} N={self.n_train} audit of {type(self.network).__name__} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        setting = plain(self.network)
        return {"kind": "audit", "task": self.task, "n_train": self.n_train, "setting": setting, "seed": self.seed}

    def with_seed(self, seed: int) -> "AuditCell":
        """The same setting on another draw."""
        return dataclasses.replace(self, seed=seed)

    def check(self) -> None:
        """Look for the library.

        Raises:
          ReconError: it is not installed; how to install it.
        """
        self.network.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """What its numbers depend on; the command line passes on what it is given."""
        attacks = "recon.attacks.exact", "recon.attacks.hybrid", "recon.attacks.ntk_fast"
        return __name__, type(self.network).__module__, "recon.auditing", *attacks, f"recon.tasks.{self.task}"

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.task, self.n_train, self.seed, "audit"

    def load(self, **where: Any) -> TaskData:
        """The cell's images; `where` as in `recon.data.load_images`."""
        return load_task(self.task, self.n_train, seed=self.seed, n_test=1, **where)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, write files, audit them, read the audit's report.

        Returns:
          A record of settings, measurements and provenance; training images, and what came back of each (NaN: nothing).
          Times are of the whole command: by the clock, and by the processor, which others on the same cores do not add
          to; with the machine's load before it.

        Raises:
          ReconError: training or the audit failed.
        """
        report(0.0, "training")
        made = fitted(self.network, data, self.seed)
        x = data.train.x.reshape(len(data.train), -1)
        x = x if made.chosen is None else x[made.chosen]
        others = data.held_out.x.reshape(len(data.held_out), -1)[: len(x)]
        report(0.3, "audit")
        with tempfile.TemporaryDirectory(prefix="audit-") as name:
            folder, suffix = Path(name), self.network.suffix
            write(folder / f"init{suffix}", made.before)
            write(folder / f"final{suffix}", made.after)
            for images, shown in (("train.npz", x), ("other.npz", others)):
                write(folder / images, {"x": shown})
            width = self.network.width
            files = {"init": f"init{suffix}", "final": f"final{suffix}", "data": "train.npz", "heldout": "other.npz"}
            given = [part for option, file in files.items() for part in (f"--{option}", str(folder / file))]
            given += ["--mean", str(float(data.mean[0])), "--network", f"mlp:{width}x{width}"]
            seconds = audited(folder / "audit", given)
            told = read_json(folder / "audit" / "report.json")
            with np.load(folder / "audit" / "reconstructions.npz") as arrays:
                images = arrays["images"].reshape(-1, x.shape[1])
        matched = np.full_like(x, np.nan)
        for row in told["reconstructions"]:
            if "image" in row:
                matched[int(row["image"])] = images[row["index"]]
        distance = [np.nan if d is None else d for d in told["train"]["distance"]]
        record = {
            "cell": self.settings(),
            "data": data_record(data),
            "training": {"rule": made.rule, "loss": made.loss, "seconds": made.seconds},
            "attack": {
                "images": len(x),
                "certified": told["certified"],
                "n_estimated": told["n"],
                "attacks": told["attacks"],
                "why": told["why"],
                "seconds": seconds | {"audit": told["seconds"]},
            },
            "scores": {
                "train": {
                    "mean": float(np.mean(distance)),
                    "worst": float(np.max(distance)),
                    "exact": int(np.sum(np.array(distance) < EXACT)),
                },
                "held_out": {
                    "nearest": min(d for d in told["held_out"]["distance"] if d is not None),
                    "within": told["held_out"]["within"],
                },
            },
            "images": {"distance": distance},
            "verdict": told["verdict"],
            "provenance": provenance(self.modules),
        }
        return Stored(record, {"train": x, "found": matched})


def audited(out: Path, given: list[str]) -> dict[str, float]:
    """Run the command; returns its seconds and the load before it.

    Raises:
      ReconError: it failed.
    """
    command = [sys.executable, "-m", "recon", "audit", *given, "--out", str(out)]
    load, before, began = os.getloadavg()[0], processor(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, cpu = time.perf_counter() - began, processor() - before
    if done.returncode:
        raise ReconError(f"The audit failed ({done.stderr.strip().splitlines()[-1]}): mend it.")
    return {"run": seconds, "processor": cpu, "load_before": load}


def processor() -> float:
    """Processor time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(path: Path, arrays: Arrays) -> None:
    """Arrays as their library would write them."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path)
    else:
        np.savez(path, **arrays)  # type: ignore[arg-type]  # takes any names
