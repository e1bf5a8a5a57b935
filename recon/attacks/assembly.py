"""Which patches are of one image, and when that is sure.

A network f(x) = Σ_p Σ_k a_pk relu(w_k·patch_p + b_k) tells the dual weight α_i of an image i at each of its patches
twice. The patch's row of the first layer's change is α_i a_pk at active channels k, and the dense layer's own change at
position p is Σ_i α_i relu(w_k·patch_ip + b_k): two regressions on known numbers, exact for linearised dynamics. In
training both `a` and the activations move, differently, so that the two estimates disagree by about their error: 0.5 %
of the duals' rms at 200 to 400 channels, most of it the rows', so the other estimate is the one taken. A patch that
several images have in one place (a blank corner) is found once, with the sum of their dual weights.

Patches whose dual weights differ by no more than their errors may be of one image. Groups of patches so linked, also
by way of others, are as many as can be told apart. An image's assembly is sure where

  * its group has one patch at each position, any two of them linked: each could only be swapped for one of another
    group, which is further off than errors reach, and images of nearly equal dual weights are one group, so that a swap
    is refused on both sides; and
  * at no position can the image be hidden in a shared patch while the patch that it was given is another image's by
    chance: no patch of a group that some position lacks has a dual weight equal, within errors, to the sum of the
    image's and of some of those that the position lacks.

So one chance agreement at a position is ruled out. Two are not, nor can one be where an image leaves no trace at all at
a position: its patch active in no channel.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from recon.attacks.base import Problem, Tree

# The error of a dual weight: the largest of the estimates' disagreement on it, of so many times the rms of their
# disagreements, of so many standard errors of its regression, and of a share of the duals' rms, for rounding. Chosen on
# 127 draws of plain and shifted digits and of CIFAR-10 (N = 4 to 10, 200 to 400 channels, both dynamics) without
# patches that nearly equal each other: the true error came to at most 0.93 of it. On 157 other draws it was once 1.2,
# else at most 0.82, and none of the 1165 images that were certified on 248 draws of all kinds was wrong.
DISAGREEMENTS = 1.5
DEVIATIONS = 5.0
FLOOR = 1e-3
MOST_LACKING = 12  # dual weights that a position may lack; the sums of more of them come near to every number


class Duals(NamedTuple):
    """Dual weights of patches, by position and output.

    Attributes:
      value: α_i where the patch is image i's, the sum where it is several images', zero where it is none's.
      error: L2 distance by which it may be off.
    """

    value: Float[np.ndarray, "k p c"]
    error: Float[np.ndarray, "k p"]


class Assembled(NamedTuple):
    """Which patches make an image.

    Attributes:
      parts: of the patches, (images, positions), −1 where no patch is left.
      sure: images whose patches could not be any others.
    """

    parts: Int[np.ndarray, "n p"]
    sure: Bool[np.ndarray, " n"]


class Places(NamedTuple):
    """Patches at the positions where they are, one row for each.

    Attributes:
      patch, position: which and where.
      value, error: its dual weight there.
    """

    patch: Int[np.ndarray, " e"]
    position: Int[np.ndarray, " e"]
    value: Float[np.ndarray, "e c"]
    error: Float[np.ndarray, " e"]


def as_dense(layer: dict[str, np.ndarray]) -> Tree:
    """A convolution as the dense layer that it is for a patch."""
    kernel = layer["kernel"]
    return {"Dense_0": {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": layer["bias"]}}


def dual_weights(problem: Problem, patches: Float[np.ndarray, "k *shape"], positions: int) -> Duals:
    """Dual weights from the dense layer's change, with errors from how far the patches' rows disagree."""
    flat = np.concatenate([patches.reshape(len(patches), -1), np.ones((len(patches), 1))], axis=1).astype(np.float64)

    def stacked(tree: Tree) -> np.ndarray:
        layer = as_dense(tree["Conv_0"])["Dense_0"]
        return np.concatenate([layer["kernel"], layer["bias"][None]]).astype(np.float64)

    def dense(tree: Tree) -> np.ndarray:  # (channels, positions · outputs)
        head = tree["Dense_0"]["kernel"].astype(np.float64)
        return head.reshape(positions, -1, head.shape[1]).swapaxes(0, 1).reshape(-1, positions * head.shape[1])

    first, last = problem.params0, problem.params1
    ends = (first,) if problem.linearised else (first, last)
    before = np.stack([flat @ stacked(p) for p in ends])  # of the activation, (ends, patches, channels)
    shape = len(patches), positions, -1

    rows = np.linalg.lstsq(flat.T, stacked(last) - stacked(first), rcond=None)[0]
    head, active = np.mean([dense(p) for p in ends], axis=0), np.all(before > 0, axis=0)
    by_rows = [np.linalg.lstsq(head[on], row[on], rcond=None)[0] for row, on in zip(rows, active, strict=True)]

    features = np.maximum(before, 0).mean(axis=0).T  # (channels, patches)
    change, solve = dense(last) - dense(first), np.linalg.pinv(features)
    value = solve @ change
    rest = change - features @ value
    variance = np.sum(rest**2, axis=0) / max(len(rest) - len(patches), 1)
    deviation = np.linalg.norm(solve, axis=1)[:, None] * np.sqrt(variance.reshape(positions, -1).sum(axis=1))

    value = value.reshape(shape)
    apart = np.linalg.norm(value - np.reshape(by_rows, shape), axis=2)
    size = np.linalg.norm(value, axis=2)
    own = np.arange(len(size)), np.argmax(size, axis=1)
    least = max(DISAGREEMENTS * _rms(apart[own]), FLOOR * _rms(size[own]))
    return Duals(value, np.maximum(np.maximum(apart, DEVIATIONS * deviation), least))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def assembled(duals: Duals) -> Assembled:
    """Give each patch its positions, and join patches of equal dual weights."""
    found = placed(duals)
    link = cdist(found.value, found.value) <= found.error[:, None] + found.error
    _, group = connected_components(link, directed=False)
    at = [np.flatnonzero(found.position == p) for p in range(duals.value.shape[1])]
    first = max(at, key=len)  # the position with most patches stands for the images
    index = np.full((len(first), len(at)), -1)
    for p, mine in enumerate(at):
        distance = cdist(found.value[first], found.value[mine])
        other = group[first][:, None] != group[mine]
        # First as many pairs of equal groups as can be, so that a group of one patch at each position stays together.
        rows, columns = linear_sum_assignment(distance + other * distance.sum())
        index[rows, p] = mine[columns]
    sure = told_apart(found, link, group, len(at))[group[first]]
    return Assembled(np.where(index >= 0, found.patch[index], -1), sure)


def placed(duals: Duals) -> Places:
    """Where each patch is: wherever its dual weight is above its error, and where it is largest."""
    size = np.linalg.norm(duals.value, axis=2)
    there = size > duals.error
    there[np.arange(len(size)), np.argmax(size, axis=1)] = True
    patch, position = np.nonzero(there)
    return Places(patch, position, duals.value[there], duals.error[there])


def told_apart(
    found: Places, link: Bool[np.ndarray, "e e"], group: Int[np.ndarray, " e"], positions: int
) -> Bool[np.ndarray, " g"]:
    """Which groups of linked patches are an image for sure: the module's two conditions."""
    held = np.zeros((group.max() + 1, positions), int)
    np.add.at(held, (group, found.position), 1)
    members = [group == g for g in range(len(held))]
    value = np.array([found.value[m].mean(axis=0) for m in members])
    error = np.array([found.error[m].max() for m in members])
    told = np.array([np.all(h == 1) and link[np.ix_(m, m)].all() for h, m in zip(held, members, strict=True)])
    uneven = np.any(held != held[:, :1], axis=1)
    for p in range(positions):
        lacking = np.repeat(np.arange(len(held)), held.max(axis=1) - held[:, p])
        doubtful = np.flatnonzero((found.position == p) & uneven[group])
        if len(lacking) > MOST_LACKING:
            told[:] = False
        elif len(lacking) and len(doubtful):
            chosen = np.array(list(product((0.0, 1.0), repeat=len(lacking)))[1:])
            total, spread = chosen @ value[lacking], chosen @ error[lacking]
            for g in np.flatnonzero(told):
                reach = (spread + error[g])[:, None] + found.error[doubtful]
                told[g] = not np.any(cdist(total + value[g], found.value[doubtful]) <= reach)
    return told
