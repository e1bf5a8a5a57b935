"""The arrays that public functions take: JAX's or NumPy's."""

import jax
import numpy as np

Tensor = jax.Array | np.ndarray
