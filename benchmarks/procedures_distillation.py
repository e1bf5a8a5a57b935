"""Distillation procedures: KIP and RKIP by a fast optimiser and by the published one.

No figure of the paper. 500 MNIST digits to 20 at infinite width, by the published procedure (Adam 1e-3, 50,000 steps)
and by the fast optimiser, from the same starts on the same images: loss (in float64), steps, seconds, accuracy.

    make reproduce-procedures                 quick: 100 images to 10, Adam cut to 2,000 steps: three minutes, offline
    make reproduce-procedures PRESET=full     as published: an hour on a core

Expected: the fast optimiser reaches a loss no higher, in less than a minute; RKIP's set trains to 90 %. Runs are
taken one at a time, as their times are judged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import average, over
from benchmarks._presets import MNIST
from benchmarks._rows import facts, grouped, sources, where
from benchmarks._tables import Table
from recon.cells.distillation import DistillationCell
from recon.claims import Claim, Effect, Summary, ratio, share
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored

METHODS = ("kip", "rkip")
NAMES = {"adam": "published", "fast": "fast", None: "–"}
SECONDS, ACCURACY = 60.0, 0.90
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n": 100, "each": 5, "seeds": range(3), "adam": (("steps", 2000),)},
    "full": {"n": 500, "each": 10, "seeds": range(3), "adam": ()},
}


def cells(preset: dict[str, Any]) -> list[DistillationCell]:
    """All images, and a cell for each method and optimiser, of each draw."""
    made, n, each = list[DistillationCell](), preset["n"], preset["each"]
    for seed in preset["seeds"]:
        made.append(DistillationCell(MNIST, n, each, "all", seed=seed))
        for method in METHODS:
            for optimiser in ("adam", "fast"):
                options = ("optimiser", optimiser), *(preset["adam"] if optimiser == "adam" else ())
                made.append(DistillationCell(MNIST, n, each, method, options, seed=seed, alone=True))
    return made


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each set."""
    rows = []
    for record in (s.record for s in results):
        cell, made = record["cell"], record["set"]
        method = cell["method"]
        rows.append(
            {
                "method": method,
                "optimiser": cell["options"].get("optimiser"),
                **facts(record, "seed", "n", "draw", "source"),
                "m": made["n"],
                # As the optimiser sees it, in float32, and of the same images in float64.
                "loss_float32": made["loss"],
                "loss": record["losses"].get(method),
                "accuracy": record["accuracy"]["infinite"],
                "steps": made["steps"],
                "seconds": sum(made["seconds"].values()),
            }
        )
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """Loss reached over seconds, a panel for each method, a point for each draw."""
    figure = new_figure(7.0, 2.8)
    colours = {"adam": "#888888", "fast": COLOURS["standard"]}
    for axes, method in zip(figure.subplots(1, 2), METHODS, strict=True):
        for optimiser, colour in colours.items():
            mine = where(summary["rows"], method=method, optimiser=optimiser)
            seconds, losses = ([r[k] for r in mine] for k in ("seconds", "loss"))
            axes.plot(seconds, losses, "o", color=colour, markersize=4, label=NAMES[optimiser])
        axes.set(title=method.upper(), xlabel="seconds", ylabel="loss", xscale="log", yscale="log")
    figure.axes[0].legend(fontsize=7)
    return figure


def table(summary: Summary) -> Table:
    """A number for each draw."""
    forms = (("loss", ".4g"), ("steps", ",d"), ("seconds", ".0f"), ("accuracy", ".3f"))
    rows = []
    for (method, optimiser), mine in grouped(summary["rows"], "method", "optimiser").items():
        numbers = (" ".join(format(r[k], form) if r[k] else "–" for r in mine) for k, form in forms)
        rows.append(["all images" if method == "all" else method.upper(), NAMES[optimiser], *numbers])
    sizes = next(f"{r['n']} to {r['m']}" for r in summary["rows"] if r["method"] != "all")
    columns = ["set", "procedure", "loss", "steps", "seconds", "test accuracy"]
    source = sources(summary["rows"])
    return f"MNIST odd/even, {sizes}, infinite width, a number for each draw ({source})", columns, rows


def _loss(summary: Summary, method: str) -> Effect:
    pairs = zip(*(where(summary["rows"], method=method, optimiser=optimiser) for optimiser in ("fast", "adam")))
    rows = [fast | {"published": slow["loss"]} for fast, slow in pairs]
    label = "The fast optimiser's loss over the published procedure's"
    return [ratio(label, over(rows, "loss", "published"))] if rows else []


def _seconds(summary: Summary, method: str) -> Effect:
    mine = where(summary["rows"], method=method, optimiser="fast")
    found = average(mine, lambda r: float(np.log2(r["seconds"] / SECONDS)))
    return [ratio(f"Seconds over {SECONDS:g}", found)] if mine else []


def _accuracy(summary: Summary) -> Effect:
    effect = []
    for label, method, optimiser in (("RKIP's set", "rkip", "fast"), ("all images", "all", None)):
        mine = where(summary["rows"], method=method, optimiser=optimiser)
        found = average(mine, lambda r: float(r["accuracy"]))
        effect += [share(label, found, decides=method == "rkip")] if mine else []
    return effect


CLAIMS = (
    *(
        claim
        for method in METHODS
        for claim in (
            Claim(f"{method}-no-worse",
                  f"{method.upper()}: the fast optimiser's loss is at most one per cent above the published "
                  "procedure's.",
                  partial(_loss, method=method), float(np.log2(1.01)),
                  "a loss one per cent higher changes no accuracy on 2,000 test images", "below"),
            Claim(f"{method}-in-a-minute",
                  f"{method.upper()}: the fast optimiser takes less than {SECONDS:g} seconds, compilation included.",
                  partial(_seconds, method=method), 0.0, "the limit itself", "below"),
        )
    ),
    Claim("rkip-trains-to-90",
          f"A network of infinite width trained on RKIP's set has a test accuracy above {ACCURACY:.0%}.",
          _accuracy, ACCURACY, "near that of all images, which stands beside it"),
)  # fmt: skip
