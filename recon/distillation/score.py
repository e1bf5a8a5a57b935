"""How well networks trained on a set classify other images, at infinite and at finite width."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.distillation.regression import duals
from recon.dynamics import Dynamics, Linearised, outputs, train
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP
from recon.metrics import share_right
from recon.networks import MLP

BATCH = 1000  # test images at once


def infinite_accuracy(
    images: Float[np.ndarray, "m *shape"],
    labels: Float[np.ndarray, "m c"],
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    kernel: InfiniteMLP | None = None,
    ridge: float = 1e-5,
) -> float:
    """Fraction of x that kernel regression on a set classifies right, in float64.

    Args:
      images: the set.
      labels: its targets.
      x, y: test images and their targets.
      kernel: the infinitely wide network (None: the paper's).
      ridge: see `duals`.

    Raises:
      ReconError: the kernel of the set is singular, or there is nothing to test on.
    """
    kernel = kernel or InfiniteMLP()
    _refuse_none(x)
    with jax.experimental.enable_x64():
        ntk = jax.jit(kernel.ntk)
        own = np.asarray(images, np.float64)
        alpha = np.asarray(duals(ntk(own), np.asarray(labels, np.float64), ridge))
        if not np.isfinite(alpha).all():
            raise ReconError("The kernel of the set is singular: raise the ridge, or remove duplicate images.")
        parts = (np.asarray(x[i : i + BATCH], np.float64) for i in range(0, len(x), BATCH))
        return share_right(np.concatenate([np.asarray(ntk(part, own)) @ alpha for part in parts]), y)


def finite_accuracy(
    images: Float[np.ndarray, "m *shape"],
    labels: Float[np.ndarray, "m c"],
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    network: MLP,
    dynamics: Dynamics,
    key: PRNGKeyArray,
) -> float:
    """Fraction of x that a network trained on a set classifies right.

    Args:
      images: the set.
      labels: its targets.
      x, y: test images and their targets.
      network: architecture; its number of outputs is set by the targets.
      dynamics: how it is trained; a linearised network is tested linearised.
      key: of its initial weights.

    Raises:
      ReconError: training failed, or there is nothing to test on.
    """
    _refuse_none(x)
    network = dataclasses.replace(network, outputs=labels.shape[1])
    params0 = jax.tree.map(np.asarray, network.init(key, int(np.prod(images.shape[1:]))))
    final = train(network, params0, images, labels, dynamics).final.params
    linearised = isinstance(dynamics, Linearised)
    parts = (x[i : i + BATCH] for i in range(0, len(x), BATCH))
    return share_right(np.concatenate([outputs(network, params0, final, part, linearised) for part in parts]), y)


def _refuse_none(x: np.ndarray) -> None:
    if not len(x):
        raise ReconError("There are no test images: use a source that has a test split.")
