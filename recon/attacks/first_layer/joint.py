"""All found images together: each one's coordinates against the others' null vectors, cleaning, the certificate."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from recon.attacks.first_layer.batched import TINY, Array, logistic, normalised
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.search import (
    Vectors,
    active_labels,
    complement,
    corrected,
    inactive_units,
    judged,
    robust,
)

PASS_RATIO = 0.003  # a joint step is done when every vector is below this ratio
PASS_AGREEMENT = 0.85
DROP_RATIO = 0.01  # vectors above this ratio after a joint step are mixtures of images
EDGES = (0.15, 0.05, 0.02, 0.01, 0.005)  # softness of the pattern's edge, falling as the coordinates become exact
CERTAIN_TAIL = 0.02  # 80 % quantile of |g| on inactive units over rms |g| on active ones
CERTAIN_BOX = 0.05  # L2 distance of an image to its box


def images(seen: Observed, c: Float[Array, "k n"]) -> Float[Array, "k d"]:
    """Inputs of coordinates c: U c with its last entry, the bias's input, scaled to one."""
    x = c @ seen.u.T
    if not seen.bias:
        return x
    last = x[:, -1:]
    scaled: Array = x[:, :-1] / np.where(np.abs(last) > TINY, last, 1.0)
    return scaled


def boxed(seen: Observed, c: Float[Array, "k n"]) -> Float[Array, "k n"]:
    """Coordinates of the images clipped to their box."""
    if seen.low is None or not seen.bias:
        return c
    x = np.clip(images(seen, c), seen.low, seen.high)
    return x @ seen.u[:-1] + seen.u[-1]


def outside(seen: Observed, c: Float[Array, "k n"]) -> Float[Array, " k"]:
    """L2 distance of each image to its box, zero without one."""
    if seen.low is None or not seen.bias:
        return np.zeros(len(c))
    x = images(seen, c)
    distance: Array = np.linalg.norm(x - np.clip(x, seen.low, seen.high), axis=1)
    return distance


def placed(seen: Observed, found: Vectors, projections: int = 3) -> Float[Array, "k n"]:
    """Coordinates that meet r_j·c_i = 0 for all pairs, nearest to the given ones in the box.

    Short of n vectors this leaves each c free along the missing ones' directions, where the pattern of g decides.
    """
    r = found.q / seen.s
    c = found.c
    if len(found) == seen.n:
        return corrected(c, r)
    for _ in range(projections):
        c = boxed(seen, corrected(c, r))
    c = corrected(c, r)
    free = complement(normalised(r), seen.n)
    middle = seen.p0 if seen.still else (seen.p0 + seen.p1) / 2
    fit = logistic(middle @ free.T, 0.005)
    labels = active_labels(found.q @ seen.v, found.ratio)
    for scale in (10.0, 30.0):
        c = normalised(scale * c + fit.shift(labels, scale * c @ middle.T, 8) @ free)
    return c


def joint(seen: Observed, found: Vectors, rounds: int = 5) -> Vectors:
    """Place the coordinates, take the patterns again, solve again."""
    for softness in EDGES[:rounds]:
        c = placed(seen, found)
        softness = max(softness * (1 - len(found) / seen.n), EDGES[-1]) if len(found) < seen.n else softness
        q, _ = robust(seen, c, found.q, solves=3, steps=14, softness=softness)
        found = judged(seen, c, q)
    return Vectors(placed(seen, found), found.q, found.ratio, found.agreement)


def passing(found: Vectors) -> Bool[np.ndarray, " k"]:
    """Which vectors are right by their own entries."""
    return (found.ratio < PASS_RATIO) & (found.agreement > PASS_AGREEMENT)


def cleaned(seen: Observed, found: Vectors, spare: int = 0) -> Vectors:
    """The found set after joint steps, without what they show to be mixtures, and without the `spare` worst.

    The nearer to complete, the better the coordinates are known, and the more is asked of a vector.
    """
    share = len(found) / seen.n
    after = joint(seen, found, rounds=1 + (share > 0.5) + (share > 0.9))
    limit = DROP_RATIO if share < 0.9 else PASS_RATIO
    good = np.flatnonzero((after.ratio < limit) & (after.agreement > PASS_AGREEMENT))
    good = good[np.argsort(after.ratio[good], kind="stable")]
    return after.take(np.sort(good[: max(len(good) - spare, 0)]))


class Certificate(NamedTuple):
    """What the attack vouches for.

    Attributes:
      certified: by image.
      confidence: in [0, 1], by image.
    """

    certified: Bool[np.ndarray, " k"]
    confidence: Float[Array, " k"]


def tail(seen: Observed, found: Vectors) -> Float[Array, " k"]:
    """80 % quantile of |g| on inactive units over rms |g| on active ones."""
    g = np.abs(found.q @ seen.v)
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    level = np.sqrt((g * g * ~inactive).sum(1) / np.maximum((~inactive).sum(1), 1)) + TINY
    quantile = np.nanquantile(np.where(inactive, g, np.nan), 0.8, axis=1) if len(g) else np.zeros(0)
    ratio: Array = np.nan_to_num(quantile, nan=1.0) / level
    return ratio


def certificate(seen: Observed, found: Vectors) -> Certificate:
    """Vouch for images once all N vectors are found: before that a right vector can carry a wrong image."""
    width, distance = tail(seen, found), outside(seen, found.c)
    complete = len(found) == seen.n
    certified = complete & (width < CERTAIN_TAIL) & (distance < CERTAIN_BOX)
    confidence = 1 / (1 + (width / CERTAIN_TAIL) ** 2) / (1 + (distance / CERTAIN_BOX) ** 2)
    return Certificate(certified, confidence * (1.0 if complete else 0.5))
