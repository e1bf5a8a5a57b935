"""Metrics of a figure, taken from its cells' records: one group for each setting, one value in it for each seed."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from recon.records import described

Direction = Literal["lower", "higher", "equal"]
Kind = Literal["quality", "cost", "time"]


# Seconds: a single run that takes less does not gate by its time. Another process's turn on the core takes about as
# long; the same choice of random images took 0.3 to 0.7 ms in the stored records, twice its time for no reason of ours.
SHORTEST = 0.05


@dataclass(frozen=True)
class Measure:
    """A number that a cell's record may hold.

    Attributes:
      name: in tables.
      where: keys that lead to it in the record.
      better: which way is better.
      kind: quality; cost, which does not depend on how busy the machine is; or time, as a multiple of the reference's.
      shortest: of a time, the seconds from which it gates; none for the median of many runs.
    """

    name: str
    where: tuple[str, ...]
    better: Direction
    kind: Kind
    shortest: float = 0.0


MEASURES = (
    Measure("mean L2", ("scores", "train", "mean"), "lower", "quality"),
    Measure("certified", ("attack", "certified"), "higher", "quality"),
    Measure("estimated N", ("attack", "n_estimated"), "equal", "quality"),
    Measure("test accuracy", ("training", "test_accuracy"), "higher", "quality"),
    Measure("accuracy, infinite width", ("accuracy", "infinite"), "higher", "quality"),
    Measure("accuracy, linearised", ("accuracy", "linearised"), "higher", "quality"),
    Measure("accuracy, standard", ("accuracy", "standard"), "higher", "quality"),
    Measure("distillation loss", ("set", "loss"), "lower", "quality"),
    Measure("training steps", ("training", "steps"), "lower", "cost"),
    Measure("attack steps", ("attack", "steps"), "lower", "cost"),
    Measure("steps to half the start's error", ("attack", "steps_to_half"), "lower", "cost"),
    Measure("FLOPs a step", ("attack", "work", "flops_per_step"), "lower", "cost"),
    Measure("bytes a step", ("attack", "work", "bytes_per_step"), "lower", "cost"),
    Measure("temporary bytes", ("attack", "work", "temporary_bytes"), "lower", "cost"),
    Measure("distillation FLOPs a step", ("set", "work", "flops_per_step"), "lower", "cost"),
    Measure("distillation bytes a step", ("set", "work", "bytes_per_step"), "lower", "cost"),
    Measure("kernel FLOPs", ("kernel", "flops"), "lower", "cost"),
    Measure("kernel bytes", ("kernel", "bytes_accessed"), "lower", "cost"),
    Measure("kernel temporary bytes", ("kernel", "temporary_bytes"), "lower", "cost"),
    Measure("attack time / reference", ("attack", "seconds", "run"), "lower", "time", SHORTEST),
    Measure("distillation time / reference", ("set", "seconds", "run"), "lower", "time", SHORTEST),
    Measure("kernel time / reference", ("kernel", "seconds"), "lower", "time"),
)
KINDS = {measure.name: measure.kind for measure in MEASURES}


def typical(kind: Kind, values: Sequence[float]) -> float:
    """What values over seeds come to: their mean; of times the median, which one disturbed run does not move.

    In a stored record of table 1 one of three equal runs took 0.33 s where the others took 0.09 and 0.13 s.
    """
    return float(np.median(values) if kind == "time" else np.mean(values))


@dataclass(frozen=True)
class Group:
    """Cells that differ in their seed alone.

    Attributes:
      name: their settings in a line, with a hash of all of them.
      device: what they ran on: platform and kind.
      cpus: cores they had.
      data: fingerprints of the three splits, by seed.
      values: by name of a measure, then by seed.
      short: names of times that were too short, of one seed at least, to gate by.
    """

    name: str
    device: str
    cpus: int
    data: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)


def group_name(settings: Mapping[str, Any]) -> str:
    """Settings without their seed, in a line; six hex digits tell apart what the line does not show."""
    rest = {k: v for k, v in settings.items() if k != "seed"}
    digest = hashlib.sha256(msgspec.json.encode(rest, order="sorted")).hexdigest()
    return f"{described(rest)} #{digest[:6]}"


def groups(records: Sequence[Mapping[str, Any]]) -> dict[str, Group]:
    """Cells' records by setting. A cell that is listed twice counts once."""
    found: dict[str, Group] = {}
    for record in records:
        name, made = group_name(record["cell"]), record["provenance"]
        device = f"{made['device']['platform']} {made['device']['kind']}"
        group = found.setdefault(name, Group(name, device, made["machine"]["cpus"]))
        seed = str(record["cell"].get("seed", 0))
        group.data[seed] = dict(record["data"]["fingerprints"])
        for measure in MEASURES:
            value = measured(record, measure)
            if value is not None:
                group.values.setdefault(measure.name, {})[seed] = value
                if stated(record, measure) < measure.shortest:
                    group.short.add(measure.name)
    return found


def stated(record: Mapping[str, Any], measure: Measure) -> Any:
    """What stands in a record at a measure's place, None if there is no such place; times are in seconds there."""
    value: Any = record
    for key in measure.where:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def measured(record: Mapping[str, Any], measure: Measure) -> float | None:
    """The measure's value in a record; None where it has none, or where a clock decided it."""
    value = stated(record, measure)
    if value is None or not math.isfinite(value):
        return None
    if measure.name == "attack steps" and record["attack"].get("why") == "time budget":
        return None
    if measure.kind == "time":
        reference = record.get("reference_seconds")
        return None if not reference else value / reference
    return float(value)


def seeds_wanted(settings: Sequence[Mapping[str, Any]], repeats: int) -> list[tuple[int, int]]:
    """Cells to run again with other seeds, so that every setting has at least `repeats` of them.

    Args:
      settings: of a figure's cells.

    Returns:
      (number of a cell, seed) for each one that is missing.
    """
    seeds: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for i, s in enumerate(settings):
        if "seed" in s:
            seeds.setdefault(group_name(s), set()).add(s["seed"])
            first.setdefault(group_name(s), i)
    free = max((max(have) for have in seeds.values()), default=0) + 1
    return [(first[name], free + k) for name, have in seeds.items() for k in range(repeats - len(have))]
