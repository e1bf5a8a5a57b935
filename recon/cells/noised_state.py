"""The attack at infinite width on a trained state that was released with noise (`recon.distillation.mmd_noised`)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from recon.arrays import enable_x64
from recon.cells.attack import TEST_IMAGES, summaries, with_controls
from recon.cells.base import Cell, testing_split
from recon.distillation.base import Problem
from recon.distillation.descent import KernelDistillation, run
from recon.distillation.mmd_noised import direction, noised_loss, source, state
from recon.distillation.regression import RIDGE
from recon.distillation.rkip import known_of
from recon.dynamics.noised_linearised import sensitivity
from recon.kernels.infinite import InfiniteMLP
from recon.metrics import share_right
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class NoisedStateCell(Cell):
    """An infinitely wide network of one output, trained in closed form, released with noise, attacked by kernels.

    Attributes:
      kernel: the network.
      noise_multiplier: σ, standard deviation of the noise in units of the state's sensitivity.
      steps: of the attack, for 2N images.
      noise_width: of the network that makes the noise.
    """

    kind: ClassVar[str] = "noised-state"
    n_test = TEST_IMAGES

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

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, release, attack, score."""
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
        scores = with_controls(found.images, found.start, data)
        test, split = testing_split(data)
        known = (jnp.asarray(a, jnp.float32) for a in (x, alpha, *leaves))
        outputs = np.asarray(state(self.kernel, jnp.asarray(test.x), *known))
        matched = scores["train"].matching
        record = self.record(
            data,
            training={
                "sensitivity": moved,
                "noise": scale,
                "norm": float(np.sqrt(norm)),
                "test_accuracy": share_right(outputs, test.y),
                "tested_on": split,
            },
            attack={"loss": found.loss, "steps": found.steps, "why": found.why, "seconds": found.seconds},
            scores=summaries(scores, data),
            images={
                "distance": matched.distance,
                "held_out": scores["held_out"].matching.distance,
                "start": scores["start"].matching.distance,
            },
        )
        arrays = {"train": data.train.x, "found": found.images[matched.index], "start": found.start}
        return Stored(record, arrays)
