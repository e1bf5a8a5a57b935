"""Figure 4: networks of ten classes against binary ones.

The paper shows reconstructions from 10-way networks: each image enters the weights through ten outputs, so that they
leak at least as much as binary networks of equal size.

    make reproduce-fig4                 quick: MNIST, minutes, offline
    make reproduce-fig4 PRESET=full     both data sets, widths up to 1024: hours on two cores
    make reproduce-fig4 PRESET=paper    N = 200, widths up to 4096, published schedule: a GPU's work

Expected: a lower error from ten outputs, under both dynamics. The two are paired by data set, N, W, dynamics and seed,
not by image: each task balances its own classes. The series named "exact" goes beyond the paper.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from benchmarks._shared import (
    CIFAR,
    CIFAR10,
    MNIST,
    MNIST10,
    RULES,
    SETTINGS,
    Row,
    attacks,
    choose_pair,
    compared,
    draw_means,
    draw_points,
    grouped,
    means,
    published,
    show_pair,
    sources,
    width_axis,
)
from recon.cells import AttackCell
from recon.claims import EYE, TENTH, Claim, Effect, Summary, ratio
from recon.dynamics import Dynamics, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Figure, new_figure
from recon.records import Stored, attack_row, mean_and_spread, rounded
from recon.statistics import Estimate

# Data sets, each as its binary and its 10-way task.
DATASETS = {"mnist": (MNIST, MNIST10), "cifar10": (CIFAR, CIFAR10)}
STYLES = ("-", "--")  # of binary and of 10-way networks
EACH = 4  # pictures from each end and from the middle of the ranking

# Pairs of networks as (data set, N, widths, seeds).
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        # Three draws left an interval of a factor of seven.
        "pairs": (("mnist", 20, (256,), (0, 1, 2, 3, 4, 5)), ("mnist", 20, (512,), (0,))),
        **SETTINGS["quick"],
    },
    "full": {
        "pairs": (("mnist", 20, (256, 512, 1024), (0, 1, 2)), ("cifar10", 20, (256, 512), (0, 1, 2))),
        **SETTINGS["full"],
    },
    "paper": {
        "pairs": (("mnist", 200, (1024, 2048, 4096), (0, 1, 2)), ("cifar10", 200, (1024, 2048, 4096), (0, 1, 2))),
        **SETTINGS["paper"],
    },
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Both tasks on every network under both dynamics, attacked as published; of seed 0 by the exact solver as well."""
    rules: tuple[Dynamics, ...] = (Linearised(), preset["standard"])
    return [
        AttackCell(task, n, MLP((width, width)), rule, attack, options, seed=seed)
        for dataset, n, widths, seeds in preset["pairs"]
        for width in widths
        for seed in seeds
        for rule in rules
        for task in DATASETS[dataset]
        for attack, options in attacks(preset, exact=seed == 0)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell with its curve; pictures of the widest networks of the first seed."""
    rows = []
    shown = dict[tuple[str, str, int], tuple[Row, Stored]]()
    for s in results:
        r = attack_row(s.record)
        r["dataset"] = next(d for d, tasks in DATASETS.items() if r["task"] in tasks)
        r["kind"] = DATASETS[r["dataset"]].index(r["task"])
        rows.append(r | {"curve": rounded(np.sort(s.record["images"]["distance"]))})
        place = r["dataset"], r["dynamics"], r["kind"]
        if r["attack"] != "exact" and (place not in shown or _rank(r) > _rank(shown[place][0])):
            shown[place] = r, s
    return {
        "rows": rows,
        "panels": [r | choose_pair(s, EACH) for _, (r, s) in sorted(shown.items(), key=itemgetter(0))],
    }


def _rank(row: dict[str, Any]) -> tuple[int, int]:
    return row["width"], -row["seed"]


def plot(summary: Summary) -> Figure:
    """Rows of pictures above; for each data set curves under either dynamics, and mean errors."""
    datasets = list(dict.fromkeys(r["dataset"] for r in summary["rows"]))
    panels = summary["panels"]
    height = 0.55 * len(panels)
    figure = new_figure(9.5, height + 2.9 * len(datasets))
    pictures, below = np.asarray(figure.subfigures(2, 1, height_ratios=[height, 2.9 * len(datasets)]))
    places = pictures.subplots((len(panels) + 1) // 2, 2, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, p in zip(places, panels, strict=False):
        show_pair(axes, p, EACH, fontsize=8)
    grid = below.subplots(len(datasets), 3, squeeze=False)
    for row, dataset in zip(grid, datasets, strict=True):
        mine = [r for r in summary["rows"] if r["dataset"] == dataset]
        for axes, rule in zip(row, RULES, strict=False):
            for p in (p for p in panels if p["dataset"] == dataset and p["dynamics"] == rule):
                curve = next(
                    r["curve"] for r in mine if all(r[k] == p[k] for k in ("draw", "width", "dynamics", "attack"))
                )
                axes.plot(range(1, p["n"] + 1), curve, STYLES[p["kind"]], color=COLOURS[rule], label=p["title"])
                axes.axhline(p["held_out"], linestyle=STYLES[p["kind"]], color=COLOURS["held_out"], linewidth=1)
            axes.set(title=LABELS[rule], xlabel="training images, best first", ylabel="L2 distance")
            axes.set_ylim(0, None)
            axes.plot([], [], color=COLOURS["held_out"], linewidth=1, label="held-out, mean (control)")
            axes.legend(fontsize=7)
        _means(row[-1], mine)
    return figure


def _means(axes: Any, rows: list[Row]) -> None:
    """Mean error over width for both tasks, a point for each draw, the exact recovery apart."""
    for rule in RULES:
        for kind, style in enumerate(STYLES):
            mine = [r for r in rows if r["dynamics"] == rule and r["kind"] == kind]
            paper, exact = published(mine), [r for r in mine if r["attack"] == "exact"]
            label = f"{paper[0]['title']}, {rule}" if paper else None
            draw_means(axes, paper, "width", COLOURS[rule], style, label=label)
            draw_points(axes, paper, "width", COLOURS[rule], "ox"[kind], markersize=4, alpha=0.6)
            draw_points(axes, exact, "width", COLOURS[rule], "sD"[kind], markersize=4, fillstyle="none", alpha=None)
    axes.plot([], [], "s", color="#444444", markersize=4, fillstyle="none", label="exact (beyond the paper)")
    top = max(r["error"] for r in published(rows))
    width_axis(axes, (r["width"] for r in rows))
    axes.set(ylabel="mean L2 distance", title="mean error", ylim=(-0.04 * top, 1.6 * top))
    axes.legend(fontsize=6.5, loc="upper right")


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean error of either task side by side."""
    columns = ["data set", "N", "W", "dynamics", "attack", "binary, mean L2", "10-way, mean L2", "held-out", "draws"]
    rows = []
    for key, mine in grouped(summary["rows"], "dataset", "n", "width", "dynamics", "attack").items():
        errors = [[r["error"] for r in mine if r["kind"] == kind] for kind in (0, 1)]
        shown = [mean_and_spread(e) if e else "" for e in errors]
        rows.append([*map(str, key), *shown, *means(mine, "held_out", spec=".1f"), str(max(map(len, errors)))])
    return f"Ten classes against two ({sources(summary['rows'])})", columns, rows


def _binary_over_ten(summary: Summary) -> Effect:
    # A seed of a size is a draw of either task's images, which are not the same.
    rows = [r | {"place": f"{r['dataset']} N={r['n']} seed {r['seed']}"} for r in published(summary["rows"])]

    def found(rules: tuple[str, ...]) -> Estimate:
        binary, ten = ([r for r in rows if r["kind"] == kind and r["dynamics"] in rules] for kind in (0, 1))
        return compared(binary, ten, "place", "width", "dynamics", group="place")

    both = found(RULES)
    counts = f"{both['n']} pairs in {both['groups']} seeds of a size"
    return [
        ratio(f"Binary error over 10-way error, {counts}", both),
        *(ratio(rule, found((rule,)), decides=False) for rule in RULES),
    ]


CLAIMS = (
    Claim(
        "multiclass-leaks-more",
        "At equal N and W, a 10-way network gives back its images with an error lower by a tenth or more.",
        _binary_over_ten,
        TENTH,
        EYE,
    ),
)
