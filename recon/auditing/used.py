"""Which of the images given to an audit were trained on, in words and for machines."""

from typing import Any

import numpy as np

from recon import statistics
from recon.attacks.membership import Placed
from recon.auditing.result import Audit

ANSWERS = {"member": "yes", "not": "no", "no answer": "no answer"}  # as a report calls them


def used(audit: Audit) -> str:
    """The answer in a sentence or two; nothing where no images were given."""
    found = audit.membership
    if found is None:
        return ""
    answers = found.answers
    members, others, untold = (answers.count(answer) for answer in ("member", "not", "no answer"))
    words = "Were they used? By the span of the first layer's change, "
    if untold == len(answers):
        return f"{words}nothing tells: {found.why or 'rounding hides the difference to similar images'}."
    words += f"{members} of {len(answers)} images given were trained on and {others} were not"
    words += f"; of {untold} in the span nothing tells" if untold else ""
    if untold and found.why:
        words += f": {found.why}"
    if share := found.false_positives:
        rate = statistics.text(share, ".2g", lambda part: 100 * part, " %")
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
