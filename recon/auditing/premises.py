"""What the files themselves say against an exact recovery: premises of the attack that they do not meet."""

from dataclasses import replace

import numpy as np

from recon.attacks import Reconstruction
from recon.attacks.first_layer import scale
from recon.auditing.view import View
from recon.networks import MLP
from recon.weights.layout import Tree

FAINT = 1_000.0  # of a change, in what rounding leaves: a step at 250 times was lost in float64, one at 760 was not
ROUNDING = 2.0**-24  # relative: of float32, which attacks compute in
UNIT = 0.02  # by which the standard deviation of kernels drawn from N(0, 1) may be off, or
CHANCE = 4.0  # so many of its own standard deviations


def rms(a: np.ndarray) -> float:
    """Root of the mean square, in float64."""
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def of_unit_kernels(params: Tree) -> bool:
    """Whether all kernels were drawn with a standard deviation of one, as only the NTK parametrisation has them."""
    kernels = [layer["kernel"] for layer in params.values()]
    return all(abs(rms(kernel) - 1) < max(UNIT, CHANCE / np.sqrt(2 * kernel.size)) for kernel in kernels)


def unmet(params0: Tree, params1: Tree, from_state: bool, network: MLP) -> tuple[str, ...]:
    """Why images may be missed or of another size, each reason as a sentence without its stop."""
    words = []
    initial = params0["Dense_0"]["kernel"]
    change = np.subtract(params1["Dense_0"]["kernel"], initial, dtype=np.float64)
    if not from_state and 0 < (times := rms(change) / (ROUNDING * rms(initial))) < FAINT:
        words.append(
            f"the first layer's change is only {times:.2g} times what rounding to float32 leaves, and attacks compute "
            "in float32: weights after more steps, or steps at a higher rate, show more"
        )
    if network.parametrisation == "standard" and of_unit_kernels(params0):
        words.append(
            "the initial kernels have a standard deviation of one, as in the NTK parametrisation, whose factors the "
            "files do not tell, so that only pixels tell the size of images: in Python, say the factors by "
            'network=recon.MLP(widths, parametrisation="ntk", w_std=..., b_std=...)'
        )
    return tuple(words)


def on_the_grid(found: Reconstruction, view: View) -> np.ndarray:
    """Which reconstructions are pictures of 8 bits at their size, where it is known what was done to pixels."""
    if view.box is None or not len(found.images):
        return np.zeros(len(found.images), bool)
    low, high = (np.broadcast_to(side, view.shape).ravel() for side in view.box)
    pixels = scale.grid(found.images.reshape(len(found.images), -1).astype(np.float64), low, high)
    on: np.ndarray = pixels.on & (pixels.factor == 1)
    return on


def at_unknown_factors(found: Reconstruction, view: View) -> Reconstruction:
    """A result on weights that act with factors which nobody said: sizes are certified by 8-bit pixels alone."""
    if found.certified is None or not found.certified.any():
        return found
    return replace(found, certified=found.certified & on_the_grid(found, view))
