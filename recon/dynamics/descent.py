"""Standard dynamics by an optimiser on the mean of ½‖f − y‖²: SGD or Adam, full batch or minibatches, weight decay."""

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from recon.arrays import enable_x64
from recon.dynamics.base import Dynamics, Images, State, Targets, Trained, loss_at, measure_start, nearness, to_host
from recon.errors import ReconError
from recon.loops import chunks
from recon.networks import Network, Params
from recon.progress import Report, silent

FIRST_CHUNK = 8  # steps before the first look at the loss


@dataclass(frozen=True)
class Descent(Dynamics):
    """Gradient descent.

    Attributes:
      optimiser: "sgd", or "adam" (Kingma & Ba 2015) at its usual β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
      rate: learning rate as a multiple of 1/L, L = λ_max(K)/N the largest curvature at θ₀.
      learning_rate: the learning rate itself, in place of `rate` (the published examples use 4e-5); Adam needs it.
      momentum: 0 for plain descent; the published examples use 0.9. Of SGD only, as `nesterov`.
      nesterov: Nesterov's form of the momentum.
      weight_decay: this multiple of the weights is added to their gradient, before momentum or moments, as PyTorch's
        optimisers do (Krogh & Hertz 1991). The loss that training stops at does not include it.
      batch_size: None for full batches; else batches drawn without replacement within an epoch.
      loss: stop when the loss on all images is at most this.
      max_steps: stop with an error after so many steps.
      dtype: precision of the run.
      seed: order of the minibatches.
    """

    optimiser: Literal["sgd", "adam"] = "sgd"
    rate: float = 1.0
    learning_rate: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    batch_size: int | None = None
    loss: float = 1e-10
    max_steps: int = 1_000_000
    dtype: Literal["float32", "float64"] = "float32"
    seed: int = 0

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Descend to `loss`.

        Raises:
          ReconError: divergence, the loss not reached in `max_steps`, a batch larger than the training set, a learning
            rate of zero, or Adam with a momentum of its own or without a learning rate.
        """
        start = time.perf_counter()
        if self.optimiser == "adam" and (self.learning_rate is None or self.momentum or self.nesterov):
            raise ReconError("Adam's step does not follow the curvature: give it a learning_rate, and no momentum.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ReconError(f"A learning_rate of {self.learning_rate} leads nowhere: give one above zero, or none.")
        n = len(x)
        batch = self.batch_size or n
        if not 0 < batch <= n:
            raise ReconError(f"A batch of {batch} images cannot be drawn from {n}: choose at most {n}.")
        before = measure_start(network, params0, x, y)
        curvature = before.curvature
        learning_rate = self.rate / curvature if self.learning_rate is None else self.learning_rate
        program = dataclasses.replace(
            self, rate=0.0, learning_rate=None, max_steps=0, seed=0
        )  # without what is an argument
        with enable_x64(self.dtype == "float64"):
            params = jax.tree.map(lambda a: jnp.asarray(a, self.dtype), params0)
            data = (jnp.asarray(x, self.dtype), jnp.asarray(y, self.dtype))
            given = data, jnp.asarray(learning_rate, self.dtype), jax.random.key(self.seed)
            opt_state = _optimiser(self, learning_rate).init(params)
            step, trace = 0, []
            summed: Any = jnp.zeros(n, self.dtype)
            loss = loss0 = before.loss
            for first, last in chunks(self.max_steps, size=FIRST_CHUNK):
                params, opt_state, summed, step_, loss_ = _descend(
                    network, program, (params, opt_state, summed), given, first, last
                )
                step, loss = int(step_), float(loss_)
                trace.append((step, loss))
                if not np.isfinite(loss) or loss > 1e6 * loss0:
                    raise ReconError(
                        f"Training diverged at step {step} (loss {loss:.1e}): lower the rate "
                        f"(now {learning_rate:.1e}, {learning_rate * curvature:.2f}/L)."
                    )
                report(nearness(loss0, loss, self.loss), f"loss {loss:.1e}")
                if loss <= self.loss:
                    break
            else:
                raise ReconError(
                    f"Loss {loss:.1e} after {step} steps is above {self.loss:.0e}: raise max_steps or the rate."
                )
            final = to_host(params)
            held = optax.tree_utils.tree_get(opt_state, "mu" if self.optimiser == "adam" else "trace")
        p0 = to_host(params0)
        return Trained(
            initial=State(p0, loss0, 0, 0.0),
            final=State(final, loss_at(network, p0, final, x, y), step, float("nan")),
            linearised=False,
            duals=before.duals,
            # Heavy-ball steps add up to rate/(1 − momentum) of flow time each.
            loss_path=np.asarray(summed, np.float64) * learning_rate / (1 - self.momentum),
            trace=np.array([(0, loss0), *trace]),
            why=f"loss {loss:.1e} reached",
            seconds=time.perf_counter() - start,
            work={"steps": step},
            state=None if held is None else to_host(held),
        )


def _optimiser(settings: Descent, learning_rate: float | Array) -> optax.GradientTransformation:
    if settings.optimiser == "adam":
        rule = optax.adam(learning_rate)
    else:
        rule = optax.sgd(learning_rate, momentum=settings.momentum or None, nesterov=settings.nesterov)
    return optax.chain(optax.add_decayed_weights(settings.weight_decay), rule) if settings.weight_decay else rule


@partial(jax.jit, static_argnums=(0, 1))
def _descend(
    network: Network,
    settings: Descent,
    start: tuple[Any, Any, Array],
    given: tuple[tuple[Array, Array], Array, PRNGKeyArray],
    first: Array,
    last: Array,
) -> tuple[Any, Any, Array, Array, Array]:
    """Descent to the loss or the last step, compiled once for all data of the same shapes.

    Args:
      network: what is trained.
      settings: how; learning rate and seed are those `given`.
      start: parameters, optimiser state, each image's losses summed so far.
      given: images and targets, learning rate, key of the minibatches.
      first: the step.
      last: to stop at.

    Returns:
      What was started from as it is then, the step and the loss.
    """
    (x, y), learning_rate, key = given
    optimiser = _optimiser(settings, learning_rate)
    n = len(x)
    batch = settings.batch_size or n
    per_epoch = n // batch

    def loss_fn(params: Any, x: Array, y: Array) -> tuple[Array, Array]:
        each = 0.5 * jnp.sum((network.apply(params, x) - y) ** 2, axis=1)
        return jnp.sum(each) / len(x), each

    def select(step: Array) -> tuple[Array, Array]:
        if batch == n:
            return x, y
        order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), n)
        index = jax.lax.dynamic_slice(order, (batch * (step % per_epoch),), (batch,))
        return x[index], y[index]

    def go_on(carry: tuple[Any, Any, Array, Array, Array]) -> Array:
        *_, step, loss = carry
        return (step < last) & (loss > settings.loss)

    def body(carry: tuple[Any, Any, Array, Array, Array]) -> tuple[Any, Any, Array, Array, Array]:
        params, state, summed, step, _ = carry
        (before, each), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, *select(step))
        updates, after = optimiser.update(grads, state, params)
        moved = optax.apply_updates(params, updates)
        if batch != n:
            loss, each = loss_fn(moved, x, y)
            return moved, after, summed + each, step + 1, loss
        # The loss that comes with the gradient is the one before the step: on reaching the target, keep it.
        done = before <= settings.loss
        params, state = jax.tree.map(lambda a, b: jnp.where(done, a, b), (params, state), (moved, after))
        return params, state, jnp.where(done, summed, summed + each), jnp.where(done, step, step + 1), before

    return jax.lax.while_loop(go_on, body, (*start, first, jnp.asarray(jnp.inf, x.dtype)))
