"""NNGP and NTK of the infinitely wide convolutional network, by neural-tangents (Novak et al. 2019; Arora et al. 2019).

from recon.kernels.infinite_cnn import InfiniteCNN

recon.distill(task, 10, method="kip", kernel=InfiniteCNN(depth=2))
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float

from recon.arrays import Tensor
from recon.errors import ReconError
from recon.kernels.infinite import Kernels
from recon.kernels.neural_tangents import library, nonlinearity
from recon.networks.activations import named


@dataclass(frozen=True)
class InfiniteCNN:
    """The limit in channels of convolutions, and a dense output; NTK parametrisation.

    Attributes:
      depth: number of convolutions, of stride 1, at the image's size (zeros around it).
      filter: height and width of their filters.
      readout: "flatten", a dense layer on every pixel of the last channels, or "pool", on their mean over pixels, whose
        kernel takes (pixels)² numbers for each pair of images: for small images and sets.
      w_std, b_std: scales of kernels and biases; b_std = 0: no biases.
      activation: after each convolution: relu, leaky_relu or gelu, whose kernels have closed forms.

    Raises:
      ReconError: no convolution, or a size, readout or scale that is none, or another activation.
    """

    depth: int = 2
    filter: int = 3
    readout: Literal["flatten", "pool"] = "flatten"
    w_std: float = 1.0
    b_std: float = 0.0
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        if self.depth < 1 or self.filter < 1 or not self.w_std > 0 or not self.b_std >= 0:
            raise ReconError(f"{self} is no network: give depth >= 1, filter >= 1, w_std > 0 and b_std >= 0.")
        if self.readout not in ("flatten", "pool"):
            raise ReconError("readout is 'flatten' or 'pool'.")
        object.__setattr__(self, "activation", named(self.activation).name)
        if named(self.activation).leak is None and self.activation != "gelu":
            raise ReconError(
                f"The kernel of infinitely wide {self.activation} networks has no closed form: choose relu, leaky_relu "
                "or gelu, or a finite network."
            )

    def both(self, x1: Float[Tensor, "n h w c"], x2: Float[Tensor, "m h w c"] | None = None) -> Kernels:
        """NNGP and NTK; at images that are parallel in some patch, derivatives are finite.

        Args:
          x1: images.
          x2: images (None: `x1` again).
        """
        stax = library().stax
        scales = {"W_std": self.w_std, "b_std": self.b_std or None}
        size = (self.filter, self.filter)
        layer = stax.Conv(1, size, padding="SAME", **scales), nonlinearity(self.activation)
        hidden = [part for _ in range(self.depth) for part in layer]
        readout = stax.Flatten() if self.readout == "flatten" else stax.GlobalAvgPool()
        _, _, kernel = stax.serial(*hidden, readout, stax.Dense(1, **scales))
        found = kernel(jnp.asarray(x1), None if x2 is None else jnp.asarray(x2), ("nngp", "ntk"))
        return Kernels(found.nngp, found.ntk)

    def nngp(self, x1: Float[Tensor, "n h w c"], x2: Float[Tensor, "m h w c"] | None = None) -> Float[Tensor, "n m"]:
        """The NNGP alone; see `both`."""
        return self.both(x1, x2).nngp

    def ntk(self, x1: Float[Tensor, "n h w c"], x2: Float[Tensor, "m h w c"] | None = None) -> Float[Tensor, "n m"]:
        """The NTK alone; see `both`."""
        return self.both(x1, x2).ntk
