"""The attack at infinite width, with kernels alone: no network, and no labels (paper, theorem 1).

A trained network is f = Σ αᵢ φ(xᵢ) in the kernel's space. The images r_j are descended in, and β = K_RR⁻¹ f(R) projects
f on them, so that L = ‖Σ αᵢ φ(xᵢ) − Σ β_j φ(r_j)‖² is the squared maximum mean discrepancy of the two signed measures
with the best weights. It is RKIP's loss with the trained network's own outputs as labels.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor, enable_x64
from recon.distillation.base import DistilledSet, Method, Problem
from recon.distillation.descent import KernelDistillation, check, run
from recon.distillation.rkip import known_of, rkip_loss
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteNetwork
from recon.progress import Report


def mmd_loss(
    kernel: InfiniteNetwork,
    ridge: float,
    images: Float[Tensor, "m *shape"],
    labels: Float[Tensor, "m c"],  # noqa: ARG001
    x: Float[Tensor, "n *shape"],
    alpha: Float[Tensor, "n c"],
    norm: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """L of the module's docstring; arguments as in `rkip_loss`, labels do not enter."""
    return rkip_loss(kernel, ridge, images, kernel.ntk(images, x) @ alpha, x, alpha, norm)


def distil(problem: Problem, settings: KernelDistillation, key: PRNGKeyArray, report: Report) -> DistilledSet:
    """Minimise L, and label the images by the outputs of the network trained on all; see `descent.run`.

    Raises:
      ReconError: labels are to be learned or the stopping point to be held out; or as `descent.run`.
    """
    check(settings, problem)
    if settings.labels != "fixed" or settings.select != "loss":
        raise ReconError("The labels of mmd follow from its images: leave labels='fixed' and select='loss'.")
    known = known_of(problem, settings)
    found = run("mmd", mmd_loss, lambda *_: known, problem, settings, key, report)
    x, alpha, _ = known
    with enable_x64():
        labels = np.asarray(settings.kernel.ntk(found.images.astype(np.float64), x.astype(np.float64)) @ alpha)
    return dataclasses.replace(found, labels=labels.astype(np.float32))


METHOD = Method(
    "mmd", "the attack at infinite width: images that carry the trained network", KernelDistillation(), distil
)
