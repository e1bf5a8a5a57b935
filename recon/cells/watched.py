"""An attack that is watched: the images it has on the way, and the held-out image nearest to each at its end."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from recon.attacks import Reconstruction, reconstruct
from recon.cells.around import AroundAttack
from recon.cells.attack import NEAR, initialised, padded, per_image, training_record
from recon.cells.base import data_record
from recon.dynamics import train
from recon.memory import peak_memory
from recon.metrics import distances, greedy, score
from recon.progress import Report, silent
from recon.records import Stored, provenance
from recon.tasks import TaskData


@dataclass(frozen=True)
class WatchedCell(AroundAttack):
    """A network and its attack, whose option `snapshots`, where it has one, says how often it is looked at."""

    kind: ClassVar[str] = "watched"

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.attacked.title}, watched"

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score, and match the images on the way as those at the end are matched.

        Returns:
          A record as an attack cell's, with "frames" (step, seconds, mean distance, distance of each training image),
          and of every image the distance between its reconstruction and the held-out image nearest to that. Arrays:
          "train" and "found" (n, h, w, c), "nearest" (those held-out images), "frames" (k, n, h, w, c).

        Raises:
          ReconError: training or the attack failed.
          KeyboardInterrupt: Ctrl-C.
        """
        cell = self.attacked
        network, params0, key = initialised(cell, data)
        trained = train(
            network,
            params0,
            data.train.x,
            data.train.y,
            cell.dynamics,
            lambda f, text: report(0.1 * f, f"training: {text}"),
        )
        with peak_memory() as peak:
            found = reconstruct(
                trained.initial.params,
                trained.final.params,
                attack=cell.attack,
                network=network,
                image_shape=data.image_shape,
                box=data.box,
                m=max(1, round(cell.m_ratio * cell.n_train)),
                linearised=cell.linearised,
                key=key,
                progress=lambda f, text: report(0.1 + 0.9 * f, f"attack: {text}"),
                **dict(cell.options),
            )
        if found.interrupted:
            raise KeyboardInterrupt
        images = padded(found.images, found.start, cell.n_train)
        scores = {
            "train": score(data.train.x, images, data.pixels),
            "held_out": score(data.held_out.x, images, data.pixels),
            "start": score(data.train.x, padded(found.start, found.start, cell.n_train), data.pixels),
        }
        matched = images[scores["train"].matching.index]
        away = distances(matched, data.held_out.x)
        columns = per_image(scores, network, trained, data, found.certified)
        frames, pictures = watched(found, data)
        thresholds = () if data.task.recognisable is None else (data.task.recognisable,)
        record = {
            "cell": self.settings(),
            "data": data_record(data),
            "training": training_record(network, trained, data),
            "attack": {
                "found": len(found.images),
                "certified": None if found.certified is None else int(found.certified.sum()),
                "n_estimated": found.n_estimated,
                "steps": found.steps,
                "why": found.why,
                "work": found.work,
                "peak_bytes": peak.bytes,
                "seconds": found.seconds,
            },
            "frames": frames,
            "scores": {name: s.summary(thresholds) for name, s in scores.items()},
            "images": columns | {"nearest_held_out": away.min(axis=1)},
            "provenance": provenance(self.modules),
        }
        nearest = data.held_out.x[away.argmin(axis=1)]
        return Stored(record, {"train": data.train.x, "found": matched, "nearest": nearest, "frames": pictures})


def watched(found: Reconstruction, data: TaskData) -> tuple[list[dict[str, Any]], Float[np.ndarray, "k n h w c"]]:
    """Start, snapshots and end of an attack: rows of numbers, and the image matched to each training image."""
    n = len(data.train.x)
    moments = [(0, 0.0, found.start)]
    moments += [(s.step, s.seconds, s.images) for s in found.snapshots if s.step < found.steps]
    moments += [(found.steps, found.seconds["run"], found.images)]
    rows, pictures = [], []
    for step, seconds, some in moments:
        images = padded(some, found.start, n)
        matched = greedy(distances(data.train.x, images))
        rows.append(
            {
                "step": step,
                "seconds": seconds,
                "mean": float(matched.distance.mean()),
                "near": int((matched.distance < NEAR).sum()),
                "distance": matched.distance,
            }
        )
        pictures.append(images[matched.index])
    return rows, np.stack(pictures)
