"""RKIP: the reconstruction loss at infinite width as a distillation loss (paper, theorem 2).

With α_T = K_TT⁻¹ y_T and α_R = K_RR⁻¹ y_R it is the squared distance, in the kernel's space, of the two trained
networks: L = ‖Σ α_T φ(x_T) − Σ α_R φ(x_R)‖² = α_Tᵀ K_TT α_T − 2 α_Tᵀ K_TR α_R + α_Rᵀ K_RR α_R. So K_TT enters through
α_T and one number only, computed once.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor, enable_x64
from recon.distillation.base import DistilledSet, Method, Problem
from recon.distillation.descent import KernelDistillation, run
from recon.distillation.regression import duals, own_kernel
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteNetwork
from recon.progress import Report


def rkip_loss(
    kernel: InfiniteNetwork,
    ridge: float,
    images: Float[Tensor, "m *shape"],
    labels: Float[Tensor, "m c"],
    x: Float[Tensor, "n *shape"],
    alpha: Float[Tensor, "n c"],
    norm: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """L of the module's docstring.

    Args:
      kernel: the infinitely wide network.
      ridge: see `duals`.
      images: the set.
      labels: the set's targets.
      x: training images.
      alpha: their duals α_T.
      norm: α_Tᵀ K_TT α_T.
    """
    own = kernel.ntk(images)
    return squared_distance(norm, alpha, kernel.ntk(x, images), own, duals(own, labels, ridge))


def squared_distance(
    norm: Float[Tensor, ""],
    alpha: Float[Tensor, "n c"],
    k_tr: Float[Tensor, "n m"],
    k_rr: Float[Tensor, "m m"],
    beta: Float[Tensor, "m c"],
) -> Float[Tensor, ""]:
    """‖Σ α φ(x_T) − Σ β φ(x_R)‖², multiplied out; `norm` is its first term α_Tᵀ K_TT α_T."""
    return norm - 2 * jnp.vdot(alpha, k_tr @ beta) + jnp.vdot(beta, k_rr @ beta)


def theorem2(
    k_tt: Float[Tensor, "n n"],
    k_tr: Float[Tensor, "n m"],
    k_rr: Float[Tensor, "m m"],
    y_t: Float[Tensor, "n c"],
    beta: Float[Tensor, "m c"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The two terms of L: ‖y_T − K_TR β‖² in the norm of K_TT⁻¹, and λ = βᵀ(K_RR − K_RT K_TT⁻¹ K_TR)β ≥ 0.

    They add up to L for any duals β of the set, β = K_RR⁻¹ y_R among them, and α_T = K_TT⁻¹ y_T.
    """
    factor = jax.scipy.linalg.cholesky(k_tt, lower=True)
    missed, reached = (
        jax.scipy.linalg.solve_triangular(factor, a, lower=True) for a in (y_t - k_tr @ beta, k_tr @ beta)
    )
    return jnp.sum(missed**2), jnp.vdot(beta, k_rr @ beta) - jnp.sum(reached**2)


def known_of(
    problem: Problem, settings: KernelDistillation
) -> tuple[Float[np.ndarray, "n *shape"], Float[np.ndarray, "n c"], Float[np.ndarray, ""]]:
    """Training images, their duals and the squared norm of what these add up to, in float64.

    Raises:
      ReconError: the kernel of the training images is singular, or larger than memory.
    """
    with enable_x64():
        own = own_kernel(settings.kernel, np.asarray(problem.x, np.float64))
        alpha = np.asarray(duals(own, np.asarray(problem.y, np.float64), settings.ridge))
        norm = np.asarray(jnp.vdot(alpha, own @ alpha))
    if not np.isfinite(norm):
        raise ReconError("The kernel of the training images is singular: raise the ridge, or remove duplicate images.")
    return problem.x, alpha, norm


def distil(problem: Problem, settings: KernelDistillation, key: PRNGKeyArray, report: Report) -> DistilledSet:
    """Minimise L; see `recon.distillation.descent.run`."""
    return run("rkip", rkip_loss, known_of, problem, settings, key, report)


METHOD = Method(
    "rkip", "the infinitely wide network trained on the set equals that of all", KernelDistillation(), distil
)
