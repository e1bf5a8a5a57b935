"""Baselines: what a figure's metrics were, how far they may move, how that was found, and why they were stored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recon import reading
from recon.errors import ReconError
from recon.records import compact_bytes, write_bytes
from recon.regression.measures import MEASURES, Direction, Group, Kind, groups, typical

# One-sided level of the t-interval that a metric may move in: were its runs independent draws, one comparison in a
# hundred would be a false alarm. A run repeats the baseline's seeds, so equal code moves nothing; the interval is for
# changes that alter rounding alone, which throw a descent off its path by no more than another seed does.
LEVEL = 0.99
# Compilers count FLOPs and plan memory a little differently from version to version. A stated allowance, not measured.
COST_ALLOWANCE = 0.05
# Of the ratio of an attack's time to the reference's. Measured on a core shared with up to ten other processes: eight
# runs of one cell took times 4.7-fold apart, in ratio 0.85 to 1.34 of their median, so 1.6-fold apart at most.
TIME_FACTOR = 2.0


@dataclass(frozen=True)
class Spread:
    """Where a tolerance came from.

    Attributes:
      kind: "seeds" (t-interval of the spread over n seeds), "allowance" (a fraction of the value), "factor" (a multiple
        of the value), or "none": nothing was measured, the metric does not gate.
      n: number of seeds.
      sd: standard deviation over them.
    """

    kind: str
    n: int
    sd: float | None


@dataclass(frozen=True)
class Tolerance:
    """How far a metric may get worse than its baseline, and where that came from; None: it does not gate."""

    value: float | None
    source: Spread


@dataclass(frozen=True)
class Metric:
    """One metric of one group: the mean over the seeds that the figure lists, of times the median."""

    value: float
    better: Direction
    kind: Kind
    tolerance: Tolerance


@dataclass(frozen=True)
class Stored:
    """One group of a baseline: its data by seed, where it ran, its metrics by name."""

    data: dict[str, dict[str, str]]
    device: str
    cpus: int
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Reason:
    """Why a baseline was stored, and by which code."""

    why: str
    made_at: str
    commit: str | None


@dataclass(frozen=True)
class Baseline:
    """A figure's metrics under one preset and source of pictures; reasons, the newest first."""

    figure: str
    preset: str
    source: str
    code_version: str
    reasons: list[Reason]
    groups: dict[str, Stored]


def path(folder: Path, figure: str, preset: str, source: str) -> Path:
    """Where a baseline lies."""
    return folder / f"{figure}-{preset}-{source}.json"


def read(file: Path) -> Baseline | None:
    """A stored baseline, or None if there is none.

    Raises:
      ReconError: it is damaged, or from another version of this format.
    """
    if not file.exists():
        return None
    with reading.refused(f"{file} is no baseline", "remove it and store one with `recon baseline update`"):
        return reading.json(file, Baseline)


def write(file: Path, baseline: Baseline) -> None:
    """Store a baseline; the reasons of the one it replaces stay in it."""
    before = read(file)
    reasons = [*baseline.reasons, *(before.reasons if before else [])]
    write_bytes(file, compact_bytes(replace(baseline, reasons=reasons), 3))


def make(made: Mapping[str, Any], extra: Sequence[Mapping[str, Any]], why: str) -> Baseline:
    """The baseline of a figure's record.

    Args:
      made: a figure's record.
      extra: records of the same cells with other seeds, which measure spread and nothing else.
      why: the reason.

    Raises:
      ReconError: no reason.
    """
    if not why.strip():
        raise ReconError("A baseline is stored for a reason: give one with --why.")
    spread = groups([*made["cells"], *extra])
    facts = made["provenance"]
    return Baseline(
        figure=made["figure"],
        preset=made["preset"],
        source=made["source"],
        code_version=facts["code_version"],
        reasons=[Reason(why.strip(), facts["made_at"], facts["commit"])],
        groups={name: _stored(group, spread[name]) for name, group in groups(made["cells"]).items()},
    )


def _stored(group: Group, spread: Group) -> Stored:
    metrics = {}
    for measure in MEASURES:
        if measure.name in group.values:
            own = list(group.values[measure.name].values())
            every = list(spread.values[measure.name].values())
            value = typical(measure.kind, own)
            allowed = tolerance(measure.kind, value, len(own), every)
            metrics[measure.name] = Metric(value, measure.better, measure.kind, allowed)
    return Stored(group.data, group.device, group.cpus, metrics)


def tolerance(kind: Kind, value: float, runs: int, every: Sequence[float]) -> Tolerance:
    """How far the mean of `runs` seeds may get worse than `value`, the same mean before.

    Quality: the t-interval of the difference of two such means, sd·√(2/runs)·t(n − 1), from the spread over all n seeds
    that were run. With one seed there is none, and the metric does not gate. Costs: the same interval where they vary
    with the seed, at least an allowance. Times: a factor.
    """
    from scipy.stats import t

    n = len(every)
    sd = float(np.std(every, ddof=1)) if n > 1 else None
    if kind == "time":
        return Tolerance((TIME_FACTOR - 1) * value, Spread("factor", n, sd))
    interval = None if sd is None else float(t.ppf(LEVEL, n - 1)) * sd * math.sqrt(2 / runs)
    allowance = COST_ALLOWANCE * abs(value)
    if kind == "cost" and (interval is None or interval <= allowance):
        return Tolerance(allowance, Spread("allowance", n, sd))
    return Tolerance(interval, Spread("none" if interval is None else "seeds", n, sd))
