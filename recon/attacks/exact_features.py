"""Exact recovery through convolutions: the dense layers' inputs first, then the images that have them as features.

The dense layers behind convolutions are a plain network of the flattened features. The gradient of its first layer is
Σ_i (h_i; 1) G_iᵀ with h_i the features of image i, so that `exact` recovers and certifies the features as it does images:
where all gradients were taken at θ₀ (one step, a linearised model), or the convolutions are frozen. Then each image is
found from its features (`recon.attacks.inversion`), and is vouched for if its features are the certified ones and
determine it. Where convolutions are trained on, features move from step to step, and the rank blurs.
"""

import time
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from recon.attacks.base import Attack, Problem, Reconstruction, Tree
from recon.attacks.exact import recover
from recon.attacks.first_layer import scale
from recon.attacks.first_layer.certificate import CERTAIN_SPREAD, OWN_SCALE
from recon.attacks.first_layer.settings import Exact
from recon.attacks.inversion import Box, Convolutions, Inverted, inverted, moved_by_noise
from recon.errors import ReconError
from recon.networks import named
from recon.networks.conv_dense import ConvDense, dense_part
from recon.progress import Report

START_RMS = 0.1  # of the images that stand for the inversion's start, in widths of the box: see `inversion.NOISE`
MARGIN = 3.0  # standard deviations of an image's error that the guarantee must allow for
BLANK = 0.02  # standard deviation of an image in widths of the box below which it is none
# Relative noise of features that nothing tells: what float32 leaves.
LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class ExactFeatures:
    """Settings.

    Attributes:
      exact: of the features' recovery.
      repairs: rounds of repairs of the images, at most.
    """

    exact: Exact = field(default_factory=Exact)
    repairs: int = 40


def of_features(problem: Problem) -> Problem:
    """The dense layers' problem, with features in the images' place.

    Raises:
      ReconError: the network is none of convolutions and hidden dense layers.
    """
    network = problem.network
    if not isinstance(network, ConvDense):
        raise ReconError("exact-features is for ConvDense networks: use exact-patches or ntk-autodiff for others.")
    before, after = dense_part(problem.params0), dense_part(problem.params1)
    state = None if problem.state is None else dense_part(problem.state)
    shape = (before["Dense_0"]["kernel"].shape[0],)
    return Problem(network.head, before, after, shape, None, problem.linearised, problem.m, state)


def fixed(problem: Problem) -> bool:
    """Whether the features were the same in every step."""
    change = problem.change
    return problem.linearised or not any(
        np.any(part) for name in change if name.startswith("Conv_") for part in change[name].values()
    )


def halfway(problem: Problem) -> Tree:
    """Weights of the convolutions that the features are inverted with: those half-way, where they moved."""
    if fixed(problem):
        return problem.params0
    middle: Tree = jax.tree.map(lambda a, b: (a + b) / 2, problem.params0, problem.params1)
    return middle


def noise_of(h: Float[np.ndarray, "k f"], rectified: bool) -> float:
    """Standard deviation of what is wrong with recovered features.

    Features of ReLU are zero or more: what is below zero is half of the noise of those that are zero.
    """
    least = LEAST_NOISE * float(np.sqrt(np.mean(h * h)))
    if not rectified:
        return least
    each = [np.sqrt(np.mean(row[row < 0] ** 2)) for row in h if (row < 0).any()]
    return max(float(np.median(each)), least) if each else least
