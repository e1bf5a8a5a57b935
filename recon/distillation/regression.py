"""Kernel ridge regression on a set, which KIP and RKIP descend through and by which every set is scored."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recon.arrays import Tensor
from recon.kernels.infinite import InfiniteNetwork
from recon.memory import require, temporary

RIDGE = 1e-5  # the paper's, see `duals`
SOLVING = 3  # matrices like the kernel that `duals` takes beside it: the ridge's, their sum and its factor


def own_kernel(kernel: InfiniteNetwork, x: Float[np.ndarray, "n *shape"]) -> Float[jax.Array, "n n"]:
    """The NTK of images among themselves, for `duals`; inside `enable_x64` in float64.

    Raises:
      TooLarge: there is not the memory for both.
    """
    program = jax.jit(kernel.ntk).lower(x).compile()
    needed = temporary(program) + (1 + SOLVING) * len(x) ** 2 * x.dtype.itemsize
    require(needed, f"The kernel of {len(x)} images", "give fewer images, or use the method kip, which takes none")
    made: jax.Array = program(x)
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
