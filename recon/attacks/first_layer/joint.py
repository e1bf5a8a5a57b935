"""All found images together: each one's coordinates against the others' null vectors, and cleaning."""

import numpy as np
from jaxtyping import Bool, Float

from recon.attacks.first_layer.deflated import SLOW_RIDGE
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.images import boxed
from recon.attacks.first_layer.linear import logistic, normalised
from recon.attacks.first_layer.observe import SLACK, Observed
from recon.attacks.first_layer.vectors import (
    ALIKE,
    Vectors,
    active_labels,
    complement,
    corrected,
    distinct,
    judged,
    robust,
    sharpened,
)

# Chosen while building, where a line does not say what was measured.
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
SOLVES, STEPS = 3, 8  # of robust null vectors that are nearly right, and of Lanczos in each
TRUST = 0.9  # share of the vectors that count for coordinates while some are missing or doubted
PROJECTIONS = 3  # into the box and back, before the pattern decides the rest
SHARPER, SHIFT_STEPS = (10.0, 30.0), 8  # lengths of unit coordinates as logits, in turn, and steps for each
# In cleaning: softness of the edge in each round, times the share that is missing, and at least this share of the
# slack; an agreement, beside the slack, below which a vector is solved again; the share found from which a vector must
# be as good as in a joint step to stay.
CLEANING, LEAST_SOFTNESS, SETTLED_AGREEMENT, NEARLY_ALL = (0.15, 0.05), 0.25, 0.99, 0.9
LEAKS = np.linspace(-0.6, 0.6, 31)  # shares of the last image, of unit vectors, zero in the middle


def placed(seen: Observed, found: Vectors, trust: float = 1.0) -> Float[np.ndarray, "k n"]:
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
    for _ in range(PROJECTIONS):
        c = boxed(seen, corrected(c, r, trusted))
    c = corrected(c, r, trusted)
    free = complement(normalised(r[trusted]), seen.n)
    fit = logistic(product(seen.middle, free.T), SLOW_RIDGE)
    labels = active_labels(product(found.q, seen.v), found.ratio)
    for scale in SHARPER:
        c = normalised(scale * c + product(fit.shift(labels, product(scale * c, seen.middle.T), SHIFT_STEPS), free))
    return c


def joint(seen: Observed, found: Vectors) -> Vectors:
    """Place the coordinates of all, take the patterns again, solve again; in the end each c is the inverse's."""
    c = placed(seen, found, JOINT[0][0])
    rounds = [(trust, width * seen.slack / SLACK) for trust, width in JOINT + (JOINT[-1],) * MOST_REPEATS]
    for i, (trust, softness) in enumerate(rounds):
        found = judged(seen, c, robust(seen, c, found.q, solves=SOLVES, steps=STEPS, softness=softness, warm=True))
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
        q[doubt] = sharpened(seen, c[doubt], q[doubt], rounds[-1][1])
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


def repeated(found: Vectors) -> Bool[np.ndarray, " k"]:
    """Which vectors are another one once more, all but the one that agrees best with its image.

    Solving all together can draw two of them to one vector; what tells the two apart is then rounding, and stands for
    an image that was never found.
    """
    again = np.ones(len(found), bool)
    if len(found):
        again[distinct(found.q, 1 - found.agreement, ALIKE)] = False
    return again


def cleaned(seen: Observed, found: Vectors, spare: int = 0) -> Vectors:
    """The found set without what better coordinates show to be mixtures, and without the `spare` worst.

    Only vectors whose pattern is in doubt are solved again.
    """
    if not len(found):
        return found
    share = len(found) / seen.n
    for softness in CLEANING:
        c = placed(seen, found, TRUST)
        now = judged(seen, c, found.q)
        doubt = np.flatnonzero((now.ratio > SETTLED_RATIO) | (now.agreement < SETTLED_AGREEMENT - seen.slack))
        q = now.q.copy()
        q[doubt] = robust(
            seen,
            c[doubt],
            q[doubt],
            solves=SOLVES,
            steps=STEPS,
            softness=max(softness * (1 - share), LEAST_SOFTNESS * seen.slack),
        )
        found = judged(seen, c, q)
    limit = DROP_RATIO if share < NEARLY_ALL else PASS_RATIO
    good = np.flatnonzero((found.ratio < limit) & (found.agreement > PASS_AGREEMENT) & ~repeated(found))
    return best(found.take(good), len(good) - spare)


def best(found: Vectors, count: int) -> Vectors:
    """The `count` vectors whose patterns agree best with their images, in their order."""
    order = np.argsort(-found.agreement, kind="stable")
    return found.take(np.sort(order[: max(count, 0)]))
