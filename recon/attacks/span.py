"""What the first layer's change says by itself: how many training images there are and the space they span.

Every gradient step, whatever the loss, batch or momentum, changes the first kernel by a combination of training images:
ΔW₁ = Σ_i x_i G_iᵀ, of rank N where N < d and N < W. Its left singular vectors span the images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NOISE = 1e-6  # singular values below this fraction of the largest are float32 rounding of the weights
CLEAR_GAP = 10.0  # of neighbouring singular values; measured gaps are 100 and more


class Span(NamedTuple):
    """Rank and basis of the first layer's change.

    Attributes:
      n: index of the largest gap in the singular values: the number of training images, if the gap is clear.
      gap: ratio of the singular values on its two sides.
      basis: orthonormal, the images lie in its columns' span.
    """

    n: int
    gap: float
    basis: Float[np.ndarray, "d n"]

    @property
    def clear(self) -> bool:
        """Whether the gap is one, so that `n` and `basis` can be relied on."""
        return self.gap > CLEAR_GAP


def first_layer_span(change: Float[np.ndarray, "d w"]) -> Span:
    """Rank and span of ΔW₁, from its singular value decomposition in float64."""
    u, s, _ = np.linalg.svd(np.asarray(change, np.float64), full_matrices=False)
    above = s[:-1] > NOISE * s[0]
    ratio = np.where(above, s[:-1] / np.maximum(s[1:], np.finfo(float).tiny), 0.0)
    n = int(np.argmax(ratio)) + 1
    return Span(n, float(ratio[n - 1]), u[:, :n])
