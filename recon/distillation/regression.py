"""Kernel ridge regression on a set, which KIP and RKIP descend through and by which every set is scored."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recon.arrays import Tensor
from recon.kernels.infinite import InfiniteNetwork
from recon.loops import compiled
from recon.memory import require

RIDGE = 1e-5  # the paper's, see `duals`
SOLVING = 3  # matrices like the kernel that `duals` takes beside it: the ridge's, their sum and its factor


def ntk(
    kernel: InfiniteNetwork, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"] | None = None
) -> Float[Tensor, "n m"]:
    """The infinitely wide network's kernel, as a function of the network."""
    return kernel.ntk(x1, x2)


compiled_ntk = jax.jit(ntk, static_argnums=0)
"""`ntk`, compiled once for each network and shapes of images."""


def own_kernel(kernel: InfiniteNetwork, x: Float[np.ndarray, "n *shape"]) -> Float[jax.Array, "n n"]:
    """The NTK of images among themselves, for `duals`; inside `enable_x64` in float64.

    Raises:
      TooLarge: there is not the memory for both.
    """
    refusal = {
        "what": f"The kernel of {len(x)} images",
        "fix": "give fewer images, or use the method kip, which takes none",
    }
    program = compiled(ntk, kernel, x, **refusal)
    require(program.work["temporary_bytes"] + (1 + SOLVING) * len(x) ** 2 * x.dtype.itemsize, **refusal)
    made: jax.Array = program.run(x)
    return made


def duals(kernel: Float[Tensor, "m m"], y: Float[Tensor, "m c"], ridge: float) -> Float[Tensor, "m c"]:
    """α = (K + ridge·tr(K)/m·I)⁻¹ y, NaN where that is not positive definite."""
    m = len(kernel)
    regularised = kernel + ridge * jnp.trace(kernel) / m * jnp.eye(m, dtype=kernel.dtype)
    return jnp.asarray(jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(regularised), y))


def predict(
    kernel: InfiniteNetwork,
    ridge: float,
    images: Float[Tensor, "m *shape"],
    labels: Float[Tensor, "m c"],
    x: Float[Tensor, "n *shape"],
) -> Float[Tensor, "n c"]:
    """Outputs at x of the infinitely wide network trained on a set, its initial outputs taken as zero."""
    return jnp.asarray(kernel.ntk(x, images) @ duals(kernel.ntk(images), labels, ridge))


def regression_loss(
    kernel: InfiniteNetwork,
    ridge: float,
    images: Float[Tensor, "m *shape"],
    labels: Float[Tensor, "m c"],
    x: Float[Tensor, "n *shape"],
    y: Float[Tensor, "n c"],
) -> Float[Tensor, ""]:
    """Mean over x of ½‖y − prediction‖²."""
    return 0.5 * jnp.mean(jnp.sum((y - predict(kernel, ridge, images, labels, x)) ** 2, axis=1))
