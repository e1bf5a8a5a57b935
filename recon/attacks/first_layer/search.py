"""The search: batches of starts, two stages in float32, a robust finish in float64, acceptance, deflation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.first_layer.batched import (
    TINY,
    Logistic,
    active_probability,
    logistic,
    normalised,
    null_vectors,
    sigmoid,
)
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.observe import Observed

SOFTNESS = 0.15  # of the pattern's edge in the robust finish, in units of the pre-activations' rms
NOISE_ALLOWED = 2.0  # multiples of the rounding noise that are not held against a vector; its median is 0.67
SHARPENED = tuple(0.3 * 10.0**-i for i in range(7))  # of rms |g|: entries that count in full, solve by solve
ALIKE = 0.98  # cosine of two null vectors that are taken for one


@dataclass(frozen=True)
class Vectors:
    """Candidates or accepted images, one a row.

    Attributes:
      c: coordinates of (x; 1) in U, up to a factor.
      q: unit null vectors.
      ratio: median |g| on inactive units beyond what rounding explains, over rms |g| on active ones; zero if right.
      agreement: fraction of units that are active on U c exactly where g is not zero.
    """

    c: Float[np.ndarray, "k n"]
    q: Float[np.ndarray, "k n"]
    ratio: Float[np.ndarray, " k"]
    agreement: Float[np.ndarray, " k"]

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.c)

    def take(self, index: np.ndarray) -> "Vectors":
        """The rows of `index`, an array of indices or a mask."""
        return Vectors(self.c[index], self.q[index], self.ratio[index], self.agreement[index])


def none(n: int) -> Vectors:
    """No vectors of `n` coordinates."""
    return Vectors(np.zeros((0, n)), np.zeros((0, n)), np.zeros(0), np.zeros(0))


def joined(a: Vectors, b: Vectors) -> Vectors:
    """Both, in order."""
    return Vectors(*(np.concatenate([getattr(a, f), getattr(b, f)]) for f in ("c", "q", "ratio", "agreement")))


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


def complement(rows: Float[np.ndarray, "k n"], n: int) -> Float[np.ndarray, "m n"]:
    """Orthonormal rows orthogonal to all of `rows`."""
    if not len(rows):
        return np.eye(n)
    q, _ = linalg.qr(rows.T)
    rest: np.ndarray = q[:, len(rows) :].T
    return rest


def deflated(seen: Observed, found: Vectors, hold_q: bool) -> Deflated:
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
        logistic(middle, 0.02),
        logistic(middle, 0.005),
    )


def corrected(
    c: Float[np.ndarray, "k n"], r: Float[np.ndarray, "k n"], trusted: Bool[np.ndarray, " k"] | None = None
) -> Float[np.ndarray, "k n"]:
    """The unit c nearest to the given ones with r_j·c_i = 0 for i ≠ j; the inverse of r once k = n.

    r_i·c_i is left free: r is long and c rough at first, so that their product says nothing.

    Args:
      trusted: the j that count (None: all).
    """
    trust = np.ones(len(c), bool) if trusted is None else trusted
    if not trust.any():
        return normalised(c)
    r = normalised(r)
    if trust.sum() == c.shape[1]:
        inverse = normalised(linalg.pinv(r).T)
        return inverse * np.where(np.einsum("kn,kn->k", inverse, c) < 0, -1.0, 1.0)[:, None]
    known = r[trust]
    dual = linalg.solve(
        product(known, known.T) + 1e-12 * np.eye(len(known)), known, assume_a="pos"
    )  # dual_i·r_j = δ_ij
    step = product(product(c, known.T), dual)
    own = step[trust]
    step[trust] -= (np.einsum("kn,kn->k", own, dual) / np.einsum("kn,kn->k", dual, dual))[:, None] * dual
    return normalised(c - step)


def starts(
    seen: Observed, found: Vectors, reduced: Deflated, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "b m"]:
    """Reduced coordinates to start from: columns of the change less what is found, a fifth of them isotropic."""
    columns = rng.choice(seen.v.shape[1], count, replace=count > seen.v.shape[1])
    c = (seen.s[:, None] * seen.v[:, columns]).T
    if len(found):
        r = found.q / seen.s
        known = corrected(found.c, r)
        c = c - product(product(c, r.T) / np.einsum("kn,kn->k", r, known), known)
    if seen.bias:
        c = c * np.where(c @ seen.u[-1] < 0, -1.0, 1.0)[:, None]
    y = normalised(product(c, reduced.basis_c.T))
    random = normalised(rng.standard_normal(y.shape))
    return np.where(rng.random((count, 1)) < 0.2, random, y).astype(np.float32)


def inactive_units(
    c: np.ndarray, p0: np.ndarray, p1: np.ndarray
) -> tuple[Float[np.ndarray, "b w"], Bool[np.ndarray, "b w"]]:
    """The larger of the two pre-activations of each unit, and whether it is negative."""
    upper = product(c, p0.T)
    if p1 is not p0:
        upper = np.maximum(upper, product(c, p1.T))
    return upper, upper < 0


def stage_one(
    reduced: Deflated, y: Float[np.ndarray, "b m"], rng: np.random.Generator, rounds: int
) -> tuple[Float[np.ndarray, "b m"], Float[np.ndarray, "b l"], Float[np.ndarray, " b"], int]:
    """Alternate between null vectors and half-spaces until a row stops improving.

    Returns:
      Coordinates y and z, the share of g's energy on inactive units, and the number of rounds times starts.
    """
    batch = len(y)
    y = y.copy()
    z = rng.standard_normal((batch, len(reduced.v))).astype(np.float32)
    share = np.ones(batch, np.float32)
    best = np.ones(batch, np.float32)
    stale = np.zeros(batch, int)
    live = np.arange(batch)
    done = 0
    for i in range(rounds):
        _, inactive = inactive_units(y[live], reduced.p0, reduced.p1)
        mask = inactive.astype(np.float32)
        z[live] = null_vectors(reduced.v, mask, z[live], 10 if i == 0 else 6)
        g = product(z[live], reduced.v)
        share[live] = np.einsum("bw,bw->b", g * g, mask)
        y[live] = normalised(reduced.quick.fit(active_probability(g, inactive), 2))
        done += len(live)
        better = share[live] < best[live] - 1e-3
        stale[live] = np.where(better, 0, stale[live] + 1)
        best[live] = np.minimum(best[live], share[live])
        live = live[stale[live] < 3]
        if not len(live):
            break
    return y, z, share, done


def distinct(z: Float[np.ndarray, "b l"], quality: Float[np.ndarray, " b"], alike: float) -> np.ndarray:
    """Indices of the best of each group of nearly parallel rows, best first."""
    order = np.argsort(quality, kind="stable")
    unit = normalised(z)
    cosine = np.abs(product(unit, unit.T))
    kept: list[int] = []
    for i in order:
        if not kept or cosine[i, kept].max() < alike:
            kept.append(int(i))
    return np.array(kept, np.int64)


def surest(upper: Float[np.ndarray, "b w"], inactive: Bool[np.ndarray, "b w"], share: float) -> Bool[np.ndarray, "b w"]:
    """The `share` of each row's inactive units that lie deepest."""
    depth = np.where(inactive, upper, np.inf)
    order = np.sort(depth, axis=1)
    last = np.maximum((share * inactive.sum(1)).astype(int) - 1, 0)
    return depth <= np.take_along_axis(order, last[:, None], 1)


def stage_two(
    reduced: Deflated, y: Float[np.ndarray, "b m"], z: Float[np.ndarray, "b l"], rounds: int = 3
) -> tuple[Float[np.ndarray, "b m"], Float[np.ndarray, "b l"], Float[np.ndarray, " b"]]:
    """Null vectors on the surest inactive units, the worst tenth of them dropped; crisp labels."""
    share = np.ones(len(y))
    for i in range(rounds):
        upper, inactive = inactive_units(y, reduced.p0, reduced.p1)
        mask = surest(upper, inactive, 0.75 + 0.05 * i)
        z = null_vectors(reduced.v, mask.astype(np.float32), z, 8)
        mask = surest(np.abs(product(z, reduced.v)), mask, 0.9)
        z = null_vectors(reduced.v, mask.astype(np.float32), z, 8)
        g = product(z, reduced.v)
        share = np.einsum("bw,bw->b", g * g, mask.astype(np.float32)) / np.maximum(mask.sum(1), 1) * g.shape[1]
        labels = (active_probability(g, mask) > 0.5).astype(np.float32)
        y = normalised(reduced.slow.fit(labels, 6))
    return y, z, share


def robust(
    seen: Observed,
    c: Float[np.ndarray, "b n"],
    q: Float[np.ndarray, "b n"],
    solves: int,
    steps: int,
    softness: float = SOFTNESS,
    warm: bool = False,
) -> Float[np.ndarray, "b n"]:
    """Null vectors on all inactive units, weighted by how surely they are so; those with large entries lose weight.

    Args:
      softness: width of the pattern's edge, as a fraction of the pre-activations' rms.
      warm: q is nearly right already, so that its entries count from the first solve on.
    """
    upper, _ = inactive_units(c, seen.p0, seen.p1)
    rms = np.sqrt(np.mean(product(c, seen.p0.T) ** 2, axis=1, keepdims=True)) + TINY
    prior = sigmoid(-upper / (softness * rms))
    for i in range(solves):
        # At first only units that lie deep enough not to have been active for a while.
        weight = sigmoid(-(upper + 3 * seen.slack * rms) / (softness * rms))
        if warm or i:
            g = product(q, seen.v)
            width = 3 * typical(g, upper < -softness * rms) + 1e-9
            weight = prior / (1 + (g / width) ** 2)
        q = null_vectors(seen.v, weight, q, steps)
    return q


def sharpened(
    seen: Observed, c: Float[np.ndarray, "b n"], q: Float[np.ndarray, "b n"], softness: float
) -> Float[np.ndarray, "b n"]:
    """Null vectors from ones that may be mixtures of two images.

    A mixture of similar images is clean on most inactive units, so that weights by its entries keep it. Here all
    inactive units count at first, which leaves little of the mixture, then ever fewer of those with large entries.
    """
    upper, _ = inactive_units(c, seen.p0, seen.p1)
    rms = np.sqrt(np.mean(product(c, seen.p0.T) ** 2, axis=1, keepdims=True)) + TINY
    prior = sigmoid(-upper / (softness * rms))
    for share in SHARPENED:
        g = product(q, seen.v)
        level = np.sqrt(np.mean(g * g, axis=1, keepdims=True))
        width = np.maximum(3 * typical(g, upper < -softness * rms) + 1e-9, share * level)
        q = null_vectors(seen.v, prior / (1 + (g / width) ** 2), q, 12)
    return q


def typical(g: Float[np.ndarray, "b w"], mask: Bool[np.ndarray, "b w"]) -> Float[np.ndarray, "b 1"]:
    """Median |g| under the mask, by row."""
    order = np.sort(np.where(mask, np.abs(g), np.inf), axis=1)
    middle = np.maximum(mask.sum(1) // 2, 0)
    value: np.ndarray = np.take_along_axis(order, middle[:, None], 1)
    return np.where(np.isfinite(value), value, 1.0)


def judged(seen: Observed, c: Float[np.ndarray, "b n"], q: Float[np.ndarray, "b n"]) -> Vectors:
    """Candidates with their ratio and agreement."""
    g = product(q, seen.v)
    a0, a1 = product(c, seen.p0.T), product(c, seen.p1.T)
    inactive, active = (a0 < 0) & (a1 < 0), (a0 > 0) & (a1 > 0)
    level = np.sqrt((g * g * active).sum(1) / np.maximum(active.sum(1), 1)) + TINY
    noise = typical(g, inactive)[:, 0]
    zero = np.abs(g) < np.maximum(10 * noise, 1e-2 * level)[:, None]
    sure = inactive | active
    agreement = ((zero == inactive) & sure).sum(1) / np.maximum(sure.sum(1), 1)
    # Rounding of the weights leaves rms `expected` on inactive units, more on the rows of images of small weight.
    expected = seen.noise * np.linalg.norm(q / seen.s, axis=1)
    # Coordinates that no unit is active on are nobody's, and nothing is the size to compare with.
    ratio = np.where(level > 2 * TINY, np.maximum(noise - NOISE_ALLOWED * expected, 0) / level, 1.0)
    return Vectors(c, q, ratio, agreement)


def edge(missing: int, n: int) -> float:
    """Softness of the pattern's edge for coordinates that are free in `missing` of `n` directions."""
    return max(SOFTNESS * missing / n, 0.01)


def active_labels(g: Float[np.ndarray, "b w"], ratio: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b w"]:
    """One where |g| stands clear of the noise on the inactive units."""
    level = np.sqrt(np.mean(g * g, axis=1, keepdims=True))
    labels: np.ndarray = (np.abs(g) > level * np.maximum(10 * ratio[:, None], 1e-2)).astype(float)
    return labels


def finish(seen: Observed, reduced: Deflated, y: Float[np.ndarray, "b m"], q: Float[np.ndarray, "b n"]) -> Vectors:
    """Robust null vectors in float64, then c from the units that they show to be active."""
    c = normalised(product(y, reduced.basis_c))
    q = robust(seen, c, q, solves=5, steps=14, softness=edge(len(reduced.basis_c), seen.n))
    labels = active_labels(product(q, seen.v), judged(seen, c, q).ratio)
    fitted = reduced.slow.fit(labels.astype(np.float32), 6)
    return judged(seen, normalised(product(fitted, reduced.basis_c)), q)
