"""Where normalisations stand among a network's layers, as far as names and sizes tell."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from recon.errors import ReconError
from recon.weights.candidates import considered
from recon.weights.chains import ends_of
from recon.weights.folding import Fold
from recon.weights.layout import Layout
from recon.weights.names import few, module, natural, word
from recon.weights.strangers import Normalisation, place

# What programs add to a variance, by their words for it: Keras 1e-3, PyTorch and Flax 1e-5.
EPSILON = {"moving_variance": 1e-3, "moving_var": 1e-3}
USUAL_EPSILON = 1e-5
STANDARDISED = {"mean": "mean", "variance": "variance"}  # all of Keras's Normalization, which adds nothing
ORDERED = re.compile(r"layer_(\d+)")  # first part of a name, of formats that tell the order of layers


def standing(found: Sequence[Normalisation], layout: Layout, arrays: Mapping[str, np.ndarray]) -> tuple[Fold, ...]:
    """Normalisations as folds, in the order in which they are folded: by layers from the input on.

    Numbers tell the order, as of PyTorch's Sequential, where one that follows a layer at once stands before its units.
    Otherwise they are counted off: one behind each hidden layer, of other sizes than the inputs. Else sizes tell, where
    they leave one place. Then one whose means are all positive stands behind units, as ReLU makes them.

    Raises:
      ReconError: it is not told where one of them stands, or two stand in one place.
    """
    shapes = considered(arrays)
    ends = ends_of(layout.layers, shapes, layout.transposed)
    sizes = [ends[0][0], *(out for _, out in ends[:-1])]  # of what goes into each layer
    kernels = [kernel for kernel, _ in layout.layers]
    ordered = sorted(found, key=lambda one: natural("/".join(one.path)))
    widths = [shapes[one.arrays["variance"]][0] for one in ordered]
    counted = widths == sizes[1:] and sizes[0] not in widths  # else one may be of the inputs
    folds = []
    for i, (one, size) in enumerate(zip(ordered, widths, strict=True)):
        layer, inside = numbered(one, kernels)
        if layer is None:
            fits = [i + 1] if counted else [k for k, own in enumerate(sizes) if own == size]
            layer = fits[0] if len(fits) == 1 else None
        if inside is None:
            mean = arrays[one.arrays["mean"]]
            inside = bool((mean < 0).any() or not mean.any())
        if layer is None or layer >= len(sizes) or sizes[layer] != size:
            raise ReconError(
                f"Names do not tell between which layers {few([*one.arrays.values()], 1)} stands: fold this frozen "
                "normalisation into the layer before (a first one into the layer behind) in both files."
            )
        folds.append(Fold(layer, inside and layer > 0, tuple(one.arrays.items()), epsilon_of(one)))
    places = [(fold.layer, fold.inside) for fold in folds]
    twice = next((fold for i, fold in enumerate(folds) if places[i] in places[:i]), None)
    if twice is not None:
        raise ReconError(
            f"{twice.name} is of a second normalisation in one place: make the two one, or fold them into the layers "
            "beside them, in both files."
        )
    # Backwards between two layers: one before units multiplies the layer behind, as one behind them found it.
    return tuple(sorted(folds, key=lambda fold: (fold.layer, fold.inside)))


def epsilon_of(one: Normalisation) -> float:
    """What its program adds to a variance, as far as its words for the arrays tell."""
    words = {role: word(name).lower() for role, name in one.arrays.items()}
    return 0.0 if words == STANDARDISED else EPSILON.get(words["variance"], USUAL_EPSILON)


def numbered(one: Normalisation, kernels: Sequence[str]) -> tuple[int | None, bool | None]:
    """Number of the layer behind, and whether it follows the layer before at once; None where numbers do not tell."""
    paths = [(place(name) if module(name) else ()) for name in kernels]
    own = one.path
    alike = all(len(path) == len(own) and path[:-1] == own[:-1] and path[-1].isdecimal() for path in paths)
    marks = [ORDERED.fullmatch(path[0]) if path else None for path in (*paths, own)]
    if all(marks):
        *places, mine = (int(mark[1]) for mark in marks if mark)
        return sum(number < mine for number in places), None
    if not own or not own[-1].isdecimal() or not alike:
        return None, None
    numbers = [int(path[-1]) for path in paths]
    layer = sum(number < int(own[-1]) for number in numbers)
    return layer, layer > 0 and numbers[layer - 1] == int(own[-1]) - 1
