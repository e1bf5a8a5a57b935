"""What every network is: frozen settings with plain functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.networks.activations import Activation, named

Params = Mapping[str, Mapping[str, Any]]
"""A parameter tree in Flax layout: {'Dense_0': {'kernel': ..., 'bias': ...}, ...}."""


@dataclass(frozen=True)
class Network:
    """An architecture: settings with these members. A new one is one file in this package.

    Attributes:
      widths: units, or channels, of each hidden layer.
      outputs: number of outputs.
      activation: of the hidden units, by a name that `recon.networks.activations.named` takes; initial weights do not
        depend on it, nor does their scale.

    Raises:
      ReconError: an unknown activation.
    """

    widths: tuple[int, ...]
    outputs: int = 1
    activation: str = field(default="relu", kw_only=True)

    def __post_init__(self) -> None:
        """One spelling for each activation, so that equal networks are equal."""
        object.__setattr__(self, "activation", named(self.activation).name)

    @property
    def units(self) -> Activation:
        """The activation itself."""
        return named(self.activation)

    def init(self, key: PRNGKeyArray, shape: int | tuple[int, ...]) -> dict[str, dict[str, Any]]:
        """Initial parameters, float32 (float64 under `jax.enable_x64`), for images of `shape` (or so many numbers).

        Raises:
          ReconError: settings that make no network.
        """
        raise NotImplementedError

    def apply(
        self, params: Params, x: Float[Tensor, "n *shape"], activation: Activation | None = None
    ) -> Float[Tensor, "n c"]:
        """Outputs for a batch of images, with another activation in the place of its own if one is given."""
        raise NotImplementedError
