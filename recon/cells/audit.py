"""Audit a network that other code has trained, from its files, by the command line."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recon.cells.base import Cell
from recon.cells.foreign import Arrays, Foreign, timed_fit
from recon.cells.instances import plain
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.records import Stored, read_json
from recon.tasks import TaskData

EXACT = 0.01  # L2 distance of an image that came back exactly: a tenth of what the audit counts as recovered


@dataclass(frozen=True)
class AuditCell(Cell):
    """One network to train by other code, and to audit; of federated averaging, a client has a part of the N images.

    Attributes:
      task: of one channel.
      setting: the code that trains, two hidden layers.
    """

    kind: ClassVar[str] = "audit"
    alone = True

    task: str
    n_train: int
    setting: Foreign
    seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.task} N={self.n_train} audit of {type(self.setting).__name__} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """With the setting in short."""
        return super().settings() | {"setting": plain(self.setting)}

    def check(self) -> None:
        """Look for the library."""
        self.setting.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """With what the command line passes its arguments on to."""
        attacks = "recon.attacks.exact", "recon.attacks.hybrid", "recon.attacks.ntk_fast"
        return *super().modules, type(self.setting).__module__, "recon.auditing", *attacks

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, write files, audit them, read the audit's report.

        Times are of the whole command: by the clock, and by the processor, which others on the same cores do not add
        to; with the machine's load before it. An image of which nothing came back is NaN.
        """
        report(0.0, "training")
        made = timed_fit(self.setting, data, self.seed)
        x = data.train.x.reshape(len(data.train), -1)
        x = x if made.chosen is None else x[made.chosen]
        others = data.held_out.x.reshape(len(data.held_out), -1)[: len(x)]
        report(0.3, "audit")
        with tempfile.TemporaryDirectory(prefix="audit-") as name:
            folder, suffix = Path(name), self.setting.suffix
            files = {f"init{suffix}": made.before, f"final{suffix}": made.after}
            files |= {"data.npz": {"x": x}, "heldout.npz": {"x": others}}
            width = self.setting.width
            given = ["--mean", str(float(data.mean[0])), "--network", f"mlp:{width}x{width}"]
            for file, arrays in files.items():
                write(folder / file, arrays)
                given += [f"--{Path(file).stem}", str(folder / file)]
            seconds = run_audit(folder / "audit", given)
            told = read_json(folder / "audit" / "report.json")
            with np.load(folder / "audit" / "reconstructions.npz") as found:
                images = found["images"].reshape(-1, x.shape[1])
        matched = np.full_like(x, np.nan)
        for row in told["reconstructions"]:
            if "image" in row:
                matched[int(row["image"])] = images[row["index"]]
        distance = [np.nan if d is None else d for d in told["train"]["distance"]]
        record = self.record(
            data,
            training={"rule": made.rule, "loss": made.loss, "seconds": made.seconds},
            attack={
                "images": len(x),
                "n_estimated": told["n"],
                **{k: told[k] for k in ("certified", "attacks", "why")},
                "seconds": seconds | {"audit": told["seconds"]},
            },
            scores={
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
            images={"distance": distance},
            verdict=told["verdict"],
        )
        return Stored(record, {"train": x, "found": matched})


def run_audit(out: Path, given: list[str]) -> dict[str, float]:
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
