"""Standard dynamics as gradient flow, by a second-order exponential integrator in function space, in float64.

The paper's tiny descent steps approximate the flow dθ/dt = Jᵀe/N of the mean of ½(f − y)², e = y − f. A step of
length τ freezes the kernel K = VΛVᵀ at its start, predicts θ + Jᵀ K⁻¹(I − exp(−Kτ/N)) e, and corrects by taking J as
linear in time between the two ends. With z = λτ/N for each eigenvalue λ:

    p₁ = (1 − e^{−z})/λ,  p_s = (1 − e^{−z}(1 + z))/(λz),
    Δθ = J₀ᵀ V (p₁ − p_s) Vᵀe + J₁ᵀ V p_s Vᵀe.

The step is controlled by the predictor's miss d, the actual minus the predicted residual, in the norm of K⁻¹.
"""

import time
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from scipy import linalg

from recon.arrays import Tensor, enable_x64
from recon.dynamics.base import (
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
    nearness,
    to_host,
)
from recon.errors import ReconError
from recon.networks import Network, Params
from recon.progress import Report, silent

REJECT = 0.3  # a step whose miss exceeds this fraction of the residual is taken again, shorter
REJECT_TOL = 4.0  # so is one whose error exceeds the tolerance by this factor
GROW = 3.0
# Step size relative to what the error estimate allows: shorter while the loss is above a fraction of the initial one,
# where most units cross their thresholds, which the estimate does not see.
EARLY, SAFETY_EARLY, SAFETY_LATE = 0.2, 0.6, 0.9
# The first step, in units of N/λ_max. Residuals are largest and most units cross their thresholds early on: a first
# step of 1 left an error that no tolerance took away.
FIRST = 0.3


@dataclass(frozen=True)
class GradientFlow(Dynamics):
    """Follow gradient flow to a loss.

    Attributes:
      loss: stop when the training loss is at most this.
      tol: accuracy of a step; 1e-3 for results, 3e-4 for references, 1e-2 for tests.
      checkpoints: losses at which to keep early-stopped states, landed on from above within 2 %.
      max_steps: give up after so many steps.
    """

    loss: float = 1e-10
    tol: float = 1e-3
    checkpoints: tuple[float, ...] = ()
    max_steps: int = 2000

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Integrate to `loss`.

        Raises:
          ReconError: no progress within `max_steps`, or the outputs stop being finite.
        """
        start = time.perf_counter()
        n, rejected = len(x), 0
        kept: list[tuple[Params, int, float]] = []
        trace: list[tuple[int, float]] = []
        targets = [*sorted(self.checkpoints, reverse=True), self.loss]
        params, step, t, loss_path = params0, 0, 0.0, np.zeros(n)
        loss0, scale0, duals0, tau = np.nan, np.nan, np.zeros(0), np.nan
        with enable_x64():
            while True:
                here = measure_start(network, params, x, y)
                e = here.residual
                loss = float(0.5 * e @ e / n)
                if not np.isfinite(loss):
                    raise ReconError("Training diverged: the outputs are not finite; check the weights and the images.")
                trace.append((step, loss))
                values, vectors = linalg.eigh(here.kernel)
                c = vectors.T @ e
                # Directions that the kernel cannot resolve in float64 do not enter the error norm.
                floor = np.maximum(values, 1e-14 * values[-1])
                if step == 0:
                    loss0, scale0 = loss, float(np.sqrt(np.sum(c**2 / floor)))
                    duals0, tau = fitted(values, vectors, c), FIRST * n / values[-1]
                while targets and loss <= targets[0]:
                    if len(targets) > 1:
                        kept.append((params, step, t))
                    targets.pop(0)
                if not targets:
                    break
                report(nearness(loss0, loss, self.loss), f"loss {loss:.1e}, step {step}")
                if step >= self.max_steps:
                    raise ReconError(
                        f"Gradient flow stopped at loss {loss:.1e} after {step} steps, above {self.loss:.0e}: "
                        "raise max_steps, use a wider network, or fewer images."
                    )
                tau = _land(values, c, tau, n, targets[0])
                while True:
                    whole, rising = step_weights(values, tau, n)
                    predicted = _move(here.params, _pull(network, here.params, here.x, vectors @ (whole * c)))
                    miss = np.asarray(here.y - apply(network, predicted, here.x)).ravel()
                    miss = miss - vectors @ (np.exp(-np.maximum(values, 0) * tau / n) * c)
                    relative = np.linalg.norm(miss) / np.linalg.norm(e)
                    error = float(np.sqrt(np.sum((vectors.T @ miss) ** 2 / floor)) / scale0)
                    safety = SAFETY_EARLY if loss > EARLY * loss0 else SAFETY_LATE
                    factor = min(GROW, safety * np.sqrt(self.tol / max(error, 1e-300)))
                    if relative <= REJECT and error <= REJECT_TOL * self.tol:
                        break
                    rejected += 1
                    tau *= min(0.5, factor)
                    if not tau > 1e-12 * n / values[-1]:
                        raise ReconError(f"Gradient flow is stuck at loss {loss:.1e}: check the images for duplicates.")
                early = _pull(network, here.params, here.x, vectors @ ((whole - rising) * c))
                late = _pull(network, predicted, here.x, vectors @ (rising * c))
                params = _move(here.params, add(early, late))
                loss_path += loss_integral(floor, vectors, c, tau, n)  # of the step's frozen kernel
                step, t = step + 1, t + tau
                tau *= factor

        p0 = to_host(params0)

        def state(p: Params, step: int, t: float) -> State:
            p32 = to_host(p)
            return State(p32, loss_at(network, p0, p32, x, y), step, t)

        return Trained(
            initial=state(params0, 0, 0.0),
            final=state(params, step, t),
            checkpoints=tuple(state(*k) for k in kept),
            linearised=False,
            duals=duals0.reshape(y.shape),
            loss_path=loss_path,
            trace=np.array(trace),
            why=f"loss {loss:.1e} reached",
            seconds=time.perf_counter() - start,
            work={
                "steps": step,
                "kernels": step + 1,
                "vjp": 3 * step + rejected,
                "forward": step + rejected,
                "rejected": rejected,
            },
        )


def step_weights(eigenvalues: np.ndarray, tau: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """p₁ and p_s of the module's docstring, accurate for any z ≥ 0 (series where the formulas cancel)."""
    z = np.maximum(eigenvalues, 0.0) * tau / n
    small = z < 1e-3
    safe = np.where(small, 1.0, z)
    whole = np.where(small, 1 - z / 2 + z**2 / 6, -np.expm1(-safe) / safe)
    rising = np.where(small, 0.5 - z / 3 + z**2 / 8, (-np.expm1(-safe) - safe * np.exp(-safe)) / safe**2)
    return tau / n * whole, tau / n * rising


# Compiled once for each network and number of images, however often they are trained.
_move = jax.jit(add)


@partial(jax.jit, static_argnums=0)
def _pull(network: Network, params: Params, x: Tensor, v: Tensor) -> Params:
    """Jᵀv, v image by image."""
    f, pull = jax.vjp(lambda q: network.apply(q, x), params)
    change: Params = pull(v.reshape(f.shape))[0]
    return change


def _land(values: np.ndarray, c: np.ndarray, tau: float, n: int, target: float) -> float:
    """`tau`, cut where the frozen kernel predicts the target loss (aiming 1 % below it)."""

    def predicted(t: float) -> float:
        return float(0.5 * np.sum((np.exp(-np.maximum(values, 0) * t / n) * c) ** 2) / n)

    aim = 0.99 * target
    if predicted(tau) >= aim:
        return tau
    low, high = 0.0, tau
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if predicted(middle) > aim else (low, middle)
    return high
