"""Figure G.1: reconstruction error over the loss at which training is stopped, down to a single step.

The paper stops training early and attacks what has been reached: theorem 1 needs no convergence. The published box
penalty has a fixed weight beside a loss that goes with ‖Δθ‖², so that after few steps it is all that counts; the series
"scaled box" weighs it by ‖Δθ‖². After one step of plain descent Δθ is a gradient, and the attack is gradient inversion:
Deep Leakage from Gradients (Zhu, Liu & Han 2019) minimises the same loss over targets in place of duals. It is run on
the same change, with its own solver.

    make reproduce-figG1                 quick: minutes, offline
    make reproduce-figG1 PRESET=full     N = 50, W = 1024
    make reproduce-figG1 PRESET=paper    N = 200, W = 2048, published schedule: a GPU's work

Expected: with the published box errors fall as training goes on; with a scaled one they rise, most under standard
dynamics, whose kernel moves on the way. At every loss they stay far below those of images that the network never saw.
The series named "exact" goes beyond the paper. A point is a draw of images.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, RHO, along, compared, over
from benchmarks._panels import draw_at, draw_control_means, draw_means, draw_points
from benchmarks._presets import MNIST, RULES, presets, rules
from benchmarks._rows import Row, distinct, grouped, heading, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells.early_stopping import EarlyStoppingCell
from recon.claims import Claim, Effect, Summary, correlation, ratio
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.plots import COLOURS, Axes, Figure, new_figure
from recon.records import Stored, attack_row

STEP, STEP_RATE = "one step", 1e-2  # a fiftieth of the loss at quick's size: the first of many steps

MANY = (0.9, 0.5, 0.2, 0.1, 1e-2, 1e-3, 1e-5)
PRESETS = presets(
    quick={"network": (10, 256), "seeds": (0, 1, 2), "stops": (0.9, 0.5, 0.1, 1e-3), "dlg": (("steps", 400),)},
    full={"network": (50, 1024), "seeds": (0, 1, 2), "stops": MANY, "dlg": ()},
    paper={"network": (200, 2048), "seeds": (0, 1, 2), "stops": MANY, "dlg": (("steps", 4000),)},
)


def cells(preset: dict[str, Any]) -> list[EarlyStoppingCell]:
    """Every checkpoint under both dynamics: as published, with a scaled box, and (one draw) exactly; DLG."""
    n, width = preset["network"]
    shared = {"stops": preset["stops"], "learning_rate": STEP_RATE}
    made = []
    for seed in preset["seeds"]:
        for rule in rules(preset).values():
            network = MNIST, n, MLP((width, width)), rule
            for stop in (None, *preset["stops"], 0.0):
                ours = (*network, preset["attack"], preset["options"])
                made += [
                    EarlyStoppingCell(*ours, seed=seed, stop=stop, scaled_box=box, **shared) for box in (False, True)
                ]
                if seed == preset["seeds"][0]:
                    made.append(EarlyStoppingCell(*network, "exact", seed=seed, stop=stop, **shared))
        network, given = (MNIST, n, MLP((width, width)), Linearised()), (("learning_rate", STEP_RATE), *preset["dlg"])
        made.append(EarlyStoppingCell(*network, "dlg", given, seed=seed, stop=None, **shared))
    return made


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell."""
    rows = []
    for s in results:
        cell, training = s.record["cell"], s.record["training"]
        attack = cell["attack"]
        series = attack if attack in ("exact", "dlg") else "scaled box" if cell["scaled_box"] else "published"
        rows.append(
            attack_row(s.record)
            | {"series": series, "stop": STEP if cell["stop"] is None else cell["stop"]}
            | {"loss": training["loss"], "share": training["loss"] / training["initial_loss"]}
            | {"squared_change": s.record["stopping"]["squared_change"], "certified": s.record["attack"]["certified"]}
        )
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """For either dynamics, error over the checkpoint's loss; then everything at one step."""
    figure = new_figure(9.5, 3.3)
    *both, last = figure.subplots(1, 3, width_ratios=[1, 1, 0.8])
    for axes, rule in zip(both, RULES, strict=True):
        _errors(axes, summary, rule)
        first = summary["rows"][0]
        axes.set_title(heading(first | {"dynamics": rule}), loc="left")
    _one_step(last, summary)
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7)
    return figure


def _errors(axes: Axes, summary: Summary, rule: str) -> None:
    colour, mine = COLOURS[rule], where(summary["rows"], dynamics=rule)
    stops = distinct(where(mine, series="published"), "stop")
    mine = [r | {"place": stops.index(r["stop"])} for r in mine]
    for series, style, label in (
        ("published", "o-", "published box"),
        ("scaled box", "^--", "box weighed by ‖Δθ‖²"),
        ("exact", "s:", "exact (beyond the paper)"),
    ):
        rows, face = where(mine, series=series), colour if series == "published" else "none"
        draw_means(axes, rows, "place", colour, style, markerfacecolor=face, markersize=4, label=label)
        draw_points(axes, rows, "place", colour, alpha=0.35, markersize=4)
    rows = where(mine, series="published")
    draw_control_means(axes, rows, "place", "-", linewidth=1)
    top = max(r["start"] for r in rows)
    shares = [np.mean([r["share"] for r in where(rows, stop=stop)]) for stop in stops]
    names = [f"{share:.2g}" if share > 1e-9 else "< 1e-9" for share in shares]
    names[0] = f"{names[0]}\none step"
    axes.set_xticks(range(len(stops)), names, fontsize=7)
    axes.set(xlabel="loss at the checkpoint / initial loss", ylabel="mean L2 distance")
    axes.set_ylim(-0.03 * top, 1.1 * top)


def _one_step(axes: Axes, summary: Summary) -> None:
    """Errors of every attack on the change of one step, a point for each draw, beside their controls."""
    kinds = [(series, rule) for rule in RULES for series in ("published", "scaled box")] + [("dlg", "linearised")]
    names = []
    for i, (series, rule) in enumerate(kinds):
        rows = where(summary["rows"], series=series, dynamics=rule, stop=STEP)
        for key, colour in (("error", COLOURS[rule]), ("held_out", COLOURS["held_out"])):
            draw_at(axes, i, rows, key, "o" if key == "error" else "_", colour, markersize=5, alpha=0.8)
        point = "θ₀" if rule == "linearised" else "θ_f"
        names.append("DLG, θ₀" if series == "dlg" else f"{series}, {point}")
    axes.set_xticks(range(len(kinds)), names, rotation=30, ha="right", fontsize=7)
    axes.set(title="one step: gradient inversion", ylabel="mean L2 distance")
    axes.set_ylim(bottom=-0.2)


def table(summary: Summary) -> Table:
    """Mean error and controls by series, dynamics and checkpoint, averaged over draws."""
    columns = {"loss": mean("loss"), "‖Δθ‖²": mean("squared_change"), "mean L2": error, "draws": count}
    columns |= {"held-out": mean("held_out"), "start": mean("start"), "s": mean("seconds")}
    rows = [r | {"attack": r["series"], "stopped at": _stop(r)} for r in summary["rows"]]
    rows.sort(key=lambda r: (r["attack"], r["dynamics"]))
    title = "Error by checkpoint, stopped at a fraction of the initial loss"
    return tabulate(title, rows, ("attack", "dynamics", "stopped at"), columns)


def _stop(row: Row) -> str:
    return STEP if row["stop"] == STEP else f"{row['stop']:g}" if row["stop"] else "the end"


def _along_training(summary: Summary, rule: str, series: str) -> Effect:
    rows = where(summary["rows"], series=series, dynamics=rule)
    runs = [sorted(run, key=lambda r: r["share"]) for run in grouped(rows, "draw").values()]
    ends = [{"draw": run[0]["draw"], "last": run[0]["error"], "first": run[-1]["error"]} for run in runs]
    return [
        correlation("Rho of loss and error", along(rows, "share", "error")),
        ratio("error after one step over that at the end", over(ends, "first", "last"), decides=False),
    ]


def _best_for_the_defender(summary: Summary, rule: str) -> Effect:
    # The checkpoint that is best for the defender, chosen anew in each draw: the interval errs on the defender's side.
    draws = grouped(where(summary["rows"], series="scaled box", dynamics=rule), "draw").values()
    least = [min(rows, key=lambda r: r["held_out"] / r["error"]) for rows in draws]
    stops = ", ".join(dict.fromkeys(str(r["stop"]) for r in least))
    label = f"Held-out distance over error at the checkpoint where that is least (stopped at {stops})"
    return [ratio(label, over(least, "held_out", "error"))]


def _one_step_attacks(summary: Summary) -> Effect:
    dlg = where(summary["rows"], series="dlg")
    ours = where(summary["rows"], series="scaled box", dynamics="linearised", stop=STEP)
    between = compared(dlg, ours, "draw")
    return [
        ratio("Held-out distance over error: DLG", over(dlg, "held_out", "error")),
        ratio("reconstruction loss", over(ours, "held_out", "error")),
        ratio("DLG's error over the reconstruction loss's, two solvers of one loss", between, decides=False),
    ]


CLAIMS = (
    *(
        Claim(f"improves-as-training-goes-on-{name}{rule}",
              f"Under {rule} dynamics errors fall with the loss at which training is stopped, {box}.",
              partial(_along_training, rule=rule, series=series), *RHO)
        for rule in RULES
        for name, box, series in (
            ("", "box weighed as published", "published"),
            ("scaled-", "box weighed by ‖Δθ‖²", "scaled box"),
        )
    ),
    *(
        Claim(f"early-stopping-is-no-defence-{rule}",
              f"Under {rule} dynamics, wherever training is stopped, one step included, training images come back "
              "nearer than held-out ones (by a tenth or more; box weighed by ‖Δθ‖²).",
              partial(_best_for_the_defender, rule=rule), *A_TENTH)
        for rule in RULES
    ),
    Claim("one-step-is-gradient-inversion",
          "Deep Leakage from Gradients and the reconstruction loss both give images back from the same single step "
          "(by a tenth or more nearer than held-out ones).",
          _one_step_attacks, *A_TENTH),
)  # fmt: skip
