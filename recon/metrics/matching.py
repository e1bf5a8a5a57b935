"""Distances between training images and reconstructions, and three ways to pair them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class Matching:
    """Which reconstruction stands for which image.

    Attributes:
      index: for each image, its reconstruction.
      distance: the L2 distance between the two.
    """

    index: Int64[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]


def distances(images: Float[np.ndarray, "n *shape"], found: Float[np.ndarray, "m *shape"]) -> Float[np.ndarray, "n m"]:
    """L2 distances in float64."""
    a, b = (np.asarray(v, np.float64).reshape(len(v), math.prod(v.shape[1:])) for v in (images, found))
    d: np.ndarray = cdist(a, b)
    return d


def greedy(distance: Float[np.ndarray, "n m"]) -> Matching:
    """The paper's one-to-one matching: take the smallest entry, strike its row and column, repeat.

    Ties go to the first in row-major order. With m < n the images left over have index −1 and distance ∞.
    """
    n, m = distance.shape
    index, out = np.full(n, -1, np.int64), np.full(n, np.inf)
    taken, left = np.zeros(m, bool), min(n, m)
    for flat in np.argsort(distance, axis=None, kind="stable"):
        i, j = divmod(int(flat), m)
        if index[i] < 0 and not taken[j]:
            index[i], out[i], taken[j] = j, distance[i, j], True
            left -= 1
            if not left:
                break
    return Matching(index, out)


def optimal(distance: Float[np.ndarray, "n m"]) -> Matching:
    """The one-to-one matching of least total distance (Hungarian method); leftovers as in `greedy`."""
    index, out = np.full(len(distance), -1, np.int64), np.full(len(distance), np.inf)
    rows, columns = linear_sum_assignment(distance)
    index[rows], out[rows] = columns, distance[rows, columns]
    return Matching(index, out)


def nearest(distance: Float[np.ndarray, "n m"]) -> Matching:
    """For each image its nearest reconstruction, which may serve several images."""
    index = np.argmin(distance, axis=1).astype(np.int64)
    return Matching(index, np.take_along_axis(distance, index[:, None], 1)[:, 0])
