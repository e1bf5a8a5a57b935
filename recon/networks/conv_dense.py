"""Convolutions, then hidden dense layers: LeNet-5, small VGGs.

ConvDense((6, 16), 10, (120, 84), size=5, down="average", valid=(1,))  # LeNet-5 on 28 × 28 pixels
ConvDense((32, 32, 64, 64), 10, (256,), down="max", every=2)  # a small VGG
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.errors import ReconError
from recon.networks.activations import Activation
from recon.networks.base import Network, Params
from recon.networks.conv import patches, pooled
from recon.networks.mlp import MLP

BATCH_NORM_EPSILON = 1e-5  # of Flax, PyTorch and Haiku


class Convolution(NamedTuple):
    """One convolution's geometry.

    Attributes:
      stride: of the convolution.
      padded: with zeros, so that it divides the resolution by its stride alone.
      pool: side of the squares that are pooled after its activation; 1: none are.
    """

    stride: int
    padded: bool
    pool: int


@dataclass(frozen=True)
class ConvDense(Network):
    """Convolutions, flattened to *features*, then hidden dense layers; every layer but the last has the activation.

    Standard parametrisation: LeCun-normal kernels, zero biases. Parameters in Flax layout, {'Conv_0': {'kernel':
    (size, size, in, out), 'bias': (out,)}, ..., 'Dense_0': {'kernel': (features, units), 'bias': ...}, ...}.

    Attributes:
      widths: channels of each convolution.
      outputs: number of outputs.
      dense: units of each hidden dense layer.
      size: side of the kernels.
      stride: factor by which the resolution is divided.
      down: how: by the "stride" of the convolution, by "average" or "max" pooling after its activation.
      every: after so many convolutions, one after the other.
      valid: convolutions, counted from 0, that do not pad edges with zeros.
    """

    dense: tuple[int, ...] = (256,)
    size: int = 3
    stride: int = 2
    down: Literal["stride", "average", "max"] = "stride"
    every: int = 1
    valid: tuple[int, ...] = ()

    def init(self, key: PRNGKeyArray, shape: int | tuple[int, ...]) -> dict[str, dict[str, Any]]:
        """Initial parameters, float32 (float64 under `jax.enable_x64`), for images of `shape` (h, w, c).

        Raises:
          ReconError: settings or a shape that make no network.
        """
        if isinstance(shape, int) or len(shape) != 3:
            raise ReconError(f"A convolutional network takes images of a shape (h, w, c), not {shape}.")
        if not self.widths or not self.dense or min(*self.widths, *self.dense, self.outputs, self.every) < 1:
            raise ReconError("Channels, units, outputs and every must be at least 1, with one layer of each kind.")
        if min(self.size, self.stride) < 1:
            raise ReconError("Kernel size and stride must be at least 1.")
        draw = jax.nn.initializers.lecun_normal()
        params: dict[str, dict[str, Any]] = {}
        c = shape[2]
        for i, width in enumerate(self.widths):
            key, mine = jax.random.split(key)
            params[f"Conv_{i}"] = {"kernel": draw(mine, (self.size, self.size, c, width)), "bias": jnp.zeros(width)}
            c = width
        ends = jax.eval_shape(lambda p: self.features(p, jnp.zeros((1, *shape))), params)
        if not ends.size:
            raise ReconError(f"Images of {shape[0]} × {shape[1]} pixels are too small for {len(self.widths)} layers.")
        return params | self.head.init(key, ends.shape[1])

    @property
    def head(self) -> MLP:
        """The dense layers, a network by themselves."""
        return MLP(self.dense, self.outputs, activation=self.activation)

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """The geometry of each, in order."""
        for i in range(len(self.widths)):
            last = self.stride if (i + 1) % self.every == 0 else 1
            strided = self.down == "stride"
            yield Convolution(last if strided else 1, i not in self.valid, 1 if strided else last)

    def features(
        self,
        params: Params,
        x: Float[Tensor, "n h w c"],
        activation: Activation | None = None,
        sharpness: Float[Tensor, ""] | None = None,
    ) -> Float[Tensor, "n f"]:
        """What the dense layers take, flattened; arguments as `Network.apply`'s.

        Args:
          sharpness: of smooth maxima in the place of "max" pooling, for attacks that descend through it.
        """
        activation = activation or self.units
        h: Tensor = jnp.asarray(x)
        for i, (stride, padded, side) in enumerate(self.convolutions):
            kernel, bias = params[f"Conv_{i}"]["kernel"], params[f"Conv_{i}"]["bias"]
            h = activation.value(patches(h, self.size, stride, padded) @ kernel.reshape(-1, kernel.shape[-1]) + bias)
            if side > 1:
                h = pooled(h, side) if self.down == "average" else largest(h, side, sharpness)
        return h.reshape(len(h), -1)

    def apply(
        self, params: Params, x: Float[Tensor, "n *shape"], activation: Activation | None = None
    ) -> Float[Tensor, "n c"]:
        """Outputs for images (n, h, w, c); see `Network.apply`."""
        return self.head.apply(dense_part(params), self.features(params, x, activation), activation)


def dense_part(params: Mapping[str, Any]) -> dict[str, Any]:
    """The dense layers' weights."""
    return {name: layer for name, layer in params.items() if name.startswith("Dense_")}


def largest(
    x: Float[Tensor, "n h w c"], side: int, sharpness: Float[Tensor, ""] | None = None
) -> Float[Tensor, "n a b c"]:
    """Greatest values in disjoint squares; rows and columns that do not fill one are left out.

    Args:
      sharpness: β of log(mean(exp(βx)))/β instead, which goes from the mean to the greatest as β grows.
    """
    n, h, w, c = x.shape
    a, b = h // side, w // side
    squares = x[:, : a * side, : b * side].reshape(n, a, side, b, side, c)
    if sharpness is None:
        return squares.max((2, 4))
    return (jax.nn.logsumexp(sharpness * squares, axis=(2, 4)) - 2 * math.log(side)) / sharpness


def folded(
    params: Params, norms: Mapping[str, Mapping[str, Any]], epsilon: float = BATCH_NORM_EPSILON
) -> dict[str, dict[str, Any]]:
    """Weights of the network without batch norm that computes what one with it computes in evaluation mode.

    Args:
      params: weights; a batch norm follows some convolutions, before the activation.
      norms: by the convolution's name each batch norm's "scale", "bias", "mean" and "var", (out,).
      epsilon: that was added to the variance.

    Raises:
      ReconError: a batch norm of no convolution.
    """
    strange = ", ".join(norms.keys() - params.keys())
    if strange:
        raise ReconError(f"There is no convolution {strange}: name batch norms by theirs, such as Conv_0.")
    done = {name: dict(layer) for name, layer in params.items()}
    for name, norm in norms.items():
        factor = norm["scale"] / (norm["var"] + epsilon) ** 0.5
        layer = params[name]
        bias = layer.get("bias", 0.0)
        done[name] = {"kernel": layer["kernel"] * factor, "bias": (bias - norm["mean"]) * factor + norm["bias"]}
    return done
