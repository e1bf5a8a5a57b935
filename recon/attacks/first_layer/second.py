"""Starts for narrow networks, from the second layer's change and the box of the pixels.

[ΔW₂] = Σ_i h₁(x_i) d_iᵀ spans the images' hidden activations h₁(x_i) = relu(P c_i). So descend, over c with U c in the
box, the part of relu(P c) that lies outside that span.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.attacks.first_layer.batched import TINY, normalised
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.observe import Observed, leading
from recon.attacks.first_layer.search import Deflated

STEPS = 150
DRIFT_STEPS = 60  # during which a start is pushed along its own direction
WIDER = 1.8  # directions kept for each image where patterns moved during training
MISFIT, MISFIT_MOVED = 1e-3, 0.03  # largest relative misfit to go on with, without and with such movement


@dataclass(frozen=True)
class Hidden:
    """Where the hidden activations of the images lie.

    Attributes:
      span: orthonormal columns.
      p: pre-activations of the columns of U, mean of θ₀ and θ_f.
      misfit: largest squared share of an activation outside the span to go on with.
    """

    span: Float[np.ndarray, "w k"]
    p: Float[np.ndarray, "w n"]
    misfit: float


def hidden(seen: Observed, change: Float[np.ndarray, "w v"]) -> Hidden | None:
    """The span of the hidden activations, or None where ΔW₂ is too narrow to tell or there is no box."""
    n, width = seen.n, min(change.shape)
    count = n if seen.still else int(WIDER * n)
    if seen.low is None or not seen.bias or count >= 0.9 * width:
        return None
    p = (seen.p0 + seen.p1) / (2 * seen.scale)
    return Hidden(leading(np.asarray(change, np.float64), count), p, MISFIT if seen.still else MISFIT_MOVED)


def span_search(
    seen: Observed, inside: Hidden, reduced: Deflated, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "b m"]:
    """Descend from `count` starts; coordinates of those that fit, best first."""
    f32 = np.float32
    basis = reduced.basis_c
    full = product(inside.p, basis.T)
    p, e = full.astype(f32), inside.span.astype(f32)
    gram = product(full.T, full)
    inverse = linalg.inv(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    u = product(basis, seen.u.T).astype(f32)
    one = u[:, -1]  # c·one is the image's last coordinate
    low, high = np.asarray(seen.low, f32), np.asarray(seen.high, f32)
    columns = rng.choice(seen.v.shape[1], count, replace=count > seen.v.shape[1])
    way = product((seen.s[:, None] * seen.v[:, columns]).T, basis.T).astype(f32)
    square = float(one @ one) + TINY
    way = normalised(way - np.outer(way @ one, one) / square)
    length = rng.uniform(4, 6, (count, 1)) * rng.choice([-1.0, 1.0], (count, 1))
    way = (way * np.sign(length)).astype(f32)
    c = (one / square + np.abs(length).astype(f32) * way).astype(f32)
    last = c
    kept: list[np.ndarray] = []
    fits: list[np.ndarray] = []
    step_matrix = (2 * inverse).astype(f32)
    for i in range(STEPS):
        y = c + 0.5 * (c - last)
        h = np.maximum(product(y, p.T), 0)
        rest = h - product(product(h, e), e.T)
        x = product(y, u[:, :-1]) / (y @ one)[:, None]
        move = product(0.6 * (np.clip(x, low, high) - x), u[:, :-1].T) - product(product(rest, p), step_matrix)
        if i < DRIFT_STEPS:
            move += 0.5 * (1 - i / DRIFT_STEPS) * way
        new = y + move
        at_one = new @ one
        new = new / np.where(np.abs(at_one) > 0.05, at_one, 0.05)[:, None]
        last, c = c, new.astype(f32)
        if i % 25 == 24:
            misfit = np.einsum("bw,bw->b", rest, rest) / (np.einsum("bw,bw->b", h, h) + TINY)
            order = np.argsort(misfit, kind="stable")
            done = misfit[order] <= 1e-5
            kept.append(c[order[done]])
            fits.append(misfit[order[done]])
            order = order[~done]
            if i == 49:
                order = order[: int(0.6 * len(order)) + 1]
            if i == 99:
                order = order[: int(0.6 * len(order)) + 1]
            c, last, way, misfit = c[order], last[order], way[order], misfit[order]
            if not len(c):
                break
    kept.append(c)
    fits.append(misfit)
    found, fit = np.concatenate(kept), np.concatenate(fits)
    order = np.argsort(fit, kind="stable")
    order = order[fit[order] < inside.misfit]
    return normalised(found[order])
