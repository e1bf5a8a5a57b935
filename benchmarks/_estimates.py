"""Estimates of rows over draws of images, and the margins that claims on them have."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import scipy

from benchmarks._rows import Row, grouped
from recon import statistics
from recon.claims import COHEN_SMALL, EYE, SMALL, TENTH
from recon.statistics import Estimate, Kind

# Margins with their reasons, as the last arguments of a claim.
A_TENTH = TENTH, EYE
TENTH_LESS: tuple[float, str, Kind] = -TENTH, EYE, "below"
HALF = 1.0, "an error of half the control's is no chance likeness of two pictures"  # log₂ of a factor of two
RHO = SMALL, COHEN_SMALL
NEGATIVE_RHO: tuple[float, str, Kind] = -SMALL, COHEN_SMALL, "below"
# Of accuracy: a smaller difference does not show in any one network that can be tested on the package pictures.
POINT, POINT_REASON = 0.01, "one point is the standard error of one network's accuracy near 88 % on 1,000 test images"
# How often a certificate has to be right, and what right is: a promise of the solver, not a fit to a run.
MOST = 0.9, "a certificate that misleads on more than one draw in ten is none"
HONEST_SHARE = 0.99
HONEST = "at least 99 % of the certified images lie within L2 0.1 of a training image"


def draws(rows: Iterable[Row]) -> np.ndarray:
    """The draw of images of each row: the groups that intervals go by."""
    return np.array([r["draw"] for r in rows])


def average(rows: Sequence[Row], of: Callable[[Row], float], *bounds: Any) -> Estimate:
    """The mean of a number of each row over draws; `bounds` as in `recon.statistics.mean`."""
    return statistics.mean(np.array([of(r) for r in rows], float), draws(rows), *bounds)


def share_of(rows: Sequence[Row], holds: Callable[[Row], Any]) -> Estimate:
    """The share of draws all of whose rows it holds for."""
    return statistics.share(np.array([holds(r) for r in rows], bool), draws(rows))


def area(right: np.ndarray, by: np.ndarray) -> float:
    """Chance that one of `right` (above 0) is larger by a measure than one that is not (area under the ROC curve)."""
    right = right > 0
    k, rest = int(right.sum()), int((~right).sum())
    if not k or not rest:
        return float("nan")
    return float((scipy.stats.rankdata(by)[right].sum() - k * (k + 1) / 2) / (k * rest))


def over(rows: Sequence[Row], above: str, below: str) -> Estimate:
    """log₂ of one column over another, averaged over draws."""
    return average(rows, lambda r: float(np.log2(r[above] / r[below])))


def compared(
    above: Iterable[Row], below: Iterable[Row], *keys: str, column: str = "error", group: str = "draw"
) -> Estimate:
    """log₂ of a column of the rows `above` over that of the rows `below` with the same `keys`, averaged over draws."""
    one, other = ({tuple(r[k] for k in keys): r for r in rows} for rows in (above, below))
    shared = sorted(one.keys() & other.keys())
    a, b = (np.log2(np.array([rows[k][column] for k in shared], float)) for rows in (one, other))
    return statistics.paired(a, b, np.array([one[k][group] for k in shared]))


def along(rows: Iterable[Row], x: str, y: str) -> Estimate:
    """Rank correlation of y and x inside each draw, averaged over draws by Fisher's z."""
    runs = grouped(rows, "draw")
    rho = [statistics.spearman(*(np.array([r[k] for r in run], float) for k in (x, y))) for run in runs.values()]
    sizes = np.array([len(run) for run in runs.values()], int)
    return statistics.mean_correlation(np.array(rho, float), np.array([draw for (draw,) in runs]), sizes)


def certified_right(rows: Sequence[Row]) -> Estimate:
    """The share of draws all of whose networks are right on `HONEST_SHARE` of what they certify."""
    return share_of(rows, lambda r: r["certified_near"] >= HONEST_SHARE * r["certified"])


def growth(rows: Sequence[Row], x: str, y: str = "error", run: str = "draw") -> Estimate:
    """log₂ of the factor by which y grows as x doubles, along each run, averaged over draws."""
    xs, ys = (np.array([r[k] for r in rows], float) for k in (x, y))
    return statistics.growth(xs, ys, np.array([r[run] for r in rows]), draws(rows))
