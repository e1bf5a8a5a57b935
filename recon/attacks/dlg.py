"""Gradient inversion: Deep Leakage from Gradients (Zhu, Liu & Han 2019), the reconstruction attack at one step.

One step of plain descent at rate η from θ₀ on the mean of ½‖f − y‖² changes the weights by Δθ = −η∇L(θ₀), so it shows
the gradient. The attack looks for images x and targets y, both unknown, whose gradient is the same:

    D(x, y) = ‖Δθ + η∇L(x, y; θ₀)‖² / ‖Δθ‖²,  ∇L(x, y) = (1/M) Σ_j Σ_c (f_c(x_j) − y_jc) ∇f_c(x_j).

The weight of image j is its residual, so for every x the map y ↦ α = η(y − f(x)) is one-to-one, and with gradients at
θ₀ the reconstruction loss (paper, eq. 7) at (x, α) is ‖Δθ‖² D(x, y): the two have the same zeros, and the same least
value over y as over α. They differ in what is descended: targets in place of duals, by L-BFGS in place of Adam. ReLU's
gradient has no slope in x; where the authors take a sigmoid network, a softplus grows sharp in stages here.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import Descended, DescentSettings, Known, compiled_loop, descend, first_images, known_of, result
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import box_penalty
from recon.errors import ReconError
from recon.networks import Activation, Network, Params
from recon.progress import Report


@dataclass(frozen=True)
class DeepLeakage:
    """Settings of the inversion.

    Attributes:
      learning_rate: η of the step that was seen. Only the targets' scale depends on it.
      steps: L-BFGS steps, all stages together.
      stages: of the activation's sharpness, geometrically spaced from `sharpness` to `sharpness_end`.
      box_weight: weight of the pixel box penalty (0: none, as the authors have it: images then grow far out of it).
      memory: pairs of steps and gradients that L-BFGS keeps.
      x_scale: standard deviation of the images at the start, where no others are given; targets start at N(0, 1).
    """

    learning_rate: float = 1e-2
    steps: int = 800
    stages: int = 4
    sharpness: float = 10.0
    sharpness_end: float = 200.0
    box_weight: float = 0.1
    memory: int = 50
    x_scale: float = 0.2


def gradient(
    network: Network,
    params: Params,
    x: Float[Tensor, "m *shape"],
    y: Float[Tensor, "m c"],
    activation: Activation,
) -> Params:
    """∇_θ of the mean of ½‖f − y‖²."""

    def loss(p: Params) -> Tensor:
        return 0.5 * jnp.sum((network.apply(p, x, activation) - y) ** 2) / len(x)

    found: Params = jax.grad(loss)(params)
    return found


def inversion_loss(
    network: Network,
    params: Params,
    seen: Params,
    x: Float[Tensor, "m *shape"],
    y: Float[Tensor, "m c"],
    activation: Activation,
) -> Float[Tensor, ""]:
    """D of the module's docstring, from the gradient that was seen, −Δθ/η."""
    own = gradient(network, params, x, y, activation)
    miss = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), own, seen)
    norm = jax.tree.map(lambda a: jnp.sum(a**2), seen)
    return jnp.asarray(sum(jax.tree.leaves(miss)) / sum(jax.tree.leaves(norm)))


class Inversion(NamedTuple):
    """What the loop depends on beside arrays."""

    network: Network
    settings: DeepLeakage

    @property
    def solver(self) -> optax.GradientTransformationExtraArgs:
        """L-BFGS."""
        return optax.lbfgs(memory_size=self.settings.memory)


def advance(
    how: Inversion, v: Any, state: Any, first: Tensor, last: Tensor, given: tuple[Tensor, Known, Params]
) -> tuple[Any, Any, Tensor]:
    """As `recon.attacks.adam.advance`; `given` holds the sharpness and the gradient that was seen too."""
    beta, known, seen = given

    def objective(v: Mapping[str, Tensor]) -> Tensor:
        activation = how.network.units.smoothed(beta)
        loss = inversion_loss(how.network, known.points[0], seen, v["x"], v["y"], activation)
        return loss if known.box is None else loss + box_penalty(v["x"], known.box, how.settings.box_weight)

    both = optax.value_and_grad_from_state(objective)

    def body(_: Tensor, carry: tuple[Any, Any, Tensor]) -> tuple[Any, Any, Tensor]:
        v, state, _ = carry
        value, grad = both(v, state=state)
        updates, state = how.solver.update(grad, state, v, value=value, grad=grad, value_fn=objective)
        return optax.apply_updates(v, updates), state, value

    done: tuple[Any, Any, Tensor] = jax.lax.fori_loop(first, last, body, (v, state, jnp.asarray(jnp.inf, jnp.float32)))
    return done


def run(problem: Problem, settings: DeepLeakage, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend D from noise by L-BFGS.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    if settings.steps < settings.stages or settings.stages < 1 or not settings.learning_rate > 0:
        raise ReconError("The inversion needs at least one step for each stage, and a learning rate above zero.")
    network, m = problem.network, problem.m
    k_x, k_y = jax.random.split(key)
    start = first_images(problem, settings.x_scale, k_x)
    v = {"x": start, "y": jax.random.normal(k_y, (m, network.outputs))}
    known = known_of(problem, DescentSettings(points=(0.0,)))  # the gradient is that at θ₀
    seen = jax.tree.map(lambda d: -d / settings.learning_rate, known.change)
    how = Inversion(network, settings)
    program = compiled_loop(advance, how, v, how.solver.init(v), (1.0, known, seen))
    done = Descended(v, 0, math.inf, np.zeros((0, 2)), "schedule done", 0.0, [])
    betas = np.geomspace(settings.sharpness, settings.sharpness_end, settings.stages)
    ends = np.linspace(0, settings.steps, settings.stages + 1).round().astype(int)
    for beta, (begin, end) in zip(betas.tolist(), pairwise(ends.tolist()), strict=True):
        part = descend(
            program,
            done.variables,
            how.solver.init(done.variables),  # another function: what was learnt of the last one's curvature is void
            (beta, known, seen),
            DescentSettings(steps=end - begin),
            None,
            lambda done, text, a=begin, b=end: report((a + done * (b - a)) / settings.steps, text),  # type: ignore[misc]
        )
        trace, seconds = np.concatenate([done.trace, part.trace + [begin, 0]]), done.seconds + part.seconds  # noqa: RUF005
        done = part._replace(step=begin + part.step, trace=trace, seconds=seconds)
        if done.why == "interrupted":
            break
    duals = settings.learning_rate * (done.variables["y"] - network.apply(known.points[0], done.variables["x"]))
    found = result("dlg", problem, done, program, start, duals[None])
    return dataclasses.replace(found, work={})  # XLA's account knows nothing of the line searches


ATTACK = Attack("dlg", "Deep Leakage from Gradients: the gradient of one step, by L-BFGS", DeepLeakage(), run, Network)
