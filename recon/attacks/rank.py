"""What the first layer's change says by itself: how many training images there are and the space they span.

Every gradient step, whatever the loss, batch or momentum, changes the first kernel by a combination of training images:
ΔW₁ = Σ_i x_i G_iᵀ, of rank N where N < d and N < W. Its left singular vectors span the images, and the rank shows as
the largest gap of its singular values.

How large the gap must be depends on what is at stake. `reconstruct` takes N from it for attacks that have no way to
check it, so it must be beyond doubt (`CLEAR_GAP`). The exact search checks what it finds, and begins below
(`SEARCHED_GAP`), so that it may tell N where the others do not. Measured gaps were 100 and more, but for N = 500 at
W = 4096, linearised: 7.5. The search also takes biases and weight decay into account, and pixels and units that are
never lit or active: see `recon.attacks.first_layer.observe`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NOISE = 1e-6  # singular values below this fraction of the largest are float32 rounding of the weights
# The same of a gradient computed in float64: rounding left up to 6e-16 in batches of 64 to 256 on 1,000 units.
DOUBLE_NOISE = 1e-14
CLEAR_GAP, SEARCHED_GAP = 10.0, 4.0  # of neighbouring singular values, see above
TINY = float(np.finfo(float).tiny)


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


def largest_gap(s: Float[np.ndarray, " k"], most: int | None = None) -> tuple[int, float]:
    """The number of singular values above their largest gap, and the ratio of those on its two sides.

    Args:
      s: in falling order.
      most: no gap after more of them counts, as where they fall to zero for want of inputs or units.
    """
    if len(s) < 2:
        return 1, 0.0  # one input or one unit: there is no gap
    above = s[:-1] > NOISE * s[0]
    if most is not None:
        above[most:] = False
    ratio = np.where(above, s[:-1] / np.maximum(s[1:], TINY), 0.0)
    n = int(np.argmax(ratio)) + 1
    return n, float(ratio[n - 1])


def rank_of_double(s: Float[np.ndarray, " k"], most: int) -> tuple[int, float, bool]:
    """The rank of a gradient in float64: where its singular values fall to rounding, however they are spread.

    Where a softmax is saturated the dual weights of a batch lie many orders of magnitude apart, and no gap between them
    is the rank. If all values stand clear of rounding there is noise, and the largest gap may show where it begins.

    Args:
      s, most: as `largest_gap` takes them.

    Returns:
      The rank, the ratio of the singular values on its two sides, and whether rounding told it.
    """
    n = int((s > DOUBLE_NOISE * s[0]).sum())
    if n > most:
        return *largest_gap(s, most), False
    return n, float(s[n - 1] / max(s[n], TINY)) if n < len(s) else 1 / TINY, True


def first_layer_span(change: Float[np.ndarray, "d w"]) -> Span:
    """Rank and span of ΔW₁, from its singular value decomposition in float64."""
    u, s, _ = np.linalg.svd(np.asarray(change, np.float64), full_matrices=False)
    n, gap = largest_gap(s)
    return Span(n, gap, u[:, :n])
