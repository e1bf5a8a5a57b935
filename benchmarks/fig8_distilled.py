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
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells.distillation import DistillationCell
from recon.cells.distilled import DISTILLED, LABELS, MNIST, PRESETS, name_of
from recon.cells.distilled import cells as distilled_cells
from recon.plots import figure as new_figure
from recon.plots import strips
from recon.records import Stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CLAIMS", "PRESETS", "cells", "plot", "summarise", "table"]

SHOWN = ("random", *DISTILLED)
EACH = 5  # pictures of each of two classes; of ten, one


def cells(preset: dict[str, Any]) -> list[DistillationCell]:
    """The distilled sets of table 1, and its random images."""
    return distilled_cells(preset, SHOWN)


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell with its distances; pictures of each task's first seed."""
    rows, panels = [], dict[str, dict[str, Any]]()
    for stored in results:
        record = stored.record
        cell, data = record["cell"], record["data"]
        row = {"task": cell["task"], "title": data["title"], "source": data["source"], "set": name_of(record)}
        row |= {"seed": cell["seed"], "n": cell["n_train"], "m": record["set"]["n"], "nearest": record["nearest"]}
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


def plot(summary: Summary) -> "Figure":
    """A block for each task: a row of real images, then one for each method."""
    panels = summary["panels"]
    heights = [0.62 * len(p["strips"]) + 0.3 for p in panels]
    figure = new_figure(8.0, sum(heights))
    for axes, p in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels, strict=True
    ):
        names = [name for name in SHOWN if name in p["strips"]]
        strips.draw(axes, [p["strips"][name] for name in names], [_label(name) for name in names], ranked=False)
        axes.set_anchor("W")
        axes.set_title(f"{p['title']}, {p['n']} to {p['m']}", loc="left", fontsize=8)
    return figure


def _label(name: str) -> str:
    return "real images" if name == "random" else LABELS[name]


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean distance to the nearest real image by task and set."""
    columns = ["task", "images", "set", "nearest training image, L2", "nearest held-out image, L2", "seeds"]
    rows = []
    for panel in summary["panels"]:
        for name in SHOWN:
            mine = [r for r in summary["rows"] if r["task"] == panel["task"] and r["set"] == name]
            if mine:
                means = [f"{np.mean([r['nearest'][k] for r in mine]):.2f}" for k in ("train", "held_out")]
                rows.append([panel["title"], str(mine[0]["m"]), _label(name), *means, str(len(mine))])
    sources = "; ".join(dict.fromkeys(r["source"] for r in summary["rows"]))
    return f"How near images of a set are to real ones ({sources})", columns, rows


def _distance(summary: Summary, name: str, split: str = "train") -> dict[int, float]:
    """log₂ of the mean distance to the nearest real image, by seed."""
    mine = [r for r in summary["rows"] if r["task"] == MNIST and r["set"] == name]
    return {r["seed"]: float(np.log2(r["nearest"][split])) for r in mine}


def _ratio(a: dict[int, float], b: dict[int, float]) -> statistics.Estimate:
    seeds = sorted(a.keys() & b.keys())
    return statistics.paired(np.array([a[s] for s in seeds]), np.array([b[s] for s in seeds]), np.array(seeds))


def _looks_real(summary: Summary) -> tuple[Verdict, str]:
    # What a real image is from the nearest image that it is not itself.
    found = _ratio(_distance(summary, "random", "held_out"), _distance(summary, "rkip-finite"))
    effect = f"Distance of real images to others over that of RKIP-finite's: {statistics.text(found, '.2f', np.exp2)}."
    return statistics.verdict(found, 0.0), effect


def _nearer_than_kip(summary: Summary) -> tuple[Verdict, str]:
    found = _ratio(_distance(summary, "kip"), _distance(summary, "rkip-finite"))
    effect = f"KIP's distance over RKIP-finite's: {statistics.text(found, '.2f', np.exp2)}."
    return statistics.verdict(found, statistics.TENTH), effect


CLAIMS = (
    Claim(
        "rkip-finite-looks-real",
        "MNIST: images by RKIP-finite are nearer to a training image than real images are to each other.",
        _looks_real,
    ),
    Claim(
        "rkip-finite-nearer-than-kip",
        "MNIST: they are nearer to training images than those by KIP, by a tenth or more.",
        _nearer_than_kip,
    ),
)
