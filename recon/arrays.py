"""The arrays that public functions take, JAX's or NumPy's, and 64 bits for them."""

from contextlib import AbstractContextManager

import jax
import jax.experimental
import numpy as np

Tensor = jax.Array | np.ndarray

# A program that jaxlib 0.5.3 reads back from the compilation cache on disk, which users switch on by environment
# variables, takes no step of its loops on a CPU and returns what it was given, without an error.
jax.config.update("jax_enable_compilation_cache", False)  # type: ignore[no-untyped-call]


def enable_x64(on: bool = True) -> AbstractContextManager[None]:
    """64-bit types inside the `with` block (32-bit ones with False), by the name that the installed JAX has for it."""
    named: AbstractContextManager[None] = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(on)
    return named
