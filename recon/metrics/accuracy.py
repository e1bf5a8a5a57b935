"""Classification accuracy."""

import numpy as np
from jaxtyping import Float


def share_right(f: Float[np.ndarray, "n c"], y: Float[np.ndarray, "n c"]) -> float:
    """Fraction of outputs of their target's sign, or largest where their target is."""
    right = np.sign(f[:, 0]) == np.sign(y[:, 0]) if y.shape[1] == 1 else f.argmax(axis=1) == y.argmax(axis=1)
    return float(right.mean())
