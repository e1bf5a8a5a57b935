"""Gradient inversion: Deep Leakage from Gradients (Zhu, Liu & Han 2019), the reconstruction attack at one step.

One step of plain descent at rate η from θ₀ on the mean of ½‖f − y‖² changes the weights by Δθ = −η∇L(θ₀), so it shows
the gradient. The attack looks for images x and targets y, both unknown, whose gradient is the same:

    D(x, y) = ‖Δθ + η∇L(x, y; θ₀)‖² / ‖Δθ‖²,  ∇L(x, y) = (1/M) Σ_j Σ_c (f_c(x_j) − y_jc) ∇f_c(x_j).

The weight of image j is its residual, so for every x the map y ↦ α = η(y − f(x)) is one-to-one, and with gradients at
θ₀ the reconstruction loss (paper, eq. 7) at (x, α) is ‖Δθ‖² D(x, y): the two have the same zeros, and the same least
value over y as over α. They differ in what is descended: targets in place of duals, by L-BFGS in place of Adam. ReLU's
gradient has no slope in x; where the authors take a sigmoid network, a softplus grows sharp in stages here.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import DescentSettings, Known, known_of
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import box_penalty
from recon.errors import ReconError
from recon.loops import compiled
from recon.networks import Activation, Network, Params
from recon.progress import Report

CHUNK = 20  # steps between two looks at the loss and the keyboard


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
    how: Inversion, v: Any, state: Any, count: Tensor, beta: Tensor, known: Known, seen: Params
) -> tuple[Any, Any, Tensor]:
    """Variables and the solver's state after so many steps, and the loss before the last."""

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

    done: tuple[Any, Any, Tensor] = jax.lax.fori_loop(0, count, body, (v, state, jnp.asarray(jnp.inf, jnp.float32)))
    return done


def run(problem: Problem, settings: DeepLeakage, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend D from noise by L-BFGS.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    if settings.steps < settings.stages or settings.stages < 1 or not settings.learning_rate > 0:
        raise ReconError("The inversion needs at least one step for each stage, and a learning rate above zero.")
    network, m, shape = problem.network, problem.m, problem.image_shape
    k_x, k_y = jax.random.split(key)
    noise = settings.x_scale * jax.random.normal(k_x, (m, *shape))
    start = noise if problem.start is None else jnp.asarray(problem.start)
    v = {"x": start, "y": jax.random.normal(k_y, (m, network.outputs))}
    known = known_of(problem, DescentSettings(points=(0.0,)))  # the gradient is that at θ₀
    seen = jax.tree.map(lambda d: -d / settings.learning_rate, known.change)
    how = Inversion(network, settings)
    arguments = v, how.solver.init(v), 0, 1.0, known, seen
    program = compiled(advance, how, *arguments, what="A step of the attack", fix="reconstruct fewer images (m)")
    began = time.perf_counter()
    step, trace, why = 0, [], "schedule done"
    betas = np.geomspace(settings.sharpness, settings.sharpness_end, settings.stages)
    ends = np.linspace(0, settings.steps, settings.stages + 1).round().astype(int)[1:]
    try:
        for beta, end in zip(betas, ends, strict=True):
            state = how.solver.init(v)  # another function: what was learnt of the last one's curvature is void
            while step < end:
                count = min(CHUNK, int(end) - step)
                after, state, loss_ = program.run(v, state, count, float(beta), known, seen)
                if not math.isfinite(loss := float(loss_)):
                    raise ReconError(f"The inversion's loss is {loss} at step {step}: use another start.")
                v, step = after, step + count
                trace.append((step, loss))
                report(step / settings.steps, f"loss {loss:.2e}")
    except KeyboardInterrupt:
        why = "interrupted"
    f = network.apply(known.points[0], v["x"])
    duals = settings.learning_rate * (v["y"] - f)
    return Reconstruction(
        attack="dlg",
        images=np.asarray(v["x"]),
        start=np.asarray(start),
        duals=np.asarray(duals)[None],
        trace=np.array(trace, np.float64).reshape(-1, 2),
        steps=step,
        why=why,
        seconds=program.seconds | {"run": time.perf_counter() - began},
    )


ATTACK = Attack("dlg", "Deep Leakage from Gradients: the gradient of one step, by L-BFGS", DeepLeakage(), run, Network)
