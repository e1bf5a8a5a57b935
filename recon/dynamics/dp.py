"""Standard dynamics under differential privacy: DP-SGD (Abadi et al. 2016, algorithm 1).

Each image's gradient is shortened to a norm of at most C, and every step adds Gaussian noise to their sum:

    θ ← θ − η/(qN) (Σ_i clip(∇ℓ_i, C) + σC ξ),  ξ ~ N(0, I),

over images drawn by independent coins of probability q, or over all (q = 1). A step is a Gaussian mechanism: the sum
moves by at most C when an image joins or leaves, while N, in the step's length, counts as public, as do the mean that
the inputs are centred by and every setting here. `recon.metrics.privacy` turns σ, q and the steps into ε.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from optax.contrib import differentially_private_aggregate

from recon.arrays import enable_x64
from recon.dynamics.base import Dynamics, Images, State, Targets, Trained, loss_at, measure_start, to_host
from recon.errors import ReconError
from recon.loops import chunks
from recon.networks import Network, Params
from recon.progress import Report, silent


@dataclass(frozen=True)
class PrivateDescent(Dynamics):
    """DP-SGD for a number of steps: a loss to stop at would be a look at the data that ε does not count.

    Attributes:
      clip: C, the most that an image's gradient may measure; None: any length, which leaves no privacy.
      noise_multiplier: σ, standard deviation of the noise on the summed gradients in units of C.
      steps: number of steps.
      learning_rate: η.
      sampling_rate: q, the chance of each image to be in a step; 1: all of them.
      dtype: precision of the run.
      seed: of noise and coins.
    """

    clip: float | None = 1.0
    noise_multiplier: float = 0.0
    steps: int = 100
    learning_rate: float = 0.1
    sampling_rate: float = 1.0
    dtype: Literal["float32", "float64"] = "float32"
    seed: int = 0

    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> Trained:
        """Descend for `steps`.

        Raises:
          ReconError: settings out of range, noise without a clip to measure it by, or outputs that are not finite.
        """
        start = time.perf_counter()
        check(self)
        n = len(x)
        before = measure_start(network, params0, x, y)
        with enable_x64(self.dtype == "float64"):
            params = jax.tree.map(lambda a: jnp.asarray(a, self.dtype), params0)
            data = jnp.asarray(x, self.dtype), jnp.asarray(y, self.dtype)
            k_noise, k_coins = jax.random.split(jax.random.key(self.seed))
            # Not infinity, which times no noise would be NaN.
            clip = self.clip or float(np.finfo(np.float32).max)
            numbers = tuple(jnp.asarray(v, self.dtype) for v in (clip, self.noise_multiplier, self.learning_rate))
            state = differentially_private_aggregate(*numbers[:2], k_noise).init(params)
            losses = jnp.zeros((self.steps, n), self.dtype)
            for first, last in chunks(self.steps):
                params, state, losses = _descend(
                    network, self.sampling_rate, (params, state, losses), data, k_coins, numbers, first, last
                )
                loss = float(jnp.mean(losses[last - 1]))
                if not np.isfinite(loss):
                    raise ReconError(
                        f"Private training diverged before step {last}: lower the learning rate or the clip."
                    )
                report(last / self.steps, f"loss {loss:.1e}")
            final, each = to_host(params), np.asarray(losses, np.float64)
        p0 = to_host(params0)
        reached = loss_at(network, p0, final, x, y)
        if not np.isfinite(reached):
            raise ReconError("Private training diverged at its last step: lower the learning rate or the clip.")
        means = [*each.mean(axis=1), reached]
        return Trained(
            initial=State(p0, means[0], 0, 0.0),
            final=State(final, reached, self.steps, float("nan")),
            linearised=False,
            duals=before.duals,
            loss_path=each.sum(axis=0) * self.learning_rate,
            trace=np.array(list(enumerate(means))),
            why=f"{self.steps} steps taken",
            seconds=time.perf_counter() - start,
            work={"steps": self.steps},
        )


def check(settings: PrivateDescent) -> None:
    """Refuse settings that are no DP-SGD.

    Raises:
      ReconError: out of range.
    """
    clipped = settings.clip is None or settings.clip > 0
    if not clipped or not settings.noise_multiplier >= 0 or settings.steps < 1:
        raise ReconError("DP-SGD needs a clip above zero, a noise multiplier of at least zero, and a step to take.")
    if not 0 < settings.sampling_rate <= 1:
        raise ReconError("DP-SGD's sampling_rate is a probability above zero: 1 takes all images in every step.")
    if settings.noise_multiplier and settings.clip is None:
        raise ReconError("DP-SGD's noise is measured by its clip: give a clip, or noise_multiplier=0.")


@partial(jax.jit, static_argnums=(0, 1))
def _descend(
    network: Network, sampling_rate: float, start: Any, data: Any, key: Array, numbers: Any, first: Array, last: Array
) -> tuple[Any, Any, Array]:
    """Steps from the first up to the last, compiled once for all data of the same shapes.

    They lead from (weights, optax's state, losses by step and image) to these as they are then. `data` are images and
    targets, `key` is that of the coins, `numbers` are clip, noise multiplier and learning rate.
    """
    (x, y), (clip, noise_multiplier, rate) = data, numbers
    rule = differentially_private_aggregate(clip, noise_multiplier, key)  # its noise follows the key in its state

    def loss(params: Params, x: Array, y: Array) -> Array:
        return 0.5 * jnp.sum((network.apply(params, x[None])[0] - y) ** 2)

    by_image = jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0, 0))

    def body(step: Array, carry: Any) -> Any:
        params, state, losses = carry
        each, gradients = by_image(params, x, y)
        if sampling_rate < 1:
            # A left-out image counts as a gradient of zero, so that shapes stay and the sum is over the drawn.
            drawn = jax.random.bernoulli(jax.random.fold_in(key, step), sampling_rate, (len(x),))
            gradients = jax.tree.map(lambda g: jnp.where(drawn.reshape(-1, *[1] * (g.ndim - 1)), g, 0.0), gradients)
        update, state = rule.update(gradients, state)
        params = jax.tree.map(lambda p, u: p - rate / sampling_rate * u, params, update)
        return params, state, losses.at[step].set(each)

    done: tuple[Any, Any, Array] = jax.lax.fori_loop(first, last, body, start)
    return done
