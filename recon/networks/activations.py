"""Activations with their derivatives, as the layer-wise formulas need them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Float

from recon.arrays import Tensor


class Activation(NamedTuple):
    """An elementwise function and its derivative."""

    value: Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
    slope: Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


relu = Activation(jax.nn.relu, lambda z: (z > 0).astype(z.dtype))


def softplus(beta: float | int | Float[Tensor, ""]) -> Activation:
    """Smooth surrogate of ReLU: log(1 + exp(βz))/β, which tends to ReLU as the sharpness β grows."""
    return Activation(lambda z: jax.nn.softplus(beta * z) / beta, lambda z: jax.nn.sigmoid(beta * z))
