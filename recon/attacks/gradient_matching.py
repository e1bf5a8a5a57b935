"""The paper's reconstruction loss (eq. 7), for `ntk` and `ntk-fast`.

    L(x, α) = ‖Δθ − (1/M) Σ_p Σ_j Σ_c α_pjc ∇_θ f_c(x_j; θ_p)‖² + box penalty,   θ_p = θ₀ + s_p Δθ.

One point s = 1 is the published objective, s = 0 its form for linearised dynamics, (0, 1) the two-kernel variant of
appendix I. A layer's parameter gradient is an outer product, so layer l contributes ‖ΔW_l − Hᵀ A‖² with the layer's
inputs H and weighted deltas A: no parameter tree per image is ever built.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.attacks.adam import (
    Descended,
    DescentSettings,
    Known,
    Objective,
    advance,
    check,
    compiled_loop,
    descend,
    first_variables,
    known_of,
    result,
    sharpness,
)
from recon.attacks.base import Problem, Reconstruction
from recon.attacks.rank import first_layer_span
from recon.errors import ReconError
from recon.networks import MLP, Activation, Layers, Network, Params, dense_layers
from recon.networks.products import outer, times
from recon.progress import Report


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

    network: Network
    points: tuple[Params, ...]
    change: Params

    @property
    def mlp(self) -> MLP:
        """The network, where it has to be an MLP."""
        assert isinstance(self.network, MLP)
        return self.network


def stacked(target: Target, x: Tensor, activation: Activation, weights: Tensor | None = None) -> Layers:
    """`MLP.layers` at all points, stacked along the image axis: row p·M + j is image j at point p."""
    per_point = [
        target.mlp.layers(params, x, activation, None if weights is None else weights[p])
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
        scale, bias_scale = target.mlp.scales(h.shape[1])
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
    m, layers = len(x), stacked(target, x, activation)
    rows, c = layers.outputs.shape
    norm, kernel, b = jnp.zeros((), x.dtype), jnp.zeros((rows, c, rows, c), x.dtype), jnp.zeros((rows, c), x.dtype)
    for (d_kernel, d_bias), h, a in zip(dense_layers(target.change), layers.inputs, layers.deltas, strict=True):
        scale, bias_scale = target.mlp.scales(h.shape[1])
        norm = norm + jnp.sum(d_kernel**2)
        gram = scale**2 * (h @ h.T)
        b = b + scale * jnp.einsum("mo,mco->mc", times(h, d_kernel), a)
        if d_bias is not None:
            norm = norm + jnp.sum(d_bias**2)
            gram = gram + bias_scale**2
            b = b + bias_scale * (a @ d_bias)
        flat = a.reshape(rows * c, -1)
        kernel = kernel + gram[:, None, :, None] * (flat @ flat.T).reshape(rows, c, rows, c)
    loss, solved = projection(norm, kernel.reshape(rows * c, rows * c), b.reshape(-1), ridge)
    return loss, m * solved.reshape(len(target.points), m, c)


def projection(
    norm: Float[Tensor, ""], kernel: Float[Tensor, "k k"], b: Float[Tensor, " k"], ridge: float
) -> tuple[Float[Tensor, ""], Float[Tensor, " k"]]:
    """The least ‖Δθ − Σ a g‖² over weights a of vectors g, and these: a = (K + ridge·tr(K)/k·I)⁻¹b.

    Args:
      norm: ‖Δθ‖².
      kernel: K, of the vectors among each other.
      b: ⟨Δθ, g⟩.
      ridge: see above; with one the loss is a little less than what a reaches.
    """
    kernel = kernel + ridge * jnp.trace(kernel) / len(kernel) * jnp.eye(len(kernel), dtype=kernel.dtype)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(kernel), b)
    return norm - b @ solved, solved


def box_penalty(x: Float[Tensor, "m *shape"], box: tuple[Tensor, ...], weight: float) -> Float[Tensor, ""]:
    """weight·M·mean(relu(x − max)² + relu(min − x)²), with the box by channel (last axis)."""
    low, high = box
    return weight * len(x) * jnp.mean(jax.nn.relu(x - high) ** 2 + jax.nn.relu(low - x) ** 2)


@dataclass(frozen=True)
class Matching(Objective):
    """Eq. 7 with the box penalty, where there is one: here of an MLP, in flat images or their coordinates in the span.

    Another way to a network's gradients is a subclass with its own `matched` and `least`.
    """

    def loss(self, variables: dict[str, Any], step: Tensor, known: Known) -> Float[Tensor, ""]:
        """The loss with free duals, or with the best ones."""
        settings, x = self.settings, variables["x"]
        if settings.duals == "free":
            loss = self.matched(self.target(known), x, variables["duals"], self.units(step))
        else:
            loss, _ = self.projected(x, step, known)
        return loss if known.box is None else loss + box_penalty(self.images(x, known), known.box, settings.box_weight)

    def projected(self, x: Tensor, step: Tensor, known: Known) -> tuple[Float[Tensor, ""], Float[Tensor, "p m c"]]:
        """The least loss over the duals at a step, without the penalty, and the duals that reach it."""
        return self.least(self.target(known), x, self.units(step), self.settings.ridge)

    def units(self, step: Tensor) -> Activation:
        """The network's activation, as sharp as it is at a step."""
        return self.network.units.smoothed(sharpness(self.settings, step))

    def target(self, known: Known) -> Target:
        """The network as the loss sees it."""
        return Target(self.network, known.points, known.change)

    def matched(self, target: Target, x: Tensor, duals: Tensor, activation: Activation) -> Float[Tensor, ""]:
        """`matching_loss` in the chunks of the settings."""
        chunk = self.settings.chunk if isinstance(self.settings, GradientMatching) else None
        return matching_loss(target, x, duals, activation, chunk)

    least = staticmethod(projected_loss)


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
    span = first_layer_span(problem.change["Dense_0"]["kernel"])
    basis = jnp.asarray(span.basis, jnp.float32) if settings.span and span.clear else None
    known = known_of(problem, settings)
    if basis is not None:
        points = tuple(in_span(tree, basis) for tree in known.points)
        known = known._replace(points=points, change=in_span(known.change, basis), basis=basis)
    objective = Matching(settings, problem.mlp, problem.image_shape)

    def initial(key: PRNGKeyArray) -> dict[str, Any]:
        variables = first_variables(problem, settings, key)
        x = variables["x"].reshape(problem.m, -1)
        return variables | {"x": x if basis is None else x @ basis}

    keys = [key] if settings.restarts == 1 else list(jax.random.split(key, settings.restarts))
    starts = [initial(k) for k in keys]
    moments = objective.optimiser.init(starts[0])
    program = compiled_loop(advance, objective, starts[0], moments, known)
    seconds = 0.0
    runs: list[Descended] = []
    for i, variables in enumerate(starts):
        left = None if settings.seconds is None else settings.seconds - seconds
        if left is not None and left <= 0 and runs:
            break
        run = descend(
            program,
            variables,
            objective.optimiser.init(variables),
            known,
            settings,
            left,
            lambda fraction, text, i=i: report((i + fraction) / len(starts), text),  # type: ignore[misc]
        )
        runs.append(run)
        seconds += run.seconds
        if run.why == "interrupted":
            break
    which = int(np.argmin([r.loss for r in runs]))
    kept, last = runs[which], runs[-1]

    duals: Tensor | None = None
    if settings.duals == "free":
        duals = kept.variables["duals"]
    elif not last.busy:
        _, duals = objective.projected(kept.variables["x"], jnp.asarray(float(kept.step)), known)

    held = known if basis is None else known._replace(basis=np.asarray(basis))  # without JAX, which may still be busy

    def shown(x: Tensor) -> np.ndarray:
        return np.asarray(objective.images(np.asarray(x), held))

    done = kept._replace(
        variables={"x": shown(kept.variables["x"])},
        kept=[(at, when, objective.images(x, known)) for at, when, x in kept.kept],
    )
    found = result(name, problem, done, program, shown(starts[which]["x"]), duals)
    steps = sum(r.step for r in runs)
    return dataclasses.replace(
        found,
        n_estimated=span.n if span.clear else None,
        steps=steps,
        why="interrupted" if last.why == "interrupted" else kept.why,
        work=found.work | {"starts": len(runs), "flops": steps * found.work["flops_per_step"]},
        seconds=found.seconds | {"run": seconds},
    )


def in_span(params: Params, basis: Float[Tensor, "d k"]) -> Params:
    """The same weights for inputs given by their coordinates in the span of the basis's columns."""
    return {**params, "Dense_0": {**params["Dense_0"], "kernel": basis.T @ params["Dense_0"]["kernel"]}}
