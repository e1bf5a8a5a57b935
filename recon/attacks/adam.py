"""Adam on an attack's loss: schedule, compiled loop, and a driver that heeds Ctrl-C and the clock."""

import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.base import Problem, Reconstruction, Snapshot
from recon.errors import ReconError
from recon.loops import Program, chunks, compiled
from recon.networks import Network, Params
from recon.progress import Report

LOOK_SECONDS = 0.002  # between two looks at the keyboard
GRACE = 2.0  # seconds that steps under way are waited for when the time is up or Ctrl-C was pressed


@dataclass(frozen=True)
class DescentSettings:
    """Settings that every descent on the reconstruction loss has.

    Attributes:
      points: where on the straight path from θ₀ (0) to θ_f (1) gradients are taken, each with its own duals; for a
        linearised model all are taken at θ₀.
      steps: Adam steps.
      learning_rate: Adam's, at the first step.
      decay: "constant", or "cosine" to zero at the last step.
      duals: "free" variables of the descent, or "projected": the best ones for the current images, in closed form.
      ridge: added to the diagonal of the projected duals' kernel, as a fraction of its mean.
      x_scale: standard deviation of the images at the start, where no others are given.
      dual_scale: duals start uniform in ±`dual_scale`.
      box_weight: weight of the pixel box penalty.
      sharpness, sharpness_end, sharpness_decades: an activation with a kink is smoothed, with the sharpness β =
        min(sharpness + 10^(decades·i/steps), sharpness_end) at step i.
      seconds: stop after so much time in the compiled loop, all restarts together.
      snapshots: keep the images at so many steps, geometrically spaced.
    """

    points: tuple[float, ...] = (1.0,)
    steps: int = 80_000
    learning_rate: float = 0.02
    decay: Literal["constant", "cosine"] = "constant"
    duals: Literal["free", "projected"] = "free"
    ridge: float = 1e-4
    x_scale: float = 0.2
    dual_scale: float = 0.5
    box_weight: float = 0.1
    sharpness: float = 10.0
    sharpness_end: float = 200.0
    sharpness_decades: float = 4.0
    seconds: float | None = None
    snapshots: int = 0


def check(settings: DescentSettings) -> None:
    """Refuse settings that no descent can run with.

    Raises:
      ReconError: no step, no point of the path, or an unknown choice.
    """
    if settings.steps < 1 or not settings.points:
        raise ReconError("The attack needs at least one step and one point of the path.")
    if settings.duals not in ("free", "projected") or settings.decay not in ("constant", "cosine"):
        raise ReconError("duals is 'free' or 'projected', decay is 'constant' or 'cosine'.")


def sharpness(settings: DescentSettings, step: Tensor) -> Tensor:
    """Softplus sharpness β at a step."""
    exponent = settings.sharpness_decades * step / settings.steps
    return jnp.minimum(settings.sharpness + 10.0**exponent, settings.sharpness_end)


def rate(settings: DescentSettings) -> optax.Schedule:
    """Learning rate by step."""
    if settings.decay == "cosine":
        return optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
    return optax.constant_schedule(settings.learning_rate)


def first_images(problem: Problem, scale: float, key: PRNGKeyArray) -> Float[Tensor, "m *shape"]:
    """Images that a descent starts from: those given, else white noise of standard deviation `scale`."""
    if problem.start is not None:
        return jnp.asarray(problem.start)
    return scale * jax.random.normal(key, (problem.m, *problem.image_shape))


def first_variables(problem: Problem, settings: DescentSettings, key: PRNGKeyArray) -> dict[str, Any]:
    """Where a descent starts: images "x", and where they are free "duals", for each point of the path and output."""
    k_x, k_duals = jax.random.split(key)
    variables = {"x": first_images(problem, settings.x_scale, k_x)}
    if settings.duals == "free":
        size = len(settings.points), problem.m, problem.network.outputs
        variables["duals"] = jax.random.uniform(k_duals, size, minval=-1.0, maxval=1.0) * settings.dual_scale
    return variables


Settings = TypeVar("Settings")


def untimed(settings: Settings) -> Settings:
    """Settings without `seconds` and `snapshots`, which do not enter a program and would only tell equal ones apart."""
    same: Settings = dataclasses.replace(settings, seconds=None, snapshots=0)  # type: ignore[type-var]
    return same


def cosine(settings: Any, **others: Any) -> DescentSettings:
    """The descent of an attack with settings of its own: its steps, rate, time and snapshots, the rate decaying."""
    names = "steps", "learning_rate", "seconds", "snapshots"
    return DescentSettings(decay="cosine", **{name: getattr(settings, name) for name in names}, **others)


class Known(NamedTuple):
    """Arrays that the loss depends on.

    Given to the compiled loop as arguments: as constants they would be copied into the program.

    Attributes:
      points: parameters at each point of the path.
      change: Δθ, layer by layer.
      basis: of the span that the images are looked for in, or None.
      box: least and greatest value of a pixel, by channel, or None.
    """

    points: tuple[Params, ...]
    change: Params
    basis: Tensor | None
    box: tuple[Tensor, ...] | None


def known_of(problem: Problem, settings: DescentSettings) -> Known:
    """What the loss depends on, without a basis; a linearised model's gradients are all those at θ₀."""

    def point(s: float) -> Params:
        params: Params = jax.tree.map(lambda a, d: jnp.asarray(a + s * d), problem.params0, change)
        return params

    change = problem.change
    box = None if problem.box is None else tuple(jnp.atleast_1d(jnp.asarray(b, jnp.float32)) for b in problem.box)
    points = (0.0,) * len(settings.points) if problem.linearised else settings.points
    return Known(tuple(map(point, points)), jax.tree.map(jnp.asarray, change), None, box)


@dataclass(frozen=True)
class Objective(ABC):
    """A loss with what it depends on beside arrays: two that are equal have one compiled loop.

    Attributes:
      settings: of the descent.
      network: the attacked one.
      image_shape: of one image.
    """

    settings: DescentSettings
    network: Network
    image_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Make equal what has one program."""
        settings = dataclasses.replace(untimed(self.settings), points=tuple(self.settings.points))
        object.__setattr__(self, "settings", settings)

    @abstractmethod
    def loss(self, variables: dict[str, Any], step: Tensor, known: Known) -> Float[Tensor, ""]:
        """The loss at a step, whose number is a float; "x" among the variables are the images."""

    def images(self, x: Float[Tensor, "m *any"], known: Known) -> Float[Tensor, "m *shape"]:
        """Images from what is descended in: themselves, or their coordinates in a span."""
        flat = x if known.basis is None else x @ known.basis.T
        return flat.reshape(len(flat), *self.image_shape)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam on the schedule of the settings."""
        return optax.adam(rate(self.settings))


def advance(
    objective: Objective, v: dict[str, Any], moments: Any, first: Tensor, last: Tensor, known: Known
) -> tuple[dict[str, Any], Any, Tensor]:
    """Variables and Adam's moments after the steps from the first up to the last, and the loss before that."""

    def body(i: Tensor, carry: tuple[Any, Any, Tensor]) -> tuple[Any, Any, Tensor]:
        v, moments, _ = carry
        loss, grads = jax.value_and_grad(objective.loss)(v, i.astype(jnp.float32), known)
        updates, moments = objective.optimiser.update(grads, moments, v)
        return optax.apply_updates(v, updates), moments, loss

    start = (v, moments, jnp.asarray(jnp.inf, jnp.float32))
    final: tuple[Any, Any, Tensor] = jax.lax.fori_loop(first, last, body, start)
    return final


def compiled_loop(loop: Callable[..., Any], how: Any, variables: Any, state: Any, known: Any) -> Program:
    """`loop`(how, variables, state, first step, last step, known), such as `advance`; see `recon.loops.compiled`.

    Raises:
      TooLarge: the machine has not the memory for a step. Projected duals take 8 matrices of all images' outputs,
        (images · outputs)² numbers each; what a program takes is known once it is compiled, which itself takes little.
    """
    fix = "reconstruct fewer images (m), or use the attack exact"
    return compiled(loop, how, variables, state, 0, 1, known, what="A step of the attack", fix=fix)


class Descended(NamedTuple):
    """One descent.

    Attributes:
      variables: where it ended.
      step, loss: at the end.
      trace: its (step, loss).
      why: it stopped.
      seconds: it took.
      kept: (step, seconds, x) on the way.
      busy: steps that nobody waited for are still under way, which all that JAX is asked for has to wait for.
    """

    variables: dict[str, Any]
    step: int
    loss: float
    trace: Float[np.ndarray, "k 2"]
    why: str
    seconds: float
    kept: list[tuple[int, float, Tensor]]
    busy: bool = False


def snapshot_steps(settings: DescentSettings) -> list[int]:
    """Steps to keep the images of, the last one among them."""
    if not settings.snapshots:
        return []
    spaced = np.geomspace(min(10, settings.steps), settings.steps, settings.snapshots).round().astype(int)
    return sorted(set(spaced.tolist()))


def computed(value: Any, seconds: float) -> bool:
    """Wait until a value is computed, but no longer; in JAX's own wait Ctrl-C is not heard before its end."""
    until = time.perf_counter() + seconds
    while not value.is_ready():
        if time.perf_counter() > until:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def descend(
    program: Program,
    variables: dict[str, Any],
    state: Any,
    known: Any,
    settings: DescentSettings,
    budget: float | None,
    report: Report,
) -> Descended:
    """Drive a loop of `compiled_loop` to the end of its schedule, or through its `budget` of seconds.

    On Ctrl-C the variables of least loss are returned. Time for snapshots does not count.

    Raises:
      ReconError: the loss stops being finite.
    """
    steps, stops = settings.steps, snapshot_steps(settings)
    step, loss, trace = 0, math.inf, []
    best = variables, step, loss
    kept: list[tuple[int, float, Tensor]] = []
    seconds, why, busy = 0.0, "schedule done", False
    loss_: Any = None
    try:
        for first, last in chunks(steps, stops):
            clock = time.perf_counter()
            after, state, loss_ = program.run(variables, state, first, last, known)
            busy = not computed(loss_, math.inf if budget is None else budget - seconds + GRACE)
            seconds += time.perf_counter() - clock
            if busy:
                why = "time budget"
                break
            if not math.isfinite(float(loss_)):
                raise ReconError(
                    f"The loss is {float(loss_)} at step {last}: lower the learning rate, or start elsewhere."
                )
            variables, step, loss = after, last, float(loss_)
            trace.append((step, loss))
            if loss <= best[2]:
                best = variables, step, loss
            report(step / steps, f"loss {loss:.2e}")
            over = budget is not None and seconds > budget and step < steps
            if step in stops or (over and stops):
                kept.append((step, seconds, variables["x"]))
            if over:
                why = "time budget"
                break
    except KeyboardInterrupt:
        (variables, step, loss), why = best, "interrupted"
        busy = loss_ is not None and not computed(loss_, GRACE)
    return Descended(variables, step, loss, np.array(trace, np.float64).reshape(-1, 2), why, seconds, kept, busy)


def run_adam(
    objective: Objective, variables: dict[str, Any], known: Known, settings: DescentSettings, report: Report
) -> tuple[Descended, Program]:
    """One descent from `variables`, for `settings.seconds` at most.

    Raises:
      ReconError: as `compiled_loop` and `descend`.
    """
    moments = objective.optimiser.init(variables)
    program = compiled_loop(advance, objective, variables, moments, known)
    return descend(program, variables, moments, known, settings, settings.seconds, report), program


def result(
    attack: str,
    problem: Problem,
    done: Descended,
    program: Program,
    start: Tensor,
    duals: Float[Tensor, "p m c"] | None = None,
) -> Reconstruction:
    """The reconstruction that a descent on the variable "x" ended at, on flat or shaped images.

    Args:
      attack: its name.
      problem: what it was given.
      done: what it did.
      program: its loop.
      start: images that it started from.
      duals: where it has them.
    """
    shape = problem.m, *problem.image_shape
    flops = program.work["flops_per_step"]
    return Reconstruction(
        attack=attack,
        images=np.asarray(done.variables["x"]).reshape(shape),
        start=np.asarray(start).reshape(shape),
        duals=None if duals is None else np.asarray(duals),
        trace=done.trace,
        steps=done.step,
        why=done.why,
        work=program.work | {"flops": done.step * flops},
        seconds=program.seconds | {"run": done.seconds},
        snapshots=tuple(Snapshot(at, when, at * flops, np.asarray(x).reshape(shape)) for at, when, x in done.kept),
    )
