"""The network's own gradients at an image, and where training has put them: what any image of a training set meets.

A training image's row of the first layer's change is no vector of any kind: it is the gradient of a combination of the
outputs with respect to the first pre-activations, G_i ∝ g(x_i), g(x) = Σ_c d_c ∂f_c/∂z₁(x), known but for d from known
weights, for any activation and any depth. The row space V of [ΔW₁; Δb₁] holds all G_i, so that each training image is
by itself a zero of

    r(x) = 1 − ‖V g(x)‖² / ‖g(x)‖²,

the test of the MUSIC method of array processing. The layers above give as much again: the images' hidden activations
h₁(x_i) lie in the column space of ΔW₂, and their gradients with respect to z_l in the row space of ΔW_l.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer
from scipy import linalg

from recon.arrays import Tensor
from recon.attacks.base import Problem
from recon.attacks.first_layer.observe import Observed, leading
from recon.networks import Activation
from recon.networks.mlp import dense_layers

FULL = 0.9  # directions for each unit from which a span is nearly everything and tells nothing
WIDER = 1.8  # directions of hidden activations kept for each image where patterns moved during training
RIDGE = 1e-9  # of the outputs' Gram matrices, in their mean eigenvalue
TINY = 1e-30
EPSILON = 2.0**-52  # of float64
LEAST_INPUT = 1e-3  # of the biases, that coordinates are divided by
POLISHED = 8  # Gauss and Newton's steps
HELD = 1e-14  # eigenvalue of the slopes' Gram matrix, over the largest, below which they leave a direction free


class Spans(NamedTuple):
    """What training images' gradients and activations must lie in; a tree of arrays.

    Attributes:
      p: (W₁, N), pre-activations of the columns of U.
      v: (N, W₁), orthonormal rows: of the gradients with respect to z₁.
      h: (W₁, k), orthonormal columns: of h₁; no columns where nothing tells.
      above: kernel and bias of each layer above the first.
      rows: of each hidden layer above the first, orthonormal rows of the gradients with respect to its
        pre-activations, none where nothing tells.
    """

    p: Any
    v: Any
    h: Any
    above: tuple[tuple[Any, Any], ...]
    rows: tuple[Any, ...]


class Passed(NamedTuple):
    """One forward and backward pass from the first pre-activations on.

    `MLP.layers` starts from images and weights, and its products have no forward derivatives, which `polish` takes.

    Attributes:
      z: pre-activations of each hidden layer.
      h: activations of the first.
      g: of each hidden layer, gradients of every output with respect to its pre-activations, (b, c, w).
    """

    z: list[Any]
    h: Any
    g: list[Any]


def spans(seen: Observed, problem: Problem) -> Spans:
    """What the change of each layer tells, in float64."""
    layers = [(np.asarray(w, np.float64), None if b is None else np.asarray(b, np.float64))
              for w, b in dense_layers(problem.params0)][1:]  # fmt: skip
    above = tuple((w, np.zeros(w.shape[1]) if b is None else b) for w, b in layers)
    changes = [np.asarray(w, np.float64) for w, _ in dense_layers(problem.change)][1:]

    def told(change: np.ndarray) -> np.ndarray:
        count = seen.n if seen.still else int(WIDER * seen.n)
        few = count >= FULL * min(change.shape)
        return np.zeros((len(change), 0)) if few else leading(change, count)

    inputs = told(changes[0])
    rows = tuple(told(change.T).T for change in changes[:-1])
    return Spans(seen.middle / seen.scale, seen.v, inputs, above, rows)


def by_activations(exact: Spans, units: Integer[np.ndarray, " k"]) -> Spans:
    """What the hidden activations of some units tell by themselves: a test that costs a fraction of the whole."""
    h = linalg.qr(exact.h[units], mode="economic")[0]
    return Spans(exact.p[units], exact.v[:0], h, (), ())


def passed(z: Float[Tensor, "b w"], above: tuple[tuple[Any, Any], ...], units: Activation) -> Passed:
    """Every output's gradients for first pre-activations z."""
    zs, h1 = [z], units.value(z)
    h = h1
    for kernel, bias in above[:-1]:
        zs.append(h @ kernel + bias)
        h = units.value(zs[-1])
    last = above[-1][0].T
    xp: Any = np if isinstance(z, np.ndarray) else jnp
    delta = xp.broadcast_to(last, (len(z), *last.shape)) * units.slope(zs[-1])[:, None]
    deltas = [delta]
    for lower, (kernel, _) in zip(zs[-2::-1], above[-2::-1], strict=True):
        delta = (delta @ kernel.T) * units.slope(lower)[:, None]
        deltas.append(delta)
    return Passed(zs, h1, deltas[::-1])


def best_outputs(g: Float[Tensor, "b c w"], v: Float[Tensor, "n w"]) -> Float[Tensor, "b c"]:
    """The d of which Σ_c d_c g_c lies nearest to the rows of v, relative to its length; taken for constant.

    At the nearest d the distance does not depend on d to first order.
    """
    xp: Any = np if isinstance(g, np.ndarray) else jnp
    c = g.shape[1]
    if c == 1:
        ones: Tensor = xp.ones(g.shape[:2], g.dtype)
        return ones
    inside = g @ v.T
    gram = g @ xp.swapaxes(g, 1, 2)
    gram = gram + (RIDGE * xp.trace(gram, axis1=1, axis2=2) / c + TINY)[:, None, None] * xp.eye(c, dtype=g.dtype)
    lower = xp.linalg.cholesky(gram)
    half = xp.linalg.solve(lower, inside)
    _, vectors = xp.linalg.eigh(half @ xp.swapaxes(half, 1, 2))
    d: Tensor = xp.linalg.solve(xp.swapaxes(lower, 1, 2), vectors[:, :, -1:])[..., 0]
    d = d / (xp.linalg.norm(d, axis=1, keepdims=True) + TINY)
    return d if xp is np else jax.lax.stop_gradient(d)


def exact_outputs(
    g: Float[np.ndarray, "b c w"], d: Float[np.ndarray, "b c"], v: Float[np.ndarray, "n w"]
) -> Float[np.ndarray, "b c"]:
    """The d of which Σ_c d_c g_c leaves the span of v least, from one nearly right, by a step of inverse iteration.

    `best_outputs` is off by its ridge. That is more than what the vector of a bright image has along a faint one.
    """
    rest = g - (g @ v.T) @ v
    gram = rest @ rest.swapaxes(1, 2)
    floor = EPSILON * np.trace(gram, axis1=1, axis2=2)[:, None, None] + TINY
    try:
        better = np.linalg.solve(gram + floor * np.eye(g.shape[1]), d[..., None])[..., 0]
    except np.linalg.LinAlgError:  # singular to the last bit: what a step of the iteration tends to is asked for itself
        better = np.linalg.eigh(gram)[1][..., 0]
    unit: np.ndarray = better / np.linalg.norm(better, axis=1, keepdims=True)
    return unit


def combined(g: Float[Tensor, "b c w"], v: Float[Tensor, "n w"]) -> Float[Tensor, "b w"]:
    """The combination of the outputs' gradients that lies nearest to the rows of v."""
    xp: Any = np if isinstance(g, np.ndarray) else jnp
    nearest: Tensor = xp.einsum("bc,bcw->bw", best_outputs(g, v), g)
    return nearest


def at_one(c: Float[Tensor, "b n"], one: Float[Tensor, " n"]) -> Float[Tensor, "b n"]:
    """Coordinates at which the biases' input, c·one, is one."""
    xp: Any = np if isinstance(c, np.ndarray) else jnp
    now = c @ one
    scaled: Tensor = c / xp.where(xp.abs(now) > LEAST_INPUT, now, LEAST_INPUT)[:, None]
    return scaled


def outside(rows: Float[Tensor, "b w"], basis: Float[Tensor, "w k"]) -> Float[Tensor, " b"]:
    """Share of each row's squared length that lies outside the span of orthonormal columns."""
    inside = rows @ basis
    xp: Any = np if isinstance(rows, np.ndarray) else jnp
    share: Tensor = 1 - xp.sum(inside**2, axis=1) / (xp.sum(rows**2, axis=1) + TINY)
    return share


def residual(c: Float[Tensor, " n"], units: Activation, known: Spans) -> Float[Tensor, " r"]:
    """What of an image's activations and gradients lies outside the spans, each scaled to unit length.

    Args:
      c: coordinates at which the biases' input is one.
    """
    z = known.p @ c
    parts, bases = [], []
    if known.h.shape[1]:
        parts, bases = [units.value(z)], [known.h]
    if known.above:
        at = passed(z[None], known.above, units)
        d = best_outputs(at.g[0], known.v)[0]
        parts += [d @ g[0] for g in at.g]
        bases += [known.v.T, *(rows.T for rows in known.rows)]
    rest = [
        (part - basis @ (part @ basis)) / (jnp.linalg.norm(part) + TINY)
        for part, basis in zip(parts, bases, strict=True)
        if basis.shape[1]
    ]
    return jnp.concatenate(rest)


class Polished(NamedTuple):
    """Coordinates at the nearest zero of their residuals.

    Attributes:
      c: coordinates at which the biases' input is one.
      share: squared length of the residual.
      moved: rms distance by which noise of the residual's size moves an image; infinite where nothing holds it.
    """

    c: Any
    share: Any
    moved: Any


def polish(units: Activation, c: Float[Tensor, "b n"], one: Float[Tensor, " n"], known: Spans) -> Polished:
    """Gauss and Newton's steps towards the zero of the residuals, halved where a whole one leads away."""
    n = c.shape[1]
    # Steps keep the biases' input at one: they are orthogonal to its direction.
    fixed = jnp.outer(jnp.asarray(one), jnp.asarray(one))
    free = jnp.eye(n, dtype=c.dtype) - fixed / (one @ one)

    def parts(c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rest = residual(c, units, known)
        slope = jax.jacfwd(residual)(c, units, known) @ free
        return rest, slope, slope.T @ slope + fixed

    def step(c: Tensor, _: Any) -> tuple[Tensor, None]:
        rest, slope, gram = parts(c)
        ridge = RIDGE * jnp.trace(gram) / n * jnp.eye(n, dtype=c.dtype)
        move = free @ jnp.linalg.solve(gram + ridge, slope.T @ rest)
        sizes = jnp.asarray((0.0, 0.25, 0.5, 1.0), c.dtype)
        ends = c - sizes[:, None] * move
        lengths = jax.vmap(lambda end: jnp.sum(residual(end, units, known) ** 2))(ends)
        return ends[jnp.argmin(lengths)], None

    def all_steps(c: Tensor) -> Polished:
        c, _ = jax.lax.scan(step, c, None, length=POLISHED)
        rest, _, gram = parts(c)
        values = jnp.linalg.eigvalsh(gram)
        held = jnp.sum(1 / jnp.maximum(values, TINY)) - 1 / (one @ one)  # less the direction that is fixed
        noise = jnp.sum(rest**2) / max(len(rest) - n, 1)
        moved = jnp.where(values[0] > HELD * values[-1], jnp.sqrt(noise * held), jnp.inf)
        return Polished(c, jnp.sum(rest**2), moved)

    done: Polished = jax.lax.map(all_steps, c)
    return done
