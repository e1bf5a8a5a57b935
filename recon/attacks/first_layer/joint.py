"""All found images together: each one's coordinates against the others' null vectors, cleaning, the certificate."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from recon.attacks.first_layer.batched import TINY, logistic, normalised
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.observe import SLACK, Observed
from recon.attacks.first_layer.search import (
    NOISE_ALLOWED,
    Vectors,
    active_labels,
    complement,
    corrected,
    inactive_units,
    judged,
    robust,
    sharpened,
)

PASS_RATIO = 0.003  # a joint step is done when every vector is below this ratio
PASS_AGREEMENT = 0.85
DROP_RATIO = 0.01  # vectors above this ratio after a joint step are mixtures of images
SETTLED_RATIO = 5e-4  # vectors below need no second look, if their pattern agrees
# Share of the vectors that are trusted, and softness of the pattern's edge, in each round of a joint step.
JOINT = ((0.8, 0.03), (0.9, 0.02), (1.0, 0.02), (1.0, 0.01), (1.0, 0.005))
MOST_REPEATS = 4  # of the last of them, until no coordinate of the unit vectors moves by more than
SETTLED = 3e-5
DOUBTFUL = 2.0  # times the median disagreement of patterns above which a vector is solved again from all its units,
DOUBTS = 3  # at most so often, until no vector moves by more than
MOVED = 1e-9
LEAKS = np.linspace(-0.6, 0.6, 31)  # shares of the last image, of unit vectors, zero in the middle
CERTAIN_TAIL = 0.02  # 80 % quantile of |g| on inactive units over rms |g| on active ones
CERTAIN_BOX = 0.05  # L2 distance of an image to its box
ERROR_QUANTILE = 2 / 3  # of the ratios that tell an error: the rest are units that were active for a while
SURPLUS = 8  # inactive units beyond the N − 1 on which any vector can be made to vanish
MARGIN = 3.0  # an error is taken for so many times what it shows: several in one vector partly cancel
CERTAIN_SPREAD = 0.1  # L2 distance by which the vectors' errors may move an image: what a certificate promises
FLAT_SHARE = 0.05  # of the inputs that must touch the box where nothing but the box tells an image's size,
FLAT_WIDTH = 0.002  # within this share of its width


def images(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k d"]:
    """Inputs of coordinates c: U c with its last entry, the bias's input, scaled to one.

    Without biases the change tells an image up to its size: it is as large as its box allows (unit length without one).
    """
    x = product(c, seen.u.T)
    if seen.bias:
        last = x[:, -1:]
        return x[:, :-1] / np.where(np.abs(last) > TINY, last, 1.0)
    if seen.low is None or seen.high is None:
        return normalised(x)
    room = np.where(x > 0, seen.high, seen.low) / np.where(x == 0, TINY, x)
    scaled: np.ndarray = x * room.min(1, keepdims=True)
    return scaled


def anchored(seen: Observed, x: Float[np.ndarray, "k d"]) -> Bool[np.ndarray, " k"]:
    """Whether an image's size is known: by the bias, or by a flat part of it, such as black, that touches the box."""
    if seen.bias:
        return np.ones(len(x), bool)
    if seen.low is None or seen.high is None:
        return np.zeros(len(x), bool)
    near = FLAT_WIDTH * (seen.high - seen.low)
    flat: np.ndarray = np.mean((x - seen.low < near) | (seen.high - x < near), axis=1) > FLAT_SHARE
    return flat


def boxed(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Coordinates of the images clipped to their box."""
    if seen.low is None or not seen.bias:
        return c
    x = np.clip(images(seen, c), seen.low, seen.high)
    back: np.ndarray = product(x, seen.u[:-1]) + seen.u[-1]
    return back


def outside(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, " k"]:
    """L2 distance of each image to its box, zero without one."""
    if seen.low is None or not seen.bias:
        return np.zeros(len(c))
    x = images(seen, c)
    distance: np.ndarray = np.linalg.norm(x - np.clip(x, seen.low, seen.high), axis=1)
    return distance


def placed(seen: Observed, found: Vectors, trust: float = 1.0, projections: int = 3) -> Float[np.ndarray, "k n"]:
    """Coordinates that meet r_j·c_i = 0 for i ≠ j, nearest to the given ones in the box.

    Short of n conditions this leaves each c free in some directions, where the pattern of g decides.

    Args:
      trust: the share of the found whose r count, those of best agreement: a noisy or false r spoils every c.
    """
    r = found.q / seen.s
    count = int(np.ceil(trust * len(found)))
    trusted = np.zeros(len(found), bool)
    trusted[np.argsort(-found.agreement, kind="stable")[:count]] = True
    c = found.c
    if count == seen.n:
        return corrected(c, r)
    for _ in range(projections):
        c = boxed(seen, corrected(c, r, trusted))
    c = corrected(c, r, trusted)
    free = complement(normalised(r[trusted]), seen.n)
    middle = seen.p0 if seen.still else (seen.p0 + seen.p1) / 2
    fit = logistic(product(middle, free.T), 0.005)
    labels = active_labels(product(found.q, seen.v), found.ratio)
    for scale in (10.0, 30.0):
        c = normalised(scale * c + product(fit.shift(labels, product(scale * c, middle.T), 8), free))
    return c


def joint(seen: Observed, found: Vectors) -> Vectors:
    """Place the coordinates of all, take the patterns again, solve again; in the end each c is the inverse's."""
    c = placed(seen, found, JOINT[0][0])
    for i, (trust, softness) in enumerate(JOINT + (JOINT[-1],) * MOST_REPEATS):
        softness = softness * seen.slack / SLACK
        found = judged(seen, c, robust(seen, c, found.q, solves=3, steps=8, softness=softness, warm=True))
        before = c
        c = placed(seen, found, trust)
        if i >= len(JOINT) - 1 and np.abs(c - before).max() < SETTLED:
            break
    for _ in range(DOUBTS):
        now = judged(seen, c, found.q)
        doubt = np.flatnonzero(doubtful(now))
        if not len(doubt):
            break
        q = now.q.copy()
        q[doubt] = sharpened(seen, c[doubt], q[doubt], softness)
        if np.abs(np.einsum("kn,kn->k", q, now.q)).min() > 1 - MOVED:
            break
        found = judged(seen, c, q)
        c = placed(seen, found)
        found = judged(seen, c, q)
    return Vectors(c, found.q, found.ratio, found.agreement)


def doubtful(found: Vectors) -> Bool[np.ndarray, " k"]:
    """Which patterns agree clearly less than most do: a mixture's or a spoilt image's."""
    off = 1 - found.agreement
    doubt: np.ndarray = off > DOUBTFUL * np.median(off)
    return doubt


def leaked(seen: Observed, found: Vectors) -> Bool[np.ndarray, " k"]:
    """Which images fit their pattern clearly better with some of the last image added to them or taken away.

    An error of the last vector along r_a does not show in r_a's own entries: the inverse then mixes the last image
    into image a, which moves its coordinates along c_a + t c_last. So the pattern is compared at points of that line.
    Counts of units scatter by about their square root; a difference of twice that counts.
    """
    off = np.stack(
        [(1 - judged(seen, normalised(found.c + t * found.c[-1]), found.q).agreement) * seen.v.shape[1] for t in LEAKS]
    )
    here, least = off[len(LEAKS) // 2], off.min(0)
    worse: np.ndarray = here > least + 2 * np.sqrt(least) + 2
    worse[-1] = False  # the line is its own direction
    return worse


def passing(found: Vectors) -> Bool[np.ndarray, " k"]:
    """Which vectors are right by their own entries."""
    return (found.ratio < PASS_RATIO) & (found.agreement > PASS_AGREEMENT)


def cleaned(seen: Observed, found: Vectors, spare: int = 0) -> Vectors:
    """The found set without what better coordinates show to be mixtures, and without the `spare` worst.

    Only vectors whose pattern is in doubt are solved again.
    """
    if not len(found):
        return found
    share = len(found) / seen.n
    for softness in (0.15 * (1 - share), 0.05 * (1 - share)):
        c = placed(seen, found, 0.9)
        now = judged(seen, c, found.q)
        doubt = np.flatnonzero((now.ratio > SETTLED_RATIO) | (now.agreement < 0.99 - seen.slack))
        q = now.q.copy()
        q[doubt] = robust(seen, c[doubt], q[doubt], solves=3, steps=8, softness=max(softness, seen.slack / 4))
        found = judged(seen, c, q)
    limit = DROP_RATIO if share < 0.9 else PASS_RATIO
    good = np.flatnonzero((found.ratio < limit) & (found.agreement > PASS_AGREEMENT))
    return best(found.take(good), len(good) - spare)


def best(found: Vectors, count: int) -> Vectors:
    """The `count` vectors whose patterns agree best with their images, in their order."""
    order = np.argsort(-found.agreement, kind="stable")
    return found.take(np.sort(order[: max(count, 0)]))


class Certificate(NamedTuple):
    """What the attack vouches for.

    Attributes:
      certified: by image.
      confidence: in [0, 1], by image.
    """

    certified: Bool[np.ndarray, " k"]
    confidence: Float[np.ndarray, " k"]


def tail(seen: Observed, found: Vectors) -> Float[np.ndarray, " k"]:
    """80 % quantile of |g| on inactive units over rms |g| on active ones."""
    g = np.abs(product(found.q, seen.v))
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    level = np.sqrt((g * g * ~inactive).sum(1) / np.maximum((~inactive).sum(1), 1)) + TINY
    quantile = np.nanquantile(np.where(inactive, g, np.nan), 0.8, axis=1) if len(g) else np.zeros(0)
    ratio: np.ndarray = np.nan_to_num(quantile, nan=1.0) / level
    return ratio


def spread(seen: Observed, found: Vectors, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """L2 distance by which the vectors' remaining errors may move each image, once all N are found.

    An error ε r_a in r_b mixes the images the other way round: x_a moves by ε (x_b − x_a). Where b is inactive and a
    is active, g_b should vanish and is ε g_a instead, so the ratio of the two on those units bounds ε: few units where
    the images are alike, which is where errors hide. What the weights' rounding explains is the same noise on every
    unit, and averages out over them. Errors of different vectors add up as independent ones.

    Args:
      x: the images.
    """
    raw, r = found.c @ seen.u.T, found.q / seen.s
    scale = np.linalg.norm(x, axis=1) / (np.linalg.norm(raw[:, : x.shape[1]], axis=1) + TINY)
    own = np.abs(np.einsum("kn,kn->k", r, found.c)) * scale + TINY  # r·c, to be one
    g = np.abs(found.q @ seen.v) / own[:, None] + TINY
    rounding = NOISE_ALLOWED * seen.noise * np.linalg.norm(r, axis=1) / own
    rest = np.maximum(g - rounding[:, None], 0)
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    level = np.sqrt((g * g * ~inactive).sum(1) / np.maximum((~inactive).sum(1), 1))
    squares = np.zeros(len(x))
    for b in range(len(x)):
        telling = ~inactive[:, inactive[b]]
        count = telling.sum(1)
        ratio = np.where(telling, rest[b, inactive[b]] / g[:, inactive[b]], np.inf)
        ratio.sort(axis=1)
        at = np.minimum((ERROR_QUANTILE * count).astype(int), np.maximum(count - 1, 0))
        error = np.minimum(ratio[np.arange(len(x)), at], 1.0) if ratio.shape[1] else np.ones(len(x))
        error = np.hypot(MARGIN * error, rounding[b] / level / np.sqrt(count + 1))
        squares += (error * np.linalg.norm(x - x[b], axis=1)) ** 2
    moved: np.ndarray = np.sqrt(squares)
    return moved


def certificate(seen: Observed, found: Vectors) -> Certificate:
    """Vouch for images once all N vectors are found: before that a right vector can carry a wrong image."""
    width, distance = tail(seen, found), outside(seen, found.c)
    complete = len(found) == seen.n
    x = images(seen, found.c)
    sized = anchored(seen, x)
    moved = spread(seen, found, x)
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    enough = inactive.sum(1) >= len(found) - 1 + SURPLUS
    sound = (width < CERTAIN_TAIL) & (distance < CERTAIN_BOX) & (moved < CERTAIN_SPREAD)
    certified = complete & sized & enough & sound
    confidence = 1 / (1 + (width / CERTAIN_TAIL) ** 2) / (1 + (distance / CERTAIN_BOX) ** 2)
    confidence = confidence / (1 + (moved / CERTAIN_SPREAD) ** 2)
    for doubt in (~np.full(len(x), complete), ~sized, ~enough):
        confidence = np.where(doubt, 0.5, 1.0) * confidence
    return Certificate(certified, confidence)
