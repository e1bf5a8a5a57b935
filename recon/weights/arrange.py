"""Arrays of any names into Flax layout: which of them are the layers of a plain MLP.

First what cannot be its layers is left out: normalisations, which `arranged` looks at last, optimisers' states, copies.
What is left must be a network, all of it, by the rule of `recon.weights.network`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from recon.errors import ReconError
from recon.weights import strangers
from recon.weights.averages import averages
from recon.weights.candidates import changed, considered, selected
from recon.weights.layout import Layout
from recon.weights.names import BIAS, Shape, called, stem
from recon.weights.network import Several, Wanted, asked, network
from recon.weights.offers import offered
from recon.weights.standing import standing
from recon.weights.states import copies, states
from recon.weights.strangers import (
    NoNetwork,
    Normalisation,
    between,
    normalisations,
    refuse_adapters,
    refuse_scaled,
)

MOST_ARRAYS = 2_000  # to be compared with each other: of the most layers and an optimiser's state there are fewer


def arranged(
    arrays: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    where: str = "The file",
) -> Layout:
    """Find the layers of a plain MLP among arrays; optimisers' states, single numbers and integers do not count.

    Args:
      widths: of the hidden layers, where they are known.
      layers: the names of the layers from the input on, as far as they tell the arrays apart: ('fc1', 'fc2', 'out'),
        or 'fc1,fc2,out'.
      kernels: how kernels are stored, "in-out" or "out-in" (default: as shapes and names tell).
      where: the arrays' place, for messages.

    Raises:
      ReconError: they are no plain MLP, or several; says which option settles it.
    """
    layout = find(arrays, asked(widths, layers, kernels, where))
    return with_folds(
        layout, [one for one in among(arrays, layout) if strangers.works(one, one, arrays, arrays)], arrays
    )


def arranged_both(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    trained: bool = False,
    gradient: bool = False,
    where: tuple[str, str] = ("The tree of initial weights", "The tree of final weights"),
) -> tuple[Layout, Layout]:
    """Find the layers of a plain MLP among its initial and among its final weights, and see that nothing else counts.

    Args:
      widths, layers, kernels: as `arranged` takes them.
      trained: only layers that training changed, as behind a frozen feature extractor.
      gradient: `after` is a gradient at the weights before, which has no normalisation's mean and variance.
      where: the arrays' places, for messages.

    Raises:
      ReconError: as `arranged`; or a normalisation stands among the layers that cannot be folded into them; or
        training changed nothing.
    """
    first, last = (asked(widths, layers, kernels, one) for one in where)
    names = changed(before, after) if trained else (None, None)
    layout = find(before, first, names[0])
    refuse_adapters(after, last.where)
    try:
        other = find(after, last, names[1])
    except ReconError:
        # What the final weights hold besides, such as averages of them, is told by the initial ones not having it.
        other = replace(layout, left_out=layout.beside(after))
        same = all(name in after and after[name].shape == before[name].shape for name in layout.names)
        bare = {stem(kernel) for kernel, bias in layout.layers if bias is None}
        if not same or any(called(name, BIAS) and stem(name) in bare for name in other.left_out):
            raise
    for one, two in zip(layout.layers, other.layers, strict=False):
        if (one[1] is None) != (two[1] is None):
            raise ReconError(f"The bias of {one[0]} is in one of the two files only: save both in the same way.")
    initial = among(before, layout)
    final = initial if gradient else among(after, other)
    if len(initial) != len(final):
        name = next(iter((initial or final)[0].arrays.values()))
        raise ReconError(f"{name}, of a normalisation, is in one of the two files only: save both in the same way.")
    pairs = zip(initial, final, strict=True)
    both = [(a, b) for a, b in pairs if strangers.works(a, b, before, before if gradient else after)]
    first_folds, last_folds = ([pair[i] for pair in both] for i in (0, 1))
    layout = with_folds(layout, first_folds, before)
    return layout, replace(other, folds=layout.folds, inputs=layout.inputs) if gradient else with_folds(
        other, last_folds, after
    )


def find(arrays: Mapping[str, np.ndarray], wanted: Wanted, names: Collection[str] | None = None) -> Layout:
    """The layers among arrays; normalisations do not count.

    Args:
      names: of the arrays that count (default: all).
    """
    refuse_adapters(arrays, wanted.where)
    refuse_scaled(arrays, wanted.where)
    every = considered(arrays)
    beside = {name for one in normalisations(every) for name in one.arrays.values()}
    plain = {n: shape for n, shape in every.items() if shape and n not in beside and (names is None or n in names)}
    many = len(plain) > MOST_ARRAYS
    if many and not wanted.layers:
        raise ReconError(f"{wanted.where} holds {len(plain)} arrays, too many for an MLP: name its layers by --layers.")
    unnamed = replace(wanted, layers=())
    average = set() if many else averages(plain)
    others = {name: shape for name, shape in plain.items() if name not in average}
    state, unclear = (set(), False) if many else states(others, lambda shapes: works(shapes, unnamed))
    weights = {name: shape for name, shape in others.items() if name not in state}
    try:
        if wanted.layers:
            made = network(selected(weights, plain, wanted), wanted)
        elif (unclear and weights) or (copies(weights) and works(weights, wanted)):
            raise NoNetwork(
                f"{wanted.where} holds a network and what may be a copy or a state of it, or more of its layers: name "
                "those to audit by --layers."
            )
        else:
            made = network(weights, wanted)
    except NoNetwork as error:

        def layout_of(layers: tuple[str, ...]) -> Layout | None:
            try:
                return find(arrays, replace(wanted, layers=layers), names)
            except ReconError:
                return None

        offers = [] if wanted.layers else offered(weights, others if unclear else weights, wanted, layout_of)
        if not offers:
            raise
        raise ReconError(f"{str(error)[:-1]}; what can be audited is {' or '.join(offers)}.") from error
    return replace(made, left_out=made.beside(arrays))


def with_folds(layout: Layout, found: Sequence[Normalisation], arrays: Mapping[str, np.ndarray]) -> Layout:
    """The layout with normalisations to be folded into its layers."""
    folds = standing(found, layout, arrays)
    first = next((fold for fold in folds if not fold.layer), None)
    made = replace(layout, folds=tuple(fold for fold in folds if fold.layer), inputs=first)
    return replace(made, left_out=made.beside(arrays))


def works(shapes: Mapping[str, Shape], wanted: Wanted) -> bool:
    """Whether arrays make a plain MLP, in one way or several."""
    try:
        network(shapes, wanted)
    except Several:
        return True
    except ReconError:
        return False
    return True


def among(arrays: Mapping[str, np.ndarray], layout: Layout) -> list[Normalisation]:
    """Normalisations among the layers."""
    shapes = considered(arrays)
    return between(normalisations(shapes), shapes, [kernel for kernel, _ in layout.layers])
