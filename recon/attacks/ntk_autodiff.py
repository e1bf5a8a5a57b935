"""The published objective for any network, by automatic differentiation (paper, eq. 7 and appendix J.1).

The sum of parameter gradients is the gradient of a sum: Σ_j Σ_c α_jc ∇_θ f_c(x_j; θ) is one backward pass. Projected
duals need each image's gradient by itself, M·C of them. On an MLP the loss is that of `ntk` and `ntk-fast`, which have
it without automatic differentiation, and faster.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.descended import result
from recon.attacks.gradient_matching import (
    DescentSettings,
    Known,
    box_penalty,
    check,
    compiled_descent,
    descend,
    known_of,
    rate,
    sharpness,
)
from recon.networks import Activation, Network, Params, softplus
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

    def objective(v: dict[str, Any], step: Tensor, known: Known) -> Tensor:
        activation, target = softplus(sharpness(settings, step)), Target(network, known.points, known.change)
        if settings.duals == "free":
            loss = matching_loss(target, v["x"], v["duals"], activation)
        else:
            loss, _ = projected_loss(target, v["x"], activation, settings.ridge)
        return loss if known.box is None else loss + box_penalty(v["x"], known.box, settings.box_weight)

    optimiser = optax.adam(rate(settings))
    advance, seconds, work = compiled_descent(objective, optimiser, variables, known)
    start = (variables, optimiser.init(variables), 0, float("inf"))
    done = descend(advance, start, settings, settings.seconds, report)
    final, _, steps, _ = done.state
    duals: Tensor | None = None
    if settings.duals == "free":
        duals = final["duals"]
    elif not done.busy:

        @jax.jit
        def best(x: Tensor, known: Known) -> Tensor:
            activation = softplus(sharpness(settings, jnp.asarray(float(steps))))
            return projected_loss(Target(network, known.points, known.change), x, activation, settings.ridge)[1]

        duals = best(final["x"], known)
    return result("ntk-autodiff", problem, done, variables["x"], seconds, work, duals)


ATTACK = Attack("ntk-autodiff", "published objective for any network, fast schedule", SETTINGS, run, networks=Network)
