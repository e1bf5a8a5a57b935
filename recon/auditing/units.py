"""Whether given images are the training images in other units than the network's inputs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from recon.metrics import distances, greedy

if TYPE_CHECKING:
    from recon.auditing.run import Audit

FEWEST = 3  # images that a fit must explain: fewer are explained by chance
Flat = Float[np.ndarray, "n pixels c"]
Fit = tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]


def units(audit: "Audit") -> str:
    """A sentence on the training images given, if they are the certified ones but for one change of units; else none.

    A factor and an offset by channel, of pictures said as the mean and std that make them the network's inputs, or an
    image that was subtracted from each.
    """
    train, found = audit.train, audit.found
    if train is None or audit.up_to_scale or found.certified is None or train.within:
        return ""
    channels = audit.view.shape[-1] if audit.view.pictures else 1
    sure = found.images[found.certified]
    if min(len(train.images.x), len(sure)) < FEWEST:
        return ""
    given, made = (np.asarray(v, np.float64).reshape(len(v), -1, channels) for v in (train.images.x, sure))
    for axis in (1, 0):
        i, j = matched(given, made, axis)
        x, r = given[i], made[j]
        many = f"all {len(x)}" if len(x) == len(given) else str(len(x))
        start = f"The training images given are in other units than the network's inputs: {many} are"
        factor, offset = affine(x, r)
        if (factor > 0).all() and explained(factor * x + offset, r, train.limit):
            by = f"with the factor {listed(factor)} and the offset {listed(offset)}"
            if train.images.pixels:
                m, s = (np.array(v or d) for v, d in ((audit.view.mean, 0.0), (audit.view.std, 1.0)))
                by = f"with --mean {listed(m - offset * s / factor)} --std {listed(s / factor)}"
            return f"{start} within the limit of a reconstruction {by}."
        if explained(x + np.median(r - x, axis=0), r, train.limit):
            return f"{start} a reconstruction plus one and the same image, such as a mean image."
    return ""


def matched(x: Flat, r: Float[np.ndarray, "m pixels c"], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of images and reconstructions that are alike but for offset and factor.

    Args:
      axis: of what to take the mean to be rid of an offset: 1 of each image's pixels, 0 of all images.
    """

    def bare(v: Flat) -> Float[np.ndarray, "n d"]:
        v = (v - v.mean(axis=axis, keepdims=True)).reshape(len(v), -1)
        made: np.ndarray = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(float).tiny)
        return made

    index = greedy(distances(bare(x), bare(r))).index
    return np.flatnonzero(index >= 0), index[index >= 0]


def affine(x: Flat, r: Flat) -> Fit:
    """Factor and offset by channel that bring x to r in the least squares."""
    x0, r0 = x.mean(axis=(0, 1)), r.mean(axis=(0, 1))
    above = ((x - x0) * (r - r0)).sum(axis=(0, 1))
    factor = above / np.maximum(((x - x0) ** 2).sum(axis=(0, 1)), np.finfo(float).tiny)
    return factor, r0 - factor * x0


def explained(x: Flat, r: Flat, limit: float) -> bool:
    """Whether each image is within the limit of its reconstruction."""
    return bool((np.linalg.norm((x - r).reshape(len(x), -1), axis=1) < limit).all())


def listed(values: Sequence[float] | np.ndarray) -> str:
    """Numbers as the options take them, one where all are alike."""
    words = [f"{round(float(v), 6) + 0.0:.4g}" for v in values]
    return words[0] if len(set(words)) == 1 else ",".join(words)
