"""Train one network, attack it, count what comes back: the cell of the exact recovery and of its certificate's pool."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recon.attacks import Reconstruction, reconstruct, with_options
from recon.cells.base import NEAR, Cell
from recon.cells.instances import Instance, Setting, plain
from recon.metrics import distances, greedy
from recon.progress import Report, silent
from recon.records import Stored
from recon.registry import module_of
from recon.tasks import TaskData

RELATIVE = 1e-3  # relative distance of a feature vector that does


@dataclass(frozen=True)
class RecoveryCell(Cell):
    """One network to train and to attack.

    Attributes:
      setting: how the network is trained.
      attack: name of the attack, which is asked for 2N images.
      options: settings of the attack that differ from its own.
    """

    kind: ClassVar[str] = "recovery"
    alone = True  # what is found within a time depends on it

    task: str
    n_train: int
    setting: Setting
    attack: str = "exact"
    options: tuple[tuple[str, Any], ...] = ()
    seed: int = 0

    @property
    def n_test(self) -> int:  # type: ignore[override]
        """As many as the setting needs."""
        return self.setting.test_images

    @property
    def title(self) -> str:
        """For progress bars."""
        told = " ".join(f"{k} {v}" for k, v in plain(self.setting).items() if k != "by")
        return f"{self.task} N={self.n_train} {type(self.setting).__name__} {told} {self.attack} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """With the setting in short."""
        return super().settings() | {"setting": plain(self.setting)}

    def check(self) -> None:
        """Look up the attack and its options, and what training needs."""
        with_options(self.attack, dict(self.options))
        self.setting.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """With those of the setting and of the attack."""
        return *super().modules, *self.setting.modules, module_of("recon.attacks", "ATTACK", self.attack)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, count; an image of which nothing came back is NaN."""
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
        scores, images, matched = tally(instance, found)
        record = self.record(
            data,
            training=dict(instance.training),
            attack={
                "found": len(found.images),
                "certified": None if found.certified is None else int(found.certified.sum()),
                "n_estimated": found.n_estimated,
                "why": found.why,
                "starts": found.work.get("starts"),
                "seconds": found.seconds,
            },
            scores=scores,
            images=images,
        )
        return Stored(record, {"train": instance.truth, "found": matched})


def tally(instance: Instance, found: Reconstruction) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Counts and distances of what an attack found; an image counts once, greedily matched.

    Returns:
      Scores: over the images that were matched, so that one that is not found counts as missing, not as far; a column
      for each training image; and the image matched to each.
    """
    limit = RELATIVE if instance.relative else NEAR

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
