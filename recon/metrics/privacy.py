"""Differential privacy in numbers: ε of noised training, and what it leaves of any attack's success.

Neighbours are training sets of which one has one image more. Everything here is about Gaussian noise: one mechanism of
sensitivity 1 and noise σ, or T steps of it. With all images in every step the T are one of noise σ/√T, which is
μ-Gaussian differentially private with μ = √T/σ (Dong, Roth & Su 2022).
"""

import math
from functools import cache

import dp_accounting
import numpy as np
from dp_accounting.rdp import RdpAccountant
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

DELTA = 1e-5  # the customary one; far below 1/N for every N here
# Rényi orders: at large ε the best one is near 1, where the accountant's own have nothing.
ORDERS = 1 + np.geomspace(1e-5, 1e3, 400)
DIGITS = 4  # of a calibrated σ: it enters settings, and thereby the names of stored cells


def epsilon(noise_multiplier: float, steps: int = 1, sampling_rate: float = 1.0, delta: float = DELTA) -> float:
    """ε of DP-SGD by Rényi accounting (Mironov 2017; sampled: Mironov et al. 2019); infinite without noise.

    An upper bound; `gaussian_epsilon` is exact, for full batches alone.
    """
    if not noise_multiplier > 0:
        return math.inf
    event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise_multiplier)
    if sampling_rate < 1:
        event = dp_accounting.PoissonSampledDpEvent(sampling_rate, event)
    accountant = RdpAccountant(ORDERS)
    accountant.compose(dp_accounting.SelfComposedDpEvent(event, steps))
    return float(accountant.get_epsilon(delta))


def gaussian_epsilon(mu: float, delta: float = DELTA) -> float:
    """Least ε of a Gaussian mechanism of sensitivity over noise μ (Balle & Wang 2018, theorem 8).

    It solves δ = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ).
    """

    def excess(eps: float) -> float:
        return float(ndtr(mu / 2 - eps / mu) - np.exp(eps + log_ndtr(-mu / 2 - eps / mu)) - delta)

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, mu**2 / 2 + mu * (1 - ndtri(delta)), xtol=1e-12, rtol=1e-12))


@cache
def noise_multiplier(epsilon: float, steps: int = 1, delta: float = DELTA) -> float:
    """σ at which `steps` full-batch steps have this ε, exactly; zero for an infinite one."""
    if math.isinf(epsilon):
        return 0.0
    mu = np.exp(brentq(lambda s: gaussian_epsilon(np.exp(s), delta) / epsilon - 1, -20.0, 20.0))
    return float(f"{math.sqrt(steps) / mu:.{DIGITS}g}")


def reconstruction_bound(kappa: float, mu: float) -> float:
    """γ: the most that any attacker succeeds with probability, Φ(Φ⁻¹(κ) + μ).

    Hayes, Mahloujifar & Balle 2023 bound the success of an attacker who knows the mechanism, the prior that an image is
    drawn from and all other images by the blow-up function: the greatest probability, under the mechanism run with the
    image, of an event of probability κ under the mechanism run without. By Neyman and Pearson's lemma that event is a
    half-space for a Gaussian, whence the closed form (Kaissis et al. 2023).

    Args:
      kappa: chance of success without a look at the mechanism's output.
      mu: sensitivity over noise, √T/σ for T full-batch steps.
    """
    return 1.0 if math.isinf(mu) or kappa >= 1 else float(ndtr(ndtri(kappa) + mu))


def prior_success(distances: Float[np.ndarray, "p p"], radius: float, guesses: int) -> float:
    """κ: at most this share of a prior lies within `radius` of any so many guesses, wherever they are.

    The prior is uniform over p images. A ball of some radius that holds one of them lies in the ball of twice the
    radius around it, so guesses may be taken from the p at twice the radius. The share they cover is submodular: after
    any choice, `guesses` more add at most as often the gain of the best next one (Nemhauser et al. 1978).

    Args:
      distances: between the prior's images.
      radius: what counts as success, a distance.
      guesses: of which the best counts: reconstructions that are matched to an image.
    """
    near = distances <= 2 * radius
    covered, best = np.zeros(len(near), bool), 1.0
    for _ in range(guesses + 1):
        gain = (near & ~covered).sum(axis=1)
        best = min(best, float((covered.sum() + guesses * gain.max()) / len(near)))
        covered |= near[gain.argmax()]
    return best
