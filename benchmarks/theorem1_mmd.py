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

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import along, growth, share_of
from benchmarks._panels import draw_control_means, draw_means, draw_points, width_axis
from benchmarks._presets import MNIST, attacks, networks, presets
from benchmarks._rows import Row, facts, grouped, sources, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells import AttackCell
from recon.cells.base import Cell
from recon.cells.distillation import DistillationCell
from recon.claims import TENTH, Claim, Effect, Summary, correlation, ratio, share
from recon.dynamics import Linearised
from recon.kernels.infinite import InfiniteMLP
from recon.plots import COLOURS, LABELS, Figure, log_ticks, new_figure, shades
from recon.records import Stored, attack_row

KERNEL = InfiniteMLP(b_std=0.1)
RECOVERED = 0.9  # of the images: all but two of 20

# Sets as (N, seeds), networks as (task, N, widths, seeds).
PRESETS = presets(
    quick={
        "sets": ((4, (0, 1, 2)), (10, (0, 1, 2)), (20, (0, 1, 2))),
        "steps": (30, 100, 300, 1000, 3000),
        "networks": ((MNIST, 20, (128, 256, 512), (0, 1, 2)), (MNIST, 20, (1024,), (0,))),
    },
    full={
        "sets": ((10, (0, 1, 2)), (20, (0, 1, 2)), (50, (0, 1, 2)), (100, (0, 1, 2))),
        "steps": (100, 300, 1000, 3000, 10_000),
        "networks": ((MNIST, 20, (128, 256, 512, 1024, 2048), (0, 1, 2)),),
    },
    paper={
        "sets": ((20, (0, 1, 2)), (50, (0, 1, 2)), (100, (0, 1, 2)), (200, (0, 1, 2))),
        "steps": (100, 1000, 10_000, 80_000),
        "networks": ((MNIST, 200, (512, 1024, 2048, 4096), (0, 1, 2)),),
    },
)


def cells(preset: dict[str, Any]) -> list[Cell]:
    """The attack at infinite width on each draw, run to several lengths; and figure 2's finite networks."""
    infinite = [  # n of each of two classes
        DistillationCell(MNIST, n, n, "mmd", (("kernel", KERNEL), ("steps", steps)), seed=seed)
        for n, seeds in preset["sets"]
        for seed in seeds
        for steps in preset["steps"]
    ]
    finite = [
        AttackCell(task, n, network, Linearised(), *attack, seed=seed)
        for task, n, network, seed in networks(preset["networks"])
        for attack in attacks(preset, exact=False)
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
        infinite.append(
            {
                **facts(record, "n", "seed", "source"),
                "draw": f"N={cell['n_train']} seed {cell['seed']}",
                "steps": record["set"]["steps"],
                "loss": max(record["losses"]["rkip"], 0.0) / record["losses"]["norm"],
                **{"error" if k == "train" else k: float(np.mean(d)) for k, d in record["matched"].items()},
                "recovered": float(np.mean(np.array(record["matched"]["train"]) < limit)),
                "recognisable": limit,
                "seconds": sum(record["set"]["seconds"].values()),
            }
        )
    return {"infinite": infinite, "finite": finite}


def _longest(summary: Summary) -> list[Row]:
    """The longest run of each draw."""
    return where(summary["infinite"], steps=max(r["steps"] for r in summary["infinite"]))


def plot(summary: Summary) -> Figure:
    """Error against the loss reached; error over N; error over width, with that of infinite width."""
    figure = new_figure(9.5, 3.2)
    by_loss, by_n, by_width = figure.subplots(1, 3)
    rows, longest = summary["infinite"], _longest(summary)
    colours = shades(r["n"] for r in rows)
    for run in grouped(rows, "draw").values():
        mine = sorted(run, key=lambda r: r["steps"])
        label = f"N = {mine[0]['n']}" if mine[0]["seed"] == min(r["seed"] for r in rows) else None
        losses, errors = [r["loss"] for r in mine], [r["error"] for r in mine]
        by_loss.plot(losses, errors, "o-", color=colours[mine[0]["n"]], markersize=3, linewidth=0.8, label=label)
    by_loss.set(xscale="log", yscale="log", xlabel="loss over that of no image", ylabel="mean L2 distance")
    by_loss.invert_xaxis()
    by_loss.set_title("infinite width: error against loss", loc="left")
    sizes = sorted(colours)
    draw_means(by_n, longest, "n", "#222222", label="infinite width")
    draw_control_means(by_n, longest, "n")
    by_n.set(yscale="log", xlabel="training images N", ylabel="mean L2 distance")
    by_n.set_title(f"after {longest[0]['steps']:,} steps", loc="left")
    by_n.set_xticks(sizes, [str(n) for n in sizes])
    finite = summary["finite"]
    draw_means(by_width, finite, "width", COLOURS["linearised"], label=LABELS["linearised"])
    draw_points(by_width, finite, "width", COLOURS["linearised"])
    if limit := _at_infinity(summary):
        by_width.axhline(np.mean(list(limit.values())), color="#222222", linewidth=1, label="infinite width")
    width_axis(by_width, (r["width"] for r in finite))
    by_width.set(yscale="log", ylabel="mean L2 distance")
    by_width.set_title(f"finite networks, N = {finite[0]['n']}", loc="left")
    for axes in (by_loss, by_n, by_width):
        log_ticks(axes.yaxis)
        axes.legend(fontsize=7)
    return figure


def _at_infinity(summary: Summary) -> dict[int, float]:
    """Error at infinite width by seed, at the finite networks' N."""
    sizes = {r["n"] for r in summary["finite"]}
    return {r["seed"]: r["error"] for r in _longest(summary) if r["n"] in sizes}


def table(summary: Summary) -> Table:
    """Loss, error and controls by N and steps, then by width, averaged over draws."""

    def reached(key: str, text: Callable[[Sequence[Row]], str]) -> Callable[[Sequence[Row]], str]:
        return lambda rows: text(rows) if key in rows[0] else "–"

    columns = {
        "loss / ‖f‖²": reached("loss", mean("loss", ".1e")),
        "mean L2": error,
        "recognisable": reached("recovered", lambda rows: f"{100 * np.mean([r['recovered'] for r in rows]):.0f} %"),
        "held-out": mean("held_out"),
        "start": mean("start"),
        "draws": count,
        "s": mean("seconds", ".1f"),
    }
    title, source = "The attack at infinite width, and finite networks", sources(summary["infinite"])
    rows = [r | {"width": "∞"} for r in summary["infinite"]] + summary["finite"]
    _, heads, lines = tabulate(title, rows, ("n", "width", "steps"), columns)
    return f"{title} (MNIST odd/even, linearised, {source})", heads, lines


def _error_along_loss(summary: Summary) -> Effect:
    return [correlation("Rho of error and loss along a draw's runs", along(summary["infinite"], "loss", "error"))]


def _draws_that_come_back(summary: Summary) -> Effect:
    found = share_of(_longest(summary), lambda r: r["recovered"] > RECOVERED)
    return [share(f"Draws of which more than {100 * RECOVERED:.0f} % of the images are recognisable", found)]


def _gap_over_width(summary: Summary) -> Effect:
    limit = _at_infinity(summary)
    rows = [
        {"draw": r["seed"], "width": r["width"], "gap": abs(r["error"] - limit[r["seed"]])}
        for r in summary["finite"]
        if r["seed"] in limit
    ]
    return [ratio("Distance from infinite width's error over that at half the width", growth(rows, "width", "gap"))]


CLAIMS = (
    Claim("error-falls-with-loss", "At infinite width, the error falls as the loss falls (rho above 0.5).",
          _error_along_loss, 0.5, "at 0.5 the losses explain a quarter of the errors' ranks"),
    Claim("all-come-back", "At the least loss, more than nine images of ten are recognisable in most draws.",
          _draws_that_come_back, 0.5, "half: most draws"),
    Claim("finite-approaches-infinite",
          "Errors of finite networks come nearer to that of infinite width, by a tenth or more for each doubling.",
          _gap_over_width, -TENTH, "a tenth, as of errors", "below"),
)  # fmt: skip
