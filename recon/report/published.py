"""Numbers that were published, beside what a record has for them."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

FILE = Path("reference") / "published-curves.json"


def published(results: Path) -> Mapping[str, Any]:
    """What is known of published curves, by figure; empty where the file is absent."""
    file = results / FILE
    found: Mapping[str, Any] = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    return found


def beside(known: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Points of published reconstruction curves beside those of a record's cells.

    Args:
      known: a figure's entry: "dynamics", and by task "points" ([share of the images, distance] along the curve) and
        "recognised", the share under the task's threshold.
      cells: the record's.

    Returns:
      (network, number, published value, the record's) for every attack cell that descends on the paper's objective.
    """
    rows = []
    for record in cells:
        cell = record["cell"]
        rule = "linearised" if cell.get("dynamics", {}).get("rule") == "Linearised" else "standard"
        if cell.get("task") not in known["tasks"] or rule != known["dynamics"] or cell["attack"] == "exact":
            continue
        curve, paper = sorted(record["images"]["distance"]), known["tasks"][cell["task"]]
        n, limit = len(curve), record["data"]["recognisable"]
        network = f"{record['data']['title']}, {rule}, N = {n}, W = {cell['network']['widths'][0]}, {cell['attack']}"
        for share, value in paper["points"]:
            place = max(1, ceil(share * n))
            rows.append((network, f"L2 of image {place} of {n}, best first", f"≈ {value:g}", f"{curve[place - 1]:.2g}"))
        if limit is not None:
            under = sum(d < limit for d in curve) / n
            theirs = f"≈ {100 * paper['recognised']:.0f} %"
            rows.append((network, f"recognisable (L2 < {limit:g})", theirs, f"{100 * under:.0f} %"))
    return rows
