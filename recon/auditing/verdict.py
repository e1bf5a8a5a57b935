"""An audit's result in plain words."""

from typing import TYPE_CHECKING

import numpy as np

from recon.auditing.data import shared
from recon.auditing.units import units

if TYPE_CHECKING:
    from recon.auditing.data import Compared
    from recon.auditing.run import Audit

NO_RANK = (
    "the rank of the first layer's change does not tell how many training images there are, so the exact attack does "
    "not apply; that is so with as many images as inputs or 0.4 times the first layer's units, after Adam without "
    "--optimizer-state, and after noise"
)

FEW = 6  # first-layer units for each image below which `make bars-exact` saw images certified that are merely close


def leaks(audit: "Audit") -> bool:
    """Whether anything came back: a certified reconstruction, or one within the limit of an image that was given.

    Where nothing tells how bright the images are, a reconstruction counts that is right but for that.
    """
    given = (audit.train, audit.held_out)  # also where the two were swapped
    return audit.vouched > 0 or any(these is not None and these.within > 0 for these in given)


def verdict(audit: "Audit") -> str:
    """How many training images an attacker gets, of how many, how surely, and against the control."""
    parts = [attacked(audit), measured(audit), doubts(audit)]
    return " ".join(part for part in parts if part)


def attacked(audit: "Audit") -> str:
    """What the attack says by itself."""
    n, k, found = audit.n, audit.vouched, audit.found
    things = "training images' features" if audit.features else "training images"
    known = "the initial and the final weights" + (" and the optimiser's state" if audit.from_state else "")
    if k and n:
        share = f"all {n}" if k == n else f"{k} of at least {n}"
        if audit.up_to_scale:
            tell = "" if audit.features else ": give --mean and --std to have them certified at their own"
            return (
                f"An attacker who has {known} gets {share} {things} up to their brightness, and knows it without a "
                f"look at the training data. Nothing tells their brightness, as the first layer has no bias{tell}."
            )
        return (
            f"An attacker who has {known} gets {share} {things}, and knows it: the attack certifies each without a "
            "look at the training data."
        )
    if n:
        return f"The weights show that there are at least {n} training images; the attack certifies none of them."
    if found.certified is None:
        why = f": {NO_RANK}" if "exact" in audit.attacks else ""
        return f"The attack {found.attack} made {len(found.images)} images and has no certificate{why}."
    return f"The attack found nothing: {NO_RANK}{'' if audit.skipped else '; -m runs ntk-fast'}."


def measured(audit: "Audit") -> str:
    """What the distances to the given images say."""
    train, control = audit.train, audit.held_out
    unit = "relative L2" if audit.features else "L2"
    if train is None:
        return "" if control is None else f"Of {len(control.distance)} held-out images, {near(control, unit)}."
    words = f"Of {len(train.distance)} training images given, {near(train, unit)}"
    if control is not None:
        closer = int((train.distance < control.distance.min()).sum())
        words += (
            f"; of {len(control.distance)} held-out images, {near(control, unit)}. {closer} training images have a "
            "reconstruction nearer than any held-out image has"
        )
        if len(control.distance) < len(train.distance):
            words += ", of which more would come nearer by chance"
        words += misplaced(train, control)
    elif audit.start is not None:
        words += f"; from what the attack started from, {near(audit.start, unit)}"
    words += "."
    if audit.n is not None and audit.n != len(train.distance):
        least = "" if audit.vouched == audit.n else "at least "
        words += f" The rank shows {least}{audit.n} different training images, {len(train.distance)} were given."
    if many := train.images.converted:
        form = "grey pictures stored in colour" if audit.view.shape[-1] == 1 else "stored in grey"
        words += f" {many} of the training images given are {form}, and were taken as the network takes them."
    return f"{words} {units(audit)}".strip()


def misplaced(train: "Compared", control: "Compared") -> str:
    """What is wrong with the control, as the end of a sentence."""
    if same := shared(control.images, train.images):
        many = "all" if same == len(control.distance) else str(same)
        return f"; {many} of the held-out images are among the training images, which makes them no control"
    if control.within > train.within:
        return "; the held-out images come back rather than the training images: look whether the two are swapped"
    return ""


def near(these: "Compared", unit: str) -> str:
    """How many of some images are within the limit, and the range of the distances."""
    reached = these.distance[np.isfinite(these.distance)]
    span = f" ({reached.min():.2g} to {reached.max():.2g})" if len(reached) else ""
    multiple = " at its best brightness" if these.scaled else ""
    return f"{these.within} are within {unit} {these.limit:g} of a reconstruction{multiple}{span}"


def doubts(audit: "Audit") -> str:
    """What keeps the result from being final."""
    words = "Interrupted: it is what was found until then. " if audit.interrupted else ""
    if audit.unrelated and not audit.vouched:
        words += "The two files look like two different networks: their weights are at right angles to each other. "
    if audit.skipped:
        words += f"{audit.skipped} "
    if audit.certified is None and audit.train is None:
        words += "Without --data nothing tells which of them are training images. "
    if audit.vouched and audit.n and audit.network.widths[0] < FEW * audit.n:
        words += f"With {audit.network.widths[0]} units for {audit.n} images the certificate can be too sure. "
    if audit.up_to_scale and not audit.vouched and audit.train is not None and audit.train.within:
        words += "Nothing tells the images' brightness, as the first layer has no bias: --mean and --std may. "
    if audit.out_of_time:
        words += f"Stopped after {audit.allowed:g} seconds; more may come with a larger --seconds. "
    if not leaks(audit):
        words += "ReLU units are assumed: networks of others, such as tanh, are out of the exact attack's reach. "
        words += "This is no proof of privacy: it is what these attacks found."
    return words.strip()
