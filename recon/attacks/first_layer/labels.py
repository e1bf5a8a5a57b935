"""Labels of recovered images from one gradient, and how many images of its batch left nothing in it.

An image's row of the gradient is D W₂ δ, with δ the loss's derivative with respect to the outputs. For cross-entropy
after a softmax δ = k (p − e_y): every entry but the label's is the same multiple of a known probability. For squared
loss with targets that are a at all classes but one δ = k (f − t): every other entry of δ/k lies the same distance a
below a known output. So a label is told where exactly one entry departs, and nowhere else. Where the mean was taken
over a batch, k is one over its size, for a copy twice as much.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from recon.attacks.base import Problem
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.gradients import at_one, passed
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.vectors import Vectors
from recon.networks.mlp import dense_layers

FIT = 1e-2  # of a row's, and of δ's length: what a fit may leave. Wrong labels leave 0.5 and more, float32 up to 1e-4
CLASSES = 4  # least outputs from which squared loss tells: a and k fit any two of three
SINGLE = 4  # images of either sign of δ and in all from which targets of a single output are fitted
WHOLE = 0.02  # by which the number of images that a mean was taken over may differ from a whole one


class Told(NamedTuple):
    """What the loss tells.

    Attributes:
      labels: of each image, −1 where nothing tells; of a single output 1 where its target is the larger one.
      absent: images of the batch that left nothing in the gradient above rounding, or None: not told.
    """

    labels: Int[np.ndarray, " k"]
    absent: int | None


def told(seen: Observed, found: Vectors, right: Bool[np.ndarray, " k"], problem: Problem) -> Told:
    """Labels of images, and what the batch held beside them.

    Args:
      found: images with their rows.
      right: which are vouched for; no others are told of.
    """
    right = right.copy()
    labels, factors = np.full(len(found), -1), np.full(len(found), np.nan)
    if not right.any() or len(problem.params0) < 2:
        return Told(labels, None)
    above = tuple((np.asarray(w, np.float64), 0.0 if b is None else np.asarray(b, np.float64))
                  for w, b in dense_layers(problem.params0)[1:])  # fmt: skip
    units = problem.mlp.units
    c = np.asarray(at_one(found.c, seen.u[-1]))
    at = passed(product(c, (seen.p0 / seen.scale).T), above, units)
    outputs = np.asarray(units.value(at.z[-1]) @ above[-1][0] + above[-1][1])
    rows = product(found.q / np.einsum("kn,kn->k", found.q / seen.s, c)[:, None], seen.v)
    delta = np.zeros_like(outputs)
    for i in np.flatnonzero(right):
        delta[i] = np.linalg.lstsq(at.g[0][i].T, rows[i], rcond=None)[0]
        right[i] = np.linalg.norm(delta[i] @ at.g[0][i] - rows[i]) < FIT * np.linalg.norm(rows[i])
    if not seen.bias:  # nothing tells the images' size, which the outputs depend on
        return Told(labels, None)
    if outputs.shape[1] == 1:
        labels[right] = of_single(outputs[right, 0], delta[right, 0])
        return Told(labels, None)
    for i in np.flatnonzero(right):
        labels[i], factors[i] = of_several(outputs[i], delta[i])
    batch = 1 / np.nanmedian(factors) if np.isfinite(factors).any() else 0.0
    times = np.rint(factors * batch)
    whole = abs(batch - round(batch)) < WHOLE and len(found) == seen.n and bool(np.isfinite(factors).all())
    rest = round(batch) - int(times.sum()) if whole else -1
    return Told(labels, rest if rest >= 0 else None)


def of_several(outputs: Float[np.ndarray, " c"], delta: Float[np.ndarray, " c"]) -> tuple[int, float]:
    """The label and the loss's factor (NaN: not of cross-entropy), or −1."""
    classes, size = len(outputs), float(np.linalg.norm(delta))
    chances = special.softmax(outputs)
    for y in map(int, np.flatnonzero(delta < 0)):
        rest = np.arange(classes) != y
        k = -delta[y] / chances[rest].sum()
        if np.linalg.norm(delta[rest] - k * chances[rest]) < FIT * size:
            return y, float(k)
    if classes >= CLASSES:
        for y in range(classes):
            rest = np.arange(classes) != y
            columns = np.stack([outputs[rest], np.ones(classes - 1)], axis=1)
            (k, shift), *_ = np.linalg.lstsq(columns, delta[rest], rcond=None)
            left = np.linalg.norm(columns @ (k, shift) - delta[rest])
            if k > 0 and left < FIT * size and k * outputs[y] + shift - delta[y] > FIT * size:
                return y, np.nan
    return -1, np.nan


def of_single(outputs: Float[np.ndarray, " k"], delta: Float[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Labels of two classes, if one of two targets explains every δ: of squared loss, or of a sigmoid's."""
    larger = delta < 0
    unknown = np.full(len(delta), -1)
    if min(len(delta), 2 * larger.sum(), 2 * (~larger).sum()) < SINGLE:
        return unknown
    for values in (outputs, special.expit(outputs)):
        columns = np.stack([values, -1.0 * larger, -1.0 * ~larger], axis=1)
        (k, high, low), *_ = np.linalg.lstsq(columns, delta, rcond=None)
        if k > 0 and high > low and np.linalg.norm(columns @ (k, high, low) - delta) < FIT * np.linalg.norm(delta):
            return larger.astype(int)
    return unknown
