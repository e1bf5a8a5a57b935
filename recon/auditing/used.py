"""Which of the images given to an audit were trained on, in words and for machines."""

from collections import Counter
from typing import Any

import numpy as np

from recon import statistics
from recon.attacks.membership import Placed
from recon.auditing.result import Audit

# As a report calls the answers.
ANSWERS = {"member": "yes", "multiple": "up to its size", "not": "no", "no answer": "no answer"}


def used(audit: Audit) -> str:
    """The answer in a sentence or two; nothing where no images were given."""
    found = audit.membership
    if found is None:
        return ""
    n, told = len(found.answers), Counter(found.answers)
    words = "By the span of the first layer's change, "
    if told["no answer"] == n:
        return f"{words}nothing is told of the {n} images given{': ' + found.why if found.why else ''}."
    words += f"{told['member'] + told['multiple']} of {n} images given were trained on"
    words += f" ({told['multiple']} of them at a size that is not confirmed)" if told["multiple"] else ""
    words += f" and {told['not']} were not" if told["not"] else ""
    if untold := told["no answer"]:
        words += f"; of {untold} it does not tell"
        words += f": {found.why}" if found.why else ", as rounding hides how they differ from similar images"
    if told["not"] == n:
        words += "; images in other units or another order than the network's inputs count as others"
    if share := found.false_positives:
        rate = statistics.text(share, ".3g", lambda part: 100 * part, " %")
        words += f". False positives, by {share['n']} held-out images: {rate}"
    return f"{words}."


def facts_of_use(audit: Audit) -> dict[str, Any] | None:
    """What `used` says, as numbers, with a line for each image; null where no images were given."""
    found, train = audit.membership, audit.train
    if found is None or train is None:
        return None
    columns = found.answers, found.images.distance.tolist(), found.images.threshold.tolist()
    return {
        "rank": found.rank,
        "gap": found.gap,
        "why": found.why,
        "given": spread("given", found.images),
        "held_out": found.held_out and spread("held-out", found.held_out),
        "false_positives": found.false_positives,
        "images": [
            {"image": name, "used": ANSWERS[answer], "distance": distance, "threshold": threshold}
            for name, answer, distance, threshold in zip(train.images.names, *columns, strict=True)
        ],
    }


def spread(name: str, these: Placed) -> dict[str, Any]:
    """Where a set of images lies."""
    d = these.distance
    numbers = {"least": d.min(), "median": np.median(d), "largest": d.max(), "threshold": these.threshold.max()}
    counts = {"images": name, "number": len(d), "in the span": int(these.inside.sum())}
    return {**counts, **{name: float(value) for name, value in numbers.items()}}
