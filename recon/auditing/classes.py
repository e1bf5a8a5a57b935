"""Which images came back, by their class and by whether the network classifies them rightly."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from recon.auditing.result import Audit, Predicted

BOTH = ("before training", "after training")  # the weights that predictions are at
ONE = ("at these weights",)  # those of a gradient


def by_class(audit: Audit) -> list[dict[str, Any]]:
    """A line for each class and for images classified rightly and wrongly; none where no class is known.

    Of the training images given, if they have labels. Else, of one gradient, of the images that the attack vouches for
    and has labels of: how many did not come back is not known.
    """
    train, found = audit.train, audit.found
    if train is not None and train.images.labels is not None:
        names, back = train.images.labels, train.distance < train.limit
        said = [(when, at.train) for when, at in moments(audit) if at.train is not None]
    elif found.labels is not None and found.up_to_scale is not None:
        told = found.up_to_scale & (found.labels >= 0)
        names, back = tuple(map(str, found.labels[told].tolist())), None
        said = [(when, at.found[told]) for when, at in moments(audit)]
    else:
        return []
    rows = [line(f"class {name}", np.array([own == name for own in names]), back) for name in in_order(names)]
    index = numbered(names, audit.network.outputs)
    if index is None:
        return rows
    for when, classes in said:
        right = classes == index
        rows += [line(f"classified {way} {when}", of, back) for way, of in (("rightly", right), ("wrongly", ~right))]
    return rows


def moments(audit: Audit) -> Iterator[tuple[str, Predicted]]:
    """What the network says of images, by the weights at which it says so."""
    return zip(BOTH if len(audit.predicted) > 1 else ONE, audit.predicted)


def line(images: str, of: Bool[np.ndarray, " n"], back: Bool[np.ndarray, " n"] | None) -> dict[str, Any]:
    """How many of some images there are, and how many of them came back."""
    if back is None:
        return {"images": images, "came back": int(of.sum())}
    return {"images": images, "given": int(of.sum()), "came back": int((of & back).sum())}


def in_order(names: Sequence[str]) -> list[str]:
    """Classes once each, numbers by size."""
    return sorted(Counter(names), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def numbered(names: Sequence[str], outputs: int) -> Int[np.ndarray, " n"] | None:
    """The output that stands for each image's class, where that is known.

    Numbers are their own; folders are numbered in the order of their names, as loaders of pictures do, if there is one
    for each output.
    """
    if all(name.isdecimal() for name in names):
        numbers = np.array([int(name) for name in names], int)
        return numbers if len(numbers) and numbers.max() < outputs else None
    kinds = sorted(set(names))
    return np.array([kinds.index(name) for name in names]) if len(kinds) == outputs else None
