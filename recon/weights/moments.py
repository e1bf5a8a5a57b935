"""The optimiser's first moment out of its state, laid out as the weights are."""

from collections.abc import Mapping, Sequence

import numpy as np

from recon.errors import ReconError
from recon.weights.arrange import arranged
from recon.weights.layout import KERNELS, Layout, Tree
from recon.weights.names import few, natural, parts
from recon.weights.states import FIRST_MOMENTS, SECOND_MOMENTS

SQUARES = (
    "The optimiser's state is Adam's second moment, of squares, which tell no signs: give the first moment (mu, "
    "exp_avg) or SGD's momentum buffer."
)
Named = dict[tuple[str, ...], np.ndarray]


def momentum(arrays: Mapping[str, np.ndarray], layout: Layout, weights: Mapping[str, np.ndarray]) -> Tree:
    """The optimiser's running mean or sum of gradients as a tree like the weights'.

    Adam's first moment is called mu (Optax) or exp_avg (PyTorch), SGD's buffer trace or momentum_buffer; where no
    name is such, all arrays count. PyTorch numbers its arrays in the order of the layers, kernel first; other names go
    by shapes that chain.

    Args:
      layout, weights: of the network, as stored.

    Raises:
      ReconError: there is no array for each of the weights, or they are none of a first moment.
    """
    layers = {part for name in layout.names for part in parts(name)}
    # A layer may be called as a moment is; then the moments' other names tell more.
    words = sorted((w for w in FIRST_MOMENTS if any(w in parts(name) for name in arrays)), key=lambda w: w in layers)
    if not words and any(set(parts(name)) & set(SECOND_MOMENTS) - layers for name in arrays):
        raise ReconError(SQUARES)
    shapes = [weights[name].shape for name in layout.names]
    ways = [matched(moments(arrays, w), layout, weights) for w in (*words, *(() if set(words) - layers else (None,)))]
    chosen = next((way for way in ways if [array.shape for array in way] == shapes), None)
    if chosen is None:
        raise ReconError(
            "The optimiser's state does not have an array like each of the weights: give Adam's first moment or SGD's "
            f"momentum buffer under the weights' names ({few(layout.names)})."
        )
    if all(np.array_equal(array, weights[name]) for name, array in zip(layout.names, chosen, strict=True)):
        raise ReconError("The optimiser's state is the weights themselves: the file holds no first moment or buffer.")
    made = layout.sums(weights, dict(zip(layout.names, chosen, strict=True)))
    if not any(array.any() for array in chosen):
        raise ReconError("The optimiser's state is all zero, as before the first step: give one from after a step.")
    if all((array >= 0).all() for array in chosen):
        raise ReconError(SQUARES)
    return made


def moments(arrays: Mapping[str, np.ndarray], called: str | None) -> Named:
    """The arrays below or behind a word, without it; all of them for None."""
    found = {}
    for name, array in arrays.items():
        own = parts(name)
        if array.ndim and (called is None or called in own):
            at = own.index(called) if called is not None else len(own)
            found[own[:at] + own[at + 1 :]] = array
    return found


def matched(own: Named, layout: Layout, weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """An array for each of the weights, by names, else by shapes; none where neither tells."""
    chosen = by_name(own, layout.names)
    if [array.shape for array in chosen] == [weights[name].shape for name in layout.names]:
        return chosen
    plain = {"/".join(key): array for key, array in own.items()}
    outputs = [int(weights[kernel].shape[0 if layout.transposed else 1]) for kernel, _ in layout.layers]
    try:
        found = arranged(plain, widths=tuple(outputs[:-1]), kernels=KERNELS[layout.transposed])
    except ReconError:
        return []
    return [plain[name] for name in found.names]


def by_name(own: Named, names: Sequence[str]) -> list[np.ndarray]:
    """The arrays whose names end as the weights' do, or all of them in the order of their names."""
    for length in range(1, max(len(parts(name)) for name in names) + 1):
        ending = {key[-length:]: array for key, array in own.items()}
        wanted = [parts(name)[-length:] for name in names]
        if len(set(wanted)) == len(wanted) and len(ending) == len(own) and all(key in ending for key in wanted):
            return [ending[key] for key in wanted]
    return [own[key] for key in sorted(own, key=lambda key: natural("/".join(key)))]
