"""Figure G.2: losses other than the squared error, with and without weight decay.

The paper attacks networks trained with cross-entropy as well: every loss adds gradients of the outputs with weights, so
Δθ = Σ α ∇f holds in the linear regime, with the loss's derivative, integrated over training, as α. Here logistic and
exponential losses (one output, ±1) and softmax cross-entropy (10 outputs) stand beside the squared error. Weight decay
λ at rate η leaves (1 − ηλ)^T θ₀ in the weights after T steps; an attacker who knows the three takes it out, one who
does not takes it for a part of Δθ.

    make reproduce-figG2                 quick: minutes, offline
    make reproduce-figG2 PRESET=full     N = 50, W = 1024
    make reproduce-figG2 PRESET=paper    N = 200, W = 2048, published schedule: a GPU's work

Expected: at losses of 0.01 all are attackable. Of squared error the Taylor models are attacked best; of cross-entropy
they give every image back too bright, which its distance counts: a Taylor model needs large duals to reach such a loss,
beside which the box penalty of fixed weight is weak. So small a decay hardly matters, taken out or ignored. The series
named "exact" goes beyond the paper; it finds an unknown decay by itself.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, compared, over
from benchmarks._panels import draw_at, parts, show_pair, stack
from benchmarks._presets import MNIST, MNIST10, RULES, attacks, presets
from benchmarks._rows import Row, published, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells.losses import LossCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.dynamics.losses import LinearisedLossDescent, LossDescent
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, strips
from recon.records import Stored, attack_row

# Series: (task, loss, decayed, subtracted).
SERIES = {
    "squared error": (MNIST, "mse", False, True),
    "logistic": (MNIST, "logistic", False, True),
    "exponential": (MNIST, "exponential", False, True),
    "logistic, decay subtracted": (MNIST, "logistic", True, True),
    "logistic, decay ignored": (MNIST, "logistic", True, False),
    "squared error, 10 outputs": (MNIST10, "mse", False, True),
    "softmax, 10 outputs": (MNIST10, "softmax", False, True),
}
SHOWN = 10  # training images drawn for each of two series

# `loss` is where training stops; the squared error of 10 outputs starts at 0.45, of one at 0.5, cross-entropy at log 2
# and log 10.
PRESETS = presets(
    quick={"n": 10, "width": 256, "seeds": (0, 1, 2), "loss": 1e-2, "decay": 1e-3},
    full={"n": 50, "width": 1024, "seeds": (0, 1, 2), "loss": 1e-2, "decay": 1e-3},
    paper={"n": 200, "width": 2048, "seeds": (0, 1, 2), "loss": 1e-3, "decay": 1e-4},
)


def cells(preset: dict[str, Any]) -> list[LossCell]:
    """Every loss under both dynamics, attacked as published; of the first seed by the exact solver as well."""
    return [
        LossCell(
            task,
            preset["n"],
            MLP((preset["width"],) * 2),
            rule(objective=loss, weight_decay=preset["decay"] if decayed else 0.0, loss=preset["loss"]),  # type: ignore[arg-type]
            attack,
            options,
            seed=seed,
            subtract=subtract,
        )
        for seed in preset["seeds"]
        for task, loss, decayed, subtract in SERIES.values()
        for rule in (LinearisedLossDescent, LossDescent)
        for attack, options in attacks(preset, exact=seed == preset["seeds"][0])
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell; pictures of the two cross-entropies."""
    names = {value: name for name, value in SERIES.items()}
    rows, pictures = [], []
    for s in results:
        cell, rule = s.record["cell"], s.record["cell"]["dynamics"]
        kind = cell["task"], rule["objective"], rule["weight_decay"] > 0, cell["subtract"]
        linear = rule["rule"].startswith("Linearised")
        row = attack_row(s.record) | {
            "dynamics": "linearised" if linear else "standard",
            "series": names[kind],
            "loss": s.record["training"]["loss"],
            "training_steps": s.record["training"]["steps"],
            "certified": s.record["attack"]["certified"],
            **s.record["loss"],
        }
        rows.append(row)
        first = cell["seed"] == results[0].record["cell"]["seed"]
        if first and cell["attack"] != "exact" and names[kind] in ("logistic", "softmax, 10 outputs"):
            index = np.argsort(s.record["images"]["distance"], kind="stable")[:SHOWN]
            pictures.append(row | strips.pair(s, index))
    return {"rows": rows, "pictures": pictures}


def _of(summary: Summary, series: str, rule: str, exact: bool = False) -> list[Row]:
    return [r for r in where(summary["rows"], series=series, dynamics=rule) if (r["attack"] == "exact") == exact]


def plot(summary: Summary) -> Figure:
    """Error by loss and dynamics beside its control; pictures of networks trained with cross-entropy."""
    heights = 3.4, 0.9 * len(summary["pictures"])
    figure = new_figure(9.5, sum(heights))
    upper, lower = parts(figure, *heights)
    axes = upper.subplots()
    _errors(axes, summary)
    upper.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    for axes, p in stack(lower, summary["pictures"]):
        show_pair(axes, p | {"title": p["series"]})
    return figure


def _errors(axes: Axes, summary: Summary) -> None:
    for i, series in enumerate(SERIES):
        for offset, rule in ((-0.15, "linearised"), (0.15, "standard")):
            rows, exact = (_of(summary, series, rule, exact) for exact in (False, True))
            for key in ("held_out", "start"):
                label = LABELS[key] if (i, rule) == (0, "linearised") else None
                draw_at(axes, i + offset, rows, key, "_", COLOURS[key], markersize=9, label=label)
            style: dict[str, Any] = {"colour": COLOURS[rule], "markersize": 4}
            label = LABELS[rule] if i == 0 else None
            draw_at(axes, i + offset, rows, "error", "o", alpha=0.8, label=label, **style)
            label = f"exact (beyond the paper), {rule}" if i == 0 else None
            draw_at(axes, i + offset, exact, "error", "s", markerfacecolor="none", label=label, **style)
    axes.set_xticks(range(len(SERIES)), [s.replace(", ", ",\n") for s in SERIES], fontsize=7)
    axes.set(ylabel="mean L2 distance", title="a point for each draw of images")
    top = max(max(r["start"], r["held_out"]) for r in published(summary["rows"]))
    axes.set_ylim(-0.03 * top, 1.05 * top)


def table(summary: Summary) -> Table:
    """Mean error and controls by loss, dynamics and attack, averaged over draws."""
    columns = {"stopped at": mean("loss", ".3g"), "steps": mean("training_steps", ".3g")}
    columns |= {"left of θ₀": mean("remaining", ".3g"), "unexplained": mean("unexplained", ".3g"), "mean L2": error}
    columns |= {"draws": count, "held-out": mean("held_out"), "start": mean("start")}
    rows = [r for s in SERIES for rule in RULES for exact in (False, True) for r in _of(summary, s, rule, exact)]
    lines = tabulate("Error by training loss", rows, ("series", "dynamics", "attack"), columns)
    return lines[0], ["loss", *lines[1][1:]], lines[2]


def _against_held_out(summary: Summary, series: str, rule: str, beside: str) -> Effect:
    rows = _of(summary, series, rule)
    other = compared(rows, _of(summary, beside, rule), "draw")
    return [
        ratio("Held-out distance over error", over(rows, "held_out", "error")),
        ratio(f"error over that of the {beside}", other, decides=False),
    ]


def _ignored_over_subtracted(summary: Summary, rule: str) -> Effect:
    kinds = "", ", decay subtracted", ", decay ignored"
    plain, out, ignored = (_of(summary, f"logistic{kind}", rule) for kind in kinds)
    return [
        ratio("Error with the decay ignored over it taken out", compared(ignored, out, "draw")),
        ratio("taken out over none", compared(out, plain, "draw"), decides=False),
    ]


CLAIMS = (
    *(
        Claim(f"{name}-is-attackable-{rule}",
              f"Under {rule} dynamics training images of {what} come back nearer than held-out ones (by a tenth or "
              "more).",
              partial(_against_held_out, series=series, rule=rule, beside=beside), *A_TENTH)
        for name, what, series, beside in (
            ("logistic", "a network trained with binary cross-entropy", "logistic", "squared error"),
            ("softmax", "one trained with softmax cross-entropy", "softmax, 10 outputs", "squared error, 10 outputs"),
            ("exponential", "one trained with the exponential loss", "exponential", "squared error"),
        )
        for rule in RULES
    ),
    *(
        Claim(f"known-decay-is-subtracted-{rule}",
              f"Under {rule} dynamics an attacker who takes a known decay out does better by a tenth or more than one "
              "who ignores it (beyond the paper).",
              partial(_ignored_over_subtracted, rule=rule), *A_TENTH)
        for rule in RULES
    ),
)  # fmt: skip
