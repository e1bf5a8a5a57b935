"""Search by which units of the second layer are switched on: two hidden layers, one output, linearised dynamics.

[ΔW₂] = Σ_i h₁(x_i) (α_i b_i ∘ w₃)ᵀ with b_i in {0, 1} the units of the second layer that are active on x_i, as all
gradients were taken at θ₀. So the row space of ΔW₂/w₃ holds N vectors of zeros and ones. Each gives t_i = W₂(b_i ∘ w₃),
and the first layer's rows are G_i ∝ a_i ∘ t_i with a_i in {0, 1} as well, in the row space of ΔW₁. Both are found by
relaxed reflections between a subspace and a set of two values for each unit (Elser, Rankenburg and Thibault, PNAS
2007).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.base import Problem
from recon.attacks.first_layer.deflated import SLOW_STEPS, deflated, starts
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.joint import joint
from recon.attacks.first_layer.linear import TINY, normalised
from recon.attacks.first_layer.observe import Observed, leading
from recon.attacks.first_layer.search import Candidates, State, accepted
from recon.attacks.first_layer.vectors import Vectors

# Chosen while building.
RELAXED = 0.5  # of a full step of the reflections
STEPS, FIRST_STEPS = 100, 60  # on the second layer's change and on the first's
MISFIT = 0.05  # mean distance of a pattern's entries from the span to go on with
LEAST = 0.05  # share of active units: zero is in every span
FAINT = 1e-3  # of the rms output weight: units that tell nothing
FULL = 0.5  # images for each unit of the second layer from which its patterns' span is too large to tell them
LEAST_INPUT = 0.05  # of the biases, in units of the length of coordinates, that these are divided by


@dataclass(frozen=True, eq=False)
class Switches:
    """What patterns of the second layer must meet.

    Attributes:
      span: (N, W₂), orthonormal rows that span the patterns.
      p: (W₁, N), pre-activations of the columns of U.
      w2, b2, w3: the weights above, at θ₀; float32.
    """

    promise: ClassVar[float] = 1.0
    exact: ClassVar[bool] = False
    span: Float[np.ndarray, "n v"]
    p: Float[np.ndarray, "w n"]
    w2: Float[np.ndarray, "w v"]
    b2: Float[np.ndarray, " v"]
    w3: Float[np.ndarray, " v"]

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Switches | None":
        """The span of the second layer's patterns, or None for another kind of network or dynamics."""
        if (
            not seen.still
            or len(problem.params0) != 3
            or problem.params0["Dense_2"]["kernel"].shape[1] != 1
            or not seen.bias
        ):
            return None
        second, last = problem.params0["Dense_1"], problem.params0["Dense_2"]
        w2, b2 = np.asarray(second["kernel"], np.float64), np.asarray(second["bias"], np.float64)
        w3 = np.asarray(last["kernel"][:, 0], np.float64)
        if seen.n >= FULL * len(w3):
            return None
        rows = leading(np.asarray(problem.change["Dense_1"]["kernel"], np.float64).T, seen.n).T
        least = FAINT * np.sqrt(np.mean(w3**2))
        divided = rows / np.where(np.abs(w3) > least, w3, np.inf)
        span = linalg.qr(divided.T, mode="economic")[0].T
        f32 = np.float32
        p = seen.p0 / seen.scale
        return cls(span.astype(f32), p.astype(f32), w2.astype(f32), b2.astype(f32), w3.astype(f32))

    def vectors(self, state: State, count: int) -> Vectors:
        """What the robust finish accepts of the candidates."""
        return accepted(state, self.candidates(state, count))

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """Each from the units that the others leave inactive."""
        return joint(seen, found)

    def candidates(self, state: State, count: int) -> Candidates:
        """From columns of the change and isotropic starts."""
        reduced = deflated(state.seen, state.found)
        y = starts(state.seen, state.found, reduced, count, state.rng)
        active, q = first_patterns(state.seen, self, product(y, reduced.basis_c))
        return Candidates(reduced, normalised(reduced.slow.fit(active.astype(np.float32), SLOW_STEPS)), q)


def first_patterns(
    seen: Observed, above: Switches, c: Float[np.ndarray, "b n"]
) -> tuple[Bool[np.ndarray, "k w"], Float[np.ndarray, "k n"]]:
    """Patterns and null vectors of the first layer near those of coordinates c, of those that fit."""
    least = LEAST_INPUT * np.linalg.norm(c, axis=1) + TINY
    c = c / np.maximum(np.abs(c @ seen.u[-1]), least)[:, None]
    h = np.maximum(product(c.astype(np.float32), above.p.T), 0)
    start = (product(h, above.w2) + above.b2 > 0).astype(np.float32)
    z = reflected(above.span, start, lambda x: (x > 0.5).astype(np.float32), STEPS)
    b = (z > 0.5).astype(np.float32)
    fits = np.flatnonzero((np.abs(z - b).mean(1) < MISFIT) & (b.mean(1) > LEAST))
    fits = fits[np.unique(b[fits], axis=0, return_index=True)[1]]
    b, h = b[fits], h[fits]
    t = product(b * above.w3, above.w2.T)
    t /= np.sqrt(np.mean(t * t, axis=1, keepdims=True)) + np.float32(TINY)
    v = seen.v.astype(np.float32)
    g = reflected(v, t * (h > 0), lambda x: np.where(np.abs(x - t) < np.abs(x), t, np.float32(0)), FIRST_STEPS)
    a = np.abs(g - t) < np.abs(g)
    some = a.mean(1) > LEAST
    return a[some], product((a[some] * t[some]).astype(np.float64), seen.v.T)


def reflected(
    span: Float[np.ndarray, "n w"],
    start: Float[np.ndarray, "b w"],
    nearest: Callable[[np.ndarray], np.ndarray],
    steps: int,
) -> Float[np.ndarray, "b w"]:
    """Rows in the span of orthonormal rows that are near a set as well, by relaxed reflect-reflect-relax steps.

    Args:
      nearest: the point of the set next to each row.
    """
    x = start
    inside = product(product(x, span.T), span)
    for _ in range(steps):
        x = x + np.float32(RELAXED) * (nearest(2 * inside - x) - inside)
        inside = product(product(x, span.T), span)
    return inside
