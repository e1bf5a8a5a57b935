"""Training to the conditions that attacks on the final weights alone rest on: θ_f = Σ_i α_i ∇_θ f(x_i; θ_f).

Two ways lead there, by descent on all images with the loss ℓ:

* without weight decay, for a homogeneous network and a loss with an exponential tail, θ tends in direction to a
  Karush-Kuhn-Tucker point of the largest margin (Lyu & Li 2020), which small initial weights help (Haim et al. 2022,
  section 3). Descending log ℓ in place of ℓ, the same path at a rate of 1/ℓ, gets there sooner;
* with weight decay λ, for any network and loss, at a stationary point of ℓ + ½λ‖θ‖² (Buzaglo et al. 2023, section 3).
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from optax.tree_utils import tree_norm, tree_vdot

from recon.arrays import Tensor, enable_x64
from recon.dynamics.base import Dynamics, Images, State, Targets, Trained, apply, to_float64, to_host
from recon.dynamics.losses import losses as losses_of
from recon.errors import ReconError
from recon.kernels import as_matrix, compiled_ntk
from recon.networks import Network, Params
from recon.progress import Report, silent

CHUNK = 25  # steps between two looks at the curvature that sets the rate, which grows with the weights


@dataclass(frozen=True)
class Margin(Dynamics):
    """Descend until the weights are a combination of the training images' gradients.

    Attributes:
      objective: "logistic" (of several outputs: softmax cross-entropy), or "mse", the mean of ½‖f − y‖².
      weight_decay: λ; "mse" needs one.
      scale: factor on the first layer's initial weights.
      rate: learning rate as a multiple of the inverse curvature λ_max(K)/N, K the kernel at the current weights.
      momentum: of the descent.
      residual: stop when ‖θ − Σ α ∇f‖/‖θ‖ is at most this, with α the loss's own.
      loss: stop, without decay, when the loss is at most this.
      steps: stop after so many steps in any case: how near the conditions are then is part of the result.
    """

    objective: Literal["logistic", "mse"] = "logistic"
    weight_decay: float = 0.0
    scale: float = 1.0
    rate: float = 0.3
    momentum: float = 0.9
    residual: float = 0.01
    loss: float = 1e-10
    steps: int = 10_000

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Descend to `residual`, or for `steps` steps.

        The states' losses are those of `objective`, without the decay; the duals are α of the module's docstring,
        at the end. The initial state is the scaled one.

        Raises:
          ReconError: an objective that has no such end, or divergence.
        """
        start = time.perf_counter()
        if self.objective not in ("logistic", "mse") or (self.objective == "mse" and not self.weight_decay):
            raise ReconError(
                "objective is 'logistic', or 'mse' with a weight_decay: without one its weights stay free."
            )
        n = len(x)
        first = {k: np.float32(self.scale) * v for k, v in params0["Dense_0"].items()}
        params: Any = jax.tree.map(jnp.asarray, {**params0, "Dense_0": first})
        initial = to_host(params)
        state = _optimiser(self).init(params)
        data = jnp.asarray(x), jnp.asarray(y)

        def measured(params: Any) -> tuple[Tensor, Tensor]:
            found: tuple[Tensor, Tensor] = _stationarity(network, params, *data, self.objective, self.weight_decay)
            return found

        loss0 = loss = _mean_loss(network, initial, x, y, self.objective)
        trace, step, why, path = [(0, loss0)], 0, "steps done", np.zeros(n)
        # Small weights have a small kernel, which soon grows: at first the rate is that of the weights before scaling.
        highest = _curvature(network, params0, x)
        log_scaled = self.objective == "logistic" and not self.weight_decay
        while step < self.steps:
            highest = max(highest, _curvature(network, params, x))
            # The curvature of log ℓ is that of the loss of one image, of ½(f − y)² the kernel's itself.
            eta = self.rate / ((n if log_scaled else 1) * highest + self.weight_decay)
            count = min(CHUNK, self.steps - step)
            params, state, each, summed = _advance(network, self, params, state, (data, eta), count)
            step, path = step + count, path + eta * np.asarray(summed)
            loss = float(np.mean(each))
            residual = float(measured(params)[0])
            trace.append((step, loss))
            if not np.isfinite(loss) or not np.isfinite(residual):
                raise ReconError(f"Training diverged at step {step} (loss {loss:.1e}): lower the rate.")
            report(step / self.steps, f"loss {loss:.1e}, residual {residual:.2f}")
            if residual <= self.residual:
                why = f"residual {residual:.1e} reached"
                break
            if log_scaled and loss <= self.loss:
                why = f"loss {loss:.1e} reached"
                break
        final = to_host(params)
        _, duals = measured(params)
        return Trained(
            initial=State(initial, loss0, 0, 0.0),
            final=State(final, _mean_loss(network, final, x, y, self.objective), step, float("nan")),
            linearised=False,
            duals=np.asarray(duals, np.float64),
            loss_path=path,
            trace=np.array(trace),
            why=why,
            seconds=time.perf_counter() - start,
            work={"steps": step},
        )


def losses(f: Float[Tensor, "n c"], y: Float[Tensor, "n c"], objective: str) -> Float[Tensor, " n"]:
    """Each image's loss; for "logistic" the sign of a single target, or the largest of several, is the class."""
    return losses_of("mse" if objective == "mse" else "softmax" if f.shape[1] > 1 else "logistic", f, y)


def stationarity(
    network: Network, params: Params, x: Tensor, y: Tensor, objective: str, weight_decay: float
) -> tuple[Tensor, Tensor]:
    """‖θ − Σ α ∇f(x)‖/‖θ‖, and α (n, c): the loss's slopes over λ, or without decay scaled to fit θ best."""

    def mean_loss(f: Tensor) -> Tensor:
        return jnp.mean(losses(f, y, objective))

    f, pull = jax.vjp(lambda p: network.apply(p, x), params)
    slopes = -jax.grad(mean_loss)(f)
    (pulled,) = pull(slopes)
    inner = tree_vdot(params, pulled)
    factor = 1 / weight_decay if weight_decay else inner / tree_vdot(pulled, pulled)
    left = jax.tree.map(lambda a, b: a - factor * b, params, pulled)
    return tree_norm(left) / tree_norm(params), factor * slopes


_stationarity = jax.jit(stationarity, static_argnums=(0, 4, 5))


def _curvature(network: Network, params: Any, x: np.ndarray) -> float:
    """λ_max(K)/N."""
    kernel = np.asarray(as_matrix(compiled_ntk(network, params, x)))
    return float(np.linalg.eigvalsh(kernel)[-1]) / len(x)


def _mean_loss(network: Network, params: Any, x: np.ndarray, y: np.ndarray, objective: str) -> float:
    with enable_x64():
        f = apply(network, to_float64(params), np.asarray(x, np.float64))
        return float(jnp.mean(losses(f, np.asarray(y, np.float64), objective)))


def _optimiser(settings: Margin) -> optax.GradientTransformation:
    return optax.sgd(1.0, momentum=settings.momentum)


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    network: Network,
    settings: Margin,
    params: Any,
    state: Any,
    given: tuple[tuple[Tensor, Tensor], Tensor],
    count: Tensor,
) -> tuple[Any, Any, Tensor, Tensor]:
    """Weights and momentum after so many steps on the data at the rate given; each image's last loss, and their sum.

    Losses are those before a step.
    """
    (x, y), eta = given

    def total(params: Any) -> tuple[Tensor, Tensor]:
        each = losses(network.apply(params, x), y, settings.objective)
        loss = jnp.mean(each)
        if not settings.weight_decay:
            return jnp.log(loss), each
        norm = tree_norm(params, squared=True)
        return loss + 0.5 * settings.weight_decay * norm, each

    def body(_: Tensor, carry: tuple[Any, Any, Tensor, Tensor]) -> tuple[Any, Any, Tensor, Tensor]:
        params, state, _each, summed = carry
        (_, each), grads = jax.value_and_grad(total, has_aux=True)(params)
        updates, state = _optimiser(settings).update(jax.tree.map(lambda g: eta * g, grads), state)
        return optax.apply_updates(params, updates), state, each, summed + each

    nothing = jnp.zeros(len(x))
    done: tuple[Any, Any, Tensor, Tensor] = jax.lax.fori_loop(0, count, body, (params, state, nothing, nothing))
    return done
