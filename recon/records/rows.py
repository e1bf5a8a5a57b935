"""Cell records as flat rows: what several figures draw."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def attack_row(record: dict[str, Any]) -> dict[str, Any]:
    """Settings and main numbers of an attack cell."""
    cell = record["cell"]
    draw = f"{cell['task']} N={cell['n_train']}"
    # Draws that take more than a quarter of the pool, and as many held-out images, are hardly different draws.
    if 4 * cell["n_train"] <= record["data"]["pool"]:
        draw += f" seed {cell['seed']}"
    return {
        "task": cell["task"],
        "title": record["data"]["title"],
        "source": record["data"]["source"],
        "recognisable": record["data"]["recognisable"],
        "dynamics": "linearised" if cell["dynamics"]["rule"] == "Linearised" else "standard",
        "n": cell["n_train"],
        "width": cell["network"]["widths"][0],
        "attack": cell["attack"],
        "seed": cell["seed"],
        "steps": record["attack"]["steps"],
        "seconds": sum(record["attack"]["seconds"].values()),
        "error": record["scores"]["train"]["mean"],
        "held_out": record["scores"]["held_out"]["mean"],
        "start": record["scores"]["start"]["mean"],
        "kernel_distance": record["training"]["kernel_distance"],
        # Networks trained on the same images are not independent: intervals go by these groups.
        "draw": draw,
    }


def rounded(values: Any, digits: int = 4) -> list[float]:
    """Numbers to so many significant digits: what a figure's summary needs of a column."""
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, float)]


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, and the standard deviation of several, for a table."""
    spread = f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else ""
    return f"{np.mean(values):.2g}{spread}"
