"""NNGP and NTK of the infinitely wide ReLU network, by the arc-cosine recursion (Cho & Saul 2009; Jacot et al. 2018).

With Σ⁰ = Θ⁰ = w² x·x'/d + b², a hidden layer takes the cosine ρ = Σ(x, x')/√(Σ(x, x) Σ(x', x')) to

    Σ ← w²/2 √(Σ(x, x) Σ(x', x')) κ₁(ρ) + b²,   Θ ← Σ + w²/2 κ₀(ρ) Θ,
    κ₀(ρ) = 1 − arccos(ρ)/π,   κ₁(ρ) = ρ κ₀(ρ) + √(1 − ρ²)/π.

LeakyReLU of slope s below zero is s z + (1 − s) relu(z), so that in the place of κ₀ and κ₁ it has (1 − s)² κ₀ + 2s and
(1 − s)² κ₁ + 2s ρ.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.polynomial import Chebyshev, Polynomial

from recon.arrays import Tensor
from recon.errors import ReconError
from recon.networks.activations import named

# 1 − |ρ| below this many machine epsilons is rounding of ρ, whose square root would show as an angle of 1e-3 in
# float32: such inputs count as parallel.
PARALLEL = 16
# arccos(ρ)/√(1 − ρ) on [0, 1], to 5e-9: in float32 several times faster than the library's arc tangent.
ANGLE = Chebyshev.interpolate(lambda rho: np.arccos(rho) / np.sqrt(1 - rho), 8, domain=[0, 1]).convert(kind=Polynomial)


class Kernels(NamedTuple):
    """Both kernels between two sets of images, for one output (different outputs are independent).

    Attributes:
      nngp: covariance of the outputs at initialisation.
      ntk: inner product of the outputs' gradients with respect to all parameters.
    """

    nngp: Float[Tensor, "n m"]
    ntk: Float[Tensor, "n m"]


@runtime_checkable
class InfiniteNetwork(Protocol):
    """What distillation asks of an infinitely wide network: frozen settings with its NTK, differentiable in images."""

    def ntk(self, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"] | None = None) -> Float[Tensor, "n m"]:
        """The NTK between two sets of images (None: `x1` again)."""


@dataclass(frozen=True)
class InfiniteMLP:
    """The limit of `recon.networks.MLP(parametrisation="ntk")` in width; the defaults are the paper's.

    Attributes:
      depth: number of hidden layers.
      w_std, b_std: scales of kernels and biases; b_std = 0: no biases.
      activation: relu or leaky_relu, whose kernels are known here.

    Raises:
      ReconError: no hidden layer, a scale that is not a scale, or another activation.
    """

    depth: int = 2
    w_std: float = 1.0
    b_std: float = 0.0
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        if self.depth < 1 or not self.w_std > 0 or not self.b_std >= 0:
            raise ReconError(f"{self} is no network: give depth >= 1, w_std > 0 and b_std >= 0.")
        object.__setattr__(self, "activation", named(self.activation).name)
        if named(self.activation).leak is None:
            raise ReconError(
                f"The kernel of infinitely wide {self.activation} networks is not known here: choose relu, "
                "leaky_relu or a finite network."
            )

    def both(self, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"] | None = None) -> Kernels:
        """NNGP and NTK, in the precision of the images (of two, the higher).

        Both are differentiable but where two images are parallel, and where one is zero and there are no biases; there,
        derivatives are finite: those of κ₀ count as zero, the mean over all directions.

        Args:
          x1: images.
          x2: images (None: `x1` again; every image is then exactly parallel to itself).
        """
        dtype = jnp.result_type(x1, x1 if x2 is None else x2)
        a = jnp.asarray(x1, dtype).reshape(len(x1), -1)
        b = a if x2 is None else jnp.asarray(x2, dtype).reshape(len(x2), -1)
        w, bias, leak = self.w_std**2, self.b_std**2, named(self.activation).leak or 0.0
        scale = w / a.shape[1]
        own_a = scale * squared_norms(a) + bias
        own_b = own_a if x2 is None else scale * squared_norms(b) + bias
        nngp = scale * (a @ b.T) + bias
        ntk = nngp
        for _ in range(self.depth):
            (size_a, inverse_a), (size_b, inverse_b) = root(own_a), root(own_b)
            cosine = nngp * inverse_a[:, None] * inverse_b
            if x2 is None:
                cosine = jnp.where(jnp.eye(len(a), dtype=bool), 1.0, cosine)
            k0, k1 = arc_cosine(cosine)
            if leak:
                k0, k1 = (1 - leak) ** 2 * k0 + 2 * leak, (1 - leak) ** 2 * k1 + 2 * leak * cosine
            nngp = w / 2 * size_a[:, None] * size_b * k1 + bias
            ntk = nngp + w / 2 * k0 * ntk
            kept = w / 2 * (1 + leak**2)
            own_a, own_b = kept * own_a + bias, kept * own_b + bias
        return Kernels(nngp, ntk)

    def nngp(self, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"] | None = None) -> Float[Tensor, "n m"]:
        """The NNGP alone; see `both`."""
        return self.both(x1, x2).nngp

    def ntk(self, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"] | None = None) -> Float[Tensor, "n m"]:
        """The NTK alone; see `both`."""
        return self.both(x1, x2).ntk


def squared_norms(x: Float[jax.Array, "n d"]) -> Float[jax.Array, " n"]:
    """‖x‖² of each row; as a matrix product, since XLA's sums along rows take as long as K(x, x')."""
    return x**2 @ jnp.ones(x.shape[1], x.dtype)


def root(q: Float[jax.Array, " n"]) -> tuple[Float[jax.Array, " n"], Float[jax.Array, " n"]]:
    """√q and 1/√q; at q = 0 both are zero, and so are their derivatives."""
    inverse = jnp.where(q > 0, jax.lax.rsqrt(jnp.where(q > 0, q, 1.0)), 0.0)
    return q * inverse, inverse


@jax.custom_jvp
def arc_cosine(rho: Float[jax.Array, "n m"]) -> tuple[Float[jax.Array, "n m"], Float[jax.Array, "n m"]]:
    """κ₀ and κ₁ of cosines, which rounding may have put outside [−1, 1]."""
    k0, k1, _ = _angles(rho)
    return k0, k1


def _angles(rho: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """κ₀, κ₁ and the derivative of κ₀, 1/(π√(1 − ρ²)), or zero where that is infinite."""
    size = jnp.abs(rho)
    parallel = 1 - size < PARALLEL * np.finfo(rho.dtype).eps
    rho = jnp.where(parallel, jnp.sign(rho), rho)
    gap = jnp.where(parallel, 1.0, 1 - size)  # a stand-in where it is zero
    root = jnp.sqrt(gap * (1 + size))
    sine = jnp.where(parallel, 0.0, root)
    if rho.dtype == np.float32:
        angle = jnp.sqrt(gap) * jnp.polyval(jnp.asarray(ANGLE.coef[::-1], rho.dtype), size)
        part = jnp.where(parallel, 0.0, angle) / jnp.pi
        k0 = jnp.where(rho < 0, part, 1 - part)
    else:
        k0 = 1 - jnp.arctan2(sine, rho) / jnp.pi
    return k0, rho * k0 + sine / jnp.pi, jnp.where(parallel, 0.0, 1 / (jnp.pi * root))


@arc_cosine.defjvp
def _arc_cosine_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    (rho,), (d_rho,) = primals, tangents
    k0, k1, slope = _angles(rho)
    return (k0, k1), (slope * d_rho, k0 * d_rho)
