"""Figure 8: distilled images beside real ones.

The paper shows sets of 20 images that KIP, RKIP and RKIP-finite distil from 500.

    make reproduce-fig8                 quick: the sets of table 1's quick preset
    make reproduce-fig8 PRESET=full     500 to 20 on all four tasks
    make reproduce-fig8 PRESET=paper    published optimiser: a GPU's work

Expected: images by RKIP-finite look like training images, those by KIP like noise over digits. That is checked by
distance: from each image of a set to the nearest training image, against equally many random training images to the
nearest held-out one. Sets are those of table 1, of its first seed in the pictures; pixels are clipped to [0, 1].
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, compared
from benchmarks._panels import stack
from benchmarks._presets import MNIST
from benchmarks._rows import Row, facts, where
from benchmarks._sets import DISTILLED, LABELS, PRESETS, distilled, name_of
from benchmarks._tables import Table, count, mean, tabulate
from recon.cells.distillation import DistillationCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.plots import Figure, new_figure, strips
from recon.records import Stored

__all__ = ["CLAIMS", "PRESETS", "cells", "plot", "summarise", "table"]

SHOWN = ("random", *DISTILLED)
SPLITS = {"train": "training", "held_out": "held-out"}
EACH = 5  # pictures of each of two classes; of ten, one


def cells(preset: dict[str, Any]) -> list[DistillationCell]:
    """The distilled sets of table 1, and its random images."""
    return distilled(preset, SHOWN)


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell with its distances; pictures of each task's first seed."""
    rows, panels = [], dict[str, dict[str, Any]]()
    for stored in results:
        record = stored.record
        cell, data = record["cell"], record["data"]
        row = facts(record, "task", "title", "source", "seed", "n") | {"set": name_of(record)}
        row |= {"m": record["set"]["n"], "nearest": record["nearest"]}
        rows.append(row)
        panel = panels.setdefault(cell["task"], {**row, "strips": {}})
        if panel["seed"] == cell["seed"]:
            pixels = stored.arrays["images"] + np.array(data["mean"], np.float32)
            classes = 2 if stored.arrays["labels"].shape[1] == 1 else stored.arrays["labels"].shape[1]
            each = len(pixels) // classes  # sets go class by class
            shown = min(each, EACH if classes == 2 else 1)
            index = np.concatenate([np.arange(shown) + each * c for c in range(classes)])
            panel["strips"][row["set"]] = strips.encode(pixels[index])
    return {"rows": rows, "panels": list(panels.values())}


def plot(summary: Summary) -> Figure:
    """A block for each task: a row of real images, then one for each method."""
    panels = summary["panels"]
    heights = [0.62 * len(p["strips"]) + 0.3 for p in panels]
    figure = new_figure(8.0, sum(heights))
    for axes, p in stack(figure, panels, height_ratios=heights):
        names = [name for name in SHOWN if name in p["strips"]]
        strips.draw(axes, [p["strips"][name] for name in names], [_label(name) for name in names], ranked=False)
        axes.set_anchor("W")
        axes.set_title(f"{p['title']}, {p['n']} to {p['m']}", loc="left", fontsize=8)
    return figure


def _label(name: str) -> str:
    return "real images" if name == "random" else LABELS[name]


def table(summary: Summary) -> Table:
    """Mean distance to the nearest real image by task and set."""
    columns = {f"nearest {words} image, L2": mean(split, ".2f") for split, words in SPLITS.items()} | {"seeds": count}
    rows = [
        r | r["nearest"] | {"images": r["m"], "set": _label(name)}
        for panel in summary["panels"]
        for name in SHOWN
        for r in where(summary["rows"], task=panel["task"], set=name)
    ]
    return tabulate("How near images of a set are to real ones", rows, ("title", "images", "set"), columns)


def _nearest(summary: Summary, name: str, split: str = "train") -> list[Row]:
    """Mean distance of a set's images to the nearest real ones, by seed."""
    return [r | {"nearest": r["nearest"][split]} for r in where(summary["rows"], task=MNIST, set=name)]


def _over_rkip_finite(summary: Summary, label: str, name: str, split: str) -> Effect:
    own, other = _nearest(summary, "rkip-finite"), _nearest(summary, name, split)
    return [ratio(f"{label} over RKIP-finite's", compared(other, own, "seed", column="nearest", group="seed"))]


CLAIMS = (
    Claim(
        "rkip-finite-looks-real",
        "MNIST: images by RKIP-finite are nearer to a training image than real images are to each other.",
        # What a real image is from the nearest image that it is not itself.
        partial(_over_rkip_finite, label="Distance of real images to others", name="random", split="held_out"),
        0.0,
        "what is nearer than real images are to each other looks as real as they do",
    ),
    Claim("rkip-finite-nearer-than-kip",
          "MNIST: they are nearer to training images than those by KIP, by a tenth or more.",
          partial(_over_rkip_finite, label="KIP's distance", name="kip", split="train"), *A_TENTH),
)  # fmt: skip
