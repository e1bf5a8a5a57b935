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
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells.losses import LossCell
from recon.cells.published import SETTINGS, attacks
from recon.dynamics.losses import LinearisedLossDescent, LossDescent
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, strips
from recon.plots import figure as new_figure
from recon.records import Stored, attack_row, mean_and_spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINARY, TEN = "mnist_odd_even", "mnist_10way"
RULES = ("linearised", "standard")
# Series: (task, loss, decayed, subtracted).
SERIES = {
    "squared error": (BINARY, "mse", False, True),
    "logistic": (BINARY, "logistic", False, True),
    "exponential": (BINARY, "exponential", False, True),
    "logistic, decay subtracted": (BINARY, "logistic", True, True),
    "logistic, decay ignored": (BINARY, "logistic", True, False),
    "squared error, 10 outputs": (TEN, "mse", False, True),
    "softmax, 10 outputs": (TEN, "softmax", False, True),
}
SHOWN = 10  # training images drawn for each of two series

# `loss` is where training stops; the squared error of 10 outputs starts at 0.45, of one at 0.5, cross-entropy at log 2
# and log 10.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n": 10, "width": 256, "seeds": (0, 1, 2), "loss": 1e-2, "decay": 1e-3, **SETTINGS["quick"]},
    "full": {"n": 50, "width": 1024, "seeds": (0, 1, 2), "loss": 1e-2, "decay": 1e-3, **SETTINGS["full"]},
    "paper": {"n": 200, "width": 2048, "seeds": (0, 1, 2), "loss": 1e-3, "decay": 1e-4, **SETTINGS["paper"]},
}


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


def _of(summary: Summary, series: str, rule: str, exact: bool = False) -> list[dict[str, Any]]:
    return [
        r for r in summary["rows"]
        if r["series"] == series and r["dynamics"] == rule and (r["attack"] == "exact") == exact
    ]  # fmt: skip


def plot(summary: Summary) -> "Figure":
    """Error by loss and dynamics beside its control; pictures of networks trained with cross-entropy."""
    figure = new_figure(9.5, 3.4 + 0.9 * len(summary["pictures"]))
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[3.4, 0.9 * len(summary["pictures"])]))
    axes = upper.subplots()
    _errors(axes, summary)
    upper.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    for axes, p in zip(
        lower.subplots(len(summary["pictures"]), 1, squeeze=False)[:, 0], summary["pictures"], strict=True
    ):
        strips.draw(axes, [p["train"], p["found"]], ["training", p["attack"]])
        axes.set_title(f"{p['series']}, {p['dynamics']}, N = {p['n']}, W = {p['width']}", loc="left", pad=11)
    return figure


def _errors(axes: "Axes", summary: Summary) -> None:
    for i, series in enumerate(SERIES):
        for offset, rule in ((-0.15, "linearised"), (0.15, "standard")):
            rows = _of(summary, series, rule)
            for key, mark, colour in (("held_out", "_", COLOURS["held_out"]), ("start", "_", COLOURS["start"])):
                label = LABELS[key] if (i, rule) == (0, "linearised") else None
                axes.plot(
                    [i + offset] * len(rows), [r[key] for r in rows], mark, color=colour, markersize=9, label=label
                )
            label = LABELS[rule] if i == 0 else None
            axes.plot([i + offset] * len(rows), [r["error"] for r in rows], "o", color=COLOURS[rule], alpha=0.8,
                      markersize=4, label=label)  # fmt: skip
            exact = _of(summary, series, rule, exact=True)
            label = f"exact (beyond the paper), {rule}" if i == 0 else None
            axes.plot([i + offset] * len(exact), [r["error"] for r in exact], "s", color=COLOURS[rule],
                      markerfacecolor="none", markersize=4, label=label)  # fmt: skip
    axes.set_xticks(range(len(SERIES)), [s.replace(", ", ",\n") for s in SERIES], fontsize=7)
    axes.set(ylabel="mean L2 distance", title="a point for each draw of images")
    top = max(max(r["start"], r["held_out"]) for r in summary["rows"] if r["attack"] != "exact")
    axes.set_ylim(-0.03 * top, 1.05 * top)


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean error and controls by loss, dynamics and attack, averaged over draws."""
    columns = ["loss", "dynamics", "attack", "stopped at", "steps", "left of θ₀", "unexplained", "mean L2", "draws",
               "held-out", "start"]  # fmt: skip
    rows = []
    for series in SERIES:
        for rule in RULES:
            for exact in (False, True):
                mine = _of(summary, series, rule, exact)
                if not mine:
                    continue
                means = [
                    f"{np.mean([r[k] for r in mine]):.3g}"
                    for k in ("loss", "training_steps", "remaining", "unexplained")
                ]
                controls = [f"{np.mean([r[k] for r in mine]):.2g}" for k in ("held_out", "start")]
                error = mean_and_spread([r["error"] for r in mine])
                rows.append([series, rule, mine[0]["attack"], *means, error, str(len(mine)), *controls])
    sources = "; ".join(dict.fromkeys(r["source"] for r in summary["rows"]))
    return f"Error by training loss ({sources})", columns, rows


def _compared(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> statistics.Estimate:
    """log₂ of a's error over b's, paired by draw."""
    left, right = ({r["draw"]: np.log2(r["error"]) for r in rows} for rows in (a, b))
    shared = sorted(left.keys() & right.keys())
    return statistics.paired(
        np.array([left[d] for d in shared]), np.array([right[d] for d in shared]), np.array(shared)
    )


def _text(estimate: statistics.Estimate) -> str:
    return statistics.text(estimate, ".2f", np.exp2)


def _attackable(summary: Summary, series: str, rule: str, beside: str) -> tuple[Verdict, str]:
    rows = _of(summary, series, rule)
    gain = np.array([np.log2(r["held_out"] / r["error"]) for r in rows])
    found = statistics.mean(gain, np.array([r["draw"] for r in rows]))
    ratio = _compared(rows, _of(summary, beside, rule))
    effect = f"Held-out distance over error: {_text(found)}; error over that of the {beside}: {_text(ratio)}."
    return statistics.verdict(found, statistics.TENTH), effect


def _subtracted(summary: Summary, rule: str) -> tuple[Verdict, str]:
    plain, out, ignored = (
        _of(summary, f"logistic{kind}", rule) for kind in ("", ", decay subtracted", ", decay ignored")
    )
    found = _compared(ignored, out)
    cost = _text(_compared(out, plain))
    effect = f"Error with the decay ignored over it taken out: {_text(found)}; taken out over none: {cost}."
    return statistics.verdict(found, statistics.TENTH), effect


CLAIMS = (
    *(
        Claim(
            f"{name}-is-attackable-{rule}",
            f"Under {rule} dynamics training images of {what} come back nearer than held-out ones (by a tenth or "
            "more).",
            partial(_attackable, series=series, rule=rule, beside=beside),
        )
        for name, what, series, beside in (
            ("logistic", "a network trained with binary cross-entropy", "logistic", "squared error"),
            ("softmax", "one trained with softmax cross-entropy", "softmax, 10 outputs", "squared error, 10 outputs"),
            ("exponential", "one trained with the exponential loss", "exponential", "squared error"),
        )
        for rule in RULES
    ),
    *(
        Claim(
            f"known-decay-is-subtracted-{rule}",
            f"Under {rule} dynamics an attacker who takes a known decay out does better by a tenth or more than one "
            "who ignores it (beyond the paper).",
            partial(_subtracted, rule=rule),
        )
        for rule in RULES
    ),
)
