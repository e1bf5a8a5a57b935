"""A small convolutional network: convolutions, one for each width, then a dense layer over all positions.

A convolution is written as a matrix product with the image's patches, so that each image's gradient by itself, and an
attack's gradients of it, are matrix products as well.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.errors import ReconError
from recon.networks.activations import Activation
from recon.networks.base import Network, Params


@dataclass(frozen=True)
class CNN(Network):
    """Convolutions that keep the resolution or divide it, then a dense layer over all positions and channels.

    Standard parametrisation: LeCun-normal kernels, zero biases. Parameters in Flax layout, {'Conv_0': {'kernel':
    (size, size, in, out), 'bias': (out,)}, ..., 'Dense_0': {'kernel': (positions·channels, outputs), 'bias': ...}}.

    Attributes:
      widths: channels of each convolution.
      outputs: number of outputs.
      size: side of the kernels; edges are padded with zeros ("SAME").
      stride: factor by which each layer divides the resolution.
      down: how: "stride" of the convolution, or "average" pooling after its activation.
      patch: side of the disjoint patches that the first convolution takes in the place of overlapping ones (kernel
        size and stride, without padding), as a vision transformer's embedding does; None: it is like the others.
    """

    size: int = 3
    stride: int = 2
    down: Literal["stride", "average"] = "stride"
    patch: int | None = None

    def init(self, key: PRNGKeyArray, shape: int | tuple[int, ...]) -> dict[str, dict[str, Any]]:
        """Initial parameters, float32 (float64 under `jax.enable_x64`), for images of `shape` (h, w, c).

        Raises:
          ReconError: settings or a shape that make no network.
        """
        if isinstance(shape, int) or len(shape) != 3:
            raise ReconError(f"A convolutional network takes images of a shape (h, w, c), not {shape}.")
        if not self.widths or min(*self.widths, self.outputs, self.size, self.stride, self.patch or 1) < 1:
            raise ReconError("Channels, outputs, kernel size, stride and patch must be at least 1.")
        if self.patch is not None and (shape[0] % self.patch or shape[1] % self.patch):
            raise ReconError(f"Patches of side {self.patch} do not tile images of {shape[0]} × {shape[1]} pixels.")
        draw = jax.nn.initializers.lecun_normal()
        params: dict[str, dict[str, Any]] = {}
        h, w, c = shape
        for i, width in enumerate(self.widths):
            key, mine = jax.random.split(key)
            side, step, _ = self._geometry(i)
            params[f"Conv_{i}"] = {"kernel": draw(mine, (side, side, c, width)), "bias": jnp.zeros(width)}
            h, w, c = -(-h // step), -(-w // step), width
            if self._pooled(i):
                h, w = h // self.stride, w // self.stride
        if min(h, w) < 1:
            raise ReconError(f"Images of {shape[0]} × {shape[1]} pixels are too small for {len(self.widths)} layers.")
        params["Dense_0"] = {"kernel": draw(key, (h * w * c, self.outputs)), "bias": jnp.zeros(self.outputs)}
        return params

    def apply(
        self, params: Params, x: Float[Tensor, "n *shape"], activation: Activation | None = None
    ) -> Float[Tensor, "n c"]:
        """Outputs for images (n, h, w, c); see `Network.apply`."""
        activation = activation or self.units
        h: Tensor = jnp.asarray(x)
        for i in range(len(self.widths)):
            kernel, bias = params[f"Conv_{i}"]["kernel"], params[f"Conv_{i}"]["bias"]
            side, step, padded = self._geometry(i)
            h = activation.value(patches(h, side, step, padded) @ kernel.reshape(-1, kernel.shape[-1]) + bias)
            if self._pooled(i):
                h = pooled(h, self.stride)
        return jnp.asarray(h.reshape(len(h), -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])

    def _geometry(self, layer: int) -> tuple[int, int, bool]:
        """Kernel side, stride and whether edges are padded."""
        if layer == 0 and self.patch is not None:
            return self.patch, self.patch, False
        return self.size, self.stride if self.down == "stride" else 1, True

    def _pooled(self, layer: int) -> bool:
        return self.down == "average" and not (layer == 0 and self.patch is not None)


def patches(x: Float[Tensor, "n h w c"], side: int, stride: int, padded: bool) -> Float[Tensor, "n a b d"]:
    """Patches of side × side pixels, flattened to d = side²·c in the order of a kernel (side, side, c, out).

    Args:
      padded: with zeros, as "SAME" convolutions are: ⌈h/stride⌉ × ⌈w/stride⌉ patches.
    """
    n, h, w, c = x.shape
    if side == stride and not padded:
        grid = x[:, : h // side * side, : w // side * side].reshape(n, h // side, side, w // side, side, c)
        return grid.swapaxes(2, 3).reshape(n, h // side, w // side, side * side * c)
    if padded:
        spare = [max(0, (math.ceil(n / stride) - 1) * stride + side - n) for n in (h, w)]
        x = jnp.pad(x, ((0, 0), *((s // 2, s - s // 2) for s in spare), (0, 0)))
    h, w = x.shape[1:3]
    rows, columns = (np.arange(0, n - side + 1, stride)[:, None] + np.arange(side) for n in (h, w))
    place = rows[:, None, :, None] * w + columns[None, :, None, :]  # (a, b, side, side)
    taken = x.reshape(n, h * w, c)[:, place.ravel()]
    return taken.reshape(n, len(rows), len(columns), side * side * c)


def pooled(x: Float[Tensor, "n h w c"], side: int) -> Float[Tensor, "n a b c"]:
    """Means over disjoint squares; rows and columns that do not fill one are left out."""
    n, h, w, c = x.shape
    a, b = h // side, w // side
    return x[:, : a * side, : b * side].reshape(n, a, side, b, side, c).mean((2, 4))
