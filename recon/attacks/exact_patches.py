"""Exact recovery for networks whose first layer embeds disjoint patches: patches in the images' place.

The change of a convolution's kernel, as a (size²·in, out) matrix, is a sum over images *and* positions,

    [ΔW₁; Δb₁] = Σ_i Σ_p (patch_ip; 1) G_ipᵀ,

and G_ip vanishes, as a dense layer's does, at every channel that was never active on that patch. So the exact recovery
applies with patches in the images' place wherever the rank tells their number: N·P patches, fewer than size²·in inputs
and than 0.4 times the channels. With 3 × 3 kernels that is never so: 9·in + 1 rows are fewer than the patches of one
image, and their span is everything. With disjoint patches of 14 × 14 pixels, four of an MNIST image, it is for N < 49.

Which patches are of one image, and where in it, the first layer does not tell. Where a dense layer follows at once,
f(x) = Σ_p Σ_k a_pk relu(w_k·patch_p + b_k), the rows do: G_ipk = α_i a_pk at active channels, up to what `a` moved in
training. A row's regression on the weights a_p of all positions gives its position and α_i, and patches with equal
dual weights are of one image. Under deeper networks assembly is an open question. A patch that images share (a blank
corner) is found once, with the sum of their dual weights, and is missing from all of them but one.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from recon.attacks.base import Attack, Problem, Reconstruction, Tree
from recon.attacks.exact import Exact, recover
from recon.errors import ReconError
from recon.networks import MLP
from recon.networks.conv import CNN
from recon.progress import Report


class Assembled(NamedTuple):
    """Which patches make an image.

    Attributes:
      parts: of the patches, (images, positions), −1 where no patch is left.
      clear: images all of whose patches have a dual weight nearer to the image's than half way to any other patch's.
    """

    parts: Int[np.ndarray, "n p"]
    clear: Bool[np.ndarray, " n"]


def as_dense(layer: dict[str, np.ndarray]) -> Tree:
    """A convolution as the dense layer that it is for a patch."""
    kernel = layer["kernel"]
    return {"Dense_0": {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": layer["bias"]}}


def of_patches(problem: Problem) -> Problem:
    """The first layer's problem, with patches in the images' place.

    The layer above goes unused: the change is given as a sum of gradients.

    Raises:
      ReconError: the network is none with a patch embedding and a dense layer.
    """
    network = problem.network
    if not isinstance(network, CNN) or network.patch is None or len(network.widths) != 1:
        raise ReconError(
            "exact-patches is for CNN((channels,), patch=side), disjoint patches and then a dense layer: "
            "use ntk-autodiff for other convolutional networks."
        )
    h, w, c = problem.image_shape
    side = network.patch
    before, after = (as_dense(p["Conv_0"]) for p in (problem.params0, problem.params1))
    change = jax.tree.map(lambda a, b: b - a, before, after)
    if problem.linearised:  # all gradients were taken at θ₀
        after = before
    count = problem.m * (h // side) * (w // side)
    return Problem(MLP(network.widths), before, after, (side, side, c), problem.box, problem.linearised, count, change)


def dual_weights(
    problem: Problem, patches: Float[np.ndarray, "k *shape"], positions: int
) -> Float[np.ndarray, "k p c"]:
    """Coefficients of each patch's row of the change on the dense layer's weights, by position and output.

    Zero but for the patch's own position, where they are α_i.
    """
    flat = np.concatenate([patches.reshape(len(patches), -1), np.ones((len(patches), 1))], axis=1).astype(np.float64)

    def stacked(tree: Tree) -> np.ndarray:
        layer = as_dense(tree["Conv_0"])["Dense_0"]
        return np.concatenate([layer["kernel"], layer["bias"][None]]).astype(np.float64)

    before, after = stacked(problem.params0), stacked(problem.params1)
    rows = np.linalg.lstsq(flat.T, after - before, rcond=None)[0]  # G, (patches, channels)
    ends = (problem.params0,) if problem.linearised else (problem.params0, problem.params1)
    active = np.all([flat @ stacked(p) > 0 for p in ends], axis=0)
    head = np.mean([p["Dense_0"]["kernel"] for p in ends], axis=0, dtype=np.float64)
    outputs = head.shape[1]
    head = head.reshape(positions, -1, outputs).swapaxes(0, 1).reshape(-1, positions * outputs)  # (channels, …)
    found = [np.linalg.lstsq(head[on], row[on], rcond=None)[0] for row, on in zip(rows, active, strict=True)]
    return np.asarray(found).reshape(len(patches), positions, outputs)


def assembled(weights: Float[np.ndarray, "k p c"]) -> Assembled:
    """Give each patch its position, and join patches of equal dual weights."""
    place = np.argmax(np.linalg.norm(weights, axis=2), axis=1)
    own = weights[np.arange(len(weights)), place]
    at = [np.flatnonzero(place == p) for p in range(weights.shape[1])]
    first = max(at, key=len)  # the position with most patches stands for the images
    index, clear = np.full((len(first), len(at)), -1), np.ones(len(first), bool)
    for p, mine in enumerate(at):
        distance = cdist(own[first], own[mine])
        rows, columns = linear_sum_assignment(distance)
        index[rows, p] = mine[columns]
        missing = np.setdiff1d(np.arange(len(first)), rows)
        clear[missing] = False
        apart = cdist(own[first], own[first]) + np.diag(np.full(len(first), np.inf))
        clear[rows] &= distance[rows, columns] < 0.5 * apart.min(axis=1, initial=np.inf)[rows]
    return Assembled(index, clear)


def joined(patches: Float[np.ndarray, "n p s s c"], shape: tuple[int, ...]) -> Float[np.ndarray, "n h w c"]:
    """Images of their patches, row by row."""
    h, w, c = shape
    side = patches.shape[2]
    grid = patches.reshape(-1, h // side, w // side, side, side, c)
    return grid.swapaxes(2, 3).reshape(-1, h, w, c)


def run(problem: Problem, settings: Exact, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Recover the patches, then assemble them; a certified image is clear, and all its patches are certified.

    Raises:
      ReconError: the network is none with a patch embedding and a dense layer.
    """
    inner = of_patches(problem)
    positions = inner.m // problem.m
    found = recover("exact-patches", inner, settings, key, report)
    side = found.images.shape[1:]
    images = np.zeros((0, *problem.image_shape), np.float32)
    sure = np.zeros(0, bool)
    if len(found.images):
        parts, clear = assembled(dual_weights(problem, found.images, positions))
        picked = np.where((parts >= 0)[..., None, None, None], found.images[parts], np.float32(0))
        images = joined(picked, problem.image_shape)
        assert found.certified is not None
        sure = clear & np.all((parts >= 0) & found.certified[parts], axis=1)
    order = np.argsort(~sure, kind="stable")
    return Reconstruction(
        attack="exact-patches",
        images=images[order],
        start=joined(found.start.reshape(-1, positions, *side), problem.image_shape),
        trace=found.trace,
        steps=found.steps,
        why=found.why,
        certified=sure[order],
        n_estimated=None if found.n_estimated is None else round(found.n_estimated / positions),
        work=found.work | {"patches": len(found.images)},
        seconds=found.seconds,
    )


ATTACK = Attack(
    "exact-patches", "exact recovery of the patches of a patch embedding", Exact(), run, networks=CNN, descends=False
)
