"""How well a score tells members from non-members: the receiver operating characteristic (ROC), smaller is a member.

Its ends matter most: an attacker who accuses few others by mistake (Carlini et al. 2022, "Membership Inference Attacks
From First Principles"). How few can be told depends on the number of non-members that were tried.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from jaxtyping import Float

from recon import statistics
from recon.statistics import LEVEL, Estimate

LEVELS = (0.01, 0.001)  # false-positive rates that others report, too
EDGE = 1e-9  # far below 1/(n m), in steps of which an area comes


@dataclass(frozen=True)
class Roc:
    """Scores of members and of others; an image is called a member if its score is below a threshold.

    Attributes:
      members, others: scores, infinite where there is none; at least one of each.
    """

    members: Float[np.ndarray, " n"]
    others: Float[np.ndarray, " m"]

    @cached_property
    def curve(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """False and true positive rates at every threshold, from (0, 0) to (1, 1); equal scores are one threshold."""
        thresholds = np.unique(np.concatenate([self.members, self.others]))
        sides = np.sort(self.others), np.sort(self.members)
        rates = (np.searchsorted(side, thresholds, "right") / len(side) for side in sides)
        false, true = (np.concatenate([[0.0], rate]) for rate in rates)
        return false, true

    @cached_property
    def auc(self) -> Estimate:
        """Probability that a member scores below another image, equal scores counting half, with its 95 % interval.

        The interval is method 5 of Newcombe (2006): it stays inside [0, 1] and does not vanish where the two sides are
        told apart without an error, as those of a bootstrap or of DeLong do.
        """
        false, true = self.curve
        value = float(np.trapezoid(true, false))
        n, m = len(self.members), len(self.others)
        z, mean = float(scipy.special.ndtri((1 + LEVEL) / 2)), (n + m) / 2 - 1

        def beyond(theta: float) -> float:
            spread = 1 + mean * ((1 - theta) / (2 - theta) + theta / (1 + theta))
            return (theta - value) ** 2 - z**2 * theta * (1 - theta) / (n * m) * spread

        # Both ends of [0, 1] are roots where they are the value: the interval's own are inside.
        low = float(scipy.optimize.brentq(beyond, 0.0, min(value, 1 - EDGE))) if value > 0 else 0.0
        high = float(scipy.optimize.brentq(beyond, max(value, EDGE), 1.0)) if value < 1 else 1.0
        return {"value": value, "low": low, "high": high, "n": n + m, "groups": n + m}

    @property
    def levels(self) -> tuple[float, ...]:
        """False-positive rates that so many others can show: none at all, and those at which one of them is wrong."""
        return (0.0, *(level for level in LEVELS if level * len(self.others) >= 1))

    def at(self, level: float) -> tuple[Estimate, Estimate]:
        """True and false positive rate at the loosest threshold that calls at most this share of the others members.

        With the intervals of Clopper and Pearson, the threshold held fixed. That of the false positives says how far
        the rate on further images may be from the level, since the threshold is set on the same others.
        """
        allowed = int(level * len(self.others) + 1e-9)  # 0.01 of 300 is 2.9999… in binary
        threshold = np.sort(self.others)[allowed] if allowed < len(self.others) else np.inf
        true, false = (statistics.share(side < threshold, np.arange(len(side))) for side in (self.members, self.others))
        return true, false
