"""Search where little is missing: for vectors that their own zeros prove, from coordinates drawn at random.

With what is found taken out, c·r_j = 0, the images that are missing lie in few directions, and coordinates drawn in
these are near enough to tell where a vector vanishes; its own zeros do the rest, see `recon.attacks.first_layer.proof`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from recon.attacks.base import Problem
from recon.attacks.first_layer.deflated import SLOW_STEPS, deflated
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import normalised, null_vectors, sigmoid
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.proof import UNIQUE, settled, tells, uniqueness, vanishing
from recon.attacks.first_layer.search import State
from recon.attacks.first_layer.vectors import ALIKE, Vectors, corrected, distinct, inactivity, judged, robust, turned

STARTS, MOST_TIMES = 64, 8  # at once; times as many after so many batches in a row that found nothing, at most
EDGES, SOLVES, STEPS = (0.1, 0.02), 8, 12  # of `robust` in turn: softness, first and last; how often; of Lanczos
# A start takes a part of the inactive units, those deeper than a level drawn for it, up to DEEPEST rms, with an edge of
# DEPTH_EDGE, and of these so many for each unknown or more. Where 13 of 106 had been active for a while, and strongly,
# no start from all of them ended right; of starts from parts of any depth 0 to 8 in a hundred did, of these 2 to 72.
DEEPEST, DEPTH_EDGE, LEAST_UNITS, PART_SOLVES = 1.5, 0.1, 1.2, 3


@dataclass(frozen=True, eq=False)
class Zeros:
    """Vectors that their own zeros prove."""

    promise: ClassVar[float] = 0.0
    exact: ClassVar[bool] = True
    by_coordinates: ClassVar[bool] = False

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Zeros | None":
        """The search, or None where units have no inactive side, or rounding or their number leaves no proof."""
        return cls() if problem.network.units.leak == 0 and tells(seen) else None

    def vectors(self, state: State, count: int) -> Vectors:  # noqa: ARG002 (few directions are left: few starts do)
        """From drawn coordinates that the found leave free."""
        seen, rng = state.seen, state.rng
        starts = STARTS * min(1 + state.dry, MOST_TIMES)
        state.starts += starts
        reduced = deflated(seen, state.found)
        y = normalised(rng.standard_normal((starts, len(reduced.basis_c))))
        q = settled(seen, from_parts(seen, turned(seen, product(y, reduced.basis_c)), rng))
        q = q[distinct(q, np.arange(len(q), dtype=float), ALIKE)]
        q = q[uniqueness(seen, q) > UNIQUE]
        labels = ~vanishing(seen, q)
        fitted = reduced.slow.fit(labels.astype(np.float32), SLOW_STEPS)
        return judged(seen, normalised(product(fitted, reduced.basis_c)), q)

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """Where all are proven, those in doubt once settled on their zeros: their inverse is the images."""
        q = found.q.copy()
        doubt = np.flatnonzero(uniqueness(seen, q) <= UNIQUE)
        q[doubt] = settled(seen, q[doubt])
        right = np.ones(len(q), bool)
        right[doubt] = uniqueness(seen, q[doubt]) > UNIQUE
        if not right.all():
            return replace(found, ratio=np.where(right, found.ratio, 1.0))
        together = judged(seen, corrected(found.c, q / seen.s), q)
        # Units that are not zero though inactive at both ends were active for a while: no disagreement.
        active = np.minimum(product(together.c, seen.p0.T), product(together.c, seen.p1.T)) > 0
        missed = (active & vanishing(seen, q)).sum(1) / np.maximum(active.sum(1), 1)
        return replace(together, agreement=1 - missed)

    def alone(self, seen: Observed, found: Vectors) -> tuple[Vectors, Float[np.ndarray, " k"]]:  # noqa: ARG002
        """Nothing: a vector tells its image only with all the others."""
        return found, np.full(len(found), np.inf)


def from_parts(seen: Observed, c: Float[np.ndarray, "b n"], rng: np.random.Generator) -> Float[np.ndarray, "b n"]:
    """Null vectors on inactive units, each from a random part of them."""
    upper, rms, _ = inactivity(seen, c, DEPTH_EDGE)
    level = rng.uniform(0, DEEPEST, (len(c), 1))
    deep = sigmoid(-(upper / rms + level) / DEPTH_EDGE)
    least = np.minimum(LEAST_UNITS * seen.n / np.maximum(deep.sum(1, keepdims=True), 1), 1)
    weight = deep * (rng.random(deep.shape) < rng.uniform(least, 1))
    q = rng.standard_normal(c.shape)
    for _ in range(PART_SOLVES):
        q = null_vectors(seen.v, weight, q, STEPS)
    for softness in np.geomspace(*EDGES, SOLVES):
        q = robust(seen, c, q, solves=1, steps=STEPS, softness=float(softness), warm=True)
    return q
