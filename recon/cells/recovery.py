"""Train one network, attack it, count what comes back: the cell of the exact recovery and of its certificate's pool."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.attacks import Reconstruction, reconstruct, with_options
from recon.cells.base import data_record
from recon.cells.instances import Instance, Setting, plain
from recon.metrics import distances, greedy
from recon.progress import Report, silent
from recon.records import Stored, provenance
from recon.tasks import TaskData, load_task

WITHIN = 0.1  # L2 distance of an image that counts as recovered: invisible in 28 × 28 pixels
RELATIVE = 1e-3  # relative distance of a feature vector that does


@dataclass(frozen=True)
class RecoveryCell:
    """One network to train and to attack.

    Attributes:
      task: name of the task.
      n_train: number of training images N.
      setting: how the network is trained.
      attack: name of the attack, which is asked for 2N images.
      options: settings of the attack that differ from its own.
      seed: chooses the images, the initial weights and the attack's random numbers.
    """

    task: str
    n_train: int
    setting: Setting
    attack: str = "exact"
    options: tuple[tuple[str, Any], ...] = ()
    seed: int = 0

    @property
    def alone(self) -> bool:
        """Its time is judged, and what is found within a time depends on it."""
        return True

    @property
    def title(self) -> str:
        """For progress bars."""
        told = " ".join(f"{k} {v}" for k, v in plain(self.setting).items() if k != "by")
        return f"{self.task} N={self.n_train} {type(self.setting).__name__} {told} {self.attack} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return {
            "kind": "recovery",
            "task": self.task,
            "n_train": self.n_train,
            "setting": plain(self.setting),
            "attack": self.attack,
            "options": dict(self.options),
            "seed": self.seed,
        }

    def with_seed(self, seed: int) -> "RecoveryCell":
        """The same setting on another draw."""
        return dataclasses.replace(self, seed=seed)

    def check(self) -> None:
        """Look up the attack and its options, and what training needs.

        Raises:
          ReconError: there is no such attack, or it has no such option; or a library is missing.
        """
        with_options(self.attack, dict(self.options))
        self.setting.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """What its numbers depend on."""
        named = f"recon.attacks.{self.attack.replace('-', '_')}", f"recon.tasks.{self.task}"
        return __name__, *self.setting.modules, *named

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.task, self.n_train, self.seed, self.setting.test_images

    def load(self, **where: Any) -> TaskData:
        """The cell's images; `where` as in `recon.data.load_images`."""
        return load_task(self.task, self.n_train, seed=self.seed, n_test=self.setting.test_images, **where)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, count.

        Returns:
          A record of settings, measurements and provenance; training images, and what came back of each (NaN: nothing).

        Raises:
          ReconError: training or the attack failed.
          KeyboardInterrupt: Ctrl-C; a partial attack is no result of the cell.
        """
        report(0.0, "training")
        instance = self.setting.instance(data, self.seed)
        found = reconstruct(
            instance.before,
            instance.after,
            attack=self.attack,
            network=instance.network,
            image_shape=instance.truth.shape[1:],
            box=instance.box,
            m=2 * self.n_train,
            linearised=instance.linearised,
            state=instance.state,
            key=self.seed,
            progress=lambda f, text: report(0.1 + 0.9 * f, f"attack: {text}"),
            **dict(self.options),
        )
        if found.interrupted:
            raise KeyboardInterrupt
        scores, images, matched = counted(instance, found)
        record = {
            "cell": self.settings(),
            "data": data_record(data),
            "training": dict(instance.training),
            "attack": {
                "found": len(found.images),
                "certified": None if found.certified is None else int(found.certified.sum()),
                "n_estimated": found.n_estimated,
                "why": found.why,
                "starts": found.work.get("starts"),
                "seconds": found.seconds,
            },
            "scores": scores,
            "images": images,
            "provenance": provenance(self.modules),
        }
        return Stored(record, {"train": instance.truth, "found": matched})


def counted(instance: Instance, found: Reconstruction) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Counts and distances of what an attack found; an image counts once, greedily matched.

    Returns:
      Scores: over the images that were matched, so that one that is not found counts as missing, not as far; a column
      for each training image; and the image matched to each.
    """
    limit = RELATIVE if instance.relative else WITHIN

    def apart(these: np.ndarray, those: np.ndarray) -> np.ndarray:
        size = np.linalg.norm(these.reshape(len(these), -1), axis=1) if instance.relative else np.ones(len(these))
        return distances(these, those) / size[:, None]

    def nearest(these: np.ndarray, those: np.ndarray) -> dict[str, Any]:
        return {"mean": float(apart(these, those).min(1).mean()) if len(those) else None}

    matching = greedy(apart(instance.truth, found.images))
    # Images that were not found have index −1.
    sure = None if found.certified is None else np.append(found.certified, False)[matching.index]
    near = matching.distance < limit
    out = matching.distance[np.isfinite(matching.distance)]
    train = {
        "unit": "relative" if instance.relative else "L2",
        "limit": limit,
        "mean": float(out.mean()) if len(out) else None,
        "median": float(np.median(out)) if len(out) else None,
        "worst": float(out.max()) if len(out) else None,
        "within": int(near.sum()),
        "certified_within": None if sure is None else int((near & sure).sum()),
    }
    nothing = np.full((1, *instance.truth.shape[1:]), np.nan, np.float32)
    matched = np.concatenate([found.images, nothing])[matching.index]
    scores = {
        "train": train,
        "held_out": nearest(instance.held_out, found.images),
        "start": nearest(instance.truth, found.start),
    }
    l2 = np.linalg.norm((instance.truth - matched).reshape(len(matched), -1), axis=1)
    return scores, {"distance": l2, "certified": sure}, matched
