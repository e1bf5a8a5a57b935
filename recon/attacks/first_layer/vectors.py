"""Null vectors and their images' coordinates: which belong together, what they are judged by, how they are refined."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import TINY, normalised, null_vectors, sigmoid
from recon.attacks.first_layer.observe import Observed

# Chosen while building, where a line does not say what was measured.
SOFTNESS = 0.15  # of the pattern's edge in the robust finish, in units of the pre-activations' rms
NOISE_ALLOWED = 2.0  # multiples of the rounding noise that are not held against a vector; its median is 0.67
SHARPENED = tuple(0.3 * 10.0**-i for i in range(7))  # of rms |g|: entries that count in full, solve by solve
SHARPENED_STEPS = 12  # of Lanczos in each of these solves
ALIKE = 0.98  # cosine of two null vectors that are taken for one
CLEAR = 3.0  # slacks below the threshold, in rms pre-activations, from which a unit counts before any entry is known
OUTLYING, LEAST_WIDTH = 3.0, 1e-9  # entries beyond so many times the median on inactive units lose their weight
# Entries count as zero below so many times those on inactive units, and below this share of rms |g|.
ZERO_NOISE, ZERO_SHARE = 10.0, 1e-2
RIDGE = 1e-12  # of the Gram matrix of unit rows, two of which may be one


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


def merged(found: Vectors, new: Vectors, most: int, by_coordinates: bool = False) -> Vectors:
    """The found and those of the new that differ from all of them, best first, `most` at most.

    Args:
      by_coordinates: these tell images apart as well, where two of them have nearly one null vector.
    """
    for i in np.argsort(new.ratio, kind="stable"):
        row = new.take(np.array([i]))
        if len(found) < most and not any(likeness(found, row, by_coordinates) > ALIKE):
            found = joined(found, row)
    return found


def likeness(found: Vectors, row: Vectors, by_coordinates: bool = False) -> Float[np.ndarray, " k"]:
    """Cosines of the null vectors with one; where coordinates count, theirs if they are less alike."""
    cosine: np.ndarray = np.abs(found.q @ row.q[0])
    return np.minimum(cosine, np.abs(found.c @ row.c[0])) if by_coordinates else cosine


def distinct(z: Float[np.ndarray, "b l"], quality: Float[np.ndarray, " b"], alike: float) -> np.ndarray:
    """Indices of the best of each group of nearly parallel rows, best first.

    Args:
      quality: less is better.
      alike: cosine from which two rows are of one group.
    """
    order = np.argsort(quality, kind="stable")
    unit = normalised(z)
    cosine = np.abs(product(unit, unit.T))
    kept: list[int] = []
    for i in order:
        if not kept or cosine[i, kept].max() < alike:
            kept.append(int(i))
    return np.array(kept, np.int64)


def complement(rows: Float[np.ndarray, "k n"], n: int) -> Float[np.ndarray, "m n"]:
    """Orthonormal rows orthogonal to all of `rows`."""
    if not len(rows):
        return np.eye(n)
    q, _ = linalg.qr(rows.T)
    rest: np.ndarray = q[:, len(rows) :].T
    return rest


def turned(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Coordinates of unknown sign with that at which the biases' input is positive, where there are biases."""
    if not seen.bias:
        return c
    return c * np.where(c @ seen.u[-1] < 0, -1.0, 1.0)[:, None]


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
        product(known, known.T) + RIDGE * np.eye(len(known)), known, assume_a="pos"
    )  # dual_i·r_j = δ_ij
    step = product(product(c, known.T), dual)
    own = step[trust]
    step[trust] -= (np.einsum("kn,kn->k", own, dual) / np.einsum("kn,kn->k", dual, dual))[:, None] * dual
    return normalised(c - step)


def inactive_units(
    c: np.ndarray, p0: np.ndarray, p1: np.ndarray
) -> tuple[Float[np.ndarray, "b w"], Bool[np.ndarray, "b w"]]:
    """The larger of the two pre-activations of each unit, and whether it is negative."""
    upper = product(c, p0.T)
    if p1 is not p0:
        upper = np.maximum(upper, product(c, p1.T))
    return upper, upper < 0


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
      solves: how often the weights follow the entries.
      steps: of Lanczos in each solve.
      softness: width of the pattern's edge, as a fraction of the pre-activations' rms.
      warm: q is nearly right already, so that its entries count from the first solve on.
    """
    upper, rms, prior = inactivity(seen, c, softness)
    for i in range(solves):
        # At first only units that lie deep enough not to have been active for a while.
        weight = sigmoid(-(upper + CLEAR * seen.slack * rms) / (softness * rms))
        if warm or i:
            g = product(q, seen.v)
            width = OUTLYING * typical(g, upper < -softness * rms) + LEAST_WIDTH
            weight = prior / (1 + (g / width) ** 2)
        q = null_vectors(seen.v, weight, q, steps)
    return q


def narrowed(
    seen: Observed,
    c: Float[np.ndarray, "b n"],
    q: Float[np.ndarray, "b n"],
    edges: tuple[float, float],
    solves: int,
    steps: int,
) -> Float[np.ndarray, "b n"]:
    """Null vectors of coordinates that stay as they are: the pattern's edge narrows as the vectors settle.

    Args:
      edges: its softness in the first and in the last solve.
      solves, steps: how many, and of Lanczos in each.
    """
    for i, softness in enumerate(np.geomspace(*edges, solves)):
        q = robust(seen, c, q, solves=1, steps=steps, softness=float(softness), warm=i > 0)
    return q


def sharpened(
    seen: Observed, c: Float[np.ndarray, "b n"], q: Float[np.ndarray, "b n"], softness: float
) -> Float[np.ndarray, "b n"]:
    """Null vectors from ones that may be mixtures of two images.

    A mixture of similar images is clean on most inactive units, so that weights by its entries keep it. Here all
    inactive units count at first, which leaves little of the mixture, then ever fewer of those with large entries.
    """
    upper, rms, prior = inactivity(seen, c, softness)
    for share in SHARPENED:
        g = product(q, seen.v)
        level = np.sqrt(np.mean(g * g, axis=1, keepdims=True))
        width = np.maximum(OUTLYING * typical(g, upper < -softness * rms) + LEAST_WIDTH, share * level)
        q = null_vectors(seen.v, prior / (1 + (g / width) ** 2), q, SHARPENED_STEPS)
    return q


def inactivity(
    seen: Observed, c: Float[np.ndarray, "b n"], softness: float
) -> tuple[Float[np.ndarray, "b w"], Float[np.ndarray, "b 1"], Float[np.ndarray, "b w"]]:
    """Each unit's larger pre-activation, their rms by row, and how surely the unit is inactive, from 0 to 1."""
    upper, _ = inactive_units(c, seen.p0, seen.p1)
    rms = np.sqrt(np.mean(product(c, seen.p0.T) ** 2, axis=1, keepdims=True)) + TINY
    return upper, rms, sigmoid(-upper / (softness * rms))


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
    zero = np.abs(g) < np.maximum(ZERO_NOISE * noise, ZERO_SHARE * level)[:, None]
    sure = inactive | active
    agreement = ((zero == inactive) & sure).sum(1) / np.maximum(sure.sum(1), 1)
    # Rounding of the weights leaves rms `expected` on inactive units, more on the rows of images of small weight.
    expected = seen.noise * np.linalg.norm(q / seen.s, axis=1)
    # Coordinates that no unit is active on are nobody's, and nothing is the size to compare with.
    ratio = np.where(level > 2 * TINY, np.maximum(noise - NOISE_ALLOWED * expected, 0) / level, 1.0)
    return Vectors(c, q, ratio, agreement)


def active_labels(g: Float[np.ndarray, "b w"], ratio: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b w"]:
    """One where |g| stands clear of the noise on the inactive units."""
    level = np.sqrt(np.mean(g * g, axis=1, keepdims=True))
    labels: np.ndarray = (np.abs(g) > level * np.maximum(ZERO_NOISE * ratio[:, None], ZERO_SHARE)).astype(float)
    return labels
