"""Figure 4: networks of ten classes against binary ones.

The paper shows reconstructions from 10-way networks: each image enters the weights through ten outputs, so that they
leak at least as much as binary networks of equal size.

    make reproduce-fig4                 quick: MNIST, minutes, offline
    make reproduce-fig4 PRESET=full     both data sets, widths up to 1024: hours on two cores
    make reproduce-fig4 PRESET=paper    N = 200, widths up to 4096, published schedule: a GPU's work

Expected: a lower error from ten outputs, under both dynamics. The two are paired by data set, N, W, dynamics and seed,
not by image: each task balances its own classes. The series named "exact" goes beyond the paper.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from benchmarks._estimates import A_TENTH, compared
from benchmarks._panels import choose_pair, draw_means, draw_points, parts, show_pair, width_axis
from benchmarks._presets import CIFAR, CIFAR10, MNIST, MNIST10, RULES, attacks, networks, presets, rules
from benchmarks._rows import Row, curves, distinct, published, where
from benchmarks._tables import Table, mean, tabulate
from recon.cells import AttackCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure
from recon.records import Stored, attack_row, mean_and_spread
from recon.statistics import Estimate

# Data sets, each as its binary and its 10-way task.
DATASETS = {"mnist": (MNIST, MNIST10), "cifar10": (CIFAR, CIFAR10)}
STYLES = ("-", "--")  # of binary and of 10-way networks
EACH = 4  # pictures from each end and from the middle of the ranking

# Pairs of networks as (data set, N, widths, seeds).
PRESETS = presets(
    # Three draws left an interval of a factor of seven.
    quick={"pairs": (("mnist", 20, (256,), (0, 1, 2, 3, 4, 5)), ("mnist", 20, (512,), (0,)))},
    full={"pairs": (("mnist", 20, (256, 512, 1024), (0, 1, 2)), ("cifar10", 20, (256, 512), (0, 1, 2)))},
    paper={"pairs": tuple((dataset, 200, (1024, 2048, 4096), (0, 1, 2)) for dataset in DATASETS)},
)


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Both tasks on every network under both dynamics, attacked as published; of seed 0 by the exact solver as well."""
    return [
        AttackCell(task, n, network, rule, attack, options, seed=seed)
        for dataset, n, network, seed in networks(preset["pairs"])
        for rule in rules(preset).values()
        for task in DATASETS[dataset]
        for attack, options in attacks(preset, exact=seed == 0)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell with its curve; pictures of the widest networks of the first seed."""
    rows, shown = [], dict[tuple[str, str, int], tuple[Row, Stored]]()
    for s in results:
        r = attack_row(s.record)
        r["dataset"] = next(d for d, tasks in DATASETS.items() if r["task"] in tasks)
        r["kind"] = DATASETS[r["dataset"]].index(r["task"])
        rows.append(r | curves(s, curve="distance"))
        place = r["dataset"], r["dynamics"], r["kind"]
        if r["attack"] != "exact" and (place not in shown or _rank(r) > _rank(shown[place][0])):
            shown[place] = r, s
    panels = [r | choose_pair(s, EACH) for _, (r, s) in sorted(shown.items(), key=itemgetter(0))]
    return {"rows": rows, "panels": panels}


def _rank(row: dict[str, Any]) -> tuple[int, int]:
    return row["width"], -row["seed"]


def plot(summary: Summary) -> Figure:
    """Rows of pictures above; for each data set curves under either dynamics, and mean errors."""
    datasets, panels = distinct(summary["rows"], "dataset"), summary["panels"]
    heights = 0.55 * len(panels), 2.9 * len(datasets)
    figure = new_figure(9.5, sum(heights))
    pictures, below = parts(figure, *heights)
    places = pictures.subplots((len(panels) + 1) // 2, 2, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, p in zip(places, panels, strict=False):
        show_pair(axes, p, EACH, fontsize=8)
    grid = below.subplots(len(datasets), 3, squeeze=False)
    for row, dataset in zip(grid, datasets, strict=True):
        mine = where(summary["rows"], dataset=dataset)
        for axes, rule in zip(row, RULES, strict=False):
            for p in where(panels, dataset=dataset, dynamics=rule):
                curve = next(
                    r["curve"] for r in where(mine, **{k: p[k] for k in ("draw", "width", "dynamics", "attack")})
                )
                axes.plot(range(1, p["n"] + 1), curve, STYLES[p["kind"]], color=COLOURS[rule], label=p["title"])
                axes.axhline(p["held_out"], linestyle=STYLES[p["kind"]], color=COLOURS["held_out"], linewidth=1)
            axes.set(title=LABELS[rule], xlabel="training images, best first", ylabel="L2 distance")
            axes.set_ylim(0, None)
            axes.plot([], [], color=COLOURS["held_out"], linewidth=1, label="held-out, mean (control)")
            axes.legend(fontsize=7)
        _means(row[-1], mine)
    return figure


def _means(axes: Axes, rows: list[Row]) -> None:
    """Mean error over width for both tasks, a point for each draw, the exact recovery apart."""
    for rule in RULES:
        for kind, style in enumerate(STYLES):
            mine = where(rows, dynamics=rule, kind=kind)
            paper, exact = published(mine), where(mine, attack="exact")
            label = f"{paper[0]['title']}, {rule}" if paper else None
            draw_means(axes, paper, "width", COLOURS[rule], style, label=label)
            draw_points(axes, paper, "width", COLOURS[rule], "ox"[kind], markersize=4, alpha=0.6)
            draw_points(axes, exact, "width", COLOURS[rule], "sD"[kind], markersize=4, fillstyle="none", alpha=None)
    axes.plot([], [], "s", color="#444444", markersize=4, fillstyle="none", label="exact (beyond the paper)")
    top = max(r["error"] for r in published(rows))
    width_axis(axes, (r["width"] for r in rows))
    axes.set(ylabel="mean L2 distance", title="mean error", ylim=(-0.04 * top, 1.6 * top))
    axes.legend(fontsize=6.5, loc="upper right")


def table(summary: Summary) -> Table:
    """Mean error of either task side by side."""

    def errors(kind: int) -> Callable[[Sequence[Row]], str]:
        return lambda rows: mean_and_spread([r["error"] for r in mine]) if (mine := where(rows, kind=kind)) else ""

    columns = {"binary, mean L2": errors(0), "10-way, mean L2": errors(1), "held-out": mean("held_out", ".1f")}
    columns |= {"draws": lambda rows: str(max(len(where(rows, kind=kind)) for kind in (0, 1)))}
    title, rows = "Ten classes against two", [r | {"data set": r["dataset"]} for r in summary["rows"]]
    return tabulate(title, rows, ("data set", "n", "width", "dynamics", "attack"), columns)


def _binary_over_ten(summary: Summary) -> Effect:
    # A seed of a size is a draw of either task's images, which are not the same.
    rows = [r | {"place": f"{r['dataset']} N={r['n']} seed {r['seed']}"} for r in published(summary["rows"])]

    def found(names: tuple[str, ...]) -> Estimate:
        binary, ten = ([r for r in where(rows, kind=kind) if r["dynamics"] in names] for kind in (0, 1))
        return compared(binary, ten, "place", "width", "dynamics", group="place")

    both = found(RULES)
    counts = f"{both['n']} pairs in {both['groups']} seeds of a size"
    return [
        ratio(f"Binary error over 10-way error, {counts}", both),
        *(ratio(rule, found((rule,)), decides=False) for rule in RULES),
    ]


CLAIMS = (
    Claim("multiclass-leaks-more",
          "At equal N and W, a 10-way network gives back its images with an error lower by a tenth or more.",
          _binary_over_ten, *A_TENTH),
)  # fmt: skip
