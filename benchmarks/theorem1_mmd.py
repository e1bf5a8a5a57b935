"""Theorem 1: at infinite width the attack's loss is an MMD², and its zero is the training set.

The attack without any network: 2N images are descended in until they carry the infinitely wide network trained on N,
their weights projected (`recon.distillation.mmd`). The theorem says that no other images can.

    make reproduce-theorem1                 quick: N up to 20 digits, widths of figure 2: minutes, offline
    make reproduce-theorem1 PRESET=full     N up to 100, widths up to 2048: an hour or more on two cores
    make reproduce-theorem1 PRESET=paper    N up to 200, widths up to 4096, published attack: a GPU's work

Expected: errors fall as the loss falls, nearly every image is recognised at the least loss, and finite networks under
linearised dynamics (those of figure 2) come nearer with width. Each point against the loss is a run of its own, of so
many steps from one start. The paper's kernel has no biases and so cannot tell an image from a multiple of it, whence
the sphere in the theorem; here it has small ones, which make it universal on images of any length.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import theilslopes

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells import AttackCell
from recon.cells.base import Cell
from recon.cells.distillation import DistillationCell
from recon.cells.published import SETTINGS
from recon.dynamics import Linearised
from recon.kernels.infinite import InfiniteMLP
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, log_ticks, shades
from recon.plots import figure as new_figure
from recon.records import Stored, attack_row, mean_and_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TASK = "mnist_odd_even"
KERNEL = InfiniteMLP(b_std=0.1)
# Spearman's ρ of losses and errors: at 0.5 the losses explain a quarter of the errors' ranks.
RHO = 0.5
RECOVERED = 0.9  # of the images: all but two of 20

# Sets as (N, seeds), networks as (N, widths, seeds).
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "sets": ((4, (0, 1, 2)), (10, (0, 1, 2)), (20, (0, 1, 2))),
        "steps": (30, 100, 300, 1000, 3000),
        "networks": ((20, (128, 256, 512), (0, 1, 2)), (20, (1024,), (0,))),
        **SETTINGS["quick"],
    },
    "full": {
        "sets": ((10, (0, 1, 2)), (20, (0, 1, 2)), (50, (0, 1, 2)), (100, (0, 1, 2))),
        "steps": (100, 300, 1000, 3000, 10_000),
        "networks": ((20, (128, 256, 512, 1024, 2048), (0, 1, 2)),),
        **SETTINGS["full"],
    },
    "paper": {
        "sets": ((20, (0, 1, 2)), (50, (0, 1, 2)), (100, (0, 1, 2)), (200, (0, 1, 2))),
        "steps": (100, 1000, 10_000, 80_000),
        "networks": ((200, (512, 1024, 2048, 4096), (0, 1, 2)),),
        **SETTINGS["paper"],
    },
}


def cells(preset: dict[str, Any]) -> list[Cell]:
    """The attack at infinite width on each draw, run to several lengths; and figure 2's finite networks."""
    infinite = [
        DistillationCell(
            TASK, n, n, "mmd", (("kernel", KERNEL), ("steps", steps)), seed=seed
        )  # n of each of two classes
        for n, seeds in preset["sets"]
        for seed in seeds
        for steps in preset["steps"]
    ]
    finite = [
        AttackCell(TASK, n, MLP((width, width)), Linearised(), preset["attack"], preset["options"], seed=seed)
        for n, widths, seeds in preset["networks"]
        for width in widths
        for seed in seeds
    ]
    return [*infinite, *finite]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each run at infinite width, and one for each finite network."""
    infinite, finite = [], []
    for record in (s.record for s in results):
        if record["cell"]["kind"] == "attack":
            finite.append(attack_row(record))
            continue
        cell, limit = record["cell"], record["data"]["recognisable"]
        means = {name: float(np.mean(d)) for name, d in record["matched"].items()}
        infinite.append(
            {
                "n": cell["n_train"],
                "seed": cell["seed"],
                "draw": f"N={cell['n_train']} seed {cell['seed']}",
                "source": record["data"]["source"],
                "steps": record["set"]["steps"],
                "loss": max(record["losses"]["rkip"], 0.0) / record["losses"]["norm"],
                "error": means["train"],
                "held_out": means["held_out"],
                "start": means["start"],
                "recovered": float(np.mean(np.array(record["matched"]["train"]) < limit)),
                "recognisable": limit,
                "seconds": sum(record["set"]["seconds"].values()),
            }
        )
    return {"infinite": infinite, "finite": finite}


def _longest(summary: Summary) -> list[dict[str, Any]]:
    """The longest run of each draw."""
    most = max(r["steps"] for r in summary["infinite"])
    return [r for r in summary["infinite"] if r["steps"] == most]


def plot(summary: Summary) -> "Figure":
    """Error against the loss reached; error over N; error over width, with that of infinite width."""
    figure = new_figure(9.5, 3.2)
    by_loss, by_n, by_width = figure.subplots(1, 3)
    rows, longest = summary["infinite"], _longest(summary)
    colours = shades(r["n"] for r in rows)
    for draw in dict.fromkeys(r["draw"] for r in rows):
        mine = sorted((r for r in rows if r["draw"] == draw), key=lambda r: r["steps"])
        label = f"N = {mine[0]['n']}" if mine[0]["seed"] == min(r["seed"] for r in rows) else None
        losses, errors = [r["loss"] for r in mine], [r["error"] for r in mine]
        by_loss.plot(losses, errors, "o-", color=colours[mine[0]["n"]], markersize=3, linewidth=0.8, label=label)
    by_loss.set(xscale="log", yscale="log", xlabel="loss over that of no image", ylabel="mean L2 distance")
    by_loss.invert_xaxis()
    by_loss.set_title("infinite width: error against loss", loc="left")
    sizes = sorted(colours)
    for name, colour, label in (
        ("error", "#222222", "infinite width"),
        *((c, COLOURS[c], LABELS[c]) for c in ("held_out", "start")),
    ):
        means = [np.mean([r[name] for r in longest if r["n"] == n]) for n in sizes]
        by_n.plot(sizes, means, "o-", color=colour, markersize=3, label=label)
    by_n.set(yscale="log", xlabel="training images N", ylabel="mean L2 distance")
    by_n.set_title(f"after {longest[0]['steps']:,} steps", loc="left")
    by_n.set_xticks(sizes, [str(n) for n in sizes])
    finite = summary["finite"]
    widths = sorted({r["width"] for r in finite})
    means = [np.mean([r["error"] for r in finite if r["width"] == w]) for w in widths]
    by_width.plot(widths, means, "o-", color=COLOURS["linearised"], markersize=3, label=LABELS["linearised"])
    by_width.plot(
        [r["width"] for r in finite], [r["error"] for r in finite], ".", color=COLOURS["linearised"], alpha=0.4
    )
    if limit := _at_infinity(summary):
        by_width.axhline(np.mean(list(limit.values())), color="#222222", linewidth=1, label="infinite width")
    by_width.set_xscale("log", base=2)
    by_width.set_xticks(widths, [str(w) for w in widths])
    by_width.set(yscale="log", xlabel="width W", ylabel="mean L2 distance")
    by_width.set_title(f"finite networks, N = {finite[0]['n']}", loc="left")
    for axes in (by_loss, by_n, by_width):
        log_ticks(axes.yaxis)
        axes.legend(fontsize=7)
    return figure


def _at_infinity(summary: Summary) -> dict[int, float]:
    """Error at infinite width by seed, at the finite networks' N."""
    sizes = {r["n"] for r in summary["finite"]}
    return {r["seed"]: r["error"] for r in _longest(summary) if r["n"] in sizes}


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Loss, error and controls by N and steps, then by width, averaged over draws."""
    columns = ["N", "W", "steps", "loss / ‖f‖²", "mean L2", "recognisable", "held-out", "start", "draws", "s"]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in summary["infinite"]:
        groups.setdefault((str(r["n"]), "∞", str(r["steps"])), []).append(r)
    for r in summary["finite"]:
        groups.setdefault((str(r["n"]), str(r["width"]), str(r["steps"])), []).append(r)
    rows = []
    for key, mine in groups.items():
        loss, share = "–", "–"
        if "loss" in mine[0]:
            loss = f"{np.mean([r['loss'] for r in mine]):.1e}"
            share = f"{100 * np.mean([r['recovered'] for r in mine]):.0f} %"
        controls = [f"{np.mean([r[k] for r in mine]):.2g}" for k in ("held_out", "start")]
        seconds = f"{np.mean([r['seconds'] for r in mine]):.1f}"
        rows.append(
            [*key, loss, mean_and_spread([r["error"] for r in mine]), share, *controls, str(len(mine)), seconds]
        )
    sources = "; ".join(dict.fromkeys(r["source"] for r in summary["infinite"]))
    return f"The attack at infinite width, and finite networks (MNIST odd/even, linearised, {sources})", columns, rows


def _falls_with_loss(summary: Summary) -> tuple[Verdict, str]:
    draws = list(dict.fromkeys(r["draw"] for r in summary["infinite"]))
    rows = [[r for r in summary["infinite"] if r["draw"] == draw] for draw in draws]
    rho = [statistics.spearman(*(np.array([r[k] for r in mine]) for k in ("loss", "error"))) for mine in rows]
    found = statistics.mean(np.array(rho), np.array(draws))
    return statistics.verdict(found, RHO), f"Rho of error and loss along a draw's runs: {statistics.text(found)}."


def _all_come_back(summary: Summary) -> tuple[Verdict, str]:
    longest = _longest(summary)
    found = statistics.mean(np.array([r["recovered"] for r in longest]), np.array([r["draw"] for r in longest]))
    effect = f"Recognisable of all, mean over draws: {statistics.text(found, '.1f', lambda v: 100 * v)} %."
    return statistics.verdict(found, RECOVERED), effect


def _finite_approaches(summary: Summary) -> tuple[Verdict, str]:
    limit, draws = _at_infinity(summary), dict[int, list[tuple[float, float]]]()
    for r in summary["finite"]:
        if r["seed"] in limit:
            draws.setdefault(r["seed"], []).append((np.log2(r["width"]), np.log2(abs(r["error"] - limit[r["seed"]]))))
    points = {seed: np.array(p) for seed, p in draws.items() if len({w for w, _ in p}) > 1}
    slopes = np.array([-theilslopes(p[:, 1], p[:, 0]).slope for p in points.values()])
    found = statistics.mean(slopes, np.array(list(points)))
    effect = (
        f"Distance from infinite width's error over that at twice the width: {statistics.text(found, '.2f', np.exp2)}."
    )
    return statistics.verdict(found, statistics.TENTH), effect


CLAIMS = (
    Claim(
        "error-falls-with-loss",
        "At infinite width, the error falls as the loss falls (rho above 0.5).",
        _falls_with_loss,
    ),
    Claim("all-come-back", "At the least loss, more than nine images of ten are recognisable.", _all_come_back),
    Claim(
        "finite-approaches-infinite",
        "Errors of finite networks come nearer to that of infinite width, by a tenth or more for each doubling.",
        _finite_approaches,
    ),
)
