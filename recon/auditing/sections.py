"""The report of an audit as sections, in the order in which a reader asks; Markdown and page are made from these."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from recon import statistics
from recon.auditing import drawings
from recon.auditing.advice import FINDINGS
from recon.auditing.data import Compared
from recon.auditing.evidence import rocs
from recon.auditing.parts import Drawing, Items, Part, Pictures, Section, Table, Text
from recon.auditing.pictures import MOST, pairs
from recon.auditing.result import Audit
from recon.auditing.used import used
from recon.auditing.verdict import answer, details, many, missing
from recon.networks.conv_dense import ConvDense

OVERVIEW = "overview.png"
# Why a stage stopped, as attacks say it, in plain words.
STOPPED = {
    "complete": "it had as many images as the rank shows",
    "nothing more found": "further starts found no other image",
    "out of starts": "it had used up its starts",
    "out of time": "its time was up",
    "time budget": "its time was up",
    "schedule done": "its steps were done",
    "interrupted": "it was interrupted",
    "no clear rank": "the first layer's change has no clear rank, without which the search does not begin",
    "too few units": "the first layer has too few units for so many images",
}
CERTIFIED = (
    "the attack vouches for this image without having seen a training image, for one of two reasons. Either its pixels "
    "are whole levels of an 8-bit picture in the range that --mean and --std tell, which no wrong image has. Or the "
    "attack found all images that the rank shows, what this one was computed from is confirmed, and more than the "
    "first layer's biases tells its brightness. It is less than L2 0.1 from a training image, in pixels of [0, 1] "
    "(without --mean and --std, less than 1 % of its length). An image that is not certified may be right all the same."
)
SCALE = "the same, but nothing sure tells how bright the image is: some multiple of it is a training image."
CONFIDENCE = "how nearly the image passes the attack's checks, from 0 to 1. It is no probability."
RESIDUAL = (
    "the least share, over one batch of searches, of an image's own gradient that lies outside the change's row space. "
    "At a training image it is zero to rounding, and below 1e-6, for the right activation only; where gradients moved "
    "during training it is not, for any."
)
ALONG = "the point between initial (0) and final weights (1) at which gradients were taken to be."
LABEL = "the class that the loss had for the image, counted from 0; −1 where the loss does not tell."
USED = (
    (
        "",
        "Every training image lies in the span of the first layer's change, as far as rounding of the weights allows: "
        "the threshold, which follows from the errors that the change shows. So no attack need find it, and the "
        "network may be too narrow for one. Distances are relative to the image's length.",
    ),
    (
        "Yes",
        "it lies in the span, and held-out images do not. A mixture of training images whose weights add up to one "
        "does, too, without being one.",
    ),
    (
        "Up to its size",
        "some multiple of it does. The first layer's biases do not confirm its own size, or were not trained as the "
        "kernel was.",
    ),
    (
        "No",
        "it lies outside, as it was given: a change by one grey level makes another image, and with a wrong --mean or "
        "--image-shape all are others. A training image lies outside only if it left no trace of its own: its part of "
        "the change is below rounding, or one with that of a near duplicate.",
    ),
    (
        "No answer",
        "the change has no clear rank, held-out images lie in the span, too, or are missing, or the image lies off the "
        "span by little more than rounding.",
    ),
)


def sections(audit: Audit, facts: dict[str, Any]) -> tuple[Section, ...]:
    """The report.

    Args:
      facts: as `recon.auditing.report.record` has them.
    """
    made = (
        Section("threat", "Threat model", tuple(threat(audit))),
        Section("answer", "Answer", tuple(answered(audit))),
        Section("pictures", "Pictures", tuple(pictures(audit))),
        Section("evidence", "Evidence", tuple(evidence(audit, facts))),
        Section("used", "Was this picture used?", tuple(membership(audit, facts))),
        Section("reconstructions", "Reconstructions", tuple(image_by_image(facts))),
        Section("tried", "What was tried, and why it stopped", tuple(tried(audit, facts))),
        Section("defences", "What would stop this attack", tuple(defences(audit))),
        Section("limits", "How to read it, and limits", tuple(limits(audit))),
    )
    return tuple(section for section in made if section.parts)


def threat(audit: Audit) -> Iterable[Part]:
    """Who holds what, and what is not needed."""
    known = "the network's architecture"
    if audit.from_gradient:
        holds = [known, "its weights", "one gradient of a single batch at these weights"]
        who = "a server of federated learning, or whoever listens to it"
    elif audit.adapter:
        holds = [known, "the base model's weights", "the adapter that was trained for it"]
        who = "whoever downloads an adapter of a public model"
    else:
        after = f"the mean of {audit.updates} updates" if audit.updates > 1 else "an update" if audit.updates else ""
        holds = [known, "the weights from before training", after or "those from after it"]
        holds += ["the optimiser's state"] * audit.from_state
        who = "whoever gets both checkpoints, or a server that a client sends its update"
    holds += ["how pixels were normalised"] * (audit.view.box is not None)
    yield Text(f"The attacker holds {', '.join(holds[:-1])} and {holds[-1]}, as does {who}.", chief=True)
    needless = "any training image, labels, the loss, the learning rate, the number of steps or the order of batches"
    given = [name for name, x in (("--data", audit.train), ("--heldout", audit.held_out)) if x is not None]
    words = f"The attack does not need {needless}."
    if given:
        words += f" The images of {' and '.join(given)} only score the result"
        approximate = audit.train is not None and audit.certified is None
        words += ", but that the number of images to look for follows from theirs." if approximate else "."
    yield Text(words)


def answered(audit: Audit) -> Iterable[Part]:
    """The answer in two sentences, and the rest of the verdict."""
    yield Text(" ".join(filter(None, answer(audit))), chief=True)
    yield from map(Text, details(audit))


def pictures(audit: Audit) -> Iterable[Part]:
    """Reconstructions beside the training images."""
    if not len(audit.found.images):
        return
    if not audit.view.pictures:
        kind = "features" if audit.features else "vectors of numbers"
        yield Text(f"Reconstructions are {kind}, no pictures: they are in reconstructions.npz.")
        return
    made = pairs(audit)
    beside = "each beside the training image that it was matched to, the nearest first" if audit.train else "by number"
    more = f" of {len(audit.found.images)}" if len(audit.found.images) > len(made) else ""
    yield Text(
        f"{many(len(made), 'reconstruction')}{more}, {beside}. "
        f"{sum(pair.sure for pair in made)} are marked as guaranteed by the attack."
        + (" The number below each is its distance." if audit.train else "")
    )
    yield Pictures(OVERVIEW, made)


def evidence(audit: Audit, facts: dict[str, Any]) -> Iterable[Part]:
    """The spectrum, distances and how well they tell training images from others."""
    if audit.certified is None:
        yield Text(
            "The attack whose result this is has no certificate: only distances to images that are known to be "
            "training images, beside those of images that are not, show whether it found any."
        )
    if (seen := facts["spectrum"]) is not None:
        yield spectrum(audit, seen)
    compared = (("training", audit.train), ("held-out", audit.held_out), ("training, from the start", audit.start))
    if rows := [(name, *summary(these)) for name, these in compared if these is not None]:
        yield Table("Distances", ("images", "number", "within the limit", "least", "median", "largest"), rows)
    if audit.nearest is not None and audit.train is not None:
        sides = (("training images", audit.nearest.train), ("held-out images", audit.nearest.held_out))
        if any(side.any() for _, side in sides):
            yield Drawing(
                drawings.strip(sides, audit.train.limit),
                "The distance of each image to the reconstruction nearest to it, which several may share, and the "
                "limit under which an image counts as recovered.",
            )
    if told := rocs(audit):
        curves = [(name, *roc.curve) for name, roc in told.items()]
        yield Drawing(
            drawings.roc(curves),
            "How well a distance tells whether an image was trained on: the share of training images found over that "
            "of held-out images taken for training images, at every threshold. Guesses lie on the diagonal.",
        )
        columns = ("by distance to", "images", "AUC", "false positives", "training images found")
        yield Table("Training images told from others", columns, [row for f in facts["roc"] for row in rates(f)])
        fewest = min(f["held_out"] for f in facts["roc"])
        if fewest < 1_000:
            yield Text(
                f"{many(fewest, 'held-out image')} cannot show a rate of false positives below {1 / fewest:.2g}: "
                "for 1 % give 100 of them, for 0.1 % 1,000."
            )


def spectrum(audit: Audit, seen: dict[str, Any]) -> Drawing:
    """The chart of singular values."""
    above = [(v, p) for v, p in zip(seen["value"], seen["place"], strict=True) if v > 0]
    values, places = (np.array(column) for column in zip(*above, strict=True))
    source = "gradient" if audit.from_gradient else "state" if audit.from_state else "change"
    gap = audit.found.work.get("gap", 0.0)
    words = f"Singular values of the {first_layer(audit)}'s {source}. {seen['cut']} are above the largest gap"
    words += f", a factor of {gap:.3g}" if 0 < gap < np.inf else ""
    if audit.n is None:
        words += ". It is not clear enough to tell the number of training images"
    else:
        words += ": each different training image adds one"
    words += ". The dashed line is what rounding each number once would leave."
    return Drawing(drawings.spectrum(values, places, seen["cut"], seen["rounding"]), words)


def rates(facts: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """Lines of the table of rates: one for each level of false positives that can be shown."""
    for i, level in enumerate(facts["levels"]):
        first = i == 0
        told, wrong = (
            statistics.text(level[side], ".3g", lambda part: 100 * part, " %") for side in ("found", "false_positives")
        )
        yield (
            facts["by"] if first else "",
            f"{facts['training']} and {facts['held_out']}" if first else "",
            statistics.text(facts["auc"], ".3f") if first else "",
            f"at most {100 * level['level']:g} %: {wrong}" if level["level"] else f"none: {wrong}",
            told,
        )


def membership(audit: Audit, facts: dict[str, Any]) -> Iterable[Part]:
    """Which of the images given were trained on."""
    told = facts["membership"]
    if not told:
        return
    yield Text(used(audit))
    sets, images = [told[side] for side in ("given", "held_out") if told[side]], told["images"]
    for title, lines in (("Distances from the span", sets), ("Images given", images[:MOST])):
        yield Table(title, tuple(lines[0]), [tuple(map(word, line.values())) for line in lines])
    if len(images) > MOST:
        yield Text(f"{len(images) - MOST} more are in report.json.")
    yield Items(USED)


def image_by_image(facts: dict[str, Any]) -> Iterable[Part]:
    """A line for each reconstruction, and what came back of each class."""
    made, classes = facts["reconstructions"], facts["classes"]
    if not made:
        yield Text("None.")
    else:
        columns = tuple(dict.fromkeys(key for row in made for key in row))
        yield Table("Reconstructions", columns, [tuple(word(row.get(key)) for key in columns) for row in made[:MOST]])
        if len(made) > MOST:
            yield Text(f"{len(made) - MOST} more are in report.json.")
    if classes:
        yield Text("By class, and by what the network says of an image:")
        yield Table("Images by class", tuple(classes[0]), [tuple(map(word, row.values())) for row in classes[:MOST]])


def tried(audit: Audit, facts: dict[str, Any]) -> Iterable[Part]:
    """What was run on what, and why it ended."""
    if audit.stages:
        yield Items(tuple((stage["attack"], ended(stage, audit.certified is not None)) for stage in facts["stages"]))
    if audit.activation.trials:
        lines = facts["activation"]["tried"]
        rows = [[word(value) for value in line.values()] for line in lines]
        yield Table("Activations that were tried", tuple(lines[0]), rows)
        yield Items((("Residual", RESIDUAL), ("Along", ALONG)))
    yield Table("What was audited", ("", ""), [*about(audit, facts).items()])


def ended(stage: dict[str, Any], counts: bool) -> str:
    """What came of a stage, in words."""
    made = f"{many(stage['images'], 'image')} in {stage['seconds']:.1f} s"
    sure = f", {stage['vouched']} of them guaranteed" if counts else ""
    return f"{made}{sure}. It stopped: {STOPPED.get(stage['why'], stage['why'])}."


def about(audit: Audit, facts: dict[str, Any]) -> dict[str, str]:
    """What was audited, by name."""
    gap = facts["work"].get("gap")
    least, source = "" if audit.vouched == audit.n else "at least ", "gradient" if audit.from_gradient else "change"
    rank = (
        "not told by the rank"
        if audit.n is None
        else f"{least}{audit.n}, by the rank of the {first_layer(audit)}'s {source}"
    )
    hidden = f"{' and '.join(map(str, audit.dense.widths))} hidden units"
    if isinstance(audit.network, ConvDense):
        hidden = f"convolutions of {' and '.join(map(str, audit.network.widths))} channels, then {hidden}"
    return {
        "network": f"{hidden}, {many(audit.network.outputs, 'output')}; {audit.network.activation}, "
        + facts["activation"]["known"],
        "arrays, from the input on": f"{', '.join(audit.layout.names)}, kernels {facts['kernels']}",
        "input": f"{audit.view.shape}{', stored channels first' if audit.view.channels_first else ''}",
        "training images": rank + (f" (gap {gap:.3g})" if gap else ""),
        "attack": ran(audit, facts),
        "attacked": attacked(audit),
        "left out": ", ".join(audit.layout.left_out) or "nothing",
        "seconds": f"{audit.seconds:.1f}",
    }


def defences(audit: Audit) -> Iterable[Part]:
    """What was measured on this network, or else what is known of others."""
    if (own := audit.defences) is not None:
        yield Text(own.words)
        yield Table("Defences", own.columns, own.rows)
        return
    how = "" if isinstance(audit.network, ConvDense) else ": --defences does so"  # which takes plain networks alone
    yield Text(
        f"Nothing was measured on this network{how}. Of others this suite has records, which tell of these alone:"
    )
    yield Items(tuple((found.title, f"{found.words} (`results/{found.record}.json`)") for found in FINDINGS))
    if audit.n:
        units = audit.dense.widths[0]
        words = f"{units} units for {audit.n} images, {units / audit.n:.3g} for each"
        yield Text(f"This network's {first_layer(audit)} has {words}.")
    yield Text("The exact attack needs the initial weights. A seed that can be guessed gives them away.")


def first_layer(audit: Audit) -> str:
    """What the layer whose change is attacked is called."""
    return "first dense layer" if isinstance(audit.network, ConvDense) else "first layer"


def limits(audit: Audit) -> Iterable[Part]:
    """What words mean, and what the audit cannot see."""
    relative = ", relative to the length of the feature vector" if audit.features else ""
    relative += ", from the best multiple of a reconstruction" if audit.up_to_scale else ""
    items = [("Certified", CERTIFIED), ("Up to scale", SCALE), ("Confidence", CONFIDENCE)]
    items += [("Label", LABEL)] * audit.from_gradient
    items += [
        (
            "Distances",
            f"L2 in the network's input space{relative}. Each training image is matched to one reconstruction. The "
            "distances of held-out images are what chance gives.",
        ),
        (
            "",
            "The audit is of the network and activation named above. That nothing came back is no proof of privacy.",
        ),
    ]
    yield Items(tuple(items))


def attacked(audit: Audit) -> str:
    """What the attacker works on; of one gradient the threat model, too."""
    if audit.adapter:
        return "the weights' change as the adapter makes it"
    if not audit.from_gradient:
        update = f"the mean of {audit.updates} updates" if audit.updates > 1 else "an update"
        return "the optimiser's state" if audit.from_state else update if audit.updates else "the weights' change"
    words = "one gradient: of a single batch, as a server or whoever listens in federated learning has it"
    return f"{words}. {absent}" if (absent := missing(audit)) else words


def ran(audit: Audit, facts: dict[str, Any]) -> str:
    """Which attacks were run, whose result it is, and why that ended."""
    if not audit.attacks:
        return f"none: {facts['why']}"
    return f"{in_order(audit.attacks)}; the result is that of {facts['attack']}, which ended with: {facts['why']}"


def in_order(attacks: Sequence[str]) -> str:
    """What was run, a repeated attack named once."""
    runs = [(name, len(list(same))) for name, same in groupby(attacks)]
    return ", then ".join(name if times == 1 else f"{name} ({times} times)" for name, times in runs)


def summary(these: Compared) -> tuple[str, ...]:
    """A line of the table of distances."""
    d = these.distance
    numbers = [f"{v:.2g}" if np.isfinite(v) else "–" for v in (d.min(), np.median(d), d.max())]
    return str(len(d)), f"{these.within} (< {these.limit:g})", *numbers


def word(value: object) -> str:
    """An entry of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
