"""Solvers: error against time and work, memory, and where the exact recovery works.

Not in the paper: its attack beside the suite's own solvers on the same networks, and a phase diagram of the exact
recovery over the number of images N and the width W (linearised dynamics): the images within an L2 distance of 0.1, and
those certified. The published attack's point is the stored run of its full schedule; on the larger networks it runs for
a stated time.

    make benchmark-solvers              quick: minutes (the same as make reproduce-solvers)
    make reproduce-solvers PRESET=full  MNIST and CIFAR-10 up to 200 images: hours
    make reproduce-solvers PRESET=paper the published schedule to its end, three seeds throughout: a GPU's work
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks._shared import (
    CIFAR,
    HONEST,
    MNIST,
    MOST,
    MOST_REASON,
    NAMES,
    Row,
    certified_right,
    grouped,
    means,
    over,
)
from recon.benchmark import project_root
from recon.cells import NEAR, AttackCell
from recon.claims import EYE, TENTH, Claim, Effect, Part, Summary, ratio, share
from recon.dynamics import Dynamics, GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored, attack_row, mean_and_spread, read_json

# What "the same objective, fast" is to mean.
FEWER_STEPS, LESS_TIME, BARS = 10, 8, "the project's bars for a fast schedule, set before any run of it"
REFERENCE = "results/reference/ntk-published-schedule.json"
PHASE_SEED = 100


class Runs(NamedTuple):
    """A solver on one size of network, under both dynamics.

    Attributes:
      options: of the attack, beside the snapshots that the curves are drawn from.
    """

    attack: str
    task: str
    n: int
    width: int
    seeds: tuple[int, ...] = (0, 1, 2)
    options: tuple[tuple[str, Any], ...] = ()


def steps(count: int) -> tuple[tuple[str, Any], ...]:
    """A schedule of so many steps."""
    return (("steps", count),)


def budget(seconds: float) -> tuple[tuple[str, Any], ...]:
    """The solver's own schedule, cut off after so much time."""
    return (("seconds", seconds),)


ONE = (0,)
SIZES = ((20, 512), (50, 1024), (100, 1024), (200, 2048))
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "runs": (Runs("ntk-fast", MNIST, 20, 512), Runs("exact", MNIST, 20, 512)),
        "phase": ((10, 20, 40, 80), (64, 128, 256, 512)),
    },
    "full": {
        "runs": (
            Runs("ntk-fast", MNIST, 20, 512),
            Runs("ntk-fast", MNIST, 50, 1024, options=steps(1000)),
            Runs("ntk-fast", MNIST, 100, 1024, ONE, steps(1000)),
            Runs("ntk-fast", MNIST, 200, 2048, ONE, steps(250)),
            Runs("ntk-fast", CIFAR, 20, 512, ONE),
            Runs("ntk-fast", CIFAR, 50, 1024, ONE, steps(1000)),
            Runs("ntk-fast", CIFAR, 100, 1024, ONE, steps(500)),
            Runs("ntk-fast", CIFAR, 200, 2048, ONE, steps(100)),
            # Long enough for ten times the steps of the fast schedule.
            Runs("ntk", MNIST, 20, 512, ONE, budget(420)),
            Runs("ntk", MNIST, 50, 1024, ONE, budget(840)),
            *(Runs("ntk", MNIST, n, w, ONE, budget(60)) for n, w in SIZES[2:]),
            *(Runs("ntk", CIFAR, n, w, ONE, budget(60)) for n, w in SIZES),
            *(Runs("exact", task, n, w, ONE if n == 200 else (0, 1, 2)) for task in (MNIST, CIFAR) for n, w in SIZES),
        ),
        "phase": ((20, 50, 100, 200), (128, 256, 512, 1024, 2048)),
    },
    "paper": {
        "runs": tuple(
            Runs(attack, task, n, w)
            for attack in ("ntk", "ntk-fast", "exact", "hybrid")
            for task in (MNIST, CIFAR)
            for n, w in SIZES
        ),
        "phase": ((20, 50, 100, 200, 500), (128, 256, 512, 1024, 2048, 4096)),
    },
}
SOLVERS = {"ntk": "#CC79A7", "ntk-fast": "#0072B2", "exact": "#009E73", "hybrid": "#E69F00"}  # Okabe and Ito
MARKERS = {"ntk": "*", "ntk-fast": "o", "exact": "s", "hybrid": "D"}
LINES = {"linearised": "--", "standard": "-"}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every solver on every network, then the exact recovery over the grid."""
    rules: tuple[Dynamics, ...] = (Linearised(), GradientFlow())
    curves = (("snapshots", 40),)
    compared = [
        AttackCell(
            r.task, r.n, MLP((r.width, r.width)), rule, r.attack,
            r.options + (curves if r.attack.startswith("ntk") else ()), seed=seed,
        )
        for r in preset["runs"]
        for rule in rules
        for seed in r.seeds
    ]  # fmt: skip
    numbers, widths = preset["phase"]
    grid = [
        AttackCell(MNIST, n, MLP((w, w)), Linearised(), "exact", seed=PHASE_SEED)
        for n in numbers
        for w in widths
        if n < w
    ]
    return [*compared, *grid]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, and the stored run of the published schedule."""
    rows = []
    for stored in results:
        r = stored.record
        distance = np.array(r["images"]["distance"])
        certified = np.array(r["images"]["certified"] or np.zeros(len(distance)), bool)
        attack, work = r["attack"], r["attack"]["work"]
        row = attack_row(r) | {
            "fingerprint": r["data"]["fingerprints"]["train"],
            "budget": r["cell"]["options"].get("seconds"),
            "seconds": attack["seconds"]["run"],
            "flops": work["flops"],
            # XLA knows what a compiled step needs; the exact recovery runs in NumPy.
            "peak_bytes": work.get("temporary_bytes", attack["peak_bytes"]),
            "near": int((distance < NEAR).sum()),
            "certified": int(certified.sum()),
            "certified_near": int((certified & (distance < NEAR)).sum()),
            "anytime": [[a["step"], a["seconds"], a["flops"], a["mean"]] for a in attack["anytime"]],
        }
        rows.append(row)
    published = read_json(project_root() / REFERENCE)["cells"][0]
    reference = {
        "n": published["cell"]["n_train"],
        "width": published["cell"]["network"]["widths"][0],
        "fingerprint": published["data"]["fingerprints"]["train"],
        "seconds": published["attack"]["seconds"]["run"],
        "flops": published["attack"]["steps"] * published["attack"]["work"]["flops_per_step"],
        "mean": published["scores"]["train"]["mean"],
        "steps": published["attack"]["steps"],
    }
    return {"rows": rows, "reference": reference}


def _grid(summary: Summary) -> list[Row]:
    return [r for r in summary["rows"] if r["seed"] == PHASE_SEED]


def _compared(summary: Summary) -> list[Row]:
    return [r for r in summary["rows"] if r["seed"] != PHASE_SEED]


def plot(summary: Summary) -> Figure:
    """Error against time and against work for each network, and the phase diagram."""
    compared = _compared(summary)
    networks = list(dict.fromkeys((r["task"], r["n"], r["width"]) for r in sorted(compared, key=lambda r: r["n"])))
    columns = list(dict.fromkeys(task for task, _, _ in networks))
    sizes = list(dict.fromkeys((n, w) for _, n, w in networks))
    height = 2.3 * len(sizes)
    figure = new_figure(
        4.8 * len(columns) + (0 if len(columns) > 1 else 4.7), height + (2.8 if len(columns) > 1 else 1.4)
    )
    if len(columns) > 1:
        parts: Any = figure.subfigures(2, 1, height_ratios=[height, 2.4])
    else:
        parts = figure.subfigures(1, 2, width_ratios=[1.4, 1])
    upper, lower = parts
    axes = upper.subplots(len(sizes), 2 * len(columns), squeeze=False, sharey="row")
    seen: dict[str, Any] = {}
    for i, (n, w) in enumerate(sizes):
        for j, task in enumerate(columns):
            mine = [r for r in compared if (r["task"], r["n"], r["width"]) == (task, n, w)]
            for k, (which, label) in enumerate([("seconds", "seconds in the solver"), ("flops", "FLOPs")]):
                axis = axes[i, 2 * j + k]
                if not mine:
                    axis.set_axis_off()
                    continue
                _curves(axis, mine, which, summary["reference"], seen)
                axis.set(xscale="log", yscale="log", xlabel=label)
                if not k:
                    axis.set(ylabel="mean L2 distance")
                    axis.set_title(f"{NAMES.get(task, task)}, N/W = {n}/{w}", loc="left")
    upper.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=4, fontsize=7)
    _phase(lower.subplots(), _grid(summary))
    return figure


def _curves(axis: Any, rows: list[Row], which: str, ref: dict[str, Any], seen: dict[str, Any]) -> None:
    column = {"seconds": 1, "flops": 2}[which]
    for r in rows:
        style = {"color": SOLVERS[r["attack"]], "linewidth": 1, "linestyle": LINES[r["dynamics"]], "alpha": 0.8}
        points = [(a[column], a[3]) for a in r["anytime"]]
        if len(points) > 1:
            axis.plot(*zip(*points), **style)
        mark = {
            "color": SOLVERS[r["attack"]],
            "markersize": 4,
            "fillstyle": "none" if r["dynamics"] == "linearised" else "full",
        }
        (drawn,) = axis.plot(r[which], r["error"], MARKERS[r["attack"]], **mark)
        seen.setdefault(f"{r['attack']}, {r['dynamics']}", drawn)
    if any(r["fingerprint"] == ref["fingerprint"] and r["width"] == ref["width"] for r in rows):
        (drawn,) = axis.plot(ref[which], ref["mean"], "*", color="k", markersize=8)
        seen.setdefault(f"ntk, {ref['steps']:,} steps (stored run), standard", drawn)
    control = axis.axhline(np.mean([r["held_out"] for r in rows]), color=COLOURS["held_out"], linewidth=1)
    seen.setdefault("held-out images (control)", control)


def _phase(axis: Any, grid: list[Row]) -> None:
    if not grid:
        axis.set_axis_off()
        return
    numbers, widths = sorted({r["n"] for r in grid}), sorted({r["width"] for r in grid})
    table = np.full((len(numbers), len(widths)), np.nan)
    for r in grid:
        i, j = numbers.index(r["n"]), widths.index(r["width"])
        table[i, j] = r["near"] / r["n"]
        dark = table[i, j] < 0.5
        axis.text(j, i, f"{r['near']}\n{r['certified']}", ha="center", va="center", color="w" if dark else "k")
    axis.imshow(table, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
    axis.set_xticks(range(len(widths)), [str(w) for w in widths])
    axis.set_yticks(range(len(numbers)), [str(n) for n in numbers])
    axis.grid(visible=False)
    axis.set(xlabel="width W", ylabel="training images N")
    axis.set_title("exact, linearised: recovered (L2 < 0.1)\nabove certified, colour = fraction recovered")


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean and spread over seeds for each solver and network."""
    columns = ["data", "N/W", "dynamics", "attack", "steps", "mean L2", "within 0.1", "certified", "held-out", "start",
               "seconds", "TFLOP", "peak MiB"]  # fmt: skip
    rows = []
    for (task, n, width, *how), mine in grouped(_compared(summary), "task", "n", "width", "dynamics", "attack").items():
        error = mean_and_spread([r["error"] for r in mine])
        cut = f" (cut at {mine[0]['budget']:.0f} s)" if mine[0]["budget"] and how[1] == "ntk" else ""
        counts = [" ".join(str(r[k]) for r in mine) for k in ("near", "certified")]
        others = means(mine, "held_out", "start", "seconds", spec=".3g")
        work = f"{np.mean([r['flops'] for r in mine]) / 1e12:.2g}"
        peaks = [r["peak_bytes"] for r in mine if r["peak_bytes"] is not None]
        peak = f"{max(peaks) / 2**20:.0f}" if peaks else "–"
        rows.append(
            [
                NAMES.get(task, task),
                f"{n}/{width}",
                *how,
                f"{mine[0]['steps']:,}{cut}",
                error,
                *counts,
                *others,
                work,
                peak,
            ]
        )
    return "Solvers on the same networks (counts by seed)", columns, rows


def _published_over_exact(summary: Summary, what: str, label: str) -> Effect:
    """The stored run of the published schedule over the exact recovery, which has to be of the same images."""
    ref = {"error": summary["reference"]["mean"], "seconds": summary["reference"]["seconds"]}
    rows = [
        {"draw": r["draw"], "exact": r[what], "published": ref[what]}
        for r in _compared(summary)
        if (r["attack"], r["dynamics"], r["fingerprint"]) == ("exact", "standard", summary["reference"]["fingerprint"])
    ]
    return [Part(label, over(rows, "published", "exact"), ",.0f", np.exp2, scale="log2 ratio")]


def _draws_certified_right(summary: Summary) -> Effect:
    mine = [r for r in summary["rows"] if r["attack"] in ("exact", "hybrid")]
    right, certified, near = (sum(r[k] for r in mine) for k in ("certified_near", "certified", "near"))
    label = (
        f"Draws whose certificate is right ({right} of {certified} certified images within {NEAR}; {near} images are "
        "in all)"
    )
    return [share(label, certified_right([r for r in mine if r["certified"]]))]


def _published_over_fast(summary: Summary, what: str, label: str) -> Effect:
    """On every network that both descended: what the published schedule takes to the fast one's end, or longer."""
    compared, rows, counts = _compared(summary), list[Row](), list[str]()
    same = ("task", "n", "width", "dynamics", "fingerprint")
    for long in (r for r in compared if r["attack"] == "ntk" and r["anytime"]):
        fast = [r for r in compared if r["attack"] == "ntk-fast" and all(r[k] == long[k] for k in same)]
        if not fast or long["steps"] < FEWER_STEPS * fast[0]["steps"]:
            continue  # it did not go on for long enough to tell
        reached = [a for a in long["anytime"] if a[3] <= fast[0]["error"]]
        took = {"steps": reached[0][0], "seconds": reached[0][1]} if reached else long
        rows.append({"draw": long["draw"], "published": took[what], "fast": fast[0][what]})
        times = f"{'' if reached else '> '}{took[what] / fast[0][what]:.1f} to mean L2 {fast[0]['error']:.2f}"
        task = NAMES.get(long["task"], long["task"])
        counts.append(f"{task} {long['n']}/{long['width']} {long['dynamics']}: {times}")
    listed = f" ({', '.join(counts)})" if counts else f", none of {FEWER_STEPS} times the fast one's steps"
    return [ratio(label + listed, over(rows, "published", "fast"))]


CLAIMS = (
    Claim(
        "exact-beats-published",
        "The exact recovery reaches a lower error than the published schedule, by a tenth or more.",
        partial(_published_over_exact, what="error", label="Error of the published schedule over the exact recovery's"),
        TENTH,
        EYE,
    ),
    Claim(
        "exact-beats-published-in-time",
        "The exact recovery takes a thousandth of the published schedule's time or less.",
        partial(
            _published_over_exact, what="seconds", label="Time of the published schedule over the exact recovery's"
        ),
        float(np.log2(1000)),
        "a thousandth is what the claim says",
    ),
    Claim(
        "certificate-honest",
        f"In more than nine draws of ten {HONEST}.",
        _draws_certified_right,
        MOST,
        MOST_REASON,
    ),
    Claim(
        "fast-beats-schedule-in-steps",
        f"The published schedule takes at least {FEWER_STEPS} times the steps of the fast one to the same error.",
        partial(_published_over_fast, what="steps", label="Steps of the published schedule over the fast one's"),
        float(np.log2(FEWER_STEPS)),
        BARS,
    ),
    Claim(
        "fast-beats-schedule-in-time",
        f"The published schedule takes at least {LESS_TIME} times the time of the fast one to the same error.",
        partial(_published_over_fast, what="seconds", label="Time of the published schedule over the fast one's"),
        float(np.log2(LESS_TIME)),
        BARS,
    ),
)
