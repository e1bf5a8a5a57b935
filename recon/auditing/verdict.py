"""An audit's result in plain words."""

from collections.abc import Sequence

import numpy as np

from recon.auditing.data import Compared, shared
from recon.auditing.result import Audit
from recon.auditing.units import units
from recon.auditing.used import used
from recon.weights.names import few

VIEWS = " (of one that was augmented, each view counts)"
NO_PROOF = "This is no proof of privacy: it is what these attacks found."
FEW_STEPS = (
    "Images come back of any units after one step, a few small ones or linearised training; after more, gradients "
    "have moved too far, and of smooth units such as GELU or tanh nothing comes back."
)
LEAKY = (
    "Of leaky ReLU units with one hidden layer the attack finds images and vouches for none: compare them with --data."
)
FORMATS = {8: "bfloat16", 11: "float16 or TF32"}  # by significant bits


def leaks(audit: Audit) -> bool:
    """Whether anything came back: a certified reconstruction, or one within the limit of an image that was given.

    Where nothing tells how bright the images are, a reconstruction counts that is right but for that.
    """
    given = (audit.train, audit.held_out)  # also where the two were swapped
    return audit.vouched > 0 or any(these is not None and these.within > 0 for these in given)


def verdict(audit: Audit) -> str:
    """How many training images an attacker gets, of how many, how surely, and against the control: the answer first."""
    return " ".join(part for part in (*answer(audit), *details(audit)) if part)


def answer(audit: Audit) -> tuple[str, str]:
    """What an attacker gets, and what it rests on, each in a sentence."""
    return gain(audit), basis(audit)


def details(audit: Audit) -> tuple[str, ...]:
    """What else is to be said, most important first."""
    parts = (assumption(audit), comparison(audit), used(audit), caveats(audit))
    return tuple(part for part in parts if part)


def basis(audit: Audit) -> str:
    """What the answer rests on: images given and the control, or certificates alone, or nothing."""
    train, control = audit.train, audit.held_out
    unit = "relative L2" if audit.features else "L2"
    if train is None and control is None:
        if audit.vouched:
            return "No images were given to compare with (--data, --heldout): this rests on certificates alone."
        return (
            "Without --data nothing tells which of them are training images." if len(audit.found.images) else NO_PROOF
        )
    words = [] if train is None else [f"Of {many(len(train.distance), 'training image')} given, {near(train, unit)}"]
    if control is not None:
        whole = near(control, unit) if train is None else f"{control.within}{span(control)}"
        words.append(f"{'and of' if words else 'Of'} {many(len(control.distance), 'held-out image')} {whole}")
    return f"{', '.join(words)}."


def assumption(audit: Audit) -> str:
    """How the activation is known, where no certificate of the usual one confirms it."""
    name, activation = audit.network.activation, audit.activation
    if not activation.told and name != "relu":
        words = f"The hidden units are {name}: of the activations tried, its gradients alone explain the change."
        return words if audit.vouched or not audit.one_layer_leaks else f"{words} {LEAKY}"
    if audit.vouched or not {"exact", "exact-features"} & {*audit.attacks, audit.found.attack}:
        return ""
    if name != "relu":
        return f"{name} units are taken, as told. {LEAKY if audit.one_layer_leaks else FEW_STEPS}"
    if activation.told:
        words = "ReLU units are taken, as told."
    elif activation.trials and activation.trials[0].right:
        words = "ReLU units are assumed, which the files do not tell; of the activations tried they explain the change."
    elif activation.trials:
        words = (
            f"ReLU units are assumed, which the files do not tell: none of {len(activation.trials)} activations tried "
            f"explains the change. {FEW_STEPS}"
        )
    else:
        words = "ReLU units are assumed, which the files do not tell, nor can others be tried on them."
    if audit.n:
        words += " Of ReLU little is found where many units were active for a part of training only, as at a high rate."
    return words


def many(n: int, thing: str) -> str:
    """A number of things."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def gain(audit: Audit) -> str:
    """What the attack says by itself."""
    n, k, sure, found = audit.n, audit.certified or 0, audit.vouched, audit.found
    known = "the initial and the final weights" + (" and the optimiser's state" if audit.from_state else "")
    known = "the weights and one gradient" if audit.from_gradient else known
    if audit.updates:
        known = "the initial weights and " + ("an update" if audit.updates == 1 else "the mean of the updates")
    known = "the base model and its adapter" if audit.adapter else known
    if sure and n:
        share = f"{sure} of at least {n} training images"
        if sure == n:
            share = "the only training image" if n == 1 else f"all {n} training images"
        features = "the features of " if audit.features else ""
        gets = f"An attacker who has {known} gets {features}{share}"
        if k == sure:
            each = "it" if n == 1 else "each"
            return f"{gets}, and knows it: the attack certifies {each} without a look at the training data."
        size = "sizes" if audit.features else "brightness"
        some = f", {k} of them as they were and {sure - k}" if k else ""
        tell = "" if audit.features or audit.view.box is not None else "; --mean and --std may"
        return (
            f"{gets}{some} up to their {size}, and knows it without a look at the training data. Nothing sure tells "
            f"the {size}{' of those' if k else ''}{tell}."
        )
    if n:
        source = "gradient shows" if audit.from_gradient else "weights show"
        return f"The {source} at least {many(n, 'different training image')}{VIEWS}; the attack certifies none."
    if found.certified is None:
        return f"The attack {found.attack} made {len(found.images)} images and has no certificate."
    return "The attack found nothing."


def missing(audit: Audit) -> str:
    """How many images of a gradient's batch are not in it, as a sentence; nothing where none is or nothing tells."""
    k = audit.found.absent
    if not k:
        return ""
    verb, whose = ("is", "its") if k == 1 else ("are", "their")
    return (
        f"{many(k, 'more image')} of the batch {verb} not in the gradient, if it is the mean over the batch: {whose} "
        "share of it is below rounding."
    )


def causes(audit: Audit) -> str:
    """Why the attack does not vouch for more, as far as numbers show it."""
    if audit.n and audit.certified == audit.n:
        return reasons(audit.found.doubts)
    words: list[str] = []
    for bits in sorted({bits for bits in audit.bits if bits in FORMATS}):
        ends = ("initial", "gradient of the" if audit.from_gradient else "update of the" if audit.updates else "final")
        which = " and the ".join(w for w, own in zip(ends, audit.bits, strict=True) if own == bits)
        words.append(
            f"the {which} weights look rounded to {bits} significant bits, as {FORMATS[bits]} has them, which hides "
            "small changes: give them as they were in training"
        )
    words += audit.doubts
    if audit.from_state and not audit.n:
        words.append(
            "or weight decay was part of the gradients, as by weight_decay of PyTorch's Adam and SGD: it is in the "
            "state, too, and hides the images"
        )
    return reasons(words)


def reasons(words: Sequence[str]) -> str:
    """Reasons as one sentence."""
    return "What the numbers show: " + "; ".join(words) + "." if words else ""


def comparison(audit: Audit) -> str:
    """What else the distances to the given images say."""
    train, control = audit.train, audit.held_out
    if train is None:
        return ""
    words = ""
    if control is not None:
        closer = int((train.distance < control.distance.min()).sum())
        words = (
            f"{many(closer, 'training image')} {'has' if closer == 1 else 'have'} a reconstruction nearer than any "
            "held-out image has"
        )
        if len(control.distance) < len(train.distance):
            words += ", of which more would come nearer by chance"
        words += f"{misplaced(train, control)}."
    elif audit.start is not None:
        unit = "relative L2" if audit.features else "L2"
        words = f"As a control, of what the attack started from {near(audit.start, unit)}."
    if audit.n is not None and audit.n != len(train.distance):
        least = "" if audit.vouched == audit.n else "at least "
        given = f"{len(train.distance)} {'was' if len(train.distance) == 1 else 'were'} given"
        views = "" if audit.vouched == audit.n else VIEWS
        words += f" The rank shows {least}{many(audit.n, 'different training image')}{views}; {given}."
    if converted := train.images.converted:
        form = "grey pictures stored in colour" if audit.view.shape[-1] == 1 else "stored in grey"
        words += f" {converted} of the training images given are {form}, and were taken as the network takes them."
    return f"{words} {units(audit)}".strip()


def misplaced(train: Compared, control: Compared) -> str:
    """What is wrong with the control, as the end of a sentence."""
    if same := shared(control.images, train.images):
        many = "all" if same == len(control.distance) else str(same)
        return f"; {many} of the held-out images are among the training images, which makes them no control"
    if control.within > train.within:
        return "; the held-out images come back rather than the training images: look whether the two are swapped"
    return ""


def near(these: Compared, unit: str) -> str:
    """How many of some images are within the limit, and the range of the distances."""
    multiple = " at its best brightness" if these.scaled else ""
    verb = "is" if these.within == 1 else "are"
    return f"{these.within} {verb} within {unit} {these.limit:g} of a reconstruction{multiple}{span(these)}"


def span(these: Compared) -> str:
    """The range of some distances in brackets, nothing where none is finite."""
    reached = these.distance[np.isfinite(these.distance)]
    return f" ({reached.min():.2g} to {reached.max():.2g})" if len(reached) else ""


def caveats(audit: Audit) -> str:
    """What keeps the result from being final."""
    words = "Interrupted: it is what was found until then. " if audit.interrupted else ""
    if audit.unrelated and not audit.vouched:
        words += "The two files look like two different networks: their weights are at right angles to each other. "
    if audit.skipped:
        words += f"{audit.skipped} "
    if told := missing(audit):
        words += f"{told} "
    if told := causes(audit):
        words += f"{told} "
    if audit.layout.left_out:
        words += f"Not audited, as no layers of the network: {few(audit.layout.left_out)}. "
    words += "".join(f"{note} " for note in audit.notes)
    if audit.out_of_time:
        words += f"Stopped after {audit.allowed:g} seconds; more may come with a larger --seconds. "
    if not leaks(audit):
        if audit.n is None and not audit.from_state and "exact" in audit.attacks:
            words += "After Adam, --optimizer-state may tell more. "
            words += "" if audit.skipped or audit.certified is None else "-m runs ntk-fast. "
        words += NO_PROOF if NO_PROOF not in answer(audit) else ""
    return words.strip()
