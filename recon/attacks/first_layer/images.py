"""Coordinates as images: their size, and the box of the pixels."""

import numpy as np
from jaxtyping import Float

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import TINY, normalised
from recon.attacks.first_layer.observe import Observed


def images(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k d"]:
    """Inputs of coordinates c: U c with its last entry, the bias's input, scaled to one.

    Without biases the change tells an image up to its size: it is as large as its box allows (unit length without one).
    Coordinates are on the side on which the image's units are active; where the bias's input is negative there, the
    biases were not trained as the kernel was, and tell no size.
    """
    x = product(c, seen.u.T)
    if seen.bias:
        last = np.abs(x[:, -1:])
        return x[:, :-1] / np.where(last > TINY, last, 1.0)
    unit = normalised(x)
    largest: np.ndarray = unit * room(seen, unit)[:, None]
    return largest


def room(seen: Observed, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """Largest multiples of images that are in their box; 1 without one.

    An edge of the box at zero bounds no size: what lies beyond it there is rounding of what lies on it.
    """
    if seen.low is None or seen.high is None:
        return np.ones(len(x))
    edge = np.where(x > 0, seen.high, seen.low)
    bounds = edge * x > 0
    multiple = np.where(bounds, edge / np.where(bounds, x, 1.0), np.inf).min(1)
    return np.where(np.isfinite(multiple), multiple, 1.0)


def boxed(seen: Observed, c: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Coordinates of the images clipped to their box."""
    if seen.low is None or not seen.bias:
        return c
    x = np.clip(images(seen, c), seen.low, seen.high)
    back: np.ndarray = product(x, seen.u[:-1]) + seen.u[-1]
    return back
