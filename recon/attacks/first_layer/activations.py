"""Search for narrow networks, from the second layer's change and the box of the pixels.

[ΔW₂] = Σ_i h₁(x_i) d_iᵀ spans the images' hidden activations h₁(x_i) = relu(P c_i). So descend, over c with U c in the
box, the part of relu(P c) that lies outside that span.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.attacks.base import Problem
from recon.attacks.first_layer.deflated import Deflated, columns, deflated
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.joint import joint
from recon.attacks.first_layer.linear import TINY, normalised
from recon.attacks.first_layer.observe import Observed, leading
from recon.attacks.first_layer.search import Candidates, State, accepted
from recon.attacks.first_layer.vectors import Vectors, ALIKE, distinct

# Chosen while building.
STEPS = 150
MOMENTUM = 0.5
INTO_BOX = 0.6  # of the way into the box that a step goes
DRIFT, DRIFT_STEPS = 0.5, 60  # a start is pushed along its own direction, so far at first and for so many steps
LENGTHS = (4.0, 6.0)  # of a start along its direction
LEAST_INPUT = 0.05  # of the biases, that coordinates are divided by
LOOK = 25  # steps between two looks at which have arrived
ARRIVED = 1e-5  # misfit of those that need no further step
PRUNED, KEPT = (50, 100), 0.6  # steps after which only this share of the others goes on, those of the least misfit
WIDER = 1.8  # directions kept for each image where patterns moved during training
FULL = 0.9  # directions kept for each unit from which the span is nearly everything and tells nothing
MISFIT, MISFIT_MOVED = 1e-3, 0.03  # largest relative misfit to go on with, without and with such movement
RIDGE = 1e-9  # of the pre-activations' Gram matrix, in its mean eigenvalue


@dataclass(frozen=True, eq=False)
class Activations:
    """Where the hidden activations of the images lie.

    Attributes:
      span: orthonormal columns.
      p: pre-activations of the columns of U, mean of θ₀ and θ_f.
      misfit: largest squared share of an activation outside the span to go on with.
    """

    promise: ClassVar[float] = 0.9
    exact: ClassVar[bool] = False
    span: Float[np.ndarray, "w k"]
    p: Float[np.ndarray, "w n"]
    misfit: float

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Activations | None":
        """The span of the hidden activations, or None: no second layer's change that tells it, or no box."""
        if problem.state is not None or len(problem.params0) < 2 or seen.low is None or not seen.bias:
            return None
        change = problem.change["Dense_1"]["kernel"]
        count = seen.n if seen.still else int(WIDER * seen.n)
        if count >= FULL * min(change.shape):
            return None
        span = leading(np.asarray(change, np.float64), count)
        return cls(span, seen.middle / seen.scale, MISFIT if seen.still else MISFIT_MOVED)

    def vectors(self, state: State, count: int) -> Vectors:
        """What the robust finish accepts of the candidates."""
        return accepted(state, self.candidates(state, count))

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """Each from the units that the others leave inactive."""
        return joint(seen, found)

    def candidates(self, state: State, count: int) -> Candidates:
        """Where descents from `count` columns of the change end."""
        reduced = deflated(state.seen, state.found)
        y = descend(state.seen, self, reduced, count, state.rng)
        keep = distinct(y, np.arange(len(y), dtype=float), ALIKE)
        return Candidates(reduced, y[keep], state.rng.standard_normal((len(keep), state.seen.n)))


def descend(
    seen: Observed, inside: Activations, reduced: Deflated, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "b m"]:
    """Descend from `count` starts; coordinates of those that fit, best first."""
    f32 = np.float32
    basis = reduced.basis_c
    full = product(inside.p, basis.T)
    p, e = full.astype(f32), inside.span.astype(f32)
    gram = product(full.T, full)
    inverse = linalg.inv(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    u = product(basis, seen.u.T).astype(f32)
    one = u[:, -1]  # c·one is the image's last coordinate
    low, high = np.asarray(seen.low, f32), np.asarray(seen.high, f32)
    way = product(columns(seen, count, rng), basis.T).astype(f32)
    square = float(one @ one) + TINY
    way = normalised(way - np.outer(way @ one, one) / square)
    length = rng.uniform(*LENGTHS, (count, 1)) * rng.choice([-1.0, 1.0], (count, 1))
    way = (way * np.sign(length)).astype(f32)
    c = (one / square + np.abs(length).astype(f32) * way).astype(f32)
    last = c
    kept: list[np.ndarray] = []
    fits: list[np.ndarray] = []
    step_matrix = (2 * inverse).astype(f32)
    for step in range(1, STEPS + 1):
        y = c + MOMENTUM * (c - last)
        h = np.maximum(product(y, p.T), 0)
        rest = h - product(product(h, e), e.T)
        x = product(y, u[:, :-1]) / (y @ one)[:, None]
        move = product(INTO_BOX * (np.clip(x, low, high) - x), u[:, :-1].T) - product(product(rest, p), step_matrix)
        if step <= DRIFT_STEPS:
            move += DRIFT * (1 - (step - 1) / DRIFT_STEPS) * way
        new = y + move
        at_one = new @ one
        new = new / np.where(np.abs(at_one) > LEAST_INPUT, at_one, LEAST_INPUT)[:, None]
        last, c = c, new.astype(f32)
        if step % LOOK == 0:
            misfit = np.einsum("bw,bw->b", rest, rest) / (np.einsum("bw,bw->b", h, h) + TINY)
            order = np.argsort(misfit, kind="stable")
            done = misfit[order] <= ARRIVED
            kept.append(c[order[done]])
            fits.append(misfit[order[done]])
            order = order[~done]
            if step in PRUNED:
                order = order[: int(KEPT * len(order)) + 1]
            c, last, way, misfit = c[order], last[order], way[order], misfit[order]
            if not len(c):
                break
    kept.append(c)
    fits.append(misfit)
    found, fit = np.concatenate(kept), np.concatenate(fits)
    order = np.argsort(fit, kind="stable")
    order = order[fit[order] < inside.misfit]
    return normalised(found[order])
