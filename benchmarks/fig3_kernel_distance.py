"""Figure 3: reconstruction error against how far the kernel moved, over data set size and width.

The paper shows, for standard dynamics, that the mean reconstruction error and the kernel distance 1 - cos(K0, Kf) rise
together as the number of training images N grows and the width W falls.

    make reproduce-fig3                 quick: minutes, offline; half of it is figure 2's networks
    make reproduce-fig3 PRESET=full     N up to 80, W up to 1024, both data sets: hours on two cores
    make reproduce-fig3 PRESET=paper    N up to 500, W up to 4096, published schedule: a GPU's work

Expected: a strong pooled rank correlation. But N and W drive both sides of it, so it is given at fixed N, at fixed W,
and against N/W too, and the correlation that kernel distance keeps once N/W is known is a claim of its own. Each N has
draws of images of its own, so that no image is in networks of two sizes; intervals are bootstrapped over draws.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import RHO
from benchmarks._presets import CIFAR, MNIST, attacks, networks, presets
from benchmarks._rows import Row, distinct, published, sources, where
from benchmarks._tables import Table
from recon import statistics
from recon.cells import AttackCell
from recon.claims import Claim, Effect, Summary, correlation
from recon.plots import COLOURS, Figure, interval, log_ticks, new_figure, shades
from recon.records import Stored, attack_row

# Networks as (task, N, widths, seeds). Those of N = 20 (CIFAR-10 in `quick`: N = 10) are figure 2's.
PRESETS = presets(
    quick={
        "networks": (
            (MNIST, 10, (128, 256, 512), (6, 7, 8)),
            (MNIST, 20, (128, 256, 512), (0, 1, 2)),
            (MNIST, 40, (128, 256, 512), (3, 4, 5)),
            # The sizes that the 20 package pictures of CIFAR-10 allow.
            (CIFAR, 4, (128, 256, 512), (1,)),
            (CIFAR, 10, (128, 256, 512), (0,)),
        )
    },
    full={
        "networks": tuple(
            (task, n, (128, 256, 512, 1024), seeds)
            for task in (MNIST, CIFAR)
            for n, seeds in ((10, (6, 7, 8)), (20, (0, 1, 2)), (40, (3, 4, 5)), (80, (9, 10, 11)))
        )
    },
    paper={
        "networks": tuple(
            (task, n, (512, 1024, 2048, 4096), tuple(range(first, first + 3)))
            for task in (MNIST, CIFAR)
            for n, first in ((20, 3), (50, 6), (100, 9), (200, 0), (500, 12))
        )
    },
)


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every network under standard dynamics, attacked as published; the first seed of each by the exact solver too."""
    return [
        AttackCell(task, n, network, preset["standard"], attack, options, seed=seed)
        for task, n, widths, seeds in preset["networks"]
        for _, _, network, seed in networks([(task, n, widths, seeds)])
        for attack, options in attacks(preset, exact=seed == seeds[0])
    ]


def correlations(rows: list[Row], resamples: int = statistics.RESAMPLES) -> dict[str, statistics.Estimate]:
    """Spearman's rho between error and kernel distance, N, W and N/W, inside tasks, with intervals over draws."""
    draw = np.array([r["draw"] for r in rows])
    error, moved, n, width = (np.array([r[k] for r in rows], float) for k in ("error", "kernel_distance", "n", "width"))
    ratio = n / width
    # Strata as numbers: resampling compares them often.
    at_task, at_n, at_w = (
        np.unique([str([r[k] for k in ("task", *keys)]) for r in rows], return_inverse=True)[1]
        for keys in ((), ("n",), ("width",))
    )

    def rho(strata: np.ndarray, *columns: np.ndarray, statistic: Callable[..., float] = statistics.spearman) -> Any:
        return statistics.bootstrap(
            lambda s, *c: statistics.within(statistic, s, *c), (strata, *columns), groups=draw, resamples=resamples
        )

    return {
        "pooled": rho(at_task, error, moved),
        "at fixed N": rho(at_n, error, moved),
        "at fixed W": rho(at_w, error, moved),
        "N/W in its place": rho(at_task, error, ratio),
        "given N/W": rho(at_task, error, moved, ratio, statistic=statistics.partial_spearman),
        "kernel distance and N/W": rho(at_task, moved, ratio),
        "error and N at fixed W": rho(at_w, error, n),
    }


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, and the correlations of all tasks and of each."""
    rows = [attack_row(s.record) for s in results]
    tasks = distinct(rows, "task")
    parts = {"all": published(rows)} | {task: published(rows, task=task) for task in tasks}
    return {"rows": rows, "correlations": {name: correlations(part) for name, part in parts.items()}}


def plot(summary: Summary) -> Figure:
    """For each task: error over kernel distance (size by N, colour by width), over N/W, and the correlations."""
    tasks = distinct(summary["rows"], "task")
    figure = new_figure(9.5, 3.1 * len(tasks))
    grid = figure.subplots(len(tasks), 3, squeeze=False, width_ratios=[1, 1, 0.9])
    colours = shades(r["width"] for r in summary["rows"])
    numbers = sorted(distinct(summary["rows"], "n"))
    sizes = {n: 12.0 + 70.0 * i / max(1, len(numbers) - 1) for i, n in enumerate(numbers)}
    for row, task in zip(grid, tasks, strict=True):
        mine = where(summary["rows"], task=task)
        for axes, name in zip(row, (r"kernel distance $1-\cos(K_0, K_f)$", "N/W"), strict=False):
            for r in mine:
                x = r["n"] / r["width"] if name == "N/W" else r["kernel_distance"]
                exact = r["attack"] == "exact"
                face = "none" if exact else colours[r["width"]]
                axes.scatter(x, r["error"], s=sizes[r["n"]], marker="s" if exact else "o", facecolor=face,
                             edgecolor=colours[r["width"]], alpha=0.75, linewidth=0.8)  # fmt: skip
            top = max(max(r["error"], r["start"]) for r in published(mine))
            control = np.mean([r["start"] for r in published(mine)])
            axes.axhline(control, color=COLOURS["start"], linestyle=":", linewidth=1)
            axes.set(xscale="log", xlabel=name, ylabel="mean L2 distance", ylim=(-0.04 * top, 1.06 * top))
            log_ticks(axes.xaxis)
        row[0].set_title(f"{mine[0]['title']}, standard dynamics", loc="left")
        _intervals(row[2], summary["correlations"][task])
    axes = grid[0, 1]
    for width, colour in colours.items():
        axes.scatter([], [], s=25, color=colour, label=f"W = {width}")
    for n, size in sizes.items():
        axes.scatter([], [], s=size, facecolor="none", edgecolor="#444444", label=f"N = {n}")
    axes.scatter([], [], s=25, marker="s", facecolor="none", edgecolor="#444444", label="exact (beyond the paper)")
    axes.plot([], [], color=COLOURS["start"], linestyle=":", label="attack's start (control)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=7)
    return figure


def _intervals(axes: Any, estimates: dict[str, statistics.Estimate]) -> None:
    """Correlations under each other, with their intervals where there are any."""
    for i, e in enumerate(reversed(list(estimates.values()))):
        interval(axes, float(i), e, COLOURS["standard"], size=4.0)
    axes.axvline(0, color="#444444", linewidth=0.6)
    axes.set_yticks(range(len(estimates)), reversed(list(estimates)))
    groups = next(iter(estimates.values()))["groups"]
    known = "95 % intervals" if groups >= statistics.MIN_GROUPS else "too few for an interval"
    axes.set(xlim=(-1.05, 1.05), xlabel="Spearman's ρ", title=f"draws: {groups}, {known}")


def table(summary: Summary) -> Table:
    """The correlations, a column for each task."""
    names = list(summary["correlations"])
    titles = {r["task"]: r["title"] for r in summary["rows"]} | {"all": "all, inside tasks"}
    kinds = list(summary["correlations"]["all"])
    rows = [[kind, *(statistics.text(summary["correlations"][name][kind]) for name in names)] for kind in kinds]
    title = f"Rank correlation of error and kernel distance ({sources(summary['rows'])})"
    return title, ["rho", *(titles[n] for n in names)], rows


def _correlations(summary: Summary, decides: str, beside: Sequence[str] = ()) -> Effect:
    found = summary["correlations"]["all"]
    return [correlation(f"Rho, {kind}", found[kind], kind == decides) for kind in (decides, *beside)]


CLAIMS = (
    Claim("tracks-kernel-distance", "Over N and W, the error closely follows the kernel distance.",
          partial(_correlations, decides="pooled", beside=("at fixed N", "at fixed W")), 0.5,
          '0.5 is Cohen\'s large correlation, which "closely" asks for'),
    Claim("kernel-distance-beyond-size",
          "Kernel distance tells more about the error than N/W does (not in the paper: its claim's control).",
          partial(_correlations, decides="given N/W", beside=("N/W in its place", "kernel distance and N/W")), *RHO),
    Claim("rises-with-n", "At fixed width, more training images mean a larger error.",
          partial(_correlations, decides="error and N at fixed W"), *RHO),
)  # fmt: skip
