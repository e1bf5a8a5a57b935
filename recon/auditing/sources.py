"""What an attacker holds beside the initial weights: the final ones, updates, an adapter or one gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.weights import Layout, bare, flat, read_arrays
from recon.weights.adapters import config_of, merged
from recon.weights.averages import said_of_averages
from recon.weights.updates import updated

Source = str | Path | Mapping[str, Any]
"""Weights: a file, or arrays by name, nested or not."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Held:
    """Arrays by name, as files have them.

    Attributes:
      before, after: weights before and after training; of one gradient `after` is it.
      what: how messages call what `after` is from.
      where: the places of both, for messages.
      gradient: it is one gradient.
      change: what training added, in float64, where it is known by itself.
      updates: it is the mean of so many updates.
      ranks: of the changes by an adapter, by array.
    """

    before: Arrays
    after: Arrays
    what: str
    where: tuple[str, str]
    gradient: bool = False
    change: Arrays | None = None
    updates: int = 0
    ranks: Mapping[str, int] = field(default_factory=dict)


def held(
    initial: Source,
    final: Source | None = None,
    gradient: Source | None = None,
    update: Source | Sequence[Source] | None = None,
    adapter: str | Path | None = None,
) -> Held:
    """Read the initial weights and the one other thing that is given.

    Raises:
      ReconError: none is given or several are, or one cannot be read.
    """
    updates = [update] if isinstance(update, str | Path | Mapping) else [*(update or ())]
    if sum((final is not None, gradient is not None, bool(updates), adapter is not None)) != 1:
        raise ReconError("Give the final weights or, in their place, one gradient, updates or an adapter.")
    before, first = read(initial), name_of(initial, "The tree of initial weights")
    if updates:
        places = [name_of(u, "The tree of the update") for u in updates]
        after, change = updated(before, [read(u) for u in updates], places)
        return Held(before, after, "update", (first, places[0]), change=change, updates=len(updates))
    if adapter is not None:
        after, ranks = merged(before, read(adapter), config_of(Path(adapter)), str(adapter))
        return Held(before, after, "merged weights", (first, str(adapter)), ranks=ranks)
    other, what = (final, "final weights") if gradient is None else (gradient, "gradient")
    assert other is not None
    return Held(before, read(other), what, (first, name_of(other, f"The tree of the {what}")), gradient is not None)


def read(source: Source) -> Arrays:
    """Arrays of a file, or as they are, by the names that they have without wrappers of modules."""
    return bare(read_arrays(source) if isinstance(source, str | Path) else flat(source))


def name_of(source: Source, otherwise: str) -> str:
    """How messages call a source."""
    return str(source) if isinstance(source, str | Path) else otherwise


def notes(given: Held, layout: Layout, last: Layout) -> tuple[str, ...]:
    """How the files were read, where it is not as they are, in sentences."""
    words = [] if given.gradient else [said_of_averages(given.after, last)]
    for fold in layout.normalisations:
        side = f"{'before' if fold.inside else 'behind'} units, as far as names and means tell"
        where = side if fold.layer else "of the inputs"
        words.append(
            f"The normalisation of {fold.name}, {where}, was taken as in evaluation mode, with an epsilon of "
            f"{fold.epsilon:g}, and {'folded into the layers beside it' if fold.layer else 'undone on what was found'}."
        )
    if given.updates > 1:
        words.append(f"The {given.updates} updates count as one: their images as one training set.")
    return tuple(filter(None, words))
