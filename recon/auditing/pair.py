"""Whether the files of an audit belong together."""

import jax
import numpy as np
from jaxtyping import Float

from recon.weights.layout import Tree

ROUNDING = 2.0**-8  # relative: of weights saved as bfloat16
ALL = 0.99  # share of the numbers that are the weights' to rounding, from which a state is the weights: float16 rounds
# the smallest of them more
PARALLEL, WHOLE = 0.99, 0.5  # cosine and multiple from which a state is weights, of another time: no decay is so strong
CHANCE = 0.1  # cosine between initial and final weights below which training would have had to change them tenfold
SPREAD = 3.0  # standard deviations of the cosine of random directions that chance may give


def numbers(tree: Tree) -> Float[np.ndarray, " t"]:
    """All numbers of all layers, in float64."""
    flat: np.ndarray = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)
    return flat


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two arrays, 0 where one vanishes."""
    x, y = (np.asarray(v, np.float64).ravel() for v in (a, b))
    sizes = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / sizes) if sizes else 0.0


def unrelated(params0: Tree, params1: Tree) -> bool:
    """Whether the kernels of all layers are as much at right angles as those of two networks by chance."""
    return all(
        abs(cosine(params0[name]["kernel"], params1[name]["kernel"]))
        < max(CHANCE, SPREAD / np.sqrt(params0[name]["kernel"].size))
        for name in params0
    )


def weights_like(state: Tree, params: Tree) -> bool:
    """Whether an optimiser's state is weights by mistake, be they scaled or rounded.

    Directions do not tell: with weight decay in the loss a late state is nearly a small multiple of the weights, and
    what images gave is the small rest of it. But of the weights themselves each number is the same multiple, and those
    of another time, such as averaged ones, are about as large.
    """
    a, b = numbers(state), numbers(params)
    factor = (a @ b) / (b @ b)
    if factor > WHOLE and cosine(a, b) > PARALLEL:
        return True
    multiple = factor * b
    return bool(multiple.any() and (np.abs(a - multiple) <= ROUNDING * np.abs(multiple)).mean() > ALL)
