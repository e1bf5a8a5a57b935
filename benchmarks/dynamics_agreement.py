"""Training rules: the closed form and gradient flow end where plain descent in small steps ends.

No figure of the paper: what its experiments rest on. The closed form of linearised dynamics, at convergence and stopped
at three losses, against gradient descent on the linearised model; the exponential integrator of gradient flow against
descent on the network at 0.02/L, with descent at 0.1/L beside it.

    make reproduce-dynamics                 quick: N = 10, W = 128, three draws: a minute, offline
    make reproduce-dynamics PRESET=full     N = 20, W = 512, nine draws of gradient flow: a quarter of an hour

Expected: equal to the order of descent's own rate, in a thousandth of its steps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import average, over
from benchmarks._presets import MNIST
from benchmarks._rows import facts, sources, where
from benchmarks._tables import Table
from recon import statistics
from recon.cells.agreement import AgreementCell
from recon.claims import Claim, Effect, Part, Summary, ratio
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored

SAME = 1e-4  # descent's rate, in units of 1/L: it is as far from its own limit
NEAR = 0.05
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n": 10, "width": 128, "seeds": {"linearised": range(3), "flow": range(3)}},
    "full": {"n": 20, "width": 512, "seeds": {"linearised": range(3), "flow": range(9)}},
}


def cells(preset: dict[str, Any]) -> list[AgreementCell]:
    """A cell for each rule and draw."""
    return [
        AgreementCell(MNIST, preset["n"], preset["width"], rule, seed)
        for rule, seeds in preset["seeds"].items()
        for seed in seeds
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network."""
    rows = []
    for record in (s.record for s in results):
        cell, steps = record["cell"], record["descent"]["steps"]
        rows.append(
            {
                **facts(record, "n", "seed", "title", "source", "draw"),
                **{k: cell[k] for k in ("rule", "width")},
                "gaps": record["gaps"],
                "steps": record["training"]["steps"],
                "descent": max(steps.values()) if isinstance(steps, dict) else steps,
            }
        )
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """Distance from descent: of the closed form where it was stopped, and of gradient flow in each draw."""
    figure = new_figure(7.0, 2.8)
    closed, flow = figure.subplots(1, 2)
    for r in where(summary["rows"], rule="linearised"):
        closed.plot(list(r["gaps"]), list(r["gaps"].values()), "o-", color=COLOURS["linearised"], markersize=3)
    closed.axhline(SAME, color="#222222", linewidth=0.8)
    closed.set(title="closed form", xlabel="stopped at a loss of", ylabel="distance in θ / ‖Δθ‖", yscale="log")
    mine = where(summary["rows"], rule="flow")
    shown = {"flow": (COLOURS["standard"], "gradient flow"), "coarse": ("#888888", "descent at 0.1/L")}
    for name, (colour, label) in shown.items():
        seeds, gaps = [r["seed"] for r in mine], [r["gaps"][name] for r in mine]
        flow.plot(seeds, gaps, "o", color=colour, markersize=3, label=label)
    flow.axhline(NEAR, color="#222222", linewidth=0.8)
    flow.set(title="against descent at 0.02/L", xlabel="draw", yscale="log")
    flow.legend(fontsize=7)
    return figure


def table(summary: Summary) -> Table:
    """A row for each network."""
    columns = ["rule", "task", "N", "W", "draw", "steps", "steps of descent", "distance / ‖Δθ‖"]
    rows = []
    for r in summary["rows"]:
        gaps = ", ".join(f"{name} {gap:.1e}" for name, gap in r["gaps"].items())
        keys = ("rule", "title", "n", "width", "seed", "steps")
        rows.append([*(str(r[k]) for k in keys), f"{r['descent']:,}", gaps])
    return f"Training rules against descent ({sources(summary['rows'])})", columns, rows


def _closed_form(summary: Summary) -> Effect:
    gaps = [(gap, r["draw"]) for r in where(summary["rows"], rule="linearised") for gap in r["gaps"].values()]
    found = statistics.largest(np.array([g for g, _ in gaps]), np.array([draw for _, draw in gaps]))
    return [Part("Largest distance in θ, relative to the change", found, ".0e")] if gaps else []


def _flow(summary: Summary) -> Effect:
    mine = where(summary["rows"], rule="flow")
    gaps = average(mine, lambda r: float(np.log2(r["gaps"]["flow"])))
    gap = Part("Distance in θ, relative to the change", gaps, ".4f", np.exp2, scale="log2 ratio")
    return [gap, ratio("its steps over descent's", over(mine, "steps", "descent"), decides=False)] if mine else []


CLAIMS = (
    Claim("closed-form-is-descent", f"Linearised: the closed form is where descent ends, to {SAME:g} of the change.",
          _closed_form, SAME, "the rate of the descent, in units of 1/L: it is as far from its own limit", "exact"),
    Claim("flow-is-descent", f"Gradient flow ends within {NEAR:.0%} of the change of where small-step descent ends.",
          _flow, float(np.log2(NEAR)), "descent at 0.1/L is itself off by up to 4 %", "below"),
)  # fmt: skip
