"""A run against a baseline, metric by metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from recon.regression.baseline import Baseline, Spread, Stored
from recon.regression.measures import KINDS, Direction, Group, typical

Status = Literal[
    "same", "within", "better", "worse", "missing", "new", "not gated", "other data", "other device", "other machine"
]
FAILS = ("worse", "missing")
CHANGED = (*FAILS, "better")
ROUNDING = 1e-6  # relative: a mean of float32 results, written and read


@dataclass(frozen=True)
class Row:
    """One metric of one group.

    Attributes:
      before, now: the baseline's value and the run's.
      allowed: how far it may get worse; None: it does not gate.
      source: where that came from.
      status: within what is allowed, better or worse by more than that; in one of the two only (missing, new); or
        why the two are not compared.
    """

    group: str
    metric: str
    better: Direction | None
    before: float | None
    now: float | None
    allowed: float | None
    source: Spread | None
    status: Status

    @property
    def failed(self) -> bool:
        """Whether this fails the gate."""
        return self.status in FAILS


def compare(baseline: Baseline, run: Mapping[str, Group]) -> list[Row]:
    """Every metric of the baseline and of the run.

    Means, of times medians, are over the baseline's seeds. What the baseline has and the run has not fails, a seed too:
    a gate that a deleted cell passes is none. Groups on other images are not compared. Costs gate on the baseline's
    kind of device, times on its device with as many cores, where the run took long enough to be measured.
    """
    rows = []
    for name, stored in baseline.groups.items():
        group = run.get(name)
        for metric, before in stored.metrics.items():
            values = {} if group is None else group.values.get(metric, {})
            mine = [value for seed, value in values.items() if seed in stored.data]
            now = typical(before.kind, mine) if mine else None
            allowed, source = before.tolerance.value, before.tolerance.source
            status = _status(stored, metric, group, now)
            rows.append(Row(name, metric, before.better, before.value, now, allowed, source, status))
    for name, group in run.items():
        known = baseline.groups[name].metrics if name in baseline.groups else {}
        for metric, values in group.values.items():
            if metric not in known:
                now = typical(KINDS[metric], list(values.values()))
                rows.append(Row(name, metric, None, None, now, None, None, "new"))
    return rows


def _status(stored: Stored, metric: str, group: Group | None, now: float | None) -> Status:
    before = stored.metrics[metric]
    if group is not None and any(group.data.get(seed, prints) != prints for seed, prints in stored.data.items()):
        return "other data"
    # Where a reading depends on the device, another device may not have it.
    if group is not None and before.kind != "quality" and group.device != stored.device:
        return "other device"
    if group is not None and before.kind == "time" and group.cpus != stored.cpus:
        return "other machine"
    if group is None or now is None or not stored.data.keys() <= group.data.keys():
        return "missing"
    if before.tolerance.value is None or metric in group.short:
        return "not gated"
    change = now - before.value
    slack = before.tolerance.value + ROUNDING * abs(before.value)
    worse = {"lower": change, "higher": -change, "equal": abs(change)}[before.better]
    if worse > slack:
        return "worse"
    return "same" if change == 0 else "better" if worse < -slack else "within"
