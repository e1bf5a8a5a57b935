"""Numbers that were published, beside what a record has for them."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from recon.regression.measures import group_name
from recon.regression.tables import number

NONE = "–"
FILE = Path("reference") / "published-curves.json"


def published(results: Path) -> Mapping[str, Any]:
    """What is known of published curves, by figure; empty where the file is absent."""
    file = results / FILE
    found: Mapping[str, Any] = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    return found


def beside(
    known: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], baseline: Mapping[str, float]
) -> dict[str, list[tuple[str, str, str, str]]]:
    """Published points of reconstruction curves beside a record's, and its mean errors beside the baseline's.

    Args:
      known: a figure's entry: "dynamics", and by task "points" ([share of the images, distance] along the curve) and
        "recognised", the share under the task's threshold.
      cells: the record's.
      baseline: mean errors by name of a group of cells, see `recon.regression.groups`.

    Returns:
      (number, published, baseline, the record's) by network, for the attacks that descend on the paper's objective.
    """
    found = {}
    for record in cells:
        cell = record["cell"]
        rule = "linearised" if cell.get("dynamics", {}).get("rule") == "Linearised" else "standard"
        if cell.get("task") not in known["tasks"] or rule != known["dynamics"] or cell["attack"] == "exact":
            continue
        curve, paper = sorted(record["images"]["distance"]), known["tasks"][cell["task"]]
        n, limit = len(curve), record["data"]["recognisable"]
        rows = []
        for share, value in paper["points"]:
            place = max(1, ceil(share * n))
            name = f"L2 of image {place} of {n}, best first"
            rows.append((name, f"≈ {value:g}", NONE, number(curve[place - 1])))
        if limit is not None:
            under = sum(d < limit for d in curve) / n
            theirs = f"≈ {100 * paper['recognised']:.0f} %"
            rows.append((f"recognisable (L2 < {limit:g})", theirs, NONE, f"{100 * under:.0f} %"))
        before = baseline.get(group_name(cell))
        rows.append(("mean L2", NONE, number(before), number(sum(curve) / n)))
        found[f"{record['data']['title']}, {rule}, N = {n}, W = {cell['network']['widths'][0]}, {cell['attack']}"] = (
            rows
        )
    return found
