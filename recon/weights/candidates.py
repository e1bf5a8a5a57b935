"""Which arrays of a file may be a network's weights at all."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.weights.chains import bundles, kind
from recon.weights.names import BIAS, KERNEL, Shape, called, few, module, natural, parts, places, rooted, unwrapped
from recon.weights.network import Wanted


def considered(arrays: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Shapes of the arrays that may be weights: floating-point numbers, and integers only where they stand for such.

    Biases of shape (1, W), as stax and others have them, count as (W,).
    """
    floats = {name for name, array in arrays.items() if array.dtype.kind == "f"}
    worded = any(arrays[name].ndim == 2 and called(name, KERNEL) for name in floats)

    def packed(name: str, axes: int) -> bool:
        """Whether integers are a kernel or a bias that was rounded, and no counts."""
        return (axes == 2 and (called(name, KERNEL) or not worded)) or (axes == 1 and called(name, BIAS))

    shapes = {n: array.shape for n, array in arrays.items() if array.size and (n in floats or packed(n, array.ndim))}
    tuples: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        if len(shape) == 2 and module(name) and module(name)[-1].isdecimal() and not called(name, KERNEL):
            tuples[module(name)].append(name)
    # In tuples of tuples, which have no word for it, a bias is the second of two, a row as long as the first puts out.
    pairs = [sorted(own, key=natural) for own in tuples.values() if len(own) == 2]
    rows = {bias for kernel, bias in pairs if shapes[bias] == (1, shapes[kernel][1])}
    rows |= {name for name, shape in shapes.items() if len(shape) == 2 and min(shape) == 1 and called(name, BIAS)}
    return {name: (max(shape),) if name in rows else shape for name, shape in shapes.items()}


def changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> tuple[set[str], set[str]]:
    """Names, before and after, of the arrays that training changed and of what it left alone among and beside them.

    Raises:
      ReconError: the two do not hold the same arrays, or none changed.
    """
    first, last = rooted({name: name for name in before}), rooted({name: name for name in after})
    if {p: before[n].shape for p, n in first.items()} != {p: after[n].shape for p, n in last.items()}:
        raise ReconError(
            "Initial and final weights do not hold the same arrays: give both with the extractor's or not."
        )
    later = {name: last[path] for path, name in first.items()}
    kept = {name for name, now in later.items() if not np.array_equal(before[name], after[now])}
    if not kept:
        raise ReconError("Initial and final weights are equal: there is no change to reconstruct from.")
    matrices = [name for name in later if before[name].ndim == 2]
    # A frozen layer between two that were trained is the network's, by its number.
    trained: dict[str, list[list[Any]]] = defaultdict(list)
    for name in kept.intersection(matrices):
        trained[kind(name)].append(natural(name))
    kept |= {n for n in matrices if (own := trained[kind(n)]) and min(own) < natural(n) < max(own)}
    # So is a frozen bias beside a kernel, where it is the only one of its module.
    kernels = Counter(map(module, matrices))
    beside = {module(name) for name in kept.intersection(matrices) if kernels[module(name)] == 1} - {()}
    kept |= {name for name in later if before[name].ndim == 1 and module(name) in beside}
    return kept, {later[name] for name in kept}


def selected(weights: Mapping[str, Shape], every: Mapping[str, Shape], wanted: Wanted) -> dict[str, Shape]:
    """The arrays of the named layers, in the order of the names; a layer's bias comes with its kernel.

    Args:
      weights: arrays among which a name is looked for first, where it begins an array's name, then anywhere in it.
      every: where else it is looked for.
    """
    chosen: dict[str, Shape] = {}
    biases = dict(bundles(every))
    for layer in wanted.layers:
        ways = product((parts(layer), unwrapped(parts(layer))), (weights, every))
        found = ({name: at for name in pool if (at := places(name, path))} for path, pool in ways)
        standing = next(filter(None, found), None)
        if standing is None:
            raise ReconError(
                f"{wanted.where} has no layer {layer!r}: its arrays are {few(sorted(every, key=natural))}."
            )
        own = [name for name, at in standing.items() if at[0] == 0] or [*standing]
        both = {*own, *(bias for name in own if (bias := biases.get(name)) is not None)}
        chosen |= {name: every[name] for name in sorted(both, key=natural) if name not in chosen}
    return chosen
