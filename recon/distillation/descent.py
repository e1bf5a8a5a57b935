"""The compiled loop that descends a loss of kernels alone in the images of a set, for `kip` and `rkip`."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, PRNGKeyArray

from recon.arrays import Tensor
from recon.distillation.base import DistilledSet, Problem
from recon.distillation.regression import RIDGE, regression_loss
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP, InfiniteNetwork
from recon.loops import chunks, compiled
from recon.progress import Report

ROWS = 500  # of a trace that are kept, geometrically spaced

Loss = Callable[..., Float[Tensor, ""]]
"""(kernel, ridge, images, labels, *known arrays) → the loss of a set."""


class Schedule(NamedTuple):
    """Adam's steps, its learning rate at the first of them, and how that decays."""

    steps: int
    learning_rate: float
    decay: Literal["constant", "cosine"]


# The losses have a kink wherever an image of the set is parallel to a training image, where a quasi-Newton line search
# gets stuck: L-BFGS ended at a higher loss than "fast" on both methods (MNIST odd/even, 500 to 20).
SCHEDULES = {"adam": Schedule(50_000, 1e-3, "constant"), "fast": Schedule(5_000, 1e-2, "cosine")}


@dataclass(frozen=True)
class KernelDistillation:
    """Settings of KIP and RKIP; those of the paper with `optimiser="adam"`.

    Attributes:
      kernel: the infinitely wide network.
      optimiser: "adam", the published schedule, or "fast", Adam at ten times its rate, decayed to zero.
      steps, learning_rate: in place of the schedule's own.
      ridge: added to the diagonal of a kernel matrix, as a fraction of its mean.
      x_scale: standard deviation of the images at the start.
      labels: "fixed", or "learned" along with the images.
      select: keep the images of least "loss", or of least regression loss on "held_out" images, which KIP needs: it
        fits its own targets long after it has stopped to improve on others.
      look: steps between two looks at the held-out images.
      seconds: stop after so much time in the compiled loop.
    """

    kernel: InfiniteNetwork = field(default_factory=InfiniteMLP)
    optimiser: Literal["fast", "adam"] = "fast"
    steps: int | None = None
    learning_rate: float | None = None
    ridge: float = RIDGE
    x_scale: float = 0.2
    labels: Literal["fixed", "learned"] = "fixed"
    select: Literal["loss", "held_out"] = "loss"
    look: int = 10
    seconds: float | None = None

    @property
    def schedule(self) -> Schedule:
        """The optimiser's, with what is changed in it."""
        own = SCHEDULES[self.optimiser]
        steps = own.steps if self.steps is None else self.steps
        return Schedule(steps, own.learning_rate if self.learning_rate is None else self.learning_rate, own.decay)


class Variables(NamedTuple):
    """What is descended in; fixed labels stay what they are."""

    images: Float[Tensor, "m *shape"]
    labels: Float[Tensor, "m c"]


class State(NamedTuple):
    """The loop between two steps.

    Attributes:
      variables: the set.
      moments: Adam's.
      best, least, at: the set with the least of what selects, that value, and the step it is from.
      losses, held_out: by step, NaN where not evaluated.
    """

    variables: Variables
    moments: Any
    best: Variables
    least: Float[jax.Array, ""]
    at: Int[jax.Array, ""]
    losses: Float[jax.Array, " steps"]
    held_out: Float[jax.Array, " steps"]


def check(settings: KernelDistillation, problem: Problem) -> None:
    """Refuse settings that no descent can run with.

    Raises:
      ReconError: an unknown choice, no step, a negative ridge, or nothing held out to select by.
    """
    if settings.optimiser not in SCHEDULES:
        raise ReconError("optimiser is 'fast' or 'adam'.")
    if settings.labels not in ("fixed", "learned") or settings.select not in ("loss", "held_out"):
        raise ReconError("labels is 'fixed' or 'learned', select is 'loss' or 'held_out'.")
    if settings.schedule.steps < 1 or settings.look < 1:
        raise ReconError("Distillation needs at least one step, and at least one between two looks.")
    if not settings.ridge >= 0 or not settings.x_scale > 0 or not settings.schedule.learning_rate > 0:
        raise ReconError("The ridge must not be negative; x_scale and learning_rate must be above zero.")
    if settings.select == "held_out" and problem.held_out is None:
        raise ReconError("There is nothing held out to select by: give held_out=(x, y), or select='loss'.")


def optimiser(settings: KernelDistillation) -> optax.GradientTransformation:
    """Adam on the schedule."""
    steps, learning_rate, decay = settings.schedule
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps) if decay == "cosine" else learning_rate)


def advance(
    how: tuple[Loss, KernelDistillation], state: State, first: Tensor, last: Tensor, known: Any, held_out: Any
) -> State:
    """The loop from step `first` up to `last`; `how` is the loss and its settings."""
    loss, settings = how
    adam = optimiser(settings)

    def objective(v: Variables) -> Tensor:
        labels = v.labels if settings.labels == "learned" else jax.lax.stop_gradient(v.labels)
        return loss(settings.kernel, settings.ridge, v.images, labels, *known)

    def looked(v: Variables) -> Tensor:
        return regression_loss(settings.kernel, settings.ridge, v.images, v.labels, *held_out)

    def body(i: jax.Array, s: State) -> State:
        value, slope = jax.value_and_grad(objective)(s.variables)
        score, seen = value, s.held_out
        if settings.select == "held_out":
            score = jax.lax.cond(i % settings.look == 0, looked, lambda _: jnp.full_like(value, jnp.nan), s.variables)
            seen = seen.at[i].set(score)
        better = score < s.least  # never where it is NaN
        best, least, at = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), (s.variables, score, i), (s.best, s.least, s.at)
        )
        update, moments = adam.update(slope, s.moments)
        moved = optax.apply_updates(s.variables, update)
        return State(moved, moments, best, least, at, s.losses.at[i].set(value), seen)

    final: State = jax.lax.fori_loop(first, last, body, state)
    return final


def run(
    name: str,
    loss: Loss,
    known_of: Callable[[Problem, KernelDistillation], tuple[np.ndarray, ...]],
    problem: Problem,
    settings: KernelDistillation,
    key: PRNGKeyArray,
    report: Report,
) -> DistilledSet:
    """Descend from noise, in float32; on Ctrl-C the best set so far is returned.

    Args:
      name: of the method.
      loss: what is descended.
      known_of: gives the arrays that it takes beside the set.
      problem: what is distilled.
      settings: how.
      key: of the images at the start.
      report: told the loss.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings, problem)
    steps = settings.schedule.steps
    shape = (len(problem.labels), *problem.x.shape[1:])
    start = Variables(
        settings.x_scale * jax.random.normal(key, shape, jnp.float32), jnp.asarray(problem.labels, jnp.float32)
    )
    unseen = jnp.full(steps, jnp.nan, jnp.float32)
    state = State(
        start,
        optimiser(settings).init(start),
        start,
        jnp.asarray(jnp.inf, jnp.float32),
        jnp.asarray(0),
        unseen,
        unseen,
    )
    # Given to the compiled loop as arguments: as constants they would be copied into the program.
    arrays = tuple(jnp.asarray(a, jnp.float32) for a in known_of(problem, settings))
    held_out: tuple[Tensor, ...] = ()
    if settings.select == "held_out" and problem.held_out is not None:
        held_out = tuple(jnp.asarray(a, jnp.float32) for a in problem.held_out)
    how = loss, dataclasses.replace(settings, seconds=None)  # which does not enter the program
    fix = "distil fewer images, or to fewer of each class"
    program = compiled(advance, how, state, 0, 1, arrays, held_out, what="A step of the distillation", fix=fix)
    done, spent, why = 0, 0.0, "schedule done"
    try:
        for first, last in chunks(steps):
            clock = time.perf_counter()
            after = program.run(state, first, last, arrays, held_out)
            value = float(after.losses[last - 1])  # waits for the device
            spent += time.perf_counter() - clock
            if not math.isfinite(value):
                raise ReconError(f"The loss of {name} is {value} at step {last}: raise the ridge or lower the rate.")
            state, done = after, last
            report(done / steps, f"loss {value:.2e}")
            if settings.seconds is not None and spent > settings.seconds and done < steps:
                why = "time budget"
                break
    except KeyboardInterrupt:
        why = "interrupted"
    losses, at = np.asarray(state.losses, np.float64), int(state.at)
    return DistilledSet(
        method=name,
        images=np.asarray(state.best.images),
        labels=np.asarray(state.best.labels),
        start=np.asarray(start.images),
        loss=float(losses[at]),
        step=at,
        trace=rows(losses),
        held_out=rows(np.asarray(state.held_out, np.float64)),
        steps=done,
        why=why,
        settings={**dataclasses.asdict(settings), **settings.schedule._asdict()},
        work=program.work | {"flops": done * program.work["flops_per_step"]},
        seconds=program.seconds | {"run": spent},
    )


def rows(values: Float[np.ndarray, " steps"]) -> Float[np.ndarray, "k 2"]:
    """(step, value) where there is a value; of many, at most `ROWS`, geometrically spaced, both ends among them."""
    steps = np.flatnonzero(np.isfinite(values))
    if len(steps) > ROWS:
        steps = steps[np.unique(np.geomspace(1, len(steps), ROWS).round().astype(int)) - 1]
    return np.stack([steps, values[steps]], axis=1)
