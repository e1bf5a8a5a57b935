"""How good a set is: the accuracy of networks trained on it, at infinite and at finite width, and its losses."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import enable_x64
from recon.distillation.regression import RIDGE, compiled_ntk, duals
from recon.distillation.rkip import squared_distance, theorem2
from recon.dynamics import Dynamics, Linearised, outputs, train
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP, InfiniteNetwork
from recon.metrics import share_right
from recon.networks import MLP

BATCH = 1000  # test images at once


def infinite_accuracy(
    images: Float[np.ndarray, "m *shape"],
    labels: Float[np.ndarray, "m c"],
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    kernel: InfiniteNetwork | None = None,
    ridge: float = RIDGE,
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
    with enable_x64():
        ntk = partial(compiled_ntk, kernel)
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


def set_losses(
    images: Float[np.ndarray, "m *shape"],
    labels: Float[np.ndarray, "m c"],
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    kernel: InfiniteNetwork | None = None,
    ridge: float = RIDGE,
) -> dict[str, float]:
    """What KIP and RKIP descend in, of any set, in float64.

    Args:
      images, labels: the set.
      x, y: training images and their targets.
      kernel: the infinitely wide network (None: the paper's).
      ridge: of both kernels, see `duals`.

    Returns:
      "kip": ½ mean‖y − prediction‖²; "rkip": the reconstruction loss, multiplied out; "fit" and "surplus": its two
      terms by theorem 2, with K_TT α_T, which is y but for the ridge, as the y_T that makes it exact; "norm": its value
      for an empty set. NaN where a kernel is singular.
    """
    kernel = kernel or InfiniteMLP()
    with enable_x64():
        ntk = partial(compiled_ntk, kernel)
        images, labels, x, y = (np.asarray(a, np.float64) for a in (images, labels, x, y))
        k_tt, k_tr, k_rr = ntk(x), ntk(x, images), ntk(images)
        alpha, beta = duals(k_tt, y, ridge), duals(k_rr, labels, ridge)
        fit, surplus = theorem2(k_tt, k_tr, k_rr, k_tt @ alpha, beta)
        norm = jnp.vdot(alpha, k_tt @ alpha)
        found = {
            "kip": 0.5 * jnp.mean(jnp.sum((y - k_tr @ beta) ** 2, axis=1)),
            "rkip": squared_distance(norm, alpha, k_tr, k_rr, beta),
            "fit": fit,
            "surplus": surplus,
            "norm": norm,
        }
        return {name: float(value) for name, value in found.items()}


def _refuse_none(x: np.ndarray) -> None:
    if not len(x):
        raise ReconError("There are no test images: use a source that has a test split.")
