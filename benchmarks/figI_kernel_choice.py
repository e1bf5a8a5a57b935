"""Figure I: which kernel to attack with: gradients at θ₀, at θ_f, at both, or at points between them.

The paper's attack takes gradients at θ_f; its variant for standard dynamics adds those at θ₀ with duals of their own,
which helps where the kernel has moved. Here also halfway alone, and at three points of the straight path.

    make reproduce-figI                 quick: minutes, offline
    make reproduce-figI PRESET=full     N up to 40, W up to 1024, five points too
    make reproduce-figI PRESET=paper    N = 200, W up to 4096, published schedule: a GPU's work

Expected: both kernels are at least as good as the better single one, and better than θ_f alone. The gain does not grow
with the distance that the kernel moved: narrow networks, whose kernels move most, are attacked badly from any point.
More points bring a little more at most. A gain is a ratio of errors on one network; draws of images are the points of
an interval.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells import AttackCell
from recon.cells.published import SETTINGS
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, log_ticks, shades
from recon.plots import figure as new_figure
from recon.records import Stored, attack_row, mean_and_spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MNIST = "mnist_odd_even"
START, END, HALF, BOTH, THREE, FIVE = "θ₀", "θ_f", "halfway", "θ₀, θ_f", "3 points", "5 points"
POINTS = {
    START: (0.0,),
    END: (1.0,),
    HALF: (0.5,),
    BOTH: (0.0, 1.0),
    THREE: (0.0, 0.5, 1.0),
    FIVE: (0.0, 0.25, 0.5, 0.75, 1.0),
}
MARKS = dict(zip(POINTS, "v^DosP", strict=True))
# A kernel counts as moved from here on: its distance is known to a few per cent only (units that cross thresholds), and
# at 0.01 it stands at 8 degrees to the first.
MOVED = 0.01
SMALL = 0.1  # Cohen's convention: the least correlation worth a name

# Networks as (N, widths, seeds); those of 128 and wider are figure 3's, at θ_f the same cells.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "networks": ((10, (64, 128, 256), (6, 7, 8)), (20, (64, 128), (0, 1, 2))),
        "points": (START, END, HALF, BOTH, THREE),
        **SETTINGS["quick"],
    },
    "full": {
        "networks": (
            (10, (128, 256, 512, 1024), (6, 7, 8)),
            (20, (128, 256, 512, 1024), (0, 1, 2)),
            (40, (128, 256, 512, 1024), (3, 4, 5)),
        ),
        "points": tuple(POINTS),
        **SETTINGS["full"],
    },
    "paper": {
        "networks": ((200, (512, 1024, 2048, 4096), (0, 1, 2)),),
        "points": tuple(POINTS),
        **SETTINGS["paper"],
    },
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every network under standard dynamics, attacked at every choice of points."""
    return [
        AttackCell(
            MNIST,
            n,
            MLP((width, width)),
            preset["standard"],
            preset["attack"],
            # θ_f alone is the attack's own choice.
            (*preset["options"], *((("points", POINTS[name]),) if name != END else ())),
            seed=seed,
        )
        for n, widths, seeds in preset["networks"]
        for width in widths
        for seed in seeds
        for name in preset["points"]
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell."""
    names = {points: name for name, points in POINTS.items()}
    return {
        "rows": [
            attack_row(s.record) | {"points": names[tuple(s.record["cell"]["options"].get("points", POINTS[END]))]}
            for s in results
        ]
    }


def networks(summary: Summary) -> list[dict[str, Any]]:
    """Each attacked network with its "errors" by choice of points."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for r in summary["rows"]:
        found.setdefault((r["draw"], r["n"], r["width"], r["seed"]), {**r, "errors": {}})["errors"][r["points"]] = r[
            "error"
        ]
    return list(found.values())


def gain(network: dict[str, Any]) -> float:
    """log₂ of the better single kernel's error over that of both."""
    errors = network["errors"]
    return float(np.log2(min(errors[START], errors[END]) / errors[BOTH]))


def plot(summary: Summary) -> "Figure":
    """Errors over kernel distance by choice of points; what both kernels, and more points, gain."""
    figure = new_figure(9.5, 3.2)
    errors, gains, more = figure.subplots(1, 3)
    nets = networks(summary)
    names = [name for name in POINTS if any(name in net["errors"] for net in nets)]
    colours = shades(names.index(name) for name in names)
    for i, name in enumerate(names):
        mine = [net for net in nets if name in net["errors"]]
        x, y = [net["kernel_distance"] for net in mine], [net["errors"][name] for net in mine]
        errors.plot(x, y, MARKS[name], color=colours[i], markersize=4, alpha=0.8, label=name)
    for control in ("held_out", "start"):
        values = [r[control] for r in summary["rows"]]
        errors.axhline(float(np.mean(values)), color=COLOURS[control], linewidth=1, label=LABELS[control])
    errors.set(ylabel="mean L2 distance", ylim=(0, None), title=f"{nets[0]['title']}, standard dynamics")
    _gains(gains, nets, gain, "better single kernel over both")
    _gains(more, nets, partial(_log_ratio, worse=BOTH, better=THREE), "both over three points")
    for axes in (errors, gains, more):
        axes.set(xscale="log", xlabel=r"kernel distance $1-\cos(K_0, K_f)$")
        log_ticks(axes.xaxis)
    figure.legend(*errors.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7)
    return figure


def _gains(axes: "Axes", nets: list[dict[str, Any]], of: Callable[[dict[str, Any]], float], title: str) -> None:
    colours = shades(net["width"] for net in nets)
    for n, mark in zip(sorted({net["n"] for net in nets}), "os^Dv", strict=False):
        for net in (net for net in nets if net["n"] == n):
            axes.plot(net["kernel_distance"], 2 ** of(net), mark, color=colours[net["width"]], markersize=4)
        axes.plot([], [], mark, color="#444444", markersize=4, label=f"N = {n}")
    for width, colour in colours.items():
        axes.plot([], [], "-", color=colour, label=f"W = {width}")
    axes.axhline(1, color="#444444", linewidth=0.6)
    axes.axvline(MOVED, color="#444444", linewidth=0.6, linestyle=":")
    axes.set(title=f"error of {title}", ylabel="ratio of mean L2 distances")
    axes.legend(fontsize=6, ncols=2)


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean error by network and choice of points, averaged over draws, with controls."""
    nets = networks(summary)
    names = [name for name in POINTS if any(name in net["errors"] for net in nets)]
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for net in nets:
        groups.setdefault((net["n"], net["width"]), []).append(net)
    rows = []
    for (n, width), mine in groups.items():
        errors = [mean_and_spread([net["errors"][name] for net in mine]) for name in names]
        others = [f"{np.mean([net[k] for net in mine]):.2g}" for k in ("kernel_distance", "held_out", "start")]
        rows.append([str(n), str(width), *errors, *others, str(len(mine))])
    sources = "; ".join(dict.fromkeys(r["source"] for r in summary["rows"]))
    columns = ["N", "W", *names, "1 - cos(K0, Kf)", "held-out", "start", "draws"]
    return f"Mean L2 distance by where gradients are taken ({nets[0]['title']}, {sources})", columns, rows


def _log_ratio(net: dict[str, Any], worse: str, better: str) -> float:
    return float(np.log2(net["errors"][worse] / net["errors"][better]))


def _mean(nets: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> statistics.Estimate:
    return statistics.mean(np.array([of(net) for net in nets]), np.array([net["draw"] for net in nets]))


def _text(estimate: statistics.Estimate) -> str:
    return statistics.text(estimate, ".2f", np.exp2)


def _moved(summary: Summary) -> list[dict[str, Any]]:
    return [net for net in networks(summary) if net["kernel_distance"] >= MOVED]


def _at_least_as_good(summary: Summary) -> tuple[Verdict, str]:
    nets = _moved(summary)
    found = _mean(nets, gain)
    effect = (
        f"Better single kernel's error over both's, kernel distance of {MOVED} or more: {_text(found)} "
        f"({len(nets)} networks, {sum(gain(net) >= 0 for net in nets)} of them above 1)."
    )
    return statistics.verdict(found, -statistics.TENTH), effect


def _over_published(summary: Summary) -> tuple[Verdict, str]:
    nets = _moved(summary)
    found = _mean(nets, partial(_log_ratio, worse=END, better=BOTH))
    ratios = {name: _mean(nets, partial(_log_ratio, worse=END, better=name)) for name in (START, HALF, THREE)}
    others = "; ".join(f"{name}: {_text(ratio)}" for name, ratio in ratios.items())
    return statistics.verdict(found, statistics.TENTH), f"θ_f's error over both's: {_text(found)}; over {others}."


def _grows(summary: Summary) -> tuple[Verdict, str]:
    nets = networks(summary)
    columns = [np.array([of(net) for net in nets]) for of in (gain, lambda net: net["kernel_distance"])]
    found = statistics.bootstrap(statistics.spearman, columns, np.array([net["draw"] for net in nets]))
    return statistics.verdict(found, SMALL), f"Rho of gain and kernel distance: {statistics.text(found)}."


def _more_points(summary: Summary) -> tuple[Verdict, str]:
    found = _mean(_moved(summary), partial(_log_ratio, worse=BOTH, better=THREE))
    return statistics.verdict(found, statistics.TENTH), f"Both kernels' error over three points': {_text(found)}."


CLAIMS = (
    Claim(
        "both-at-least-as-good",
        "Where the kernel moved, gradients at θ₀ and θ_f together are at least as good as the better of the two alone "
        "(at most a tenth worse).",
        _at_least_as_good,
    ),
    Claim(
        "both-over-published",
        "Where the kernel moved, both kernels beat θ_f alone by a tenth or more.",
        _over_published,
    ),
    Claim("gain-grows", "The further the kernel moved, the more both gain over the better single one.", _grows),
    Claim(
        "more-points",
        "Where the kernel moved, three points of the path beat its two ends by a tenth or more (beyond the paper).",
        _more_points,
    ),
)
