"""What the answer rests on, as numbers: the spectrum that told the rank, and how well distances tell images apart."""

from typing import Any

import numpy as np

from recon.auditing.result import Audit
from recon.metrics import Roc

SHOWN = 300  # singular values, about as many as a chart has pixels


def facts_of_spectrum(audit: Audit) -> dict[str, Any] | None:
    """The singular values in a small form; null where the attack did not look at them."""
    seen = audit.found.spectrum
    if seen is None:
        return None
    places = thinned(len(seen.values), seen.cut)
    values = [float(f"{v:.4g}") for v in seen.values[places - 1].tolist()]
    return {"cut": seen.cut, "rounding": seen.rounding, "place": places.tolist(), "value": values}


def thinned(count: int, cut: int) -> np.ndarray:
    """Places of values to show, from 1: evenly spaced where there are many, and those on both sides of the cut."""
    even = np.rint(np.linspace(1, count, min(count, SHOWN))).astype(int)
    return np.union1d(even, [cut, cut + 1])


def rocs(audit: Audit) -> dict[str, Roc]:
    """Ways to tell whether an image was trained on, by what is measured; none without images of both kinds.

    The first is for any attack, exact or not. The other needs no reconstruction, and counts distances in multiples of
    what rounding may leave of them.
    """
    made = {}
    if audit.nearest is not None:
        made["nearest reconstruction"] = Roc(audit.nearest.train, audit.nearest.held_out)
    if (found := audit.membership) is not None and found.held_out is not None:
        made["span of the change"] = Roc(*(x.distance / x.threshold for x in (found.images, found.held_out)))
    return made


def facts_of_rocs(audit: Audit) -> list[dict[str, Any]]:
    """The same as numbers: areas under the curves, and rates at the levels that the held-out images can show."""
    return [
        {
            "by": name,
            "training": len(roc.members),
            "held_out": len(roc.others),
            "auc": roc.auc,
            "levels": [
                {"level": level, "found": told, "false_positives": wrong}
                for level, (told, wrong) in ((level, roc.at(level)) for level in roc.levels)
            ],
        }
        for name, roc in rocs(audit).items()
    ]
