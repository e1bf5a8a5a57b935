"""Attack a network from start images of a chosen kind: how much does the result owe to where the descent begins?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from recon.cells.attack import AttackVariant, attack_and_score, train_network
from recon.cells.base import as_own
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData

KINDS = ("noise", "class", "shuffled", "true")


@dataclass(frozen=True)
class StartCell(AttackVariant):
    """A network, its attack, which must be one that descends, and the images that it starts from.

    Attributes:
      start: "noise"; "class": test images of one class, which are in neither the training set nor the held-out control;
        "shuffled": test images of all classes, the pixels of each in an order of its own, which keeps their brightness
        and contrast and leaves no class; "true": the training images, each as often as M allows.
      scale: standard deviation of the noise that is, or is added to, the start.
      group: which class, for "class": the index of one of the task's groups.
      start_seed: of the draw of the start, beside the cell's own seed.
    """

    kind: ClassVar[str] = "start"

    start: str
    scale: float = 0.0
    group: int = 0
    start_seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        what = f"{self.start} {self.group}" if self.start == "class" else self.start
        return f"{self.base.title} from {what} ± {self.scale:g}, draw {self.start_seed}"

    def check(self) -> None:
        """As the attacked cell, and the kind of start and its scale."""
        super().check()
        if self.start not in KINDS or self.scale < 0:
            raise ReconError(f"A start is one of {', '.join(KINDS)}, with a scale of at least 0.")

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, draw the start, attack, score; "own_class": whether a "class" is the image's own."""
        start = draw_start(self, data)
        stored = attack_and_score(self.base, data, *train_network(self.base, data, report), report, start)
        own = groups(data, data.train.y) == self.group if self.start == "class" else None
        return as_own(self, stored, images={**stored.record["images"], "own_class": own})


def groups(data: TaskData, y: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Index of the group that each target stands for, (n,)."""
    return np.asarray(y.argmax(axis=1) if data.outputs > 1 else (y[:, 0] > 0).astype(int))


def draw_start(cell: StartCell, data: TaskData) -> Float[np.ndarray, "m *shape"]:
    """The M images that the attack starts from, in the network's input space.

    Raises:
      ReconError: too few test images to start from.
    """
    a = cell.base
    m = a.m
    rng = np.random.default_rng((a.seed, cell.start_seed))
    noise = cell.scale * rng.normal(size=(m, *data.image_shape))
    if cell.start == "noise":
        base = np.zeros_like(noise)
    elif cell.start == "true":
        base = np.resize(data.train.x, noise.shape)  # repeated in order
    else:
        of_kind = groups(data, data.test.y) == cell.group if cell.start == "class" else np.ones(len(data.test), bool)
        pool = np.flatnonzero(of_kind) if len(data.test) else np.zeros(0, int)
        if len(pool) < m:
            raise ReconError(
                f"{m} test images are needed to start from, {data.source} has {len(pool)}: choose a smaller N, or run "
                "`make data` for the full set."
            )
        base = data.test.x[rng.choice(pool, m, replace=False)]
        if cell.start == "shuffled":
            base = shuffle(base, rng)
    return (base + noise).astype(np.float32)


def shuffle(x: Float[np.ndarray, "m h w c"], rng: np.random.Generator) -> Float[np.ndarray, "m h w c"]:
    """Each image with its pixels in a random order of its own; a pixel's channels stay together."""
    m, h, w, c = x.shape
    return np.stack([rng.permutation(image) for image in x.reshape(m, h * w, c)]).reshape(x.shape)
