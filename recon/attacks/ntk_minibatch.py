"""The published objective for large sets: a running sum of all images' gradients, refreshed a batch at a time.

With S = (1/M) Σ_j α_j ∇f(x_j), a step takes a batch B, descends ‖Δθ − S‖² in the batch's images and duals with the
others' share held fixed, and puts the batch's new share in the place of its old one. Every `resum` steps S is summed
afresh, against rounding. Between re-sums the softplus sharpness stays what it was, so that what is taken out of the
sum is what was put in. Adam's moments of an image are touched when its batch is drawn, and only then.

Published duals move with Adam, at the images' rate. Since S is divided by M, they must grow in proportion to M, for
which large sets take correspondingly many steps. The duals of a re-sum can be projected instead: the best ones for the
images of that moment, in closed form, held until the next.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.base import Attack, Problem, Reconstruction, Snapshot
from recon.attacks.gradient_matching import (
    DescentSettings,
    Known,
    Sum,
    Target,
    box_penalty,
    check,
    compiled_loop,
    descend,
    explained,
    explained_in_chunks,
    known_of,
    projected_loss,
    rate,
    sharpness,
)
from recon.attacks.rank import first_layer_span
from recon.errors import ReconError
from recon.networks import dense_layers, softplus
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
    return explained(target, part.x, part.duals.swapaxes(0, 1) / m, softplus(beta))


def full_sum(target: Target, whole: Variables, batch: int, beta: Tensor) -> Sum:
    """S over all images, at most `batch` of them in memory at once."""
    weights = whole.duals.swapaxes(0, 1) / len(whole.x)
    return explained_in_chunks(target, whole.x, weights, softplus(beta), batch)


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


def run(problem: Problem, settings: Minibatch, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise, a batch at a time.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings)
    if min(settings.batch, settings.resum) < 1:
        raise ReconError("The attack needs at least one image in a batch and one step between re-sums.")
    m, shape = problem.m, problem.image_shape
    batch = min(settings.batch, m)
    known = known_of(problem, settings)
    k_x, k_duals, k_order = jax.random.split(key, 3)
    noise = settings.x_scale * jax.random.normal(k_x, (m, math.prod(shape)))
    start = Variables(
        noise if problem.start is None else jnp.asarray(problem.start).reshape(noise.shape),
        settings.dual_scale
        * jax.random.uniform(k_duals, (m, len(known.points), problem.network.outputs), minval=-1.0, maxval=1.0),
    )
    nothing = jax.tree.map(jnp.zeros_like, dense_layers(known.change))
    running = Running(jax.vmap(optax.scale_by_adam().init)(start), nothing)

    def step(i: Tensor, carry: tuple[Variables, Running, Tensor], known: Known) -> tuple[Variables, Running, Tensor]:
        whole, state, _ = carry
        target = Target(problem.mlp, known.points, known.change)
        return refresh(target, settings, known, whole, state, batch_of(k_order, i, m, batch), i)

    def resummed(i: Tensor, whole: Variables, known: Known) -> tuple[Variables, Sum]:
        target, beta = Target(problem.mlp, known.points, known.change), held_sharpness(settings, i)
        if settings.duals == "projected":
            _, duals = projected_loss(target, whole.x, softplus(beta), settings.ridge)
            whole = whole._replace(duals=jnp.asarray(duals).swapaxes(0, 1))
        return whole, full_sum(target, whole, batch, beta)

    def advance(v: dict[str, Any], state: Running, first: Tensor, last: Tensor, known: Known) -> tuple[Any, Any, Any]:
        def body(i: Tensor, carry: tuple[Variables, Running, Tensor]) -> tuple[Variables, Running, Tensor]:
            whole, state, loss = carry
            whole, total = jax.lax.cond(
                i % settings.resum == 0, lambda: resummed(i, whole, known), lambda: (whole, state.total)
            )
            return step(i, (whole, state._replace(total=total), loss), known)

        carry = (Variables(**v), state, jnp.asarray(jnp.inf, jnp.float32))
        whole, state, loss = jax.lax.fori_loop(first, last, body, carry)
        return whole._asdict(), state, loss

    advance_, seconds, work = compiled_loop(advance, start._asdict(), running, known)
    # XLA counts both sides of the condition, and of a loop over chunks one pass.
    at = (jnp.asarray(0), jnp.asarray(jnp.inf, jnp.float32))
    each = jax.jit(step).lower(at[0], (start, running, at[1]), known).cost_analysis() or {}
    again = jax.jit(resummed).lower(at[0], start, known).cost_analysis() or {}
    for name, entry in (("flops_per_step", "flops"), ("bytes_per_step", "bytes accessed")):
        per_sum = float(again.get(entry, math.nan)) * (1 if settings.duals == "projected" else -(-m // batch))
        work[name] = float(each.get(entry, math.nan)) + per_sum / settings.resum
    done = descend(advance_, (start._asdict(), running, 0, float("inf")), settings, settings.seconds, report)
    final, _, steps, _ = done.state
    span = first_layer_span(problem.change["Dense_0"]["kernel"])

    def images(x: Tensor) -> np.ndarray:
        return np.asarray(x).reshape(m, *shape)

    return Reconstruction(
        attack="ntk-minibatch",
        images=images(final["x"]),
        start=images(start.x),
        duals=np.asarray(final["duals"]).swapaxes(0, 1),
        n_estimated=span.n if span.clear else None,
        trace=done.trace,
        steps=steps,
        why=done.why,
        work=work | {"flops": steps * work["flops_per_step"], "batch": batch},
        seconds=seconds | {"run": done.seconds},
        snapshots=tuple(Snapshot(at, when, at * work["flops_per_step"], images(x)) for at, when, x in done.kept),
    )


ATTACK = Attack("ntk-minibatch", "published objective by batches, for large sets", Minibatch(), run)
