"""Effect sizes with intervals, and the rule that turns an interval into a verdict.

Images of one network, and networks trained on the same images, are not independent. So every interval here goes by
*groups*, which are: what shares its images is one group. Groups that happen to be equal have no interval, and an
interval of a correlation or a share stays inside its bounds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import scipy  # its stats are loaded on first use
from jaxtyping import Bool, Float, Int, Shaped
from scipy import special

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]
Kind = Literal["above", "below", "alike", "exact"]

LEVEL = 0.95
# log₂ of the ratio of two errors: a tenth (0.8 dB) is the least that an eye would notice in the pictures.
TENTH = float(np.log2(1.1))
RESAMPLES = 500  # a tail of 2.5 % holds a dozen
# A bootstrap of g groups has (2g−1 choose g) distinct resamples: 126 at five, of which a tail of 2.5 % holds three.
MIN_GROUPS = 5
# Two draws can lie near each other by chance, and then nothing shows it: Student's interval of two is too narrow to
# trust wherever the spread of draws is not normal.
FEWEST = 3
EQUAL = 1e-9  # relative: values that differ by less are equal but for rounding


class Estimate(TypedDict):
    """An effect and its 95 % interval, JSON-able.

    Attributes:
      value: the effect (None: the data do not determine it).
      low, high: its interval (None: too few groups for one).
      n: number of points.
      groups: number of independent groups.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int


NOTHING = Estimate(value=None, low=None, high=None, n=0, groups=0)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties at their mean: `scipy.stats.rankdata` in a third of its time, which the bootstrap needs."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; NaN if either side is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    # Residuals of ranks that a control explains entirely are rounding errors, not zeros.
    return float(a @ b / norm) if norm > 1e-9 * len(a) ** 3 else float("nan")


def spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if either side is constant."""
    return _correlation(_ranks(x), _ranks(y))


def partial_spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], control: Float[np.ndarray, " n"]) -> float:
    """Rank correlation of x and y given `control`: of what is left of their ranks after regression on its ranks.

    NaN if the control's ranks determine either side's.
    """
    a, b, c = (_ranks(v) for v in (x, y, control))
    c = c - c.mean()
    a, b = ((v - v.mean()) - c * (c @ (v - v.mean())) / max(c @ c, 1e-300) for v in (a, b))
    return _correlation(a, b)


def within(
    statistic: Callable[..., float], strata: Shaped[np.ndarray, " n"], *columns: Float[np.ndarray, " n"]
) -> float:
    """A statistic taken inside each stratum, averaged by number of points; where it is undefined, left out."""
    values, weights = [], []
    for stratum in np.unique(strata):
        mine = strata == stratum
        value = statistic(*(c[mine] for c in columns))
        if np.isfinite(value):
            values.append(value)
            weights.append(mine.sum())
    return float(np.average(values, weights=weights)) if values else float("nan")


def bootstrap(
    statistic: Callable[..., float],
    columns: Sequence[Shaped[np.ndarray, " n"]],
    groups: Shaped[np.ndarray, " n"],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """A statistic of points nested in groups, with the percentile interval of a bootstrap over whole groups.

    Args:
      statistic: columns → number; resamples for which it is undefined (NaN) are left out.
      columns: arrays with an entry for each point.
      groups: the group of each point.
      seed: of the resampling.
      resamples: how many.

    Returns:
      The estimate; no interval with fewer than `MIN_GROUPS` groups, if half of the resamples or more are undefined, or
      if all are equal.
    """
    value = statistic(*columns)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    low = high = float("nan")
    if len(members) >= MIN_GROUPS:
        rng = np.random.default_rng(seed)
        drawn = np.empty(resamples)
        for i in range(resamples):
            rows = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
            drawn[i] = statistic(*(c[rows] for c in columns))
        drawn = drawn[np.isfinite(drawn)]
        if 2 * len(drawn) > resamples and np.ptp(drawn) > EQUAL * abs(drawn).max():
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _estimate(value, low, high, len(groups), len(members))


def mean(
    values: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """The mean over groups of their means, with Student's interval.

    Student's, not a bootstrap: the percentile interval of three to ten values is too narrow (of three it misses the
    mean about one time in four). It wants the groups' means near normal, which means are. Points that are not finite
    are left out. Groups that are equal have no spread to make an interval of, and get none.

    Args:
      values: one for each point.
      groups: the group of each point.
      bounds: what the mean cannot lie outside of, such as (0, 1) of a share: the interval ends there.
    """
    finite = np.isfinite(values)
    values, groups = values[finite], groups[finite]
    means = np.array([values[groups == g].mean() for g in np.unique(groups)])
    k = len(means)
    if not k:
        return NOTHING
    centre, half = float(means.mean()), float("nan")
    if k > 1 and np.ptp(means) > EQUAL * abs(means).max():
        half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, k - 1) * means.std(ddof=1) / np.sqrt(k))
    low, high = np.clip([centre - half, centre + half], *bounds)
    return _estimate(centre, low, high, len(values), k)


def paired(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Estimate:
    """The mean difference a − b of paired measurements; see `mean`."""
    return mean(a - b, groups)


def mean_correlation(
    rho: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], points: Int[np.ndarray, " n"] | int
) -> Estimate:
    """The mean over groups of rank correlations by Fisher's z: value and interval stay inside [−1, 1].

    Args:
      rho: correlations; those that are not finite are left out.
      groups: the group of each.
      points: of how many points each is. One of ±1, which has no z, is taken to lie half a step of ranks inside.
    """
    cubes = np.asarray(points, float) ** 3 - points
    most = 1 - 6 / np.maximum(cubes, 6)  # ranks of m points move Spearman's ρ by steps of 12 / (m³ − m)
    found = mean(np.arctanh(np.clip(rho, -most, most)), groups)
    value, low, high = (None if v is None else float(np.tanh(v)) for v in (found["value"], found["low"], found["high"]))
    return {**found, "value": value, "low": low, "high": high}


def share(holds: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Estimate:
    """The share of groups whose every point holds, with the interval of Clopper and Pearson.

    It leaves room on both sides: of three groups of three it goes down to 0.29, and of none of three up to 0.71.
    """
    names = np.unique(groups)
    if not len(names):
        return NOTHING
    right, k, tail = sum(bool(holds[groups == g].all()) for g in names), len(names), (1 - LEVEL) / 2
    low = special.betaincinv(right, k - right + 1, tail) if right else 0.0
    high = special.betaincinv(right + 1, k - right, 1 - tail) if right < k else 1.0
    return _estimate(right / k, low, high, len(holds), k)


def growth(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    runs: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
) -> Estimate:
    """log₂ of the factor by which y grows as x doubles: Theil and Sen's slope along each run, averaged over groups.

    Args:
      x, y: positive.
      runs: which points make a line; runs with a single x are left out.
      groups: the group of each point, the same along a run.
    """
    slopes, of = [], []
    for run in dict.fromkeys(runs):
        mine = runs == run
        if len(set(x[mine])) > 1:
            slopes.append(scipy.stats.theilslopes(np.log2(y[mine]), np.log2(x[mine])).slope)
            of.append(groups[mine][0])
    return mean(np.array(slopes, float), np.array(of))


def largest(values: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Estimate:
    """The largest of several deviations from an identity, which needs no interval."""
    value = float(np.max(values)) if len(values) else float("nan")
    return _estimate(value, float("nan"), float("nan"), len(values), len(np.unique(groups)))


def verdict(estimate: Estimate | Mapping[str, Any], margin: float, kind: Kind = "above") -> Verdict:
    """Whether an effect lies where it is claimed to lie, as a whole interval from independent groups shows.

    Args:
      estimate: its value, low, high and groups count.
      margin: the least effect that would matter.
      kind: "above": larger than the margin; "below": smaller; "alike": nearer to zero than the margin, in either
        direction; "exact": an identity, whose largest deviation is at most the margin.

    Returns:
      "reproduced" if the whole interval lies on the claimed side of the margin, "not reproduced" if it lies on the
      other. Otherwise, without an interval, and with fewer than `FEWEST` groups "inconclusive": these data do not tell.
      An identity holds or fails wherever it is looked at, and so by its value alone, without an interval.
    """
    value, low, high = (estimate[k] for k in ("value", "low", "high"))
    if kind == "exact":
        return "inconclusive" if value is None else "reproduced" if value <= margin else "not reproduced"
    if low is None or high is None or estimate["groups"] < FEWEST:
        return "inconclusive"
    holds, fails = {
        "above": (low > margin, high < margin),
        "below": (high < margin, low > margin),
        "alike": (-margin < low and high < margin, low > margin or high < -margin),
    }[kind]
    return "reproduced" if holds else "not reproduced" if fails else "inconclusive"


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict on a claim of several parts: what all parts say, else "inconclusive"."""
    return verdicts[0] if len(set(verdicts)) == 1 else "inconclusive"


def text(estimate: Estimate, spec: str = "+.2f", of: Callable[[float], float] = float, suffix: str = "") -> str:
    """An estimate as "0.52 [0.31, 0.70] SUFFIX", each number after the function `of`."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return "undefined"
    if low is None or high is None:
        groups = f"{estimate['groups']} group{'s' if estimate['groups'] != 1 else ''}"
        return f"{of(value):{spec}}{suffix} (no interval from {groups})"
    return f"{of(value):{spec}} [{of(low):{spec}}, {of(high):{spec}}]{suffix}"


def _estimate(value: float, low: float, high: float, n: int, groups: int) -> Estimate:
    value_, low_, high_ = (float(v) if np.isfinite(v) else None for v in (value, low, high))
    return {"value": value_, "low": low_, "high": high_, "n": int(n), "groups": int(groups)}
