"""Linearised dynamics whose state is released with Gaussian noise on every weight: output perturbation.

Δθ + sξ with ξ ~ N(0, I) and s = σΔ is one Gaussian mechanism. Δ, the most that Δθ = Jᵀα changes when one image of the
set is left out, is |α_i|/√(K⁻¹)_ii at its largest; for what that does and does not promise see
`recon.distillation.mmd_noised`, its limit at infinite width.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Float

from recon.dynamics.base import Dynamics, Images, Targets, Trained, loss_at, measure_start, to_host
from recon.dynamics.linearised import Linearised
from recon.errors import ReconError
from recon.networks import Network, Params
from recon.progress import Report, silent


@dataclass(frozen=True)
class NoisedLinearised(Dynamics):
    """The closed form at convergence, plus noise.

    Attributes:
      noise_multiplier: σ, standard deviation of the noise in units of the sensitivity Δ.
      seed: of the noise.
    """

    linearised: ClassVar[bool] = True

    noise_multiplier: float = 0.0
    seed: int = 0

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Train in closed form, then add noise.

        Raises:
          ReconError: a negative noise multiplier, or as `recon.dynamics.linearised`.
        """
        if not self.noise_multiplier >= 0:
            raise ReconError("Noise needs a multiplier of at least zero.")
        exact = Linearised().train(network, params0, x, y, report)
        kernel = measure_start(network, params0, x, y).kernel
        scale = self.noise_multiplier * sensitivity(kernel, exact.duals)
        leaves, shape = jax.tree.flatten(exact.final.params)
        rng = np.random.default_rng(self.seed)
        noised = to_host(jax.tree.unflatten(shape, [a + scale * rng.normal(size=a.shape) for a in leaves]))
        loss = loss_at(network, params0, noised, x, y, linearised=True)
        return dataclasses.replace(
            exact, final=dataclasses.replace(exact.final, params=noised, loss=loss), why="closed form, noised"
        )


def sensitivity(kernel: Float[np.ndarray, "n n"], alpha: Float[np.ndarray, "n 1"]) -> float:
    """Max over i of ‖f_D − f_{D∖i}‖ = |α_i|/√(K⁻¹)_ii in the kernel's space, for α = K⁻¹e₀.

    Without image i the residual there is α_i/(K⁻¹)_ii, and what image i adds to the space has squared norm 1/(K⁻¹)_ii.
    """
    return float(np.max(np.abs(alpha[:, 0]) / np.sqrt(np.diag(np.linalg.inv(kernel)))))
