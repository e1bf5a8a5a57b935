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

from benchmarks._estimates import A_TENTH, TENTH_LESS, compared, growth
from benchmarks._panels import draw_controls, draw_rules, width_axis
from benchmarks._presets import CIFAR, MNIST, NAMES, RULES, attacks, networks, presets, rules
from benchmarks._rows import Row, curves, distinct, published, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells import AttackCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.plots import COLOURS, Axes, Figure, new_figure, shades
from recon.records import Stored, attack_row

# Networks as (task, N, widths, seeds).
PRESETS = presets(
    quick={
        # CIFAR-10 at the size that the 20 package pictures allow: ten trained on, ten held out.
        "networks": (
            (MNIST, 20, (128, 256, 512), (0, 1, 2)),
            (MNIST, 20, (256,), (3, 4, 5)),  # figure 4's: three draws left an interval of a factor of seven
            (MNIST, 20, (1024,), (0,)),
            (CIFAR, 10, (128, 256), (0, 1, 2)),
        )
    },
    full={"networks": tuple((task, 20, (128, 256, 512, 1024, 2048), (0, 1, 2)) for task in (MNIST, CIFAR))},
    paper={"networks": tuple((task, 200, (512, 1024, 2048, 4096), (0, 1, 2)) for task in (MNIST, CIFAR))},
)


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every network under both dynamics, attacked as published; those of seed 0 by the exact solver as well."""
    return [
        AttackCell(task, n, network, rule, attack, options, seed=seed)
        for task, n, network, seed in networks(preset["networks"])
        for rule in rules(preset).values()
        for attack, options in attacks(preset, exact=seed == 0)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, with its curves."""
    columns = {"curve": "distance", "curve_held_out": "held_out"}
    return {"rows": [attack_row(s.record) | curves(s, **columns) for s in results]}


def plot(summary: Summary) -> Figure:
    """A row for each task: curves by width for either dynamics, then mean error over width."""
    tasks = distinct(summary["rows"], "task")
    figure = new_figure(9.5, 2.9 * len(tasks) + 0.4)
    grid = figure.subplots(len(tasks), 3, squeeze=False)
    colours = shades(r["width"] for r in summary["rows"])
    for row, task in zip(grid, tasks, strict=True):
        mine = where(summary["rows"], task=task)
        for axes, rule in zip(row, RULES, strict=False):
            _curves(axes, where(mine, dynamics=rule), colours)
            axes.set(title=f"{mine[0]['title']}, {rule}, N = {mine[0]['n']}", ylabel="L2 distance")
            axes.set_ylim(0, 1.4 * max(max(r["curve_held_out"]) for r in published(mine)))
        _means(row[-1], mine)
    grid[0, 1].legend(title="width", fontsize=6, ncols=2, loc="upper left")
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _curves(axes: Axes, rows: list[Row], colours: dict[int, Any]) -> None:
    """Curves of the first seed of each width, and the controls of the widest network."""
    drawn = published(rows, seed=min((r["seed"] for r in rows), default=0))
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
    draw_rules(axes, rows, "width")
    draw_controls(axes, published(rows))
    width_axis(axes, (r["width"] for r in rows))
    axes.set(ylabel="mean L2 distance", title="mean error, a point for each draw")
    # Exact errors lie on zero, and far outside where the exact recovery does not apply.
    top = max(max(r["error"], r["start"], r["held_out"]) for r in published(rows))
    axes.set_ylim(-0.02 * top, 1.05 * top)


def table(summary: Summary) -> Table:
    """Mean error and controls by task, width, dynamics and attack, averaged over draws."""
    columns = {"mean L2": error, "draws": count, "held-out": mean("held_out"), "start": mean("start")}
    columns |= {"1 - cos(K0, Kf)": mean("kernel_distance"), "s": mean("seconds")}
    return tabulate("Error over width", summary["rows"], ("title", "n", "width", "dynamics", "attack"), columns)


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
        Claim(f"linearised-beats-standard-{task}",
              f"{name}: at equal width, linearised dynamics are attacked better than standard dynamics (by a tenth or "
              "more).",
              partial(_standard_over_linearised, task=task), *A_TENTH),
        *(
            Claim(f"width-helps-{rule}-{task}",
                  f"{name}: under {rule} dynamics a wider network gives back more: errors fall by a tenth or more for "
                  "each doubling.",
                  partial(_fall_with_width, task=task, rule=rule), *TENTH_LESS)
            for rule in RULES
        ),
    )
)  # fmt: skip
