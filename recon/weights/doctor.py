"""What a file of weights holds and how an audit would read it, and whether two belong together; nothing is attacked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.attacks.first_layer.observe import observe
from recon.errors import ReconError
from recon.weights.arrange import arranged, arranged_both
from recon.weights.candidates import considered
from recon.weights.files import format_of, read_arrays, told_activation
from recon.weights.formats.base import Arrays
from recon.weights.layout import Layout
from recon.weights.names import bare, parts
from recon.weights.precision import stored_bits
from recon.weights.states import STATE
from recon.weights.strangers import normalisations
from recon.weights.updates import difference

# Inputs or units, whichever are fewer, up to which the rank is computed here: at most about ten seconds.
LARGEST = 1_024
ROWS = 1_024  # of a kernel that are compared at a time


@dataclass(frozen=True)
class Examined:
    """What a file holds.

    Attributes:
      path: of the file.
      format: its name.
      arrays: by the names that they have without wrappers of modules.
      bits: significant bits that the numbers were rounded to, see `recon.weights.stored_bits`.
      activation: of the hidden layers, where the file tells, see `recon.weights.told_activation`.
      normalised: paths of the normalisations that it holds, and of slopes of PReLUs.
      layout: the network that an audit takes it for; None: it takes it for none.
      left_out: names of the arrays that are none of the network's, by the reason.
      problem: why it is none, a sentence.
    """

    path: Path
    format: str
    arrays: Arrays
    bits: int | None
    activation: str | None
    normalised: tuple[str, ...]
    layout: Layout | None
    left_out: Mapping[str, tuple[str, ...]]
    problem: str | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the inputs and of what each layer puts out; none where there is no network."""
        if self.layout is None:
            return ()
        ends = [self.arrays[kernel].shape[:: -1 if self.layout.transposed else 1] for kernel, _ in self.layout.layers]
        return (ends[0][0], *(out for _, out in ends))


@dataclass(frozen=True)
class Compared:
    """Two files as initial and final weights.

    Attributes:
      moved: change of the first layer over its initial size.
      rank: of the first layer's change; None: it is not clear, or the layer too large to see at once.
      gap: ratio of the singular values on the two sides of the rank; None as well where it was not computed.
    """

    moved: float
    rank: int | None
    gap: float | None


def examine(path: str | Path, *, layers: str | Sequence[str] = (), kernels: str | None = None) -> Examined:
    """Say what a file holds.

    Args:
      layers, kernels: as `recon.weights.arranged` takes them.

    Raises:
      ReconError: it cannot be read. Where it can, and holds no network, `Examined.problem` says so.
    """
    path = Path(path)
    arrays = bare(read_arrays(path))
    layout, problem = None, None
    try:
        layout = arranged(arrays, layers=layers, kernels=kernels, where=str(path))
        layout.tree(arrays)
    except ReconError as error:
        layout, problem = None, str(error)
    try:
        activation = told_activation(path)
    except ReconError:  # its weights can be read all the same
        activation = None
    weights = arrays.values() if layout is None else [arrays[name] for name in layout.names]
    return Examined(
        path=path,
        format=format_of(path).name,
        arrays=arrays,
        bits=stored_bits(weights),
        activation=activation,
        normalised=tuple("/".join(one.path) for one in normalisations(considered(arrays))),
        layout=layout,
        left_out={} if layout is None else reasons(arrays, layout),
        problem=problem,
    )


def reasons(arrays: Mapping[str, np.ndarray], layout: Layout) -> dict[str, tuple[str, ...]]:
    """Why arrays are none of the network's, with their names."""
    norms = {name for one in normalisations(considered(arrays)) for name in one.arrays.values()}
    own = {(parts(name)[-2:], arrays[name].shape) for name in layout.names}

    def reason(name: str) -> str:
        array = arrays[name]
        if set(parts(name)) & STATE:
            return "an optimiser's state"
        if name in norms:
            return "a normalisation's"
        if not array.ndim:
            return "single numbers, such as counters"
        if array.dtype.kind != "f":
            return "no floating-point numbers"
        return "copies of the weights, such as averages" if (parts(name)[-2:], array.shape) in own else "of no layer"

    made: dict[str, tuple[str, ...]] = {}
    for name in arrays:
        if name not in layout.names:
            made[reason(name)] = (*made.get(reason(name), ()), name)
    return made


def compare(
    first: Examined, last: Examined, *, layers: str | Sequence[str] = (), kernels: str | None = None
) -> Compared:
    """See how two files fit together as initial and final weights, as an audit pairs them.

    Args:
      layers, kernels: as `recon.weights.arranged` takes them.

    Raises:
      ReconError: they do not, or nothing changed.
    """
    where = str(first.path), str(last.path)
    layouts = arranged_both(first.arrays, last.arrays, layers=layers, kernels=kernels, where=where)
    before, after = (layout.tree(one.arrays) for layout, one in zip(layouts, (first, last), strict=True))
    shapes = [[layer["kernel"].shape for layer in tree.values()] for tree in (before, after)]
    if shapes[0] != shapes[1]:
        raise ReconError(
            f"{where[0]} and {where[1]} are of networks of different sizes: give two files of one network."
        )
    moved = moved_by(before["Dense_0"], after["Dense_0"])
    if not moved:
        raise ReconError(f"{where[0]} and {where[1]} have the same first layer: there is no change to attack.")
    if min(shapes[0][0]) > LARGEST:
        return Compared(moved, None, None)
    initial, final = (stacked(tree["Dense_0"]) for tree in (before, after))
    change = None
    if layouts[0].folds:  # weights that normalisations are folded into do not differ by a sum of gradients
        sums = layouts[0].sums(first.arrays, difference(first.arrays, last.arrays, *layouts))
        change = stacked(sums["Dense_0"])
    seen = observe(initial, final, "bias" in before["Dense_0"], update=change)
    return Compared(moved, seen.n if seen.clear else None, float(seen.gap))


def moved_by(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """Norm of a layer's change over that of the layer, a few rows at a time: it may be a large one."""
    change = size = 0.0
    for part in before:
        for start in range(0, len(before[part]), ROWS):
            one, two = (layer[part][start : start + ROWS].astype(np.float64) for layer in (before, after))
            change, size = change + float(np.sum((two - one) ** 2)), size + float(np.sum(one**2))
    return float(np.sqrt(change / max(size, np.finfo(float).tiny)))


def stacked(layer: Mapping[str, np.ndarray]) -> np.ndarray:
    """A layer, its biases, if it has them, below its kernel, in float64."""
    return np.vstack([layer["kernel"], *(layer[part][None] for part in ("bias",) if part in layer)]).astype(np.float64)
