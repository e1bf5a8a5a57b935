"""The published objective for any network, by automatic differentiation (paper, eq. 7 and appendix J.1).

The sum of parameter gradients is the gradient of a sum: Σ_j Σ_c α_jc ∇_θ f_c(x_j; θ) is one backward pass. Projected
duals need each image's gradient by itself, M·C of them. On an MLP the loss is that of `ntk` and `ntk-fast`, which have
it without automatic differentiation, and faster.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import DescentSettings, Known, Objective, check, known_of, result, run_adam, sharpness
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import box_penalty
from recon.networks import Activation, Network, Params
from recon.progress import Report

# The fast schedule of `ntk-fast`.
SETTINGS = DescentSettings(steps=2_000, learning_rate=0.04, decay="cosine", duals="projected")


class Target(NamedTuple):
    """The attacked network: its architecture, its weights at each point of the path, and Δθ."""

    network: Network
    points: tuple[Params, ...]
    change: Params


def matching_loss(
    target: Target, x: Float[Tensor, "m *shape"], duals: Float[Tensor, "p m c"], activation: Activation
) -> Float[Tensor, ""]:
    """‖Δθ − (1/M) Σ_p Σ_j Σ_c α_pjc ∇_θ f_c(x_j; θ_p)‖² (eq. 7)."""

    def weighted(params: Params, a: Tensor) -> Tensor:
        return jnp.vdot(a / len(x), target.network.apply(params, x, activation))

    rest = target.change
    for params, a in zip(target.points, duals, strict=True):
        rest = jax.tree.map(jnp.subtract, rest, jax.grad(weighted)(params, a))
    return jnp.asarray(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(rest)))


def gradients(
    network: Network, params: Params, x: Float[Tensor, "m *shape"], activation: Activation
) -> Float[Tensor, "m c t"]:
    """∇_θ f_c(x_j), all T parameters in a row, image by image."""

    def one(image: Tensor) -> Tensor:
        tree = jax.jacrev(lambda p: network.apply(p, image[None], activation)[0])(params)
        return jnp.concatenate([leaf.reshape(network.outputs, -1) for leaf in jax.tree.leaves(tree)], axis=1)

    return jnp.asarray(jax.vmap(one)(x))


def projected_loss(
    target: Target, x: Float[Tensor, "m *shape"], activation: Activation, ridge: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "p m c"]]:
    """The least `matching_loss` over the duals, and the duals that reach it; as `gradient_matching.projected_loss`."""
    stacked = jnp.stack([gradients(target.network, params, x, activation) for params in target.points])
    size = stacked.shape[:3]
    rows = stacked.reshape(math.prod(size), -1)
    change = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(target.change)])
    kernel, b = rows @ rows.T, rows @ change
    kernel = kernel + ridge * jnp.trace(kernel) / len(kernel) * jnp.eye(len(kernel), dtype=kernel.dtype)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(kernel), b)
    return jnp.vdot(change, change) - b @ solved, len(x) * solved.reshape(size)


@dataclass(frozen=True)
class Matching(Objective):
    """The loss of a network's weights.

    Attributes:
      network: the attacked one.
    """

    network: Network

    def loss(self, variables: dict[str, Any], step: Tensor, known: Known) -> Float[Tensor, ""]:
        """Eq. 7 with the box penalty, where there is a box."""
        x = variables["x"]
        if self.settings.duals == "free":
            activation, target = self.network.units.smoothed(sharpness(self.settings, step)), self.target(known)
            loss = matching_loss(target, x, variables["duals"], activation)
        else:
            loss, _ = self.projected(x, step, known)
        return loss if known.box is None else loss + box_penalty(x, known.box, self.settings.box_weight)

    def target(self, known: Known) -> Target:
        """The network as the loss sees it."""
        return Target(self.network, known.points, known.change)

    def projected(
        self, x: Float[Tensor, "m *shape"], step: Tensor, known: Known
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "p m c"]]:
        """`projected_loss` at a step, and its duals."""
        activation = self.network.units.smoothed(sharpness(self.settings, step))
        return projected_loss(self.target(known), x, activation, self.settings.ridge)


@partial(jax.jit, static_argnums=(0, 1))
def best_duals(objective: Matching, step: float, x: Tensor, known: Known) -> Tensor:
    """The duals of the projection at a step."""
    return objective.projected(x, jnp.asarray(step), known)[1]


def run(problem: Problem, settings: DescentSettings, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise, or from the images given.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings)
    m, network = problem.m, problem.network
    known = known_of(problem, settings)
    k_x, k_duals = jax.random.split(key)
    noise = settings.x_scale * jax.random.normal(k_x, (m, *problem.image_shape))
    variables: dict[str, Any] = {"x": noise if problem.start is None else jnp.asarray(problem.start)}
    if settings.duals == "free":
        size = (len(known.points), m, network.outputs)
        variables["duals"] = jax.random.uniform(k_duals, size, minval=-1.0, maxval=1.0) * settings.dual_scale
    objective = Matching(settings, network)
    done, program = run_adam(objective, variables, known, settings, report)
    duals: Tensor | None = done.variables.get("duals")
    if duals is None and not done.busy:
        duals = best_duals(objective, float(done.step), done.variables["x"], known)
    return result("ntk-autodiff", problem, done, program, variables["x"], duals)


ATTACK = Attack("ntk-autodiff", "published objective for any network, fast schedule", SETTINGS, run, networks=Network)
