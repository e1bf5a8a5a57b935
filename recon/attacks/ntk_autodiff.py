"""The published objective for any network, by automatic differentiation (paper, eq. 7 and appendix J.1).

The sum of parameter gradients is the gradient of a sum: Σ_j Σ_c α_jc ∇_θ f_c(x_j; θ) is one backward pass. Projected
duals need each image's gradient by itself, M·C of them. On an MLP the loss is that of `ntk` and `ntk-fast`, which have
it without automatic differentiation, and faster.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import DescentSettings, Known, check, first_variables, known_of, result, run_adam
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import Matching, Target, projection
from recon.networks import Activation, Network, Params
from recon.progress import Report

# The fast schedule of `ntk-fast`.
SETTINGS = DescentSettings(steps=2_000, learning_rate=0.04, decay="cosine", duals="projected")


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
    loss, solved = projection(jnp.vdot(change, change), rows @ rows.T, rows @ change, ridge)
    return loss, len(x) * solved.reshape(size)


@dataclass(frozen=True)
class ByAutodiff(Matching):
    """Of any network, in images of their shape."""

    matched = staticmethod(matching_loss)
    least = staticmethod(projected_loss)


@partial(jax.jit, static_argnums=0)
def best_duals(objective: ByAutodiff, x: Tensor, step: Tensor, known: Known) -> Tensor:
    """The duals of the projection at a step."""
    return objective.projected(x, step, known)[1]


def run(problem: Problem, settings: DescentSettings, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise, or from the images given.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings)
    known, variables = known_of(problem, settings), first_variables(problem, settings, key)
    objective = ByAutodiff(settings, problem.network, problem.image_shape)
    done, program = run_adam(objective, variables, known, settings, report)
    duals: Tensor | None = done.variables.get("duals")
    if duals is None and not done.busy:
        duals = best_duals(objective, done.variables["x"], jnp.asarray(float(done.step)), known)
    return result("ntk-autodiff", problem, done, program, variables["x"], duals)


ATTACK = Attack("ntk-autodiff", "published objective for any network, fast schedule", SETTINGS, run, networks=Network)
