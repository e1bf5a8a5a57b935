"""The published objective for large sets: a running sum of all images' gradients, refreshed a batch at a time.

With S = (1/M) Σ_j α_j ∇f(x_j), a step takes a batch B, descends ‖Δθ − S‖² in the batch's images and duals with the
others' share held fixed, and puts the batch's new share in the place of its old one. Every `resum` steps S is summed
afresh, against rounding. Between re-sums the softplus sharpness stays what it was, so that what is taken out of the
sum is what was put in. Adam's moments of an image are touched when its batch is drawn, and only then.

Published duals move with Adam, at the images' rate. Since S is divided by M, they must grow in proportion to M, for
which large sets take correspondingly many steps. The duals of a re-sum can be projected instead: the best ones for the
images of that moment, in closed form, held until the next.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import (
    DescentSettings,
    Known,
    check,
    compiled_loop,
    descend,
    first_images,
    known_of,
    rate,
    result,
    sharpness,
)
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import (
    Matching,
    Sum,
    Target,
    box_penalty,
    explained,
    explained_in_chunks,
    projected_loss,
)
from recon.attacks.rank import first_layer_span
from recon.errors import ReconError
from recon.loops import costs
from recon.networks import dense_layers
from recon.progress import Report


@dataclass(frozen=True)
class Minibatch(DescentSettings):
    """Settings of the descent by batches; projected duals are taken at every re-sum, with an M × M kernel.

    Attributes:
      batch: images refreshed in a step (all of them, where there are fewer).
      resum: steps between two sums over all images.
    """

    batch: int = 100
    resum: int = 1000


class Variables(NamedTuple):
    """What is descended in, by image (leading axis).

    Attributes:
      x: images.
      duals: weights at each point of the path, for each output.
    """

    x: Float[Tensor, "m d"]
    duals: Float[Tensor, "m p c"]


class Running(NamedTuple):
    """State of the loop beside its variables.

    Attributes:
      moments: Adam's, with its count of steps, for each image.
      total: the running sum S, layer by layer.
    """

    moments: Any
    total: Sum


def batch_of(key: PRNGKeyArray, step: Tensor, m: int, batch: int) -> Int[Tensor, " b"]:
    """Indices of a step's batch: epochs of disjoint batches in random order; what does not fill one waits."""
    if batch == m:
        return jnp.arange(m)
    per_epoch = m // batch
    order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), m)
    return jax.lax.dynamic_slice(order, (batch * (step % per_epoch),), (batch,))


def share(target: Target, part: Variables, m: int, beta: Tensor) -> Sum:
    """(1/M) Σ α ∇f(x) over some of the M images."""
    return explained(target, part.x, part.duals.swapaxes(0, 1) / m, target.network.units.smoothed(beta))


def full_sum(target: Target, whole: Variables, batch: int, beta: Tensor) -> Sum:
    """S over all images, at most `batch` of them in memory at once."""
    weights = whole.duals.swapaxes(0, 1) / len(whole.x)
    return explained_in_chunks(target, whole.x, weights, target.network.units.smoothed(beta), batch)


def held_sharpness(settings: Minibatch, step: Tensor) -> Tensor:
    """Softplus sharpness β of the latest re-sum."""
    return sharpness(settings, (step // settings.resum * settings.resum).astype(jnp.float32))


def squared(total: Sum) -> Float[Tensor, ""]:
    """Squared norm over all layers."""
    return jnp.asarray(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(total)))


def refresh(
    target: Target, settings: Minibatch, known: Known, whole: Variables, state: Running, index: Tensor, step: Tensor
) -> tuple[Variables, Running, Float[Tensor, ""]]:
    """One step on the images of a batch; also the loss before it, with the box penalty of the batch alone."""
    beta, m = held_sharpness(settings, step), len(whole.x)
    mine: Variables = jax.tree.map(lambda a: a[index], whole)
    before, pull = jax.vjp(lambda part: share(target, part, m, beta), mine)
    missing: Sum = jax.tree.map(jnp.subtract, dense_layers(target.change), state.total)
    (slope,) = pull(jax.tree.map(lambda r: -2.0 * r, missing))
    loss = squared(missing)
    if known.box is not None:

        def penalty(x: Tensor) -> Tensor:
            assert known.box is not None
            return box_penalty(x.reshape(len(x), -1, len(known.box[0])), known.box, settings.box_weight)

        outside, push = jax.value_and_grad(penalty)(mine.x)
        loss, slope = loss + outside, slope._replace(x=slope.x + push)
    if settings.duals == "projected":
        slope = slope._replace(duals=jnp.zeros_like(slope.duals))  # which Adam leaves where they are
    adam = optax.scale_by_adam()
    moments = jax.tree.map(lambda a: a[index], state.moments)
    update, moments = jax.vmap(adam.update)(slope, moments)  # a count of steps for each image
    moved: Variables = jax.tree.map(lambda v, u: v - rate(settings)(step) * u, mine, update)
    after = share(target, moved, m, beta)
    total = jax.tree.map(lambda s, old, new: s + (new - old), state.total, before, after)

    def put(all_: Tensor, part: Tensor) -> Tensor:
        return jnp.asarray(all_).at[index].set(part)

    return jax.tree.map(put, whole, moved), Running(jax.tree.map(put, state.moments, moments), total), loss


@dataclass(frozen=True)
class Batches(Matching):
    """What the loop depends on beside arrays."""

    settings: Minibatch


Carry = tuple[Variables, Running, Float[Tensor, ""]]
"""Variables, the loop's state, and the loss before the last step."""


def step(how: Batches, i: Tensor, carry: Carry, known: Known, order: PRNGKeyArray) -> Carry:
    """Step i, on its batch."""
    whole, state, _ = carry
    index = batch_of(order, i, len(whole.x), min(how.settings.batch, len(whole.x)))
    return refresh(how.target(known), how.settings, known, whole, state, index, i)


def resummed(how: Batches, i: Tensor, whole: Variables, known: Known) -> tuple[Variables, Sum]:
    """Variables with their duals projected, where they are, and the sum over all images."""
    target, beta = how.target(known), held_sharpness(how.settings, i)
    if how.settings.duals == "projected":
        _, duals = projected_loss(target, whole.x, target.network.units.smoothed(beta), how.settings.ridge)
        whole = whole._replace(duals=jnp.asarray(duals).swapaxes(0, 1))
    return whole, full_sum(target, whole, min(how.settings.batch, len(whole.x)), beta)


def advance(
    how: Batches,
    v: dict[str, Any],
    state: Running,
    first: Tensor,
    last: Tensor,
    given: tuple[Known, PRNGKeyArray],
) -> tuple[dict[str, Any], Running, Tensor]:
    """As `recon.attacks.adam.advance`; `given` holds the key of the batches' order too."""
    known, order = given

    def body(i: Tensor, carry: Carry) -> Carry:
        whole, state, loss = carry
        whole, total = jax.lax.cond(
            i % how.settings.resum == 0, lambda: resummed(how, i, whole, known), lambda: (whole, state.total)
        )
        return step(how, i, (whole, state._replace(total=total), loss), known, order)

    carry = (Variables(**v), state, jnp.asarray(jnp.inf, jnp.float32))
    whole, state, loss = jax.lax.fori_loop(first, last, body, carry)
    return whole._asdict(), state, loss


def run(problem: Problem, settings: Minibatch, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise, a batch at a time.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings)
    if min(settings.batch, settings.resum) < 1:
        raise ReconError("The attack needs at least one image in a batch and one step between re-sums.")
    m = problem.m
    batch = min(settings.batch, m)
    known = known_of(problem, settings)
    k_x, k_duals, k_order = jax.random.split(key, 3)
    start = Variables(
        first_images(problem, settings.x_scale, k_x).reshape(m, -1),
        settings.dual_scale
        * jax.random.uniform(k_duals, (m, len(known.points), problem.network.outputs), minval=-1.0, maxval=1.0),
    )
    nothing = jax.tree.map(jnp.zeros_like, dense_layers(known.change))
    running = Running(jax.vmap(optax.scale_by_adam().init)(start), nothing)
    how = Batches(settings, problem.network, problem.image_shape)
    variables, given = start._asdict(), (known, k_order)
    program = compiled_loop(advance, how, variables, running, given)
    # XLA counts both sides of the condition, and of a loop over chunks one pass.
    each = costs(step, how, 0, (start, running, jnp.asarray(jnp.inf, jnp.float32)), *given)
    again = costs(resummed, how, 0, start, known)
    passes = 1 if settings.duals == "projected" else -(-m // batch)
    flops, moved = (a + b * passes / settings.resum for a, b in zip(each, again, strict=True))
    program.work.update(flops_per_step=flops, bytes_per_step=moved, batch=batch)
    done = descend(program, variables, running, given, settings, settings.seconds, report)
    duals = np.asarray(done.variables["duals"]).swapaxes(0, 1)
    span = first_layer_span(problem.change["Dense_0"]["kernel"])
    found = result("ntk-minibatch", problem, done, program, start.x, duals)
    return dataclasses.replace(found, n_estimated=span.n if span.clear else None)


ATTACK = Attack("ntk-minibatch", "published objective by batches, for large sets", Minibatch(), run)
