"""The paper's reconstruction loss (eq. 7) and the compiled loop that descends it; `ntk` and `ntk-fast` are settings of it.

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
from jaxtyping import Array, Float, PRNGKeyArray

from recon.attacks.base import Problem, Reconstruction
from recon.attacks.span import first_layer_span
from recon.errors import ReconError
from recon.networks import MLP, Activation, Layers, Params, dense_layers, softplus
from recon.progress import Report

CHUNK_SECONDS = 0.5  # of compiled steps between two looks at the loss, the clock and the keyboard


@dataclass(frozen=True)
class GradientMatching:
    """Settings of the descent on the reconstruction loss.

    Attributes:
      points: where on the straight path from θ₀ (0) to θ_f (1) gradients are taken, each with its own duals; for a
        linearised model all are taken at θ₀.
      steps: Adam steps.
      learning_rate: Adam's, at the first step.
      decay: "constant", or "cosine" to zero at the last step.
      duals: "free" variables of the descent, or "projected": the best ones for the current images, in closed form.
      ridge: added to the diagonal of the projected duals' kernel, as a fraction of its mean.
      span: look for the images in the span of the first layer's change only, if its rank is clear.
      x_scale: standard deviation of the images at the start.
      dual_scale: duals start uniform in ±`dual_scale`.
      box_weight: weight of the pixel box penalty.
      sharpness, sharpness_end, sharpness_decades: softplus sharpness β = min(sharpness + 10^(decades·i/steps),
        sharpness_end) at step i.
      seconds: stop after so much time in the compiled loop.
    """

    points: tuple[float, ...] = (1.0,)
    steps: int = 80_000
    learning_rate: float = 0.02
    decay: Literal["constant", "cosine"] = "constant"
    duals: Literal["free", "projected"] = "free"
    ridge: float = 1e-4
    span: bool = False
    x_scale: float = 0.2
    dual_scale: float = 0.5
    box_weight: float = 0.1
    sharpness: float = 10.0
    sharpness_end: float = 200.0
    sharpness_decades: float = 4.0
    seconds: float | None = None


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
    basis: Array | None
    box: tuple[Array, ...] | None


def stacked(target: Target, x: Array, activation: Activation, weights: Array | None = None) -> Layers:
    """`MLP.layers` at all points, stacked along the image axis: row p·M + j is image j at point p."""
    per_point = [
        target.network.layers(params, x, activation, None if weights is None else weights[p])
        for p, params in enumerate(target.points)
    ]
    inputs = [jnp.concatenate(parts) for parts in zip(*(p.inputs for p in per_point), strict=True)]
    deltas = [jnp.concatenate(parts) for parts in zip(*(p.deltas for p in per_point), strict=True)]
    return Layers(inputs, deltas, jnp.concatenate([p.outputs for p in per_point]))


def matching_loss(
    target: Target, x: Float[Array, "m d"], duals: Float[Array, "p m c"], activation: Activation
) -> Float[Array, ""]:
    """‖Δθ − (1/M) Σ α ∇f(x)‖² (eq. 7), layer by layer."""
    m = x.shape[0]
    layers = stacked(target, x, activation, duals / m)
    total = jnp.zeros((), x.dtype)
    for (d_kernel, d_bias), h, a in zip(dense_layers(target.change), layers.inputs, layers.deltas, strict=True):
        scale, bias_scale = target.network.scales(h.shape[1])
        total = total + jnp.sum((d_kernel - scale * (h.T @ a)) ** 2)
        if d_bias is not None:
            total = total + jnp.sum((d_bias - bias_scale * a.sum(0)) ** 2)
    return total


def projected_loss(
    target: Target, x: Float[Array, "m d"], activation: Activation, ridge: float
) -> tuple[Float[Array, ""], Float[Array, "p m c"]]:
    """The least `matching_loss` over the duals, and the duals that reach it: α/M = (K_RR + ridge)⁻¹ b, b = ⟨Δθ, ∇f⟩."""
    m = x.shape[0]
    layers = stacked(target, x, activation)
    rows, c = layers.outputs.shape
    norm, kernel, b = jnp.zeros((), x.dtype), jnp.zeros((rows, c, rows, c), x.dtype), jnp.zeros((rows, c), x.dtype)
    for (d_kernel, d_bias), h, a in zip(dense_layers(target.change), layers.inputs, layers.deltas, strict=True):
        scale, bias_scale = target.network.scales(h.shape[1])
        norm = norm + jnp.sum(d_kernel**2)
        gram = scale**2 * (h @ h.T)
        b = b + scale * jnp.einsum("mo,mco->mc", h @ d_kernel, a)
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


def box_penalty(x: Float[Array, "m *shape"], box: tuple[Array, ...], weight: float) -> Float[Array, ""]:
    """weight·M·mean(relu(x − max)² + relu(min − x)²), with the box by channel (last axis)."""
    low, high = box
    return weight * len(x) * jnp.mean(jax.nn.relu(x - high) ** 2 + jax.nn.relu(low - x) ** 2)


def sharpness(settings: GradientMatching, step: Array) -> Array:
    """Softplus sharpness β at a step."""
    exponent = settings.sharpness_decades * step / settings.steps
    return jnp.minimum(settings.sharpness + 10.0**exponent, settings.sharpness_end)


def run(name: str, problem: Problem, settings: GradientMatching, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend the reconstruction loss from noise.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    if settings.steps < 1 or not settings.points:
        raise ReconError("The attack needs at least one step and one point of the path.")
    if settings.duals not in ("free", "projected") or settings.decay not in ("constant", "cosine"):
        raise ReconError("duals is 'free' or 'projected', decay is 'constant' or 'cosine'.")
    m, shape = problem.m, problem.image_shape
    dim = math.prod(shape)
    change = problem.change
    span = first_layer_span(change["Dense_0"]["kernel"])
    basis = jnp.asarray(span.basis, jnp.float32) if settings.span and span.clear else None
    points = (0.0,) * len(settings.points) if problem.linearised else settings.points

    def reduced(tree: Params) -> Params:
        """The same weights for inputs given by their coordinates in the span."""
        if basis is None:
            return tree
        return {**tree, "Dense_0": {**tree["Dense_0"], "kernel": basis.T @ tree["Dense_0"]["kernel"]}}

    def point(s: float) -> Params:
        params: Params = jax.tree.map(lambda a, d: jnp.asarray(a + s * d), problem.params0, change)
        return reduced(params)

    box = None if problem.box is None else tuple(jnp.asarray(b, jnp.float32) for b in problem.box)
    # Given to the compiled loop as arguments: as constants they would be copied into the program.
    known = Known(tuple(map(point, points)), reduced(jax.tree.map(jnp.asarray, change)), basis, box)

    def images(coordinates: Array, known: Known) -> Array:
        flat = coordinates if known.basis is None else coordinates @ known.basis.T
        return flat.reshape(len(flat), *shape)

    k_x, k_duals = jax.random.split(key)
    noise = settings.x_scale * jax.random.normal(k_x, (m, dim))
    variables = {"x": noise if basis is None else noise @ basis}
    if settings.duals == "free":
        duals_shape = (len(points), m, problem.network.outputs)
        variables["duals"] = jax.random.uniform(k_duals, duals_shape, minval=-1.0, maxval=1.0) * settings.dual_scale
    start = np.asarray(images(variables["x"], known))

    def objective(v: dict[str, Array], step: Array, known: Known) -> Array:
        activation = softplus(sharpness(settings, step))
        target = Target(problem.network, known.points, known.change)
        if settings.duals == "free":
            loss = matching_loss(target, v["x"], v["duals"], activation)
        else:
            loss, _ = projected_loss(target, v["x"], activation, settings.ridge)
        return loss if known.box is None else loss + box_penalty(images(v["x"], known), known.box, settings.box_weight)

    schedule = (
        optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
        if settings.decay == "cosine"
        else settings.learning_rate
    )
    advance, seconds, work = compiled_descent(objective, optax.adam(schedule), variables, known)
    state = (variables, optax.adam(schedule).init(variables), 0, float("inf"))
    state, trace, why, seconds["run"] = descend(advance, state, settings.steps, settings.seconds, report)
    final, _, steps, _ = state

    if settings.duals == "free":
        duals = final["duals"]
    else:
        beta = sharpness(settings, jnp.asarray(float(steps)))
        target = Target(problem.network, known.points, known.change)
        _, duals = projected_loss(target, final["x"], softplus(beta), settings.ridge)
    return Reconstruction(
        attack=name,
        images=np.asarray(images(final["x"], known)),
        start=start,
        duals=np.asarray(duals),
        n_estimated=span.n if span.clear else None,
        trace=trace,
        steps=steps,
        why=why,
        work=work,
        seconds=seconds,
    )


LoopState = tuple[dict[str, Array], Any, int, float]
Advance = Callable[[dict[str, Array], Any, int, int], tuple[dict[str, Array], Any, Array]]


def compiled_descent(
    objective: Callable[[dict[str, Array], Array, Known], Array],
    optimiser: optax.GradientTransformation,
    variables: dict[str, Array],
    known: Known,
) -> tuple[Advance, dict[str, float], dict[str, float]]:
    """The loop (variables, optimiser state, first step, last step) → (the same after, last loss), compiled once.

    Also returns the seconds that tracing and compiling took, and XLA's account of one step.
    """

    def advance(v: dict[str, Array], opt: Any, first: Array, last: Array, known: Known) -> tuple[Any, Any, Array]:
        def body(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
            v, opt, _ = carry
            loss, grads = jax.value_and_grad(objective)(v, i.astype(jnp.float32), known)
            updates, opt = optimiser.update(grads, opt, v)
            return optax.apply_updates(v, updates), opt, loss

        start = (v, opt, jnp.asarray(jnp.inf, jnp.float32))
        final: tuple[Any, Any, Array] = jax.lax.fori_loop(first, last, body, start)
        return final

    clock = time.perf_counter()
    lowered = jax.jit(advance).lower(variables, optimiser.init(variables), 0, 1, known)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    costs = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    work = {
        # The loop's trip count is unknown to XLA, so its body counts once.
        "flops_per_step": float(costs.get("flops", math.nan)),
        "bytes_per_step": float(costs.get("bytes accessed", math.nan)),
        "temporary_bytes": float(getattr(memory, "temp_size_in_bytes", math.nan)),
    }
    return lambda v, opt, first, last: compiled(v, opt, first, last, known), {"trace": traced - clock, "compile": done - traced}, work


def descend(
    advance: Advance, state: LoopState, steps: int, budget: float | None, report: Report
) -> tuple[LoopState, Float[np.ndarray, "k 2"], str, float]:
    """Drive the compiled loop in chunks of about `CHUNK_SECONDS`.

    On Ctrl-C the state of least loss is returned. Returns (state, trace, why it stopped, seconds).
    """
    best, trace, chunk = state, [], 1
    began = time.perf_counter()
    why = "schedule done"
    try:
        while state[2] < steps:
            clock = time.perf_counter()
            stop = min(state[2] + chunk, steps)
            variables, opt, loss_ = advance(state[0], state[1], state[2], stop)
            loss = float(loss_)  # waits for the device
            if not math.isfinite(loss):
                raise ReconError(f"The reconstruction loss is {loss} at step {stop}: lower the learning rate.")
            state = (variables, opt, stop, loss)
            trace.append((stop, loss))
            if loss <= best[3]:
                best = state
            took = time.perf_counter() - clock
            chunk = max(1, min(2 * chunk, int(chunk * CHUNK_SECONDS / max(took, 1e-9))))
            report(stop / steps, f"loss {loss:.2e}")
            if budget is not None and time.perf_counter() - began > budget and stop < steps:
                why = "time budget"
                break
    except KeyboardInterrupt:
        state, why = best, "interrupted"
    return state, np.array(trace, np.float64).reshape(-1, 2), why, time.perf_counter() - began
