"""Whether given images are the training images in other units, or in another order, than the network's inputs."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from recon.auditing.result import Audit
from recon.metrics import greedy

TURNED, BACK = "with height and width swapped", "with their channels in reverse order"
FEWEST = 3  # images that a fit must explain: fewer are explained by chance
CLEARLY = 0.5  # of the least distance of a held-out image: what is nearer than that is so by no chance
TINY = np.finfo(float).tiny
Flat = Float[np.ndarray, "n pixels c"]
Values = Float[np.ndarray, " c"]


class Fit(NamedTuple):
    """One change of all images to what the network takes, and what is left of the distances.

    Attributes:
      words: how the order of numbers was changed.
      factor, offset: by channel, after that; None: one and the same image was added instead.
      apart: for each image that has a partner among the reconstructions, L2 to it.
    """

    words: list[str]
    factor: Values | None
    offset: Values | None
    apart: Float[np.ndarray, " k"]


def units(audit: Audit) -> str:
    """A sentence on the training images given, if they are those that came back but for one change of all; else none.

    A change is a factor and an offset by channel, of pictures said as the mean and std that make them the network's
    inputs, after swapping height and width or reversing channels, or not; or an image that was subtracted from each.
    Where nothing is certified, what is left of the distances may also be far less than of held-out images'.
    """
    train, control, found = audit.train, audit.held_out, audit.found
    if train is None or train.within:
        return ""
    made = found.images[found.certified] if audit.certified else found.images
    if min(len(train.images.x), len(made)) < FEWEST:
        return ""
    start = "The training images given are in other units or another order than the network's inputs:"
    fits = list(fits_of(train.images.x, made, audit))
    for fit in fits:
        if many := most(fit.apart < train.limit, len(train.images.x)):
            return f"{start} {many} are within the limit of a reconstruction {change_in_words(fit, audit)}."
    if control is None or audit.certified or len(control.images.x) < FEWEST:
        return ""
    # The same freedom for both: each held-out image at its best over all changes, and what the change itself brings.
    least = min(float(fit.apart.min()) for fit in fits_of(control.images.x, made, audit))
    best = min(fits, key=lambda fit: float(np.median(fit.apart)))
    many = most(best.apart < CLEARLY * least, len(train.images.x))
    if not many or np.median(best.apart) > CLEARLY * np.median(train.distance):
        return ""
    return f"{start} {many} are far nearer to a reconstruction than any held-out image {change_in_words(best, audit)}."


def most(right: np.ndarray, given: int) -> str:
    """How many of the images are right, if most of those with a partner are and it is no chance; else nothing."""
    k = int(right.sum())
    if k < max(FEWEST, len(right) / 2):
        return ""
    return f"all {k}" if k == given else str(k)


def fits_of(given: Float[np.ndarray, "n *shape"], made: Float[np.ndarray, "m *shape"], audit: Audit) -> Iterator[Fit]:
    """The best change of each kind, the simplest first."""
    shape = audit.view.shape
    h, w, c = shape if audit.view.pictures else (1, shape[0], 1)
    r = np.asarray(made, np.float64).reshape(-1, h * w, c)
    orders = product((False, True)[: 1 + (h > 1)], (False, True)[: 1 + (c > 1)], (1, -1), (1, 0))
    for turned, back, sign, axis in orders:
        x = np.asarray(given, np.float64).reshape(-1, *((w, h) if turned else (h, w)), c)
        x = sign * (x.swapaxes(1, 2) if turned else x).reshape(-1, h * w, c)[..., :: -1 if back else 1]
        i, j, apart = match(x, r, axis)
        x, partner = x[i], r[j]
        if audit.up_to_scale:
            partner = partner * brightness(x, partner)
        sizes = np.linalg.norm(partner, axis=(1, 2)) if audit.features else np.ones(len(i))
        # Not all images that are given need be among the reconstructions.
        better = np.argsort(apart, kind="stable")[: max(FEWEST, len(i) // 2)]
        factor, offset = affine(x[better], partner[better])
        words = [TURNED] * turned + [BACK] * back
        if (factor > 0).all():
            left = np.linalg.norm(factor * x + offset - partner, axis=(1, 2)) / sizes
            yield Fit(words, sign * factor, offset, left)
        if sign > 0 and not words:
            shift = np.median(partner - x, axis=0)  # which fits half of the images by itself: all must be explained
            left = np.linalg.norm(x + shift - partner, axis=(1, 2)) / sizes
            yield Fit(words, None, None, np.full(len(left), left.max()))


def change_in_words(fit: Fit, audit: Audit) -> str:
    """What was done to the images, in words."""
    if fit.factor is None or fit.offset is None:
        return "plus one and the same image, such as a mean image"
    words, inverted = [*fit.words], bool((fit.factor < 0).all())
    if words and np.allclose(fit.factor, 1, atol=1e-3) and np.abs(fit.offset).max() < 1e-3:
        pass
    elif audit.train is not None and audit.train.images.pixels:
        back = BACK in words
        told = zip((audit.view.mean, audit.view.std), (0.0, 1.0), strict=True)
        m, s = (np.broadcast_to(v or d, fit.factor.shape)[:: -1 if back else 1] for v, d in told)
        mean, std = m - fit.offset * s / fit.factor, s / fit.factor
        if inverted:
            words, mean, std = [*words, "inverted"], 1 - mean, -std
        words.append(f"with --mean {listed(mean)} --std {listed(std)}")
    else:
        words += ["inverted,"] * inverted
        words.append(f"with the factor {listed(fit.factor)} and the offset {listed(fit.offset)}")
    return " and ".join(words)


def match(
    x: Flat, r: Float[np.ndarray, "m pixels c"], axis: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Indices of images and reconstructions that are alike but for offset and factor, and 1 − their cosine then.

    Args:
      axis: of what to take the mean to be rid of an offset: 1 of each image's pixels, 0 of all images.
    """

    def bare(v: Flat) -> Float[np.ndarray, "n d"]:
        v = (v - v.mean(axis=axis, keepdims=True)).reshape(len(v), -1)
        made: np.ndarray = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), TINY)
        return made

    pairs = greedy(1 - bare(x) @ bare(r).T)
    i = np.flatnonzero(pairs.index >= 0)
    return i, pairs.index[i], pairs.distance[i]


def brightness(x: Flat, r: Flat) -> Float[np.ndarray, "n 1 1"]:
    """The factor of each reconstruction that brings it, but for an offset by channel, to its image."""
    x0, r0 = (v - v.mean(axis=1, keepdims=True) for v in (x, r))
    above = (x0 * r0).sum(axis=(1, 2), keepdims=True)
    factor: np.ndarray = above / np.maximum((r0**2).sum(axis=(1, 2), keepdims=True), TINY)
    return factor


def affine(x: Flat, r: Flat) -> tuple[Values, Values]:
    """Factor and offset by channel that bring x to r in the least squares."""
    x0, r0 = x.mean(axis=(0, 1)), r.mean(axis=(0, 1))
    above = ((x - x0) * (r - r0)).sum(axis=(0, 1))
    factor = above / np.maximum(((x - x0) ** 2).sum(axis=(0, 1)), TINY)
    return factor, r0 - factor * x0


def listed(values: Sequence[float] | np.ndarray) -> str:
    """Numbers as the options take them, one where all are alike."""
    words = [f"{round(float(v), 6) + 0.0:.4g}" for v in values]
    return words[0] if len(set(words)) == 1 else ",".join(words)
