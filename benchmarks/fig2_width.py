"""Figure 2: reconstruction error over the width of the network.

The paper shows reconstruction curves for several widths (such as 1024, 2048 and 4096) under linearised and standard
training dynamics: the wider the network, the nearer its training is to linear, and the more comes back.

    make reproduce-fig2                 quick: minutes, offline
    make reproduce-fig2 PRESET=full     widths up to 2048, three draws of images each: hours on two cores
    make reproduce-fig2 PRESET=paper    N = 200, widths up to 4096, published schedule: a GPU's work

Expected: at every width linearised dynamics are attacked better, and errors fall with width. Each task has its own
verdicts. A mean error of a draw of images is one point; ratios of errors are averaged over draws. The series named
"exact" goes beyond the paper.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._shared import (
    CIFAR,
    MNIST,
    NAMES,
    RULES,
    SETTINGS,
    Row,
    attacks,
    compared,
    draw_controls,
    draw_means,
    draw_points,
    grouped,
    growth,
    means,
    published,
    sources,
    width_axis,
)
from recon.cells import AttackCell
from recon.claims import EYE, TENTH, Claim, Effect, Summary, ratio
from recon.dynamics import Dynamics, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, shades
from recon.records import Stored, attack_row, mean_and_spread, rounded

# Networks as (task, N, widths, seeds).
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        # CIFAR-10 at the size that the 20 package pictures allow: ten trained on, ten held out.
        "networks": (
            (MNIST, 20, (128, 256, 512), (0, 1, 2)),
            (MNIST, 20, (256,), (3, 4, 5)),  # figure 4's: three draws left an interval of a factor of seven
            (MNIST, 20, (1024,), (0,)),
            (CIFAR, 10, (128, 256), (0, 1, 2)),
        ),
        **SETTINGS["quick"],
    },
    "full": {
        "networks": tuple((task, 20, (128, 256, 512, 1024, 2048), (0, 1, 2)) for task in (MNIST, CIFAR)),
        **SETTINGS["full"],
    },
    "paper": {
        "networks": tuple((task, 200, (512, 1024, 2048, 4096), (0, 1, 2)) for task in (MNIST, CIFAR)),
        **SETTINGS["paper"],
    },
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every network under both dynamics, attacked as published; those of seed 0 by the exact solver as well."""
    rules: tuple[Dynamics, ...] = (Linearised(), preset["standard"])
    return [
        AttackCell(task, n, MLP((width, width)), rule, attack, options, seed=seed)
        for task, n, widths, seeds in preset["networks"]
        for width in widths
        for seed in seeds
        for rule in rules
        for attack, options in attacks(preset, exact=seed == 0)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, with its curves."""
    columns = {"curve": "distance", "curve_held_out": "held_out"}
    return {
        "rows": [
            attack_row(s.record)
            | {name: rounded(np.sort(s.record["images"][column])) for name, column in columns.items()}
            for s in results
        ]
    }


def plot(summary: Summary) -> Figure:
    """A row for each task: curves by width for either dynamics, then mean error over width."""
    tasks = list(dict.fromkeys(r["task"] for r in summary["rows"]))
    figure = new_figure(9.5, 2.9 * len(tasks) + 0.4)
    grid = figure.subplots(len(tasks), 3, squeeze=False)
    colours = shades(r["width"] for r in summary["rows"])
    for row, task in zip(grid, tasks, strict=True):
        mine = [r for r in summary["rows"] if r["task"] == task]
        for axes, rule in zip(row, RULES, strict=False):
            _curves(axes, [r for r in mine if r["dynamics"] == rule], colours)
            axes.set(title=f"{mine[0]['title']}, {rule}, N = {mine[0]['n']}", ylabel="L2 distance")
            axes.set_ylim(0, 1.4 * max(max(r["curve_held_out"]) for r in mine if r["attack"] != "exact"))
        _means(row[-1], mine)
    grid[0, 1].legend(title="width", fontsize=6, ncols=2, loc="upper left")
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _curves(axes: Axes, rows: list[Row], colours: dict[int, Any]) -> None:
    """Curves of the first seed of each width, and the controls of the widest network."""
    drawn = [r for r in rows if r["attack"] != "exact" and r["seed"] == min(s["seed"] for s in rows)]
    for r in drawn:
        axes.plot(range(1, r["n"] + 1), r["curve"], color=colours[r["width"]], label=f"{r['width']}")
    if drawn:
        widest = max(drawn, key=lambda r: r["width"])
        x = range(1, widest["n"] + 1)
        axes.plot(x, widest["curve_held_out"], color=COLOURS["held_out"], linewidth=1, label="held-out (control)")
        if widest["recognisable"] is not None:
            axes.axhline(widest["recognisable"], color="#444444", linewidth=0.6, label="recognisable")
    axes.set(xlabel="training images, best first")


def _means(axes: Axes, rows: list[Row]) -> None:
    """Mean error over width: a point for each draw of images, a line through their means."""
    for rule in RULES:
        for exact, style, label in ((False, "o-", LABELS[rule]), (True, "s:", f"exact (beyond the paper), {rule}")):
            mine = [r for r in rows if r["dynamics"] == rule and (r["attack"] == "exact") == exact]
            draw_means(axes, mine, "width", COLOURS[rule], style, label=label)
            draw_points(axes, mine, "width", COLOURS[rule])
    draw_controls(axes, published(rows))
    width_axis(axes, (r["width"] for r in rows))
    axes.set(ylabel="mean L2 distance", title="mean error, a point for each draw")
    # Exact errors lie on zero, and far outside where the exact recovery does not apply.
    top = max(max(r["error"], r["start"], r["held_out"]) for r in published(rows))
    axes.set_ylim(-0.02 * top, 1.05 * top)


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean error and controls by task, width, dynamics and attack, averaged over draws."""
    columns = ["task", "N", "W", "dynamics", "attack", "mean L2", "draws", "held-out", "start", "1 - cos(K0, Kf)", "s"]
    rows = []
    for key, mine in grouped(summary["rows"], "title", "n", "width", "dynamics", "attack").items():
        numbers = [mean_and_spread([r["error"] for r in mine]), str(len(mine))]
        rows.append([*map(str, key), *numbers, *means(mine, "held_out", "start", "kernel_distance", "seconds")])
    return f"Error over width ({sources(summary['rows'])})", columns, rows


def _standard_over_linearised(summary: Summary, task: str) -> Effect:
    linearised, standard = (published(summary["rows"], task=task, dynamics=rule) for rule in RULES)
    return [ratio("Standard dynamics' error over linearised's", compared(standard, linearised, "draw", "width"))]


def _fall_with_width(summary: Summary, task: str, rule: str) -> Effect:
    found = growth(published(summary["rows"], task=task, dynamics=rule), "width")
    return [ratio("Error at twice the width over that before", found)]


# A claim for each task: their errors are of different size.
CLAIMS = tuple(
    claim
    for task, name in NAMES.items()
    for claim in (
        Claim(
            f"linearised-beats-standard-{task}",
            f"{name}: at equal width, linearised dynamics are attacked better than standard dynamics (by a tenth or "
            "more).",
            partial(_standard_over_linearised, task=task),
            TENTH,
            EYE,
        ),
        *(
            Claim(
                f"width-helps-{rule}-{task}",
                f"{name}: under {rule} dynamics a wider network gives back more: errors fall by a tenth or more for "
                "each doubling.",
                partial(_fall_with_width, task=task, rule=rule),
                -TENTH,
                EYE,
                "below",
            )
            for rule in RULES
        ),
    )
)
