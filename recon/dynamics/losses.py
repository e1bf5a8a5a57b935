"""Descent on losses other than the squared error, with weight decay: a network, or its Taylor model around θ₀.

A step on the mean of ℓ(f(x_i), y_i) is θ ← (1 − ηλ)θ − (η/N) Σ_i Σ_c ∂ℓ_i/∂f_c ∇f_c(x_i). Whatever ℓ is, it adds
gradients of the outputs with weights, so in the linear regime, where ∇f(x_i) does not change on the way,

    θ_T = (1 − ηλ)^T θ₀ + Σ_i Σ_c α_ic ∇f_c(x_i),  α ← (1 − ηλ)α − (η/N) ∂ℓ/∂f,

with the loss's derivative integrated over training as duals. Both kinds of model keep them. A known decay is thus a
known multiple of θ₀ in the final weights: see `undecayed`. The Taylor model is descended in the space of its
outputs, f = f₀ + ((1 − ηλ)^t − 1) Jθ₀ + Kα.
"""

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recon.arrays import Tensor, enable_x64
from recon.dynamics.base import (
    Dynamics,
    HostParams,
    Images,
    State,
    Targets,
    Trained,
    apply,
    measure_start,
    nearness,
    outputs,
    to_host,
)
from recon.errors import ReconError
from recon.loops import chunks
from recon.networks import Network, Params
from recon.progress import Report, silent

FIRST_CHUNK = 8  # steps before the first look at the loss
Objective = Literal["mse", "logistic", "softmax", "exponential"]


@dataclass(frozen=True)
class LossDescent(Dynamics):
    """Full-batch plain descent on the mean of a loss.

    Attributes:
      objective: "mse", ½‖f − y‖²; "logistic", log(1 + exp(−yf)), and "exponential", exp(−yf), for one output with
        targets ±1; "softmax", cross-entropy against the class of the largest target, for two or more outputs.
      rate: learning rate as a multiple of 1/L, L = λ_max(K)/N times the largest second derivative of ℓ at θ₀.
      weight_decay: λ; the loss that training stops at does not include it.
      loss: stop when the mean loss is at most this. Without decay all but the squared error fall for ever.
      max_steps: stop after so many steps if the loss was not reached.
    """

    objective: Objective = "logistic"
    rate: float = 1.0
    weight_decay: float = 0.0
    loss: float = 1e-2
    max_steps: int = 20_000

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Descend to `loss`, or for `max_steps`; states carry the loss that is descended.

        Raises:
          ReconError: divergence, or a loss that is not for so many outputs.
        """
        start = time.perf_counter()
        if (y.shape[1] > 1) != (self.objective == "softmax") and self.objective != "mse":
            needs = "two or more outputs" if self.objective == "softmax" else "one output"
            raise ReconError(f"The loss {self.objective!r} is for {needs}, not for {y.shape[1]}: choose another one.")
        n, linearised = len(x), self.linearised
        p0 = to_host(params0)
        program = dataclasses.replace(self, rate=0.0, max_steps=0)  # without what is an argument
        with enable_x64():
            before = measure_start(network, params0, x, y)
            p64, x64, y64, kernel, f0 = before
            eta = self.rate / (before.curvature * curvature(self.objective, f0, y64))
            keep = 1 - eta * self.weight_decay
            given: tuple[Any, ...] = (x64, y64, eta, keep)
            weights: Any = p64
            if linearised:
                _, along = jax.jvp(lambda p: apply(network, p, x64), (p64,), (p64,))
                given, weights = (*given, f0, along, kernel), jnp.zeros(())  # log of what is left of θ₀
            alpha, summed = jnp.zeros(y.shape), jnp.zeros(n)
            step, trace = 0, []
            loss = loss0 = float(jnp.mean(losses(self.objective, f0, y64)))
            for first, last in chunks(self.max_steps, size=FIRST_CHUNK):
                if loss <= self.loss:
                    break
                weights, alpha, summed, step_, loss_ = _descend(
                    network, program, given, (weights, alpha, summed), first, last
                )
                step, loss = int(step_), float(loss_)
                trace.append((step, loss))
                if not np.isfinite(loss) or loss > 1e6 * loss0:
                    raise ReconError(f"Training diverged at step {step} (loss {loss:.1e}): lower the rate.")
                report(nearness(loss0, loss, self.loss), f"loss {loss:.1e}")
            if linearised:
                (change,) = jax.vjp(lambda p: apply(network, p, x64), p64)[1](alpha)
                weights = jax.tree.map(lambda a, d: keep**step * a + d, p64, change)
            final = to_host(weights)
            reached = float(jnp.mean(losses(self.objective, outputs(network, p0, final, x, linearised), y64)))
        return Trained(
            initial=State(p0, loss0, 0, 0.0),
            final=State(final, reached, step, eta * step),
            linearised=linearised,
            duals=np.asarray(alpha),
            loss_path=np.asarray(summed) * eta,
            trace=np.array([(0, loss0), *trace]),
            why=f"loss {loss:.1e} reached" if loss <= self.loss else f"{step} steps done at loss {loss:.1e}",
            seconds=time.perf_counter() - start,
            work={"steps": step},
        )


@dataclass(frozen=True)
class LinearisedLossDescent(LossDescent):
    """The same descent of the Taylor model around θ₀."""

    linearised: ClassVar[bool] = True


def losses(objective: Objective, f: Float[Tensor, "n c"], y: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """ℓ of each image, from outputs and the task's targets (±1, or one-hot − 1/C)."""
    if objective == "mse":
        return 0.5 * jnp.sum((f - y) ** 2, axis=1)
    if objective == "exponential":
        return jnp.exp(-y * f)[:, 0]
    if objective == "logistic":
        return jnp.asarray(jax.nn.softplus(-jnp.sign(y[:, 0]) * f[:, 0]))
    own = jnp.argmax(y, axis=1)
    right = jnp.take_along_axis(f, own[:, None], 1)[:, 0]
    rest = jnp.where(jax.nn.one_hot(own, f.shape[1]) > 0, -jnp.inf, f)
    # As one softplus: log Σ exp − f_right would round to zero in float32.
    return jnp.asarray(jax.nn.softplus(jax.nn.logsumexp(rest, axis=1) - right))


def curvature(objective: Objective, f: Float[Tensor, "n c"], y: Float[Tensor, "n c"]) -> float:
    """Bound of ℓ's second derivatives: everywhere, but for the exponential loss, whose own value it is, at f."""
    bounds = {"mse": 1.0, "logistic": 0.25, "softmax": 0.5}
    return bounds[objective] if objective in bounds else float(jnp.max(losses(objective, f, y)))


def undecayed(trained: Trained, weight_decay: float) -> HostParams:
    """Final weights with a known decay taken out, θ_f + (1 − c)θ₀ with c = (1 − ηλ)^T: their change is Σ α ∇f.

    The attacker needs λ and the rate and number of steps; where they are not known, c is one unknown number.
    """
    kept = remaining(trained, weight_decay)
    out: HostParams = jax.tree.map(
        lambda a, b: (np.float64(b) + (1 - kept) * np.float64(a)).astype(np.float32),
        trained.initial.params,
        trained.final.params,
    )
    return out


def remaining(trained: Trained, weight_decay: float) -> float:
    """C = (1 − ηλ)^T, what decay leaves of θ₀."""
    steps = trained.final.step
    return float((1 - weight_decay * trained.final.time / steps) ** steps) if steps else 1.0


@partial(jax.jit, static_argnums=(0, 1))
def _descend(
    network: Network, settings: LossDescent, given: tuple[Any, ...], start: tuple[Any, Any, Any], first: Any, last: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """Descent to the loss or the last step, compiled once for all data of the same shapes.

    The loss is looked at before a step: on reaching the target no more is taken.

    Args:
      network: what is trained.
      settings: how; the rate is that `given`.
      given: images, targets, η, 1 − ηλ; and of the Taylor model f₀, Jθ₀ and the kernel.
      start: weights, or of the Taylor model the log of what is left of θ₀; α; each image's losses summed so far.
      first, last: steps.

    Returns:
      As `start`, then the steps taken and the loss before the last.
    """
    x, y, eta, keep, *taylor = given

    def outputs(weights: Any, alpha: Any) -> Any:
        if not taylor:
            return network.apply(weights, x)
        f0, along, kernel = taylor
        return f0 + jnp.expm1(weights) * along + (kernel @ alpha.ravel()).reshape(alpha.shape)

    def go_on(carry: Any) -> Any:
        *_, step, loss = carry
        return (step < last) & (loss > settings.loss)

    def body(carry: Any) -> Any:
        weights, alpha, summed, step, _ = carry
        f, pull = jax.vjp(lambda w: outputs(w, alpha), weights)
        each = losses(settings.objective, f, y)
        add = -eta / len(x) * jax.grad(lambda f: jnp.sum(losses(settings.objective, f, y)))(f)
        moved = weights + jnp.log(keep) if taylor else jax.tree.map(lambda a, d: keep * a + d, weights, pull(add)[0])
        done = jnp.mean(each) <= settings.loss
        after = (moved, keep * alpha + add, summed + each, step + 1)
        before = (weights, alpha, summed, step)
        return (*jax.tree.map(lambda a, b: jnp.where(done, a, b), before, after), jnp.mean(each))

    return jax.lax.while_loop(go_on, body, (*start, first, jnp.asarray(jnp.inf, x.dtype)))
