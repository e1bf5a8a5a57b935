"""The coordinates of what is still to be found: where to start in them, and how to finish what a search found."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import Logistic, logistic, normalised
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.vectors import (
    SOFTNESS,
    Vectors,
    active_labels,
    complement,
    corrected,
    judged,
    robust,
    turned,
)

# Chosen while building.
QUICK_RIDGE, SLOW_RIDGE = 0.02, 0.005  # of the regressions, on rough labels and on clean ones
SLOW_STEPS = 6  # of the fit of clean labels
ISOTROPIC = 0.2  # share of the starts that are drawn at random, not from columns of the change
FINISH_SOLVES, FINISH_STEPS = 5, 14  # of the robust finish, and of Lanczos in each
LEAST_SOFTNESS = 0.01  # of the pattern's edge, for coordinates that are nearly determined


@dataclass(frozen=True)
class Deflated:
    """The search's coordinates once some images are found: c = y·basis_c, q = z·basis_q, in float32.

    What is left to find is orthogonal to the found: r_j·c = 0 and q·(c_j/s) = 0, so both live in smaller spaces and
    the reduced problem has the form of the whole.

    Attributes:
      basis_c: (n', n), orthonormal, orthogonal to the found r.
      basis_q: (n', n), orthonormal, orthogonal to the found c/s; the identity where q is left free.
      v: basis_q V.
      p0, p1: pre-activations of basis_c.
      quick, slow: regressions for the two stages.
    """

    basis_c: Float[np.ndarray, "m n"]
    basis_q: Float[np.ndarray, "l n"]
    v: Float[np.ndarray, "l w"]
    p0: Float[np.ndarray, "w m"]
    p1: Float[np.ndarray, "w m"]
    quick: Logistic
    slow: Logistic


def deflated(seen: Observed, found: Vectors, hold_q: bool = False) -> Deflated:
    """Reduced coordinates; `hold_q` also keeps q orthogonal to the found c/s."""
    r = found.q / seen.s
    basis_c = complement(normalised(r), seen.n)
    basis_q = complement(normalised(corrected(found.c, r) / seen.s), seen.n) if hold_q else np.eye(seen.n)
    p0 = product(seen.p0, basis_c.T).astype(np.float32)
    p1 = p0 if seen.still else product(seen.p1, basis_c.T).astype(np.float32)
    middle = p0 if seen.still else (p0 + p1) / 2
    return Deflated(
        basis_c,
        basis_q,
        product(basis_q, seen.v).astype(np.float32),
        p0,
        p1,
        logistic(middle, QUICK_RIDGE),
        logistic(middle, SLOW_RIDGE),
    )


def starts(
    seen: Observed, found: Vectors, reduced: Deflated, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "b m"]:
    """Reduced coordinates to start from: columns of the change less what is found, a fifth of them isotropic."""
    c = columns(seen, count, rng)
    if len(found):
        r = found.q / seen.s
        known = corrected(found.c, r)
        c = c - product(product(c, r.T) / np.einsum("kn,kn->k", r, known), known)
    y = normalised(product(turned(seen, c), reduced.basis_c.T))
    random = normalised(rng.standard_normal(y.shape))
    return np.where(rng.random((count, 1)) < ISOTROPIC, random, y).astype(np.float32)


def columns(seen: Observed, count: int, rng: np.random.Generator) -> Float[np.ndarray, "b n"]:
    """Coordinates of columns of the change, drawn without repeats where there are enough."""
    drawn = rng.choice(seen.v.shape[1], count, replace=count > seen.v.shape[1])
    c: np.ndarray = (seen.s[:, None] * seen.v[:, drawn]).T
    return c


def edge(missing: int, n: int) -> float:
    """Softness of the pattern's edge for coordinates that are free in `missing` of `n` directions."""
    return max(SOFTNESS * missing / n, LEAST_SOFTNESS)


def finish(seen: Observed, reduced: Deflated, y: Float[np.ndarray, "b m"], q: Float[np.ndarray, "b n"]) -> Vectors:
    """Robust null vectors in float64, then c from the units that they show to be active."""
    c = normalised(product(y, reduced.basis_c))
    softness = edge(len(reduced.basis_c), seen.n)
    q = robust(seen, c, q, solves=FINISH_SOLVES, steps=FINISH_STEPS, softness=softness)
    labels = active_labels(product(q, seen.v), judged(seen, c, q).ratio)
    fitted = reduced.slow.fit(labels.astype(np.float32), SLOW_STEPS)
    return judged(seen, normalised(product(fitted, reduced.basis_c)), q)
