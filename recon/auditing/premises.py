"""What the files themselves say against an exact recovery: that they do not belong together, or meet no premise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from recon.attacks import Reconstruction
from recon.attacks.base import refuse_overflow
from recon.attacks.first_layer import scale
from recon.auditing.view import View
from recon.errors import ReconError
from recon.memory import require
from recon.networks import MLP
from recon.weights.layout import Tree
from recon.weights.names import few

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
# Bytes that an audit takes at its peak for each number of the first kernel: 76 of 1,024 units and 50,000 inputs.
HELD = 80
PLENTY = 1 << 30  # bytes that any machine has
# Share of zeros in a kernel from which it was pruned: rounding to eight bits leaves one number in 255 at zero.
PRUNED = 0.01
# Times what the middle input changes the first layer, from which the one that does most hides others: 2 to 17 times in
# pictures and standardised tables, 580 to 8,000 in tables of raw columns, of which the change then showed one or two.
UNEQUAL = 100.0


def rms(a: np.ndarray) -> float:
    """Root of the mean square, in float64."""
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def of_unit_kernels(params: Tree) -> bool:
    """Whether all kernels were drawn with a standard deviation of one, as only the NTK parametrisation has them."""
    kernels = [layer["kernel"] for layer in params.values()]
    return all(abs(rms(kernel) - 1) < max(UNIT, CHANCE / np.sqrt(2 * kernel.size)) for kernel in kernels)


def unmet(params0: Tree, params1: Tree, given: Tree | None, network: MLP) -> tuple[str, ...]:
    """Why images may be missed or of another size, each reason as a sentence without its stop.

    Args:
      given: a gradient, an optimiser's state or an update, which is attacked in the place of the weights' change.
    """
    words = []
    initial = params0["Dense_0"]["kernel"]
    change = np.subtract(params1["Dense_0"]["kernel"], initial, dtype=np.float64)
    change = change if given is None else np.asarray(given["Dense_0"]["kernel"], np.float64)
    if given is None and 0 < (times := rms(change) / (ROUNDING * rms(initial))) < FAINT:
        words.append(
            f"the first layer's change is only {times:.2g} times what rounding to float32 leaves, and attacks compute "
            "in float32: weights after more steps, or steps at a higher rate, show more"
        )
    if (times := most_of_one(change)) > UNEQUAL:
        words.append(
            f"one input changes the first layer {times:.0f} times as much as the middle one, as where columns of a "
            "table were not standardised before training, so that rounding hides the small ones"
        )
    if network.parametrisation == "standard" and of_unit_kernels(params0):
        words.append(
            "the initial kernels have a standard deviation of one, as in the NTK parametrisation, whose factors the "
            "files do not tell, so that only pixels tell the size of images: in Python, say the factors by "
            'network=recon.MLP(widths, parametrisation="ntk", w_std=..., b_std=...)'
        )
    return tuple(words)


def most_of_one(change: Float[np.ndarray, "d w"]) -> float:
    """What the input that changes the first layer most does, in multiples of the middle one of all that do anything."""
    sizes = np.linalg.norm(change, axis=1)
    sizes = sizes[sizes > 0]
    return float(sizes.max() / np.median(sizes)) if len(sizes) else 0.0


def refuse_pruned(params0: Tree, params1: Tree, name: str) -> None:
    """Refuse a first kernel that was pruned: its zeros count as a change, or hide one.

    Inputs and units that are all zero before and after have no part in the network.

    Args:
      name: of the kernel.
    """
    first, last = (params["Dense_0"]["kernel"] for params in (params0, params1))
    used = (first != 0) | (last != 0)
    zero = (last == 0)[np.ix_(used.any(axis=1), used.any(axis=0))]
    if zero.size and (share := float(zero.mean())) > PRUNED:
        raise ReconError(
            f"{share:.0%} of the final weights in {name} are zero, as pruning or coarse rounding leaves them: give "
            "both files from before it, or without the units that were removed."
        )


def refuse_unusable(params: Tree, name: str, which: str) -> None:
    """Refuse weights that no attack can use: a first layer of one unit or of zeros, products that overflow.

    Args:
      name: of the first kernel.
    """
    if params["Dense_0"]["kernel"].shape[1] < 2:
        raise ReconError(f"The first layer, {name}, has one unit, whose change tells no two images apart.")
    if not params["Dense_0"]["kernel"].any():
        raise ReconError(f"The {which} weights of the first layer, {name}, are all zero: give those the network had.")
    refuse_overflow(params, which)


def refuse_what_memory_does_not_hold(inputs: int, units: int) -> None:
    """Refuse a first layer of more numbers than the machine can work on.

    Raises:
      TooLarge: it is.
    """
    if (needed := float(HELD * inputs * units)) > PLENTY:
        require(needed, f"The audit of a first layer of {units} units and {inputs} inputs", "take a machine with more")


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


def of_low_rank(ranks: Mapping[str, int]) -> str:
    """Why weights that an adapter changed tell nothing exactly, a sentence without its stop."""
    names = [*ranks]
    return (
        f"an adapter made the change of {few(names)}, of rank {max(ranks.values())} whatever the number of images: "
        "what it spans is the adapter's own and no images, so that none can be told exactly"
    )


def nothing_found(shape: tuple[int, ...], doubt: str) -> Reconstruction:
    """The result where no attack applies, to images of a shape."""
    none, sure = np.zeros((0, *shape), np.float32), np.zeros(0, bool)
    vouched: dict[str, Any] = {"certified": sure, "up_to_scale": sure, "confidence": np.zeros(0), "doubts": (doubt,)}
    return Reconstruction("none", none, none, np.zeros((0, 2)), 0, "no attack applies", **vouched)


def perhaps_merged(params0: Tree, params1: Tree) -> str:
    """Why a low rank may be that of an adapter which was merged into the weights, a sentence without its stop."""
    biases = [(params0[name]["bias"], params1[name]["bias"]) for name in params0 if "bias" in params0[name]]
    if not any(before.any() for before, _ in biases) or any(not np.array_equal(a, b) for a, b in biases):
        return ""
    return (
        "no bias changed, as where a LoRA adapter was merged into the weights: then their change has the adapter's "
        "rank and span, and not the images'"
    )


def before_normalisation(
    found: Reconstruction, gain: Float[np.ndarray, " d"], offset: Float[np.ndarray, " d"], view: View
) -> Reconstruction:
    """A result behind a normalisation of the inputs, before it: only images of known size can be told there.

    Behind it pixels have no box; before it, they may show that an image has its size.

    Args:
      gain, offset: of the normalisation, in the order of a picture's numbers.
    """

    def undone(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = ((x.reshape(len(x), -1) - offset) / gain).astype(np.float32).reshape(x.shape)
        return made

    made = replace(found, images=undone(found.images), start=undone(found.start))
    if found.certified is None or found.up_to_scale is None:
        return made
    sure = found.certified | (found.up_to_scale & on_the_grid(made, view))
    return replace(made, certified=sure, up_to_scale=sure)


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


def refuse_weights(params: Tree, gradient: Tree | None, update: Tree | None) -> None:
    """Refuse a gradient or an update that is the initial weights by mistake.

    Raises:
      ReconError: it is.
    """
    if gradient is not None and weights_like(gradient, params):
        raise ReconError("The gradient is the weights themselves: give the gradient of the loss, or --final.")
    if update is not None and weights_like(update, params):
        raise ReconError("The update is the weights themselves: give what training added to them, or --final.")
