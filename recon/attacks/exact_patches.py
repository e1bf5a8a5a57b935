"""Exact recovery for networks whose first layer embeds disjoint patches: patches in the images' place.

The change of a convolution's kernel, as a (size²·in, out) matrix, is a sum over images *and* positions,

    [ΔW₁; Δb₁] = Σ_i Σ_p (patch_ip; 1) G_ipᵀ,

and G_ip vanishes, as a dense layer's does, at every channel that was never active on that patch. So the exact recovery
applies with patches in the images' place wherever the rank tells their number: N·P patches, fewer than size²·in inputs
and than 0.4 times the channels. With 3 × 3 kernels that is never so: 9·in + 1 rows are fewer than the patches of one
image, and their span is everything. With disjoint patches of 14 × 14 pixels, four of an MNIST image, it is for N < 49.

Which patches are of one image, and where in it, the first layer does not tell. Where a dense layer follows at once,
dual weights do (`recon.attacks.assembly`); under deeper networks assembly is an open question. A patch that images
share in one place (a blank corner) is found once, and is missing from all of them but one.
"""

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.attacks.assembly import as_dense, assembled, dual_weights
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.exact import recover, trained_outputs
from recon.attacks.first_layer.certificate import CERTAIN_SPREAD, OWN_SCALE, box_width, fitted
from recon.attacks.first_layer.settings import Exact
from recon.errors import ReconError
from recon.networks import MLP
from recon.networks.conv import CNN
from recon.progress import Report


def of_patches(problem: Problem) -> Problem:
    """The first layer's problem, with patches in the images' place.

    The layer above goes unused.

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
    count = problem.m * (h // side) * (w // side)
    return Problem(MLP(network.widths), before, after, (side, side, c), problem.box, problem.linearised, count)


def joined(patches: Float[np.ndarray, "n p s s c"], shape: tuple[int, ...]) -> Float[np.ndarray, "n h w c"]:
    """Images of their patches, row by row."""
    h, w, c = shape
    side = patches.shape[2]
    grid = patches.reshape(-1, h // side, w // side, side, side, c)
    return grid.swapaxes(2, 3).reshape(-1, h, w, c)


def run(problem: Problem, settings: Exact, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Recover the patches, then assemble them; certified are images of sure assembly whose patches all are certified.

    Raises:
      ReconError: the network is none with a patch embedding and a dense layer.
    """
    inner = of_patches(problem)
    positions = inner.m // problem.m
    found = recover("exact-patches", inner, settings, key, report, parts=True)
    side = found.images.shape[1:]
    images = np.zeros((0, *problem.image_shape), np.float32)
    sure = np.zeros(0, bool)
    if len(found.images):
        parts, whole = assembled(dual_weights(problem, found.images, positions))
        picked = np.where((parts >= 0)[..., None, None, None], found.images[parts], np.float32(0))
        images = joined(picked, problem.image_shape)
        assert found.certified is not None
        assert found.up_to_scale is not None
        sure = whole & np.all((parts >= 0) & found.up_to_scale[parts], axis=1)
        sized, outputs = found.certified[parts].all(axis=1), trained_outputs(problem)
        if outputs is not None and sure.any():
            width = 1.0 if problem.box is None else box_width(*(np.asarray(side) for side in problem.box))
            may = np.full(int(sure.sum()), OWN_SCALE * CERTAIN_SPREAD * width)
            sized[sure] |= fitted(outputs, images[sure], may)
        sure &= sized
    k, many = int(sure.sum()), len(sure)
    unsure = (
        () if k == many else (f"{many - k} of {many} images have a patch that may be another image's, or is unsure",)
    )
    order = np.argsort(~sure, kind="stable")
    return Reconstruction(
        attack="exact-patches",
        images=images[order],
        start=joined(found.start.reshape(-1, positions, *side), problem.image_shape),
        trace=found.trace,
        steps=found.steps,
        why=found.why,
        certified=sure[order],
        up_to_scale=sure[order],
        doubts=tuple(f"of the patches: {doubt}" for doubt in found.doubts) + unsure,
        n_estimated=None if found.n_estimated is None else round(found.n_estimated / positions),
        work=found.work | {"patches": len(found.images)},
        seconds=found.seconds,
    )


ATTACK = Attack(
    "exact-patches",
    "exact recovery of the patches of a patch embedding",
    Exact(loose=True),
    run,
    networks=CNN,
    relu_only=True,
    descends=False,
)
