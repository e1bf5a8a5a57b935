"""Trajectory simulation, SimuDy (Tian et al., ICLR 2025): images on which training from θ₀ ends at θ_f.

The attacker knows the training rule (full batches, its learning rate and number of steps), how many images there were
and their labels. It runs that training on dummy images, T steps from θ₀ to θ̂_f, and descends

    1 − cos(θ̂_f − θ₀, θ_f − θ₀) + smoothness · total variation + box penalty

through the whole simulated run. Of full-batch descent on an MLP, the first layer's kernel stays in the span of the
images; with X = L Q (Q orthonormal rows, N × d) the run on X from W₁ is the run on the N-dimensional inputs L from
Q W₁, to the last digit that rounding leaves, at a small fraction of its work.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray
from optax.tree_utils import tree_norm, tree_vdot

from recon.arrays import Tensor
from recon.attacks.adam import Known, Objective, cosine, first_images, known_of, rate, result, run_adam, untimed
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import box_penalty, in_span
from recon.errors import ReconError
from recon.networks import Network, Params
from recon.progress import Report
from recon.tasks import targets


@dataclass(frozen=True)
class SimuDy:
    """Settings of the attack.

    Attributes:
      train_rate: learning rate of the training to simulate; must be given.
      train_steps: its number of steps T.
      steps: steps of the attack. As published 30,000, its rate annealed in cycles of 100; here it decays once.
      learning_rate: Adam's at the first step, with the published moments 0.8 and 0.9.
      distance: "cosine" of the two changes, or "squared": ‖θ̂_f − θ_f‖²/‖θ_f − θ₀‖².
      x_scale: standard deviation of the images at the start, where no others are given.
      smoothness: weight of the images' mean absolute difference between neighbours; of flat inputs there is none.
      box_weight: of the pixel box penalty, which the published attack does not have.
      seconds: stop after so much time.
      snapshots: keep the images at so many steps, geometrically spaced.
    """

    train_rate: float | None = None
    train_steps: int = 100
    steps: int = 1_000
    learning_rate: float = 0.05
    distance: Literal["cosine", "squared"] = "cosine"
    x_scale: float = 0.5
    smoothness: float = 1e-3
    box_weight: float = 0.1
    seconds: float | None = None
    snapshots: int = 0


def balanced(n: int, outputs: int) -> Float[np.ndarray, "n c"]:
    """Targets of n images of equal shares: −1/+1 of one output, one-hot − 1/C of several; order does not matter.

    Raises:
      ReconError: n images have no equal shares.
    """
    groups = max(2, outputs)
    if n % groups:
        raise ReconError(f"{n} images do not give {groups} classes equal shares: choose m, the number trained on.")
    return targets(np.arange(n) % groups, groups)


def simulated(
    network: Network, params: Params, x: Float[Tensor, "n *shape"], y: Float[Tensor, "n c"], rate: float, steps: int
) -> Params:
    """Weights after `steps` full-batch steps on the mean of ½‖f − y‖²; differentiable, in memory of T weight trees."""

    def loss(p: Params) -> Tensor:
        return 0.5 * jnp.sum((network.apply(p, x) - y) ** 2) / len(x)

    @jax.checkpoint
    def step(p: Params, _: None) -> tuple[Params, None]:
        return jax.tree.map(lambda a, g: a - rate * g, p, jax.grad(loss)(p)), None

    final: Params = jax.lax.scan(step, params, length=steps)[0]
    return final


def distance_of(
    network: Network, known: Known, x: Float[Tensor, "n d"], y: Float[Tensor, "n c"], settings: SimuDy
) -> Float[Tensor, ""]:
    """How far training on x ends from where it did: `settings.distance` of the two changes; known.points holds θ₀."""
    assert settings.train_rate is not None
    q, r = jnp.linalg.qr(x.T)
    before = in_span(known.points[0], q)
    after = simulated(network, before, r.T, y, settings.train_rate, settings.train_steps)
    change = jax.tree.map(lambda a, b: b - a, before, after)
    inner = tree_vdot(change, in_span(known.change, q))
    size = tree_norm(change, squared=True)
    true = tree_norm(known.change, squared=True)
    if settings.distance == "squared":
        return jnp.asarray((size - 2 * inner + true) / true)
    return jnp.asarray(1 - inner / jnp.sqrt(size * true))


def total_variation(images: Float[Tensor, "n h w c"]) -> Float[Tensor, ""]:
    """Mean absolute difference between neighbours, across plus down."""
    across, down = jnp.diff(images, axis=2), jnp.diff(images, axis=1)
    return jnp.mean(jnp.abs(across)) + jnp.mean(jnp.abs(down))


@dataclass(frozen=True)
class Simulation(Objective):
    """The loss of the module's docstring.

    Attributes:
      of: the attack's settings.
    """

    of: SimuDy

    def loss(self, variables: dict[str, Any], _: Tensor, known: Known) -> Float[Tensor, ""]:
        """Distance, smoothness and box penalty."""
        x, of = variables["x"], self.of
        images = self.images(x, known)
        loss = distance_of(self.network, known, x, jnp.asarray(balanced(len(x), self.network.outputs)), of)
        if len(self.image_shape) == 3:
            loss = loss + of.smoothness * total_variation(images)
        if known.box is not None:
            loss = loss + box_penalty(images, known.box, of.box_weight / len(x))
        return loss

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with the published moments."""
        return optax.adam(rate(self.settings), b1=0.8, b2=0.9)


def run(problem: Problem, settings: SimuDy, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend from noise, `problem.m` images: as many as were trained on.

    Raises:
      ReconError: no training rate, no step, a linearised model, unequal classes, or a loss that is not finite.
    """
    if settings.train_rate is None:
        raise ReconError("simudy simulates the training: give its train_rate and train_steps.")
    if min(settings.steps, settings.train_steps) < 1 or settings.distance not in ("cosine", "squared"):
        raise ReconError("simudy needs at least one step of each kind, and a distance of 'cosine' or 'squared'.")
    if problem.linearised:
        raise ReconError("simudy simulates the network's own training, not its linearisation's.")
    m, network = problem.m, problem.mlp
    balanced(m, network.outputs)  # refuses unequal classes
    schedule = cosine(settings, points=(0.0,))  # the simulated run begins at θ₀
    known = known_of(problem, schedule)
    x = first_images(problem, settings.x_scale, key).reshape(m, -1)
    objective = Simulation(schedule, network, problem.image_shape, untimed(settings))
    done, program = run_adam(objective, {"x": x}, known, schedule, report)
    # XLA counts a loop's body once: the simulated training's is run train_steps times.
    per_step = program.work["flops_per_step"] * settings.train_steps
    return result("simudy", problem, done, program._replace(work=program.work | {"flops_per_step": per_step}), x)


ATTACK = Attack("simudy", "simulates the training on dummy images (Tian et al. 2025)", SimuDy(), run, of_change=False)
