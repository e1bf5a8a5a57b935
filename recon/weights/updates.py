"""Updates, as clients of federated learning send them: what training added to each of the weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from recon.errors import ReconError
from recon.weights.layout import Layout
from recon.weights.names import few, natural, rooted

Arrays = Mapping[str, np.ndarray]


def updated(before: Arrays, updates: Sequence[Arrays], where: Sequence[str]) -> tuple[dict[str, np.ndarray], ...]:
    """Weights after the mean of updates, and that mean, in float64 and under the names of the weights before.

    The mean is what a server adds up to; at it units are active as they were for the clients, at the sum they need not
    be. An array that an update does not hold is one that did not change; whole numbers, such as counters, do not count.

    Args:
      updates: differences of weights, after less before, named as the weights are but for a common beginning.
      where: their places, for messages.

    Raises:
      ReconError: an update holds arrays that the weights do not, or of other shapes.
    """
    floats = {name: array for name, array in before.items() if array.dtype.kind == "f"}
    own = rooted({name: name for name in before})
    total = {name: np.zeros(array.shape) for name, array in floats.items()}
    for update, place in zip(updates, where, strict=True):
        full = all(name in before for name in update)
        paths = rooted({name: name for name in update})
        names = {name: name if full else own.get(path) for path, name in paths.items()}
        strange = [n for n, mine in names.items() if mine is None or update[n].shape != before[mine].shape]
        if strange:
            raise ReconError(
                f"{place} holds arrays that the weights do not, or of other shapes "
                f"({few(sorted(strange, key=natural))}): give the difference of each of the weights under its name."
            )
        for name, mine in names.items():
            if mine in total and update[name].dtype.kind == "f":
                total[mine] += update[name]
    mean = {name: change / len(updates) for name, change in total.items()}
    return {**before, **{name: floats[name] + change for name, change in mean.items()}}, mean


def difference(before: Arrays, after: Arrays, layout: Layout, last: Layout) -> dict[str, np.ndarray]:
    """What training added to a network's arrays, in float64 and under the names of the weights before."""

    def names(own: Layout) -> list[str]:
        return [*own.names, *(name for fold in own.normalisations for _, name in fold.arrays)]

    pairs = zip(names(layout), names(last), strict=True)
    return {a: np.subtract(after[b], before[a], dtype=np.float64) for a, b in pairs}
