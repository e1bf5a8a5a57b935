"""Theorem 2: the reconstruction loss is KIP's loss in another norm, and a surplus.

With infinite-width kernels, L = ‖y_T − K_TR K_RR⁻¹ y_R‖² in the norm of K_TT⁻¹, plus λ ≥ 0 (a Schur complement).

    make reproduce-theorem2                 quick: 50 digits to 10, 50 and 80: minutes, offline
    make reproduce-theorem2 PRESET=full     500 images to 20, 500 and 600, both binary tasks
    make reproduce-theorem2 PRESET=paper    the same at the published rate of 1e-3, to 50,000 steps

Expected: both sides agree to rounding along any run, of RKIP and of KIP, with fewer images than were trained on and
with more. KIP takes the first term alone to zero. Runs of 1, 10, 100 ... steps at a constant rate from one start are
prefixes of each other, so that each cell is a point of one run: the best step so far. All terms are taken in float64
from the images as stored; y_T is what the network trained on all gives, the targets but for the ridge.
"""

from collections.abc import Sequence
from operator import neg
from typing import Any

import numpy as np

from benchmarks._presets import CIFAR, MNIST
from benchmarks._rows import distinct, facts, grouped, sources, where
from benchmarks._tables import Table
from recon import statistics
from recon.cells.distillation import DistillationCell
from recon.claims import Claim, Effect, Part, Summary
from recon.plots import Figure, new_figure
from recon.records import Stored

METHODS = {"kip": "KIP", "rkip": "RKIP"}
TERMS = {"rkip": ("L", "#222222"), "fit": ("first term", "#0072B2"), "surplus": ("λ", "#D55E00")}

LARGE = {"tasks": (MNIST, CIFAR), "n": 500, "each": (10, 250, 300)}
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"tasks": (MNIST,), "n": 50, "each": (5, 25, 40), "steps": (1, 10, 100, 1000, 5000), "rate": 1e-2},
    "full": {**LARGE, "steps": (1, 10, 100, 1000), "rate": 1e-2},
    "paper": {**LARGE, "steps": (1, 10, 100, 1000, 10_000, 50_000), "rate": 1e-3},
}


def cells(preset: dict[str, Any]) -> list[DistillationCell]:
    """Runs of several lengths of both methods, to fewer images than were trained on, as many, and more."""
    rate = ("optimiser", "adam"), ("learning_rate", preset["rate"])
    return [
        DistillationCell(task, preset["n"], each, method, (*rate, ("steps", steps)))
        for task in preset["tasks"]
        for method in METHODS
        for each in preset["each"]
        for steps in preset["steps"]
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell: the loss and its two terms, as fractions of that of an empty set."""
    rows = []
    for record in (s.record for s in results):
        losses = record["losses"]
        row = facts(record, "task", "title", "source", "n") | {"method": record["cell"]["method"]}
        row |= {"m": record["set"]["n"], "step": record["set"]["step"]}
        row |= {name: losses[name] / losses["norm"] for name in TERMS} | {"kip": losses["kip"]}
        rows.append(row | {"gap": abs(losses["fit"] + losses["surplus"] - losses["rkip"]) / losses["rkip"]})
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """A row for each task and method, a column for each M: the loss and its terms along the run."""
    rows = summary["rows"]
    places, sizes = list(grouped(rows, "task", "method")), sorted(distinct(rows, "m"))
    figure = new_figure(2.9 * len(sizes) + 0.4, 2.4 * len(places) + 0.4)
    grid = figure.subplots(len(places), len(sizes), squeeze=False, sharex=True, sharey=True)
    for line, (task, method) in zip(grid, places, strict=True):
        for axes, m in zip(line, sizes, strict=True):
            mine = where(rows, task=task, method=method, m=m)
            for name, (label, colour) in TERMS.items():
                # λ is zero but for rounding where the set spans the training images.
                value = np.maximum([r[name] for r in mine], 1e-16)
                style = "--" if name == "rkip" else "-"
                axes.plot([r["step"] + 1 for r in mine], value, f"o{style}", color=colour, markersize=3, label=label)
            axes.set(xscale="log", yscale="log")
            title = f"{mine[0]['title']}, {METHODS[method]}, N = {mine[0]['n']}, M = {m}"
            axes.set_title(title, loc="left", fontsize=8)
        line[0].set_ylabel("over that of an empty set")
    for axes in grid[-1]:
        axes.set_xlabel("steps")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def table(summary: Summary) -> Table:
    """The loss, its terms and the gap between both sides, by run and step."""
    columns = ["task", "method", "N", "M", "step", "L / ‖f‖²", "first term", "λ", "gap / L", "KIP's loss"]
    rows = [
        [r["title"], METHODS[r["method"]], *(str(r[k]) for k in ("n", "m", "step")),
         *(f"{r[k]:.1e}" for k in (*TERMS, "gap", "kip"))]
        for r in summary["rows"]
    ]  # fmt: skip
    return f"Both sides of the identity ({sources(summary['rows'])})", columns, rows


def _gap(summary: Summary) -> Effect:
    rows = summary["rows"]
    found = statistics.largest(np.array([r["gap"] for r in rows], float), np.array([r["task"] for r in rows]))
    return [Part(f"Largest gap of {len(rows)} sets, relative to L", found, ".0e", scale="relative")]


def _below_zero(summary: Summary) -> Effect:
    rows = summary["rows"]
    found = statistics.largest(np.array([-r["surplus"] for r in rows], float), np.array([r["task"] for r in rows]))
    return [Part(f"Least λ of {len(rows)} sets, over the loss of an empty set", found, ".1e", neg, scale="minus λ")]


ROUNDING = "float64 holds 1e-16, and the kernels' condition takes the rest"

CLAIMS = (
    Claim("identity-holds", "The two terms add up to the reconstruction loss, to 1e-8 relative.",
          _gap, 1e-8, ROUNDING, "exact"),
    Claim("surplus-not-negative", "λ is not negative, but for rounding.",
          _below_zero, 1e-8, ROUNDING, "exact"),
)  # fmt: skip
