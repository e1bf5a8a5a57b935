"""Activations by name, with their derivatives; those with a kink also smoothed, for attacks that descend through it.

Their functions take JAX's arrays, and NumPy's, which they answer with NumPy's of the same precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from recon.arrays import Tensor
from recon.errors import ReconError, unknown

NAMES = ("relu", "leaky_relu", "gelu", "silu", "tanh", "elu", "softplus", "sigmoid")
LEAK = 0.01  # of leaky_relu without a slope, as PyTorch and JAX have it

Function = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


@dataclass(frozen=True)
class Activation:
    """An elementwise function.

    Attributes:
      name: as `named` takes it.
      value, slope, curvature: the function, its first and its second derivative (at a kink, those from below).
      leak: slope below zero of one that is z above and has a kink at zero; None: it has no kink.
    """

    name: str
    value: Function
    slope: Function
    curvature: Function
    leak: float | None = None

    def smoothed(self, beta: float | Float[Tensor, ""] | Float[Tensor, "b 1"]) -> "Activation":
        """Itself; of one with a kink leak·z + (1 − leak)·log(1 + exp(βz))/β, which tends to it as β grows."""
        if self.leak is None:
            return self
        smooth, leak, rest = softplus(beta), self.leak, 1 - self.leak
        if not leak:
            return smooth
        return Activation(
            self.name,
            lambda z: leak * z + rest * smooth.value(z),
            lambda z: leak + rest * smooth.slope(z),
            lambda z: rest * smooth.curvature(z),
        )


class Library(NamedTuple):
    """What activations are made of; `np` is NumPy or what JAX has in its place."""

    np: Any
    relu: Function
    softplus: Function
    sigmoid: Function
    erfc: Function


JAX = Library(jnp, jax.nn.relu, jax.nn.softplus, jax.nn.sigmoid, jax.scipy.special.erfc)
NUMPY = Library(np, lambda z: np.maximum(z, 0), lambda z: np.logaddexp(z, 0), special.expit, special.erfc)


def activation(name: str, *functions: Callable[[Library, Any], Any], leak: float | None = None) -> Activation:
    """An activation whose value, slope and curvature are written for either library."""

    def by_arrays(function: Callable[[Library, Any], Any]) -> Function:
        return lambda z: function(NUMPY if isinstance(z, np.ndarray | np.generic) else JAX, z)

    value, slope, curvature = map(by_arrays, functions)
    return Activation(name, value, slope, curvature, leak)


def leaky_relu(leak: float) -> Activation:
    """Z above zero, leak·z below."""
    return activation(
        f"leaky_relu:{leak}",
        lambda m, z: m.np.where(z > 0, z, leak * z),
        lambda m, z: m.np.where(z > 0, 1.0, leak).astype(z.dtype),
        lambda m, z: m.np.zeros_like(z),
        leak=leak,
    )


def softplus(beta: float | int | Float[Tensor, ""] | Float[Tensor, "b 1"]) -> Activation:
    """log(1 + exp(βz))/β, which tends to ReLU as the sharpness β grows; the activation of that name has β = 1."""
    return activation(
        "softplus",
        lambda m, z: m.softplus(beta * z) / beta,
        lambda m, z: m.sigmoid(beta * z),
        lambda m, z: beta * _logistic(m, beta * z)[1],
    )


def _logistic(m: Library, z: Any) -> tuple[Any, Any]:
    """The logistic distribution's function and density."""
    below = m.sigmoid(z)
    return below, below * (1 - below)


def _normal(m: Library, z: Any) -> tuple[Any, Any]:
    """The standard normal distribution's function and density."""
    return 0.5 * m.erfc(-math.sqrt(0.5) * z), m.np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _times(distribution: Callable[[Library, Any], tuple[Any, Any]]) -> tuple[Callable[[Library, Any], Any], ...]:
    """Value and slope of z·F(z)."""

    def slope(m: Library, z: Any) -> Any:
        below, density = distribution(m, z)
        return below + z * density

    return lambda m, z: z * distribution(m, z)[0], slope


def _negative(m: Library, z: Any) -> Any:
    """Z below zero, else zero: exp of large z would overflow, and its derivative be no number."""
    return m.np.where(z > 0, 0, z)


relu = activation(
    "relu", lambda m, z: m.relu(z), lambda _, z: (z > 0).astype(z.dtype), lambda m, z: m.np.zeros_like(z), leak=0.0
)
# By the normal distribution itself, as PyTorch's default is, not by its approximation with tanh.
gelu = activation("gelu", *_times(_normal), lambda m, z: _normal(m, z)[1] * (2 - z * z))
silu = activation("silu", *_times(_logistic), lambda m, z: _logistic(m, z)[1] * (2 + z * (1 - 2 * m.sigmoid(z))))
tanh = activation(
    "tanh",
    lambda m, z: m.np.tanh(z),
    lambda m, z: 1 - m.np.tanh(z) ** 2,
    lambda m, z: -2 * m.np.tanh(z) * (1 - m.np.tanh(z) ** 2),
)
# Of ELU only the curvature jumps at zero, so that it is descended through as it is.
elu = activation(
    "elu",
    lambda m, z: m.np.where(z > 0, z, m.np.expm1(_negative(m, z))),
    lambda m, z: m.np.exp(_negative(m, z)),
    lambda m, z: m.np.where(z > 0, 0, m.np.exp(_negative(m, z))),
)
sigmoid = activation(
    "sigmoid",
    lambda m, z: m.sigmoid(z),
    lambda m, z: _logistic(m, z)[1],
    lambda m, z: _logistic(m, z)[1] * (1 - 2 * m.sigmoid(z)),
)
_ALL = {each.name: each for each in (relu, gelu, silu, tanh, elu, softplus(1.0), sigmoid)}


@cache
def named(name: str) -> Activation:
    """The activation of a name: one of `NAMES`, leaky_relu with or without its slope, as leaky_relu:0.2.

    Raises:
      ReconError: there is none, or the slope is not between 0 and 1.
    """
    kind, colon, option = name.partition(":")
    if kind == "leaky_relu":
        try:
            leak = float(option) if colon else LEAK
        except ValueError:
            leak = math.nan
        if not 0 < leak < 1:
            raise ReconError(f"{name!r} has no slope between 0 and 1: write leaky_relu:0.2, or relu.")
        return leaky_relu(leak)
    if name not in _ALL:
        raise unknown("activation", name, NAMES)
    return _ALL[name]
