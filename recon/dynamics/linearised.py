"""Linearised dynamics in closed form: gradient flow of the first-order Taylor model around θ₀ (paper, eqs. 4-6).

With e₀ = y − f₀(X) and K the NTK at θ₀, the flow of the mean of ½(f − y)² reaches
Δθ(t) = Jᵀ K⁻¹ (I − exp(−K t/N)) e₀; t → ∞ gives α = K⁻¹e₀. One eigendecomposition serves every state.
"""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import numpy as np
from scipy import linalg, optimize

from recon.arrays import enable_x64
from recon.dynamics.base import (
    RANK_FLOOR,
    Dynamics,
    Images,
    State,
    Targets,
    Trained,
    add,
    apply,
    fitted,
    loss_at,
    loss_integral,
    measure_start,
    to_host,
)
from recon.errors import ReconError
from recon.memory import require
from recon.networks import Network, Params
from recon.progress import Report, silent


@dataclass(frozen=True)
class Linearised(Dynamics):
    """Train the Taylor model around θ₀ by gradient flow, in float64.

    Attributes:
      loss: stop at this training loss; None: run to convergence.
      time: stop at this flow time; at most one of `loss` and `time`.
      checkpoints: losses at which to keep early-stopped states.
    """

    linearised: ClassVar[bool] = True

    loss: float | None = None
    time: float | None = None
    checkpoints: tuple[float, ...] = ()

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Closed-form training.

        Raises:
          ReconError: both a loss and a time are asked for, a loss is not below the initial one, or K is singular.
        """
        start = time.perf_counter()
        if self.loss is not None and self.time is not None:
            raise ReconError("Linearised training stops by loss or by time: give one of them.")
        n = len(x)
        with enable_x64():
            report(0.0, "kernel")
            least = 8.0 * (n * network.outputs) ** 2 * 2  # bytes of the kernel and its eigenvectors
            require(least, f"The kernel of {n} images", "give fewer images, or train by another rule than linearised")
            p64, x64, _, kernel, _ = measure_start(network, params0, x, y)
            f0, pull = jax.vjp(lambda p: apply(network, p, x64), p64)
            e0 = np.asarray(y - f0).ravel()
            values, vectors = linalg.eigh(kernel)
            if not np.isfinite(values).all() or values[0] < RANK_FLOOR * values[-1]:
                raise ReconError(
                    f"The kernel of the training images is singular (smallest eigenvalue {values[0]:.1e} of "
                    f"{values[-1]:.1e}): remove duplicate images, or use a wider network."
                )
            coefficients = vectors.T @ e0

            def loss_of(t: float) -> float:
                return float(0.5 * np.sum((np.exp(-values * t / n) * coefficients) ** 2) / n)

            def state(t: float) -> State:
                # −expm1(−λt/N)/λ, the weight of e₀ along each eigenvector, is 1/λ at t = ∞.
                duals = vectors @ (-np.expm1(-values * t / n) / values * coefficients)
                (change,) = pull(duals.reshape(n, -1))
                final = to_host(add(p64, change))
                return State(final, float("nan"), 0, t)

            def time_of(loss: float) -> float:
                if not 0 < loss < loss_of(0.0):
                    raise ReconError(f"Loss {loss:g} must be above zero and below the initial loss {loss_of(0.0):g}.")
                low, high = n / values[-1] * 1e-9, n / values[0] * 400
                missed = lambda s: np.log(max(loss_of(np.exp(s)), 1e-300) / loss)  # noqa: E731
                return float(np.exp(optimize.brentq(missed, np.log(low), np.log(high))))

            t_final = self.time if self.time is not None else np.inf
            if self.loss is not None:
                t_final = time_of(self.loss)
            stops = [time_of(loss) for loss in self.checkpoints]
            final, kept = state(t_final), [state(t) for t in stops]
            duals = fitted(values, vectors, coefficients).reshape(y.shape)
            loss_path = loss_integral(values, vectors, coefficients, t_final, n)
        p0 = to_host(params0)

        def scored(s: State) -> State:
            return replace(s, loss=loss_at(network, p0, s.params, x, y, linearised=True))

        final = scored(final)
        initial = State(p0, loss_at(network, p0, p0, x, y), 0, 0.0)
        report(1.0, f"loss {final.loss:.1e}")
        return Trained(
            initial=initial,
            final=final,
            checkpoints=tuple(map(scored, kept)),
            linearised=True,
            duals=duals,
            loss_path=loss_path,
            trace=np.array([[0, initial.loss], [0, final.loss]]),
            why="closed form",
            seconds=time.perf_counter() - start,
            work={"eigendecompositions": 1, "vjp": 1 + len(kept)},
        )
