"""Which vectors prove themselves: those that vanish on so many units, and so alone, that one image made them.

A right null vector is zero to rounding on every unit that its image never activated, about half of them. Any vector can
be made to vanish on N − 1 units; a mixture of images vanishes on the units that none of them activated, but there it is
not alone: its images do so as well. So each vector shows by itself whether it is right, however far training moved the
patterns: units that were active only for a while are entries like others. One thing else makes a mixture vanish: where
the layers above did not move, two rows are proportional on the units that both images activate. So this is for weights
that were trained, not for a Taylor model or one step; and a certificate counts zeros on inactive units alone.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import null_vectors
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.vectors import ALIKE, Vectors, corrected, distinct, inactive_units, judged

# Chosen while building, where a line does not say what was measured.
FEWEST = 10  # units beyond the N − 1 on which any vector can be made to vanish
MOST = 0.4  # of the units, that these may be: about half are inactive on an image, some of them active for a while
ROUNDING, CLEAR = 6.0, 1e-7  # an entry is zero below so many times what rounding leaves of it, or this share of the rms
RESOLVED = 1e-3  # rounding over the rms of the entries, above which what is zero cannot be told
# Units on which a mixture may vanish by chance, and the least singular value that the others must leave beside the
# vector's own: at 50/1024, 100/512 and 100/384 at least 0.09 at right vectors, at most 0.01 at mixtures of two images.
CHANCE, UNIQUE = 5, 0.02
INACTIVE, WIDTH, LEAST = 0.25, 3.0, 1e-9  # entries lose weight beyond WIDTH times this quantile of theirs
SETTLING, STEPS, STILL = 12, 12, 1e-14  # solves by a vector's own zeros; of Lanczos in each; it no longer turns by that
# Share of its inactive units below which a vector that is zero on them is not settled, and by how much its cosine may
# turn until it is: with weight decay 0.01 vectors at 0.2 to 0.4 turned by 6e-8 and less, and were then at 0.8 and more.
UNSETTLED, TURNED = 0.6, 1e-4
RIDGE, ITERATIONS = 1e-13, 6  # of a Gram matrix that may be singular; of the inverse, for its least eigenvalue


def tells(seen: Observed) -> bool:
    """Whether rounding leaves visible what is zero, and units are enough."""
    units = np.count_nonzero(changed(seen))
    rounding = seen.noise * np.sqrt(np.mean(seen.s**-2.0) * units)
    return bool(not seen.still and rounding < RESOLVED and seen.n + FEWEST < MOST * units)


def changed(seen: Observed) -> Bool[np.ndarray, " w"]:
    """Units that the change depends on: a dead one is zero in every vector, and tells nothing."""
    largest = np.abs(seen.v).max(axis=0)
    alive: np.ndarray = largest > CLEAR * largest.max()
    return alive


def settled(seen: Observed, q: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b n"]:
    """Null vectors on the units where they nearly vanish, whatever their coordinates say."""
    q, live = q.copy(), np.arange(len(q))
    for _ in range(SETTLING):
        g = np.abs(product(q[live], seen.v))
        width = WIDTH * np.quantile(g, INACTIVE, axis=1, keepdims=True) + LEAST
        now = null_vectors(seen.v, 1 / (1 + (g / width) ** 2), q[live], STEPS)
        moved = 1 - np.abs(np.einsum("bn,bn->b", now, q[live])) > STILL
        q[live], live = now, live[moved]
        if not len(live):
            break
    return q


def vanishing(seen: Observed, q: Float[np.ndarray, "b n"]) -> Bool[np.ndarray, "b w"]:
    """Living units on which vectors are zero to rounding; none where rounding is too coarse to tell."""
    g = np.abs(product(q, seen.v))
    rms = np.sqrt(np.mean(g * g, axis=1))
    rounding = seen.noise * np.linalg.norm(q / seen.s, axis=1)
    zero: np.ndarray = g < np.maximum(ROUNDING * rounding, CLEAR * rms)[:, None]
    known: np.ndarray = zero & changed(seen) & (rounding < RESOLVED * rms)[:, None]
    return known


def uniqueness(
    seen: Observed, q: Float[np.ndarray, "b n"], among: Bool[np.ndarray, "b w"] | None = None
) -> Float[np.ndarray, " b"]:
    """How clearly each vector is the only one that vanishes where it does: a singular value, zero of too few units.

    A mixture of m images may vanish on m − 1 units by chance, which leave it alone: so the units that hold the next
    vector most do not count.

    Args:
      among: units that may count (None: all).
    """
    values = np.zeros(len(q))
    start = np.random.default_rng(0).standard_normal(seen.n)
    zeros = vanishing(seen, q) if among is None else vanishing(seen, q) & among
    for i, zero in enumerate(zeros):
        if zero.sum() < seen.n + FEWEST:
            continue
        v = seen.v[:, zero]
        gram = product(v, v.T) + np.outer(q[i], q[i]) + RIDGE * np.eye(seen.n)
        _, vector = least_direction(gram, start)
        held = v[:, np.argsort(np.abs(vector @ v))[-CHANCE:]]
        square, _ = least_direction(gram - product(held, held.T), start)
        values[i] = np.sqrt(max(square, 0.0))
    return values


def least_direction(
    gram: Float[np.ndarray, "n n"], start: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, " n"]]:
    """The least eigenvalue and its vector by inverse iteration; zero where the matrix is singular to rounding."""
    try:
        factor = linalg.cho_factor(gram, check_finite=False)
    except linalg.LinAlgError:
        return 0.0, start
    for _ in range(ITERATIONS):
        start = linalg.cho_solve(factor, start, check_finite=False)
        start = start / np.linalg.norm(start)
    return float(start @ gram @ start), start


def finished(seen: Observed, found: Vectors) -> Vectors:
    """All N vectors, those settled that are not zero to rounding where they should be; coordinates are the inverse's.

    A unit that was active for a while keeps some weight in a robust solve, and pulls its vector by as much.
    """
    if not tells(seen) or len(found) < seen.n:
        return found
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    zero = vanishing(seen, found.q)
    share = (zero & inactive).sum(1) / np.maximum(inactive.sum(1), 1)
    unsettled = np.flatnonzero(share < UNSETTLED)
    before, q = found.q[unsettled], found.q.copy()
    after = settled(seen, before)
    same = np.abs(np.einsum("bn,bn->b", before, after)) > (1 - TURNED) * np.linalg.norm(before, axis=1)
    better = same & (vanishing(seen, after).sum(1) > zero[unsettled].sum(1))
    if not better.any():
        return found
    q[unsettled[better]] = after[better]
    return replace(found, c=corrected(found.c, q / seen.s), q=q)


def proven(seen: Observed, found: Vectors) -> Vectors:
    """Those of the found that their own zeros prove, settled on them."""
    q = settled(seen, found.q)
    right = judged(seen, found.c, q).take(uniqueness(seen, q) > UNIQUE)
    return right.take(np.sort(distinct(right.q, 1 - right.agreement, ALIKE)))
