"""An attack that is watched: the images it has on the way, and the held-out image nearest to each at its end."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from recon.attacks import Reconstruction
from recon.cells.attack import AttackVariant, closeness, pad, run_attack, score_attack, train_network
from recon.cells.base import as_own
from recon.metrics import distances, greedy
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class FramesCell(AttackVariant):
    """A network and its attack, whose option `snapshots`, where it has one, says how often it is looked at."""

    kind: ClassVar[str] = "watched"

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.base.title}, watched"

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score, and match the images on the way as those at the end are matched.

        Returns:
          A record as an attack cell's, with "frames" (step, seconds, mean distance, distance of each training image),
          and of every image the distance between its reconstruction and the held-out image nearest to that. Arrays:
          "train" and "found" (n, h, w, c), "nearest" (those held-out images), "frames" (k, n, h, w, c).
        """
        cell = self.base
        network, trained, key = train_network(cell, data, report)
        found, peak_bytes = run_attack(cell, data, network, trained, key, report)
        stored = score_attack(cell, data, network, trained, found, peak_bytes)
        away = distances(stored.arrays["found"], data.held_out.x)
        frames, pictures = watch(found, data)
        columns = stored.record["images"] | {"nearest_held_out": away.min(axis=1)}
        arrays = {name: stored.arrays[name] for name in ("train", "found")}
        arrays |= {"nearest": data.held_out.x[away.argmin(axis=1)], "frames": pictures}
        return as_own(self, Stored(stored.record, arrays), frames=frames, images=columns)


def watch(found: Reconstruction, data: TaskData) -> tuple[list[dict[str, Any]], Float[np.ndarray, "k n h w c"]]:
    """Start, snapshots and end of an attack: rows of numbers, and the image matched to each training image."""
    n = len(data.train.x)
    moments = [(0, 0.0, found.start)]
    moments += [(s.step, s.seconds, s.images) for s in found.snapshots if s.step < found.steps]
    moments += [(found.steps, found.seconds["run"], found.images)]
    rows, pictures = [], []
    for step, seconds, some in moments:
        images = pad(some, found.start, n)
        matched = greedy(distances(data.train.x, images))
        rows.append({"step": step, "seconds": seconds, **closeness(matched.distance), "distance": matched.distance})
        pictures.append(images[matched.index])
    return rows, np.stack(pictures)
