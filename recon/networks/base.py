"""What every network is: frozen settings with plain functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.networks.activations import Activation, relu

Params = Mapping[str, Mapping[str, Any]]
"""A parameter tree in Flax layout: {'Dense_0': {'kernel': ..., 'bias': ...}, ...}."""


@dataclass(frozen=True)
class Network:
    """An architecture: settings with these members. A new one is one file in this package.

    Attributes:
      widths: units, or channels, of each hidden layer.
      outputs: number of outputs.
    """

    widths: tuple[int, ...]
    outputs: int = 1

    def init(self, key: PRNGKeyArray, shape: int | tuple[int, ...]) -> dict[str, dict[str, Any]]:
        """Initial parameters, float32 (float64 under `jax.enable_x64`), for images of `shape` (or so many numbers).

        Raises:
          ReconError: settings that make no network.
        """
        raise NotImplementedError

    def apply(
        self, params: Params, x: Float[Tensor, "n *shape"], activation: Activation = relu
    ) -> Float[Tensor, "n c"]:
        """Outputs for a batch of images."""
        raise NotImplementedError
