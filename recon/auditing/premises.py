"""What the files themselves say against an exact recovery: that they do not belong together, or meet no premise."""

from dataclasses import replace

import jax
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
BFLOAT16 = 2.0**-8  # relative: rounding of weights saved so
ALL = 0.99  # share of the numbers that are the weights' to rounding, from which a state is the weights: float16 rounds
# the smallest of them more
PARALLEL, WHOLE = 0.99, 0.5  # cosine and multiple from which a state is weights, of another time: no decay is so strong
APART = 0.1  # cosine between initial and final weights below which training would have had to change them tenfold
SPREAD = 3.0  # standard deviations of the cosine of random directions that chance may give


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


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two arrays, 0 where one vanishes."""
    x, y = (np.asarray(v, np.float64).ravel() for v in (a, b))
    sizes = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / sizes) if sizes else 0.0


def unrelated(params0: Tree, params1: Tree) -> bool:
    """Whether the kernels of all layers are as much at right angles as those of two networks by chance."""
    return all(
        abs(cosine(params0[name]["kernel"], params1[name]["kernel"]))
        < max(APART, SPREAD / np.sqrt(params0[name]["kernel"].size))
        for name in params0
    )


def weights_like(state: Tree, params: Tree) -> bool:
    """Whether an optimiser's state is weights by mistake, be they scaled or rounded.

    Directions do not tell: with weight decay in the loss a late state is nearly a small multiple of the weights, and
    what images gave is the small rest of it. But of the weights themselves each number is the same multiple, and those
    of another time, such as averaged ones, are about as large.
    """
    a, b = (np.concatenate([*map(np.ravel, jax.tree.leaves(t))]).astype(np.float64) for t in (state, params))
    factor = (a @ b) / (b @ b)
    if factor > WHOLE and cosine(a, b) > PARALLEL:
        return True
    multiple = factor * b
    return bool(multiple.any() and (np.abs(a - multiple) <= BFLOAT16 * np.abs(multiple)).mean() > ALL)
