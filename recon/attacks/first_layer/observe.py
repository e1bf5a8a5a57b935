"""What the attacker sees of the first layer: the row space of its change, and the images' pre-activations in it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.attacks.first_layer.batched import Array

NOISE = 1e-6  # singular values below this fraction of the largest are float32 rounding of the weights
CLEAR_GAP = 10.0  # of neighbouring singular values


@dataclass(frozen=True)
class Observed:
    """The first layer's change Z = [ΔW₁; Δb₁] = U S V, cut at its rank N, in float64.

    Every training image is (x_i; 1) = U c_i. Its row of the change is g_i = q_i V up to a factor, q_i = S r_i with
    r_i·c_j = δ_ij, and g_i vanishes at every hidden unit that was never active on x_i.

    Attributes:
      u: (D, N), the images' span; D = d + 1 with biases.
      s: singular values.
      v: (N, W), orthonormal rows.
      p0, p1: pre-activations at θ₀ and θ_f of the columns of U, units scaled to unit rms at θ₀. The same array where
        the gradients were all taken at θ₀.
      gap: ratio of the singular values on the two sides of the cut.
      bias: whether the last row of U belongs to the biases.
      low, high: least and greatest value of each input, or None.
    """

    u: Float[Array, "D n"]
    s: Float[Array, " n"]
    v: Float[Array, "n w"]
    p0: Float[Array, "w n"]
    p1: Float[Array, "w n"]
    gap: float
    bias: bool
    low: Float[Array, " d"] | None
    high: Float[Array, " d"] | None

    @property
    def n(self) -> int:
        """Number of training images."""
        return len(self.s)

    @property
    def still(self) -> bool:
        """Whether the patterns at θ₀ and θ_f are one."""
        return self.p0 is self.p1


def observe(
    change: Float[Array, "D w"],
    initial: Float[Array, "D w"],
    final: Float[Array, "D w"] | None,
    bias: bool,
    box: tuple[Float[Array, " d"], Float[Array, " d"]] | None,
) -> Observed:
    """Cut the change at the largest gap of its singular values.

    Args:
      change: [ΔW₁; Δb₁].
      initial, final: [W₁; b₁] at θ₀ and at θ_f (None: all gradients were taken at θ₀).
    """
    z = np.asarray(change, np.float64)
    wide = z.shape[0] < z.shape[1]
    # By the Gram matrix, ten times faster: float64 squared still resolves what float32 weights hold.
    values, vectors = linalg.eigh(z @ z.T if wide else z.T @ z, overwrite_a=True, check_finite=False)
    s = np.sqrt(np.maximum(values[::-1], 0.0))
    basis = vectors[:, ::-1]
    above = s[:-1] > NOISE * s[0]
    ratio = np.where(above, s[:-1] / np.maximum(s[1:], np.finfo(float).tiny), 0.0)
    n = int(np.argmax(ratio)) + 1
    s, basis = s[:n], basis[:, :n]
    u, v = (basis, (basis / s).T @ z) if wide else (z @ (basis / s), basis.T)
    p0 = np.asarray(initial, np.float64).T @ u
    scale = np.sqrt(n) / np.maximum(np.linalg.norm(p0, axis=1, keepdims=True), np.finfo(float).tiny)
    p0 = p0 * scale
    p1 = p0 if final is None else (np.asarray(final, np.float64).T @ u) * scale
    low, high = (None, None) if box is None else box
    return Observed(u, s, v, p0, p1, float(ratio[n - 1]), bias, low, high)
