"""The attack at infinite width on a trained state that was released with noise (`recon.distillation.mmd_noised`)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recon.arrays import enable_x64
from recon.cells.base import as_plain, data_record
from recon.distillation.base import Problem
from recon.distillation.descent import KernelDistillation, run
from recon.distillation.mmd_noised import direction, noised_loss, source, state
from recon.distillation.regression import RIDGE
from recon.distillation.rkip import known_of
from recon.dynamics.noised_linearised import sensitivity
from recon.kernels.infinite import InfiniteMLP
from recon.metrics import score, share_right
from recon.progress import Report, silent
from recon.records import Stored, provenance
from recon.registry import module_of
from recon.tasks import TaskData, load_task

TEST_IMAGES = 1000  # of the test split, as for finite networks


@dataclass(frozen=True)
class NoisedStateCell:
    """An infinitely wide network trained in closed form, released with noise, and attacked by kernels.

    Attributes:
      task: name of the task, of one output.
      n_train: number of training images N.
      kernel: the network.
      noise_multiplier: σ, standard deviation of the noise in units of the state's sensitivity.
      steps: of the attack, for 2N images.
      noise_width: of the network that makes the noise.
      seed: chooses the images, the noise and the attack's start.
    """

    task: str
    n_train: int
    kernel: InfiniteMLP
    noise_multiplier: float
    steps: int
    noise_width: int = 256
    seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.task} N={self.n_train} W=∞ noise {self.noise_multiplier:g} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return {"kind": "noised-state", **as_plain(self)}

    def with_seed(self, seed: int) -> "NoisedStateCell":
        """The same setting on another draw."""
        return dataclasses.replace(self, seed=seed)

    def check(self) -> None:
        """Nothing is looked up by name."""

    @property
    def modules(self) -> tuple[str, ...]:
        """What its numbers depend on."""
        return __name__, module_of("recon.tasks", "TASK", self.task)

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.task, self.n_train, self.seed

    def load(self, **where: Any) -> TaskData:
        """The cell's images; `where` as in `recon.data.load_images`."""
        return load_task(self.task, self.n_train, seed=self.seed, n_test=TEST_IMAGES, **where)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, release, attack, score.

        Returns:
          A record of settings, measurements and provenance, and the arrays that pictures are drawn from.

        Raises:
          ReconError: the kernel of the training images is singular, or the attack failed.
          KeyboardInterrupt: Ctrl-C; a partial attack is no result of the cell.
        """
        k_noise, k_attack = jax.random.split(jax.random.key(self.seed))
        settings = KernelDistillation(kernel=self.kernel, steps=self.steps)
        # Labels do not enter the attack; as many as there are images to find.
        problem = Problem(data.train.x, data.train.y, np.zeros((2 * self.n_train, 1), np.float32))
        x, alpha, norm = known_of(problem, settings)
        with enable_x64():
            own = np.asarray(self.kernel.ntk(np.asarray(x, np.float64)))
        moved = sensitivity(own + RIDGE * np.trace(own) / len(own) * np.eye(len(own)), alpha)
        scale = self.noise_multiplier * moved
        leaves = direction(source(self.kernel, self.noise_width), scale, k_noise, x[0].size)
        found = run("mmd", noised_loss, lambda *_: (x, alpha, norm, *leaves), problem, settings, k_attack, report)
        if found.interrupted:
            raise KeyboardInterrupt
        scores = {
            "train": score(data.train.x, found.images, data.pixels),
            "held_out": score(data.held_out.x, found.images, data.pixels),
            "start": score(data.train.x, found.start, data.pixels),
        }
        tested, split = (data.test, "test") if len(data.test) else (data.held_out, "held_out")
        known = (jnp.asarray(a, jnp.float32) for a in (x, alpha, *leaves))
        outputs = np.asarray(state(self.kernel, jnp.asarray(tested.x), *known))
        thresholds = () if data.task.recognisable is None else (data.task.recognisable,)
        matched = scores["train"].matching
        record = {
            "cell": self.settings(),
            "data": data_record(data),
            "training": {
                "sensitivity": moved,
                "noise": scale,
                "norm": float(np.sqrt(norm)),
                "test_accuracy": share_right(outputs, tested.y),
                "tested_on": split,
            },
            "attack": {"loss": found.loss, "steps": found.steps, "why": found.why, "seconds": found.seconds},
            "scores": {name: s.summary(thresholds) for name, s in scores.items()},
            "images": {
                "distance": matched.distance,
                "held_out": scores["held_out"].matching.distance,
                "start": scores["start"].matching.distance,
            },
            "provenance": provenance(self.modules),
        }
        arrays = {"train": data.train.x, "found": found.images[matched.index], "start": found.start}
        return Stored(record, arrays)
