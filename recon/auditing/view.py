"""How a network's inputs are pictures: their shape, what was done to the pixels, and the order of the numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from recon.errors import ReconError

CHANNELS = (1, 3)


@dataclass(frozen=True)
class View:
    """Inputs as pictures, or as plain vectors.

    Attributes:
      shape: (height, width, channels), or (d,) where inputs are no pictures.
      channels_first: the network takes the numbers of a picture in the order (channels, height, width).
      mean, std: of pixels in [0, 1] the network takes (pixel − mean)/std, by channel. None: nobody said.
    """

    shape: tuple[int, ...]
    channels_first: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def pictures(self) -> bool:
        """Whether inputs are pictures."""
        return len(self.shape) == 3

    @property
    def order(self) -> Int[np.ndarray, " d"]:
        """For each number of a picture (h, w, c), its place in the network's input."""
        places = np.arange(math.prod(self.shape))
        if not self.channels_first:
            return places
        h, w, c = self.shape
        return places.reshape(c, h, w).transpose(1, 2, 0).ravel()

    @property
    def box(self) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]] | None:
        """Least and greatest value of an input by channel, where it is known what was done to the pixels."""
        if self.mean is None and self.std is None:
            return None
        return self.inputs(np.zeros(self.shape[-1])), self.inputs(np.ones(self.shape[-1]))

    @property
    def width(self) -> float:
        """Distance of inputs that pixels a distance of one apart have: 1 over the std, one where nobody said."""
        return float(np.sqrt(np.mean(np.array(self.std or 1.0) ** -2.0)))

    def inputs(self, pixels: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Pixels in [0, 1], channels last, as the network takes them; as they are where nobody said."""
        made: np.ndarray = (pixels - np.array(self.mean or 0.0)) / np.array(self.std or 1.0)
        return made

    def shown(
        self, x: Float[np.ndarray, "n *shape"], like: Float[np.ndarray, "m *shape"]
    ) -> Float[np.ndarray, "n *shape"]:
        """Inputs as displayable pixels in [0, 1].

        Args:
          like: inputs whose least and greatest value become black and white where nobody said what was done to pixels,
            unless they lie in [0, 1].
        """
        if self.mean is None and self.std is None:
            low, high = float(like.min()), float(like.max())
            if low < -0.01 or high > 1.01:
                x = (x - low) / max(high - low, np.finfo(float).tiny)
        else:
            x = x * np.array(self.std or 1.0) + np.array(self.mean or 0.0)
        clipped: np.ndarray = np.clip(x, 0.0, 1.0)
        return clipped


def view_of(
    dim: int,
    image_shape: Any,
    mean: Any,
    std: Any,
    channels_first: bool,
    features: bool = False,
) -> View:
    """The view of inputs of `dim` numbers.

    Args:
      image_shape: (h, w), (h, w, c) or (c, h, w); None: a grey or a colour square if `dim` is one, else no picture.
      mean, std: as of `View`, one for all channels or one for each.
      channels_first: what to take a colour square for.
      features: inputs are features, no pictures.
    """
    first = False
    if image_shape is not None:
        sizes = [] if isinstance(image_shape, str) else np.atleast_1d(np.asarray(image_shape, object)).tolist()
        if not sizes or not all(isinstance(size, int | np.integer) for size in sizes):
            raise ReconError(f"{image_shape!r} is no shape of an image: give numbers such as (28, 28) or (32, 32, 3).")
        shape = tuple(map(int, sizes))
        if len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) == 3 and shape[0] in CHANNELS and shape[2] not in CHANNELS:
            shape, first = (*shape[1:], shape[0]), True
        if len(shape) == 3 and shape[2] not in CHANNELS:
            raise ReconError(f"Pictures of shape {shape} have neither 1 nor 3 channels: leave the image shape out.")
        if min(shape, default=0) < 1 or math.prod(shape) != dim:
            raise ReconError(f"Images of shape {shape} are not the {dim} numbers that the network takes: correct it.")
    elif features:
        shape = (dim,)
    else:
        squares = [(side, side, c) for c in CHANNELS if (side := math.isqrt(dim // c)) ** 2 * c == dim and side > 3]
        shape = squares[0] if squares else (dim,)
        first = channels_first and len(shape) == 3 and shape[-1] == 3
    told = []
    for name, value in (("mean", mean), ("std", std)):
        try:
            numbers = None if value is None else tuple(np.asarray(value, float).ravel().tolist())
        except (ValueError, TypeError) as error:
            raise ReconError(f"The {name} is {value!r}: give a number, or one for each channel.") from error
        if numbers is not None and (len(numbers) not in (1, shape[-1]) or not np.isfinite(numbers).all()):
            raise ReconError(f"The {name} is {numbers}: give one number, or one for each of {shape[-1]} channels.")
        told.append(numbers)
    if told[1] is not None and min(told[1]) <= 0:
        raise ReconError(f"The std is {told[1]}: it must be above zero.")
    return View(shape, first, told[0], told[1])
