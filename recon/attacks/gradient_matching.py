"""The paper's reconstruction loss (eq. 7) and the compiled loop that descends it, for `ntk` and `ntk-fast`.

    L(x, α) = ‖Δθ − (1/M) Σ_p Σ_j Σ_c α_pjc ∇_θ f_c(x_j; θ_p)‖² + box penalty,   θ_p = θ₀ + s_p Δθ.

One point s = 1 is the published objective, s = 0 its form for linearised dynamics, (0, 1) the two-kernel variant of
appendix I. A layer's parameter gradient is an outer product, so layer l contributes ‖ΔW_l − Hᵀ A‖² with the layer's
inputs H and weighted deltas A: no parameter tree per image is ever built.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.base import Problem, Reconstruction, Snapshot
from recon.attacks.rank import first_layer_span
from recon.errors import ReconError
from recon.memory import require, temporary
from recon.networks import MLP, Activation, Layers, Params, dense_layers, softplus
from recon.networks.products import outer, times
from recon.progress import Report

CHUNK_SECONDS = 0.5  # of compiled steps between two looks at the loss and the clock
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
      sharpness, sharpness_end, sharpness_decades: softplus sharpness β = min(sharpness + 10^(decades·i/steps),
        sharpness_end) at step i.
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


@dataclass(frozen=True)
class GradientMatching(DescentSettings):
    """Settings of the descent with all images at once.

    Attributes:
      span: look for the images in the span of the first layer's change only, if its rank is clear.
      restarts: descend from so many starts and keep the end of least loss.
      chunk: images whose gradients are formed at once (None: all), to save memory at the price of a second forward
        pass; for free duals.
    """

    span: bool = False
    restarts: int = 1
    chunk: int | None = None


class Target(NamedTuple):
    """The attacked network as the loss sees it.

    Attributes:
      network: architecture.
      points: parameters at each point of the path.
      change: Δθ, layer by layer.
    """

    network: MLP
    points: tuple[Params, ...]
    change: Params


class Known(NamedTuple):
    """Arrays that the loss depends on: see `Target`; the span's basis and the pixel box, if they are used."""

    points: tuple[Params, ...]
    change: Params
    basis: Tensor | None
    box: tuple[Tensor, ...] | None


def stacked(target: Target, x: Tensor, activation: Activation, weights: Tensor | None = None) -> Layers:
    """`MLP.layers` at all points, stacked along the image axis: row p·M + j is image j at point p."""
    per_point = [
        target.network.layers(params, x, activation, None if weights is None else weights[p])
        for p, params in enumerate(target.points)
    ]
    inputs = [jnp.concatenate(parts) for parts in zip(*(p.inputs for p in per_point), strict=True)]
    deltas = [jnp.concatenate(parts) for parts in zip(*(p.deltas for p in per_point), strict=True)]
    return Layers(inputs, deltas, jnp.concatenate([p.outputs for p in per_point]))


Sum = list[tuple[Tensor, Tensor | None]]


def explained(target: Target, x: Float[Tensor, "m d"], duals: Float[Tensor, "p m c"], activation: Activation) -> Sum:
    """Σ α ∇f(x), layer by layer: (kernel, bias) in the layers' order."""
    layers = stacked(target, x, activation, duals)
    total: Sum = []
    for (_, d_bias), h, a in zip(dense_layers(target.change), layers.inputs, layers.deltas, strict=True):
        scale, bias_scale = target.network.scales(h.shape[1])
        total.append((scale * outer(h, a), None if d_bias is None else bias_scale * a.sum(0)))
    return total


def explained_in_chunks(
    target: Target, x: Float[Tensor, "m d"], duals: Float[Tensor, "p m c"], activation: Activation, chunk: int
) -> Sum:
    """`explained`, with the layers' values of at most `chunk` images in memory, also in its gradient."""
    parts = -(-len(x) // chunk)
    spare = parts * chunk - len(x)  # filled up with images of no weight
    xs = jnp.pad(x, ((0, spare), (0, 0))).reshape(parts, chunk, -1)
    weights = jnp.pad(duals, ((0, 0), (0, spare), (0, 0)))
    weights = weights.reshape(len(weights), parts, chunk, -1).swapaxes(0, 1)

    def add(total: Sum, part: tuple[Tensor, Tensor]) -> tuple[Sum, None]:
        return jax.tree.map(jnp.add, total, explained(target, *part, activation)), None

    nothing: Sum = [
        (jnp.zeros_like(k), None if b is None else jnp.zeros_like(b)) for k, b in dense_layers(target.change)
    ]
    total, _ = jax.lax.scan(jax.checkpoint(add), nothing, (xs, weights))
    return total


def matching_loss(
    target: Target,
    x: Float[Tensor, "m d"],
    duals: Float[Tensor, "p m c"],
    activation: Activation,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """‖Δθ − (1/M) Σ α ∇f(x)‖² (eq. 7), layer by layer."""
    weights = duals / len(x)
    sums = (
        explained(target, x, weights, activation)
        if chunk is None
        else explained_in_chunks(target, x, weights, activation, chunk)
    )
    total = jnp.zeros((), x.dtype)
    for (d_kernel, d_bias), (kernel, bias) in zip(dense_layers(target.change), sums, strict=True):
        total = total + jnp.sum((d_kernel - kernel) ** 2)
        if d_bias is not None:
            total = total + jnp.sum((d_bias - bias) ** 2)
    return total


def projected_loss(
    target: Target, x: Float[Tensor, "m d"], activation: Activation, ridge: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "p m c"]]:
    """The least `matching_loss` over the duals, and the duals that reach it: α/M = (K_RR + ridge)⁻¹ b, b = ⟨Δθ, ∇f⟩."""
    m = x.shape[0]
    layers = stacked(target, x, activation)
    rows, c = layers.outputs.shape
    norm, kernel, b = jnp.zeros((), x.dtype), jnp.zeros((rows, c, rows, c), x.dtype), jnp.zeros((rows, c), x.dtype)
    for (d_kernel, d_bias), h, a in zip(dense_layers(target.change), layers.inputs, layers.deltas, strict=True):
        scale, bias_scale = target.network.scales(h.shape[1])
        norm = norm + jnp.sum(d_kernel**2)
        gram = scale**2 * (h @ h.T)
        b = b + scale * jnp.einsum("mo,mco->mc", times(h, d_kernel), a)
        if d_bias is not None:
            norm = norm + jnp.sum(d_bias**2)
            gram = gram + bias_scale**2
            b = b + bias_scale * (a @ d_bias)
        flat = a.reshape(rows * c, -1)
        kernel = kernel + gram[:, None, :, None] * (flat @ flat.T).reshape(rows, c, rows, c)
    matrix = kernel.reshape(rows * c, rows * c)
    matrix = matrix + ridge * jnp.trace(matrix) / (rows * c) * jnp.eye(rows * c, dtype=x.dtype)
    flat_b = b.reshape(-1)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), flat_b)
    return norm - flat_b @ solved, m * solved.reshape(len(target.points), m, c)


def box_penalty(x: Float[Tensor, "m *shape"], box: tuple[Tensor, ...], weight: float) -> Float[Tensor, ""]:
    """weight·M·mean(relu(x − max)² + relu(min − x)²), with the box by channel (last axis)."""
    low, high = box
    return weight * len(x) * jnp.mean(jax.nn.relu(x - high) ** 2 + jax.nn.relu(low - x) ** 2)


def sharpness(settings: DescentSettings, step: Tensor) -> Tensor:
    """Softplus sharpness β at a step."""
    exponent = settings.sharpness_decades * step / settings.steps
    return jnp.minimum(settings.sharpness + 10.0**exponent, settings.sharpness_end)


def rate(settings: DescentSettings) -> optax.Schedule:
    """Learning rate by step."""
    if settings.decay == "cosine":
        return optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
    return optax.constant_schedule(settings.learning_rate)


def check(settings: DescentSettings) -> None:
    """Refuse settings that no descent can run with.

    Raises:
      ReconError: no step, no point of the path, or an unknown choice.
    """
    if settings.steps < 1 or not settings.points:
        raise ReconError("The attack needs at least one step and one point of the path.")
    if settings.duals not in ("free", "projected") or settings.decay not in ("constant", "cosine"):
        raise ReconError("duals is 'free' or 'projected', decay is 'constant' or 'cosine'.")


def known_of(problem: Problem, settings: DescentSettings) -> Known:
    """What the loss depends on, without a basis; a linearised model's gradients are all those at θ₀.

    Given to the compiled loop as arguments: as constants they would be copied into the program.
    """

    def point(s: float) -> Params:
        params: Params = jax.tree.map(lambda a, d: jnp.asarray(a + s * d), problem.params0, change)
        return params

    change = problem.change
    box = None if problem.box is None else tuple(jnp.atleast_1d(jnp.asarray(b, jnp.float32)) for b in problem.box)
    points = (0.0,) * len(settings.points) if problem.linearised else settings.points
    return Known(tuple(map(point, points)), jax.tree.map(jnp.asarray, change), None, box)


def run(name: str, problem: Problem, settings: GradientMatching, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    check(settings)
    if settings.restarts < 1:
        raise ReconError("The attack needs at least one start.")
    if settings.chunk is not None and (settings.chunk < 1 or settings.duals == "projected"):
        raise ReconError("chunk is at least 1 and goes with free duals: projected ones need all images at once.")
    m, shape = problem.m, problem.image_shape
    dim = math.prod(shape)
    change = problem.change
    span = first_layer_span(change["Dense_0"]["kernel"])
    basis = jnp.asarray(span.basis, jnp.float32) if settings.span and span.clear else None

    def reduced(tree: Params) -> Params:
        """The same weights for inputs given by their coordinates in the span."""
        if basis is None:
            return tree
        return {**tree, "Dense_0": {**tree["Dense_0"], "kernel": basis.T @ tree["Dense_0"]["kernel"]}}

    known = known_of(problem, settings)
    known = known._replace(points=tuple(map(reduced, known.points)), change=reduced(known.change), basis=basis)

    def images(coordinates: Tensor, known: Known) -> Tensor:
        flat = coordinates if known.basis is None else coordinates @ known.basis.T
        return flat.reshape(len(flat), *shape)

    def shown(coordinates: Tensor) -> np.ndarray:  # without JAX, which may still be busy
        held = known if known.basis is None else known._replace(basis=np.asarray(known.basis))
        return np.asarray(images(np.asarray(coordinates), held))

    def initial(key: PRNGKeyArray) -> dict[str, Any]:
        k_x, k_duals = jax.random.split(key)
        noise = settings.x_scale * jax.random.normal(k_x, (m, dim))
        x = noise if problem.start is None else jnp.asarray(problem.start).reshape(m, dim)
        variables = {"x": x if basis is None else x @ basis}
        if settings.duals == "free":
            size = (len(known.points), m, problem.network.outputs)
            variables["duals"] = jax.random.uniform(k_duals, size, minval=-1.0, maxval=1.0) * settings.dual_scale
        return variables

    def objective(v: dict[str, Any], step: Tensor, known: Known) -> Tensor:
        activation = softplus(sharpness(settings, step))
        target = Target(problem.mlp, known.points, known.change)
        if settings.duals == "free":
            loss = matching_loss(target, v["x"], v["duals"], activation, settings.chunk)
        else:
            loss, _ = projected_loss(target, v["x"], activation, settings.ridge)
        return loss if known.box is None else loss + box_penalty(images(v["x"], known), known.box, settings.box_weight)

    optimiser = optax.adam(rate(settings))
    keys = [key] if settings.restarts == 1 else list(jax.random.split(key, settings.restarts))
    starts = [initial(k) for k in keys]
    advance, seconds, work = compiled_descent(objective, optimiser, starts[0], known)
    seconds["run"] = 0.0
    runs: list[Descended] = []
    for i, variables in enumerate(starts):
        left = None if settings.seconds is None else settings.seconds - seconds["run"]
        if left is not None and left <= 0 and runs:
            break
        run = descend(
            advance,
            (variables, optimiser.init(variables), 0, float("inf")),
            settings,
            left,
            lambda fraction, text, i=i: report((i + fraction) / len(starts), text),  # type: ignore[misc]
        )
        runs.append(run)
        seconds["run"] += run.seconds
        if run.why == "interrupted":
            break
    which = int(np.argmin([r.state[3] for r in runs]))
    kept = runs[which]
    final, _, steps, _ = kept.state
    start = shown(starts[which]["x"])
    steps_taken = sum(r.state[2] for r in runs)
    work |= {"starts": len(runs), "flops": steps_taken * work["flops_per_step"]}
    snapshots = tuple(
        Snapshot(at, when, at * work["flops_per_step"], np.asarray(images(x, known))) for at, when, x in kept.kept
    )

    duals: Tensor | None = None
    if settings.duals == "free":
        duals = final["duals"]
    elif not runs[-1].busy:
        beta = sharpness(settings, jnp.asarray(float(steps)))
        target = Target(problem.mlp, known.points, known.change)
        _, duals = projected_loss(target, final["x"], softplus(beta), settings.ridge)
    return Reconstruction(
        attack=name,
        images=shown(final["x"]),
        start=start,
        duals=None if duals is None else np.asarray(duals),
        n_estimated=span.n if span.clear else None,
        trace=kept.trace,
        steps=steps_taken,
        why="interrupted" if runs[-1].why == "interrupted" else kept.why,
        work=work,
        seconds=seconds,
        snapshots=snapshots,
    )


LoopState = tuple[dict[str, Any], Any, int, float]
Advance = Callable[[dict[str, Any], Any, int, int], tuple[dict[str, Any], Any, Tensor]]


def compiled_descent(
    objective: Callable[[dict[str, Any], Tensor, Known], Tensor],
    optimiser: optax.GradientTransformation,
    variables: dict[str, Any],
    known: Known,
) -> tuple[Advance, dict[str, float], dict[str, float]]:
    """The loop (variables, optimiser state, first step, last step) → (the same after, last loss), compiled once.

    Also returns the seconds that tracing and compiling took, and XLA's account of one step.
    """

    def advance(v: dict[str, Any], opt: Any, first: Tensor, last: Tensor, known: Known) -> tuple[Any, Any, Tensor]:
        def body(i: Tensor, carry: tuple[Any, Any, Tensor]) -> tuple[Any, Any, Tensor]:
            v, opt, _ = carry
            loss, grads = jax.value_and_grad(objective)(v, i.astype(jnp.float32), known)
            updates, opt = optimiser.update(grads, opt, v)
            return optax.apply_updates(v, updates), opt, loss

        start = (v, opt, jnp.asarray(jnp.inf, jnp.float32))
        final: tuple[Any, Any, Tensor] = jax.lax.fori_loop(first, last, body, start)
        return final

    return compiled_loop(advance, variables, optimiser.init(variables), known)


def compiled_loop(
    advance: Callable[..., Any], variables: dict[str, Any], state: Any, known: Known
) -> tuple[Advance, dict[str, float], dict[str, float]]:
    """`advance`(variables, state, first step, last step, known) compiled once; see `compiled_descent`.

    Raises:
      TooLarge: the machine has not the memory for a step. Projected duals take 8 matrices of all images' outputs,
        (images · outputs)² numbers each; what a program takes is known once it is compiled, which itself takes little.
    """
    clock = time.perf_counter()
    lowered = jax.jit(advance).lower(variables, state, 0, 1, known)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    costs = compiled.cost_analysis() or {}
    work = {
        # The loop's trip count is unknown to XLA, so its body counts once.
        "flops_per_step": float(costs.get("flops", math.nan)),
        "bytes_per_step": float(costs.get("bytes accessed", math.nan)),
        "temporary_bytes": temporary(compiled),
    }
    require(work["temporary_bytes"], "A step of the attack", "reconstruct fewer images (m), or use the attack exact")
    return (
        lambda v, opt, first, last: compiled(v, opt, first, last, known),
        {"trace": traced - clock, "compile": done - traced},
        work,
    )


class Descended(NamedTuple):
    """One descent.

    Attributes:
      state: where it ended.
      trace: its (step, loss).
      why: it stopped.
      seconds: it took.
      kept: (step, seconds, x) on the way.
      busy: steps that nobody waited for are still under way, which all that JAX is asked for has to wait for.
    """

    state: LoopState
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
    advance: Advance, state: LoopState, settings: DescentSettings, budget: float | None, report: Report
) -> Descended:
    """Drive the compiled loop in chunks of about `CHUNK_SECONDS`, or up to the next snapshot.

    On Ctrl-C the state of least loss is returned. Time for snapshots does not count.
    """
    steps, stops = settings.steps, snapshot_steps(settings)
    best, trace, chunk = state, [], 1
    kept: list[tuple[int, float, Tensor]] = []
    seconds, why, busy = 0.0, "schedule done", False
    loss_: Any = None
    try:
        while state[2] < steps:
            clock = time.perf_counter()
            stop = min([state[2] + chunk, steps, *(s for s in stops[:1] if s > state[2])])
            variables, opt, loss_ = advance(state[0], state[1], state[2], stop)
            busy = not computed(loss_, math.inf if budget is None else budget - seconds + GRACE)
            took = time.perf_counter() - clock
            seconds += took
            if busy:
                why = "time budget"
                break
            loss = float(loss_)
            if not math.isfinite(loss):
                raise ReconError(f"The reconstruction loss is {loss} at step {stop}: lower the learning rate.")
            done = stop - state[2]
            state = (variables, opt, stop, loss)
            trace.append((stop, loss))
            if loss <= best[3]:
                best = state
            if done == chunk:
                chunk = max(1, min(2 * chunk, int(chunk * CHUNK_SECONDS / max(took, 1e-9))))
            report(stop / steps, f"loss {loss:.2e}")
            over = budget is not None and seconds > budget and stop < steps
            if stop in stops[:1] or (over and stops):
                stops = stops[1:]
                kept.append((stop, seconds, variables["x"]))
            if over:
                why = "time budget"
                break
    except KeyboardInterrupt:
        state, why = best, "interrupted"
        busy = loss_ is not None and not computed(loss_, GRACE)
    return Descended(state, np.array(trace, np.float64).reshape(-1, 2), why, seconds, kept, busy)
