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

from benchmarks._estimates import A_TENTH, HONEST, MOST, certified_right, over
from benchmarks._panels import parts
from benchmarks._presets import CIFAR, MNIST, NAMES
from benchmarks._rows import Row, distinct, grouped, where
from benchmarks._tables import Table, means
from recon.benchmark import project_root
from recon.cells import NEAR, AttackCell
from recon.claims import Claim, Effect, Part, Summary, ratio, share
from recon.dynamics import Dynamics, GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, Axes, Figure, new_figure
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
            Runs("ntk-fast", MNIST, 50, 1024, options=(("steps", 1000),)),
            Runs("ntk-fast", MNIST, 100, 1024, ONE, (("steps", 1000),)),
            Runs("ntk-fast", MNIST, 200, 2048, ONE, (("steps", 250),)),
            Runs("ntk-fast", CIFAR, 20, 512, ONE),
            Runs("ntk-fast", CIFAR, 50, 1024, ONE, (("steps", 1000),)),
            Runs("ntk-fast", CIFAR, 100, 1024, ONE, (("steps", 500),)),
            Runs("ntk-fast", CIFAR, 200, 2048, ONE, (("steps", 100),)),
            # Long enough for ten times the steps of the fast schedule.
            Runs("ntk", MNIST, 20, 512, ONE, (("seconds", 420),)),
            Runs("ntk", MNIST, 50, 1024, ONE, (("seconds", 840),)),
            *(Runs("ntk", MNIST, n, w, ONE, (("seconds", 60),)) for n, w in SIZES[2:]),
            *(Runs("ntk", CIFAR, n, w, ONE, (("seconds", 60),)) for n, w in SIZES),
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
WORDS = {"error": "Error", "seconds": "Time", "steps": "Steps"}
LINES = {"linearised": "--", "standard": "-"}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every solver on every network, then the exact recovery over the grid."""
    rules: tuple[Dynamics, ...] = (Linearised(), GradientFlow())
    curves = (("snapshots", 40),)
    runs = [
        AttackCell(
            r.task, r.n, MLP((r.width, r.width)), rule, r.attack,
            r.options + (curves if r.attack.startswith("ntk") else ()), seed=seed,
        )
        for r in preset["runs"]
        for rule in rules
        for seed in r.seeds
    ]  # fmt: skip
    numbers, widths = preset["phase"]
    sizes = [(n, w) for n in numbers for w in widths if n < w]
    grid = [AttackCell(MNIST, n, MLP((w, w)), Linearised(), "exact", seed=PHASE_SEED) for n, w in sizes]
    return [*runs, *grid]


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


def _compared(summary: Summary) -> list[Row]:
    return [r for r in summary["rows"] if r["seed"] != PHASE_SEED]


def plot(summary: Summary) -> Figure:
    """Error against time and against work for each network, and the phase diagram."""
    rows = sorted(_compared(summary), key=lambda r: r["n"])
    columns, sizes = distinct(rows, "task"), list(grouped(rows, "n", "width"))
    height = 2.3 * len(sizes)
    if len(columns) > 1:
        figure = new_figure(4.8 * len(columns), height + 2.8)
        upper, lower = parts(figure, height, 2.4)
    else:
        figure = new_figure(9.5, height + 1.4)
        upper, lower = np.asarray(figure.subfigures(1, 2, width_ratios=[1.4, 1]))
    axes = upper.subplots(len(sizes), 2 * len(columns), squeeze=False, sharey="row")
    seen: dict[str, Any] = {}
    for i, (n, w) in enumerate(sizes):
        for j, task in enumerate(columns):
            mine = where(_compared(summary), task=task, n=n, width=w)
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
    _phase(lower.subplots(), where(summary["rows"], seed=PHASE_SEED))
    return figure


def _curves(axis: Axes, rows: list[Row], which: str, ref: dict[str, Any], seen: dict[str, Any]) -> None:
    column = {"seconds": 1, "flops": 2}[which]
    for r in rows:
        style: dict[str, Any] = {
            "color": SOLVERS[r["attack"]],
            "linewidth": 1,
            "linestyle": LINES[r["dynamics"]],
            "alpha": 0.8,
        }
        points = [(a[column], a[3]) for a in r["anytime"]]
        if len(points) > 1:
            axis.plot(*zip(*points), **style)
        mark: dict[str, Any] = {
            "color": SOLVERS[r["attack"]],
            "fillstyle": "none" if r["dynamics"] == "linearised" else "full",
        }
        (drawn,) = axis.plot(r[which], r["error"], MARKERS[r["attack"]], markersize=4, **mark)
        seen.setdefault(f"{r['attack']}, {r['dynamics']}", drawn)
    if any(r["fingerprint"] == ref["fingerprint"] and r["width"] == ref["width"] for r in rows):
        (drawn,) = axis.plot(ref[which], ref["mean"], "*", color="k", markersize=8)
        seen.setdefault(f"ntk, {ref['steps']:,} steps (stored run), standard", drawn)
    control = axis.axhline(np.mean([r["held_out"] for r in rows]), color=COLOURS["held_out"], linewidth=1)
    seen.setdefault("held-out images (control)", control)


def _phase(axis: Axes, grid: list[Row]) -> None:
    if not grid:
        axis.set_axis_off()
        return
    numbers, widths = (sorted(distinct(grid, key)) for key in ("n", "width"))
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


def table(summary: Summary) -> Table:
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
        steps = f"{mine[0]['steps']:,}{cut}"
        rows.append([NAMES.get(task, task), f"{n}/{width}", *how, steps, error, *counts, *others, work, peak])
    return "Solvers on the same networks (counts by seed)", columns, rows


def _published_over_exact(summary: Summary, what: str) -> Effect:
    """The stored run of the published schedule over the exact recovery, which has to be of the same images."""
    ref = {"error": summary["reference"]["mean"], "seconds": summary["reference"]["seconds"]}
    rows = [
        {"draw": r["draw"], "exact": r[what], "published": ref[what]}
        for r in _compared(summary)
        if (r["attack"], r["dynamics"], r["fingerprint"]) == ("exact", "standard", summary["reference"]["fingerprint"])
    ]
    label = f"{WORDS[what]} of the published schedule over the exact recovery's"
    return [Part(label, over(rows, "published", "exact"), ",.0f", np.exp2, scale="log2 ratio")]


def _draws_certified_right(summary: Summary) -> Effect:
    mine = [r for r in summary["rows"] if r["attack"] in ("exact", "hybrid")]
    right, certified, near = (sum(r[k] for r in mine) for k in ("certified_near", "certified", "near"))
    counts = f"{right} of {certified} certified images within {NEAR}; {near} images are in all"
    found = certified_right([r for r in mine if r["certified"]])
    return [share(f"Draws whose certificate is right ({counts})", found)]


def _published_over_fast(summary: Summary, what: str) -> Effect:
    """On every network that both descended: what the published schedule takes to the fast one's end, or longer."""
    runs, rows, counts = _compared(summary), list[Row](), list[str]()
    same = ("task", "n", "width", "dynamics", "fingerprint")
    for long in (r for r in where(runs, attack="ntk") if r["anytime"]):
        fast = where(runs, attack="ntk-fast", **{k: long[k] for k in same})
        if not fast or long["steps"] < FEWER_STEPS * fast[0]["steps"]:
            continue  # it did not go on for long enough to tell
        reached = [a for a in long["anytime"] if a[3] <= fast[0]["error"]]
        took = {"steps": reached[0][0], "seconds": reached[0][1]} if reached else long
        rows.append({"draw": long["draw"], "published": took[what], "fast": fast[0][what]})
        times = f"{'' if reached else '> '}{took[what] / fast[0][what]:.1f} to mean L2 {fast[0]['error']:.2f}"
        task = NAMES.get(long["task"], long["task"])
        counts.append(f"{task} {long['n']}/{long['width']} {long['dynamics']}: {times}")
    listed = f" ({', '.join(counts)})" if counts else f", none of {FEWER_STEPS} times the fast one's steps"
    label = f"{WORDS[what]} of the published schedule over the fast one's"
    return [ratio(label + listed, over(rows, "published", "fast"))]


CLAIMS = (
    Claim("exact-beats-published",
          "The exact recovery reaches a lower error than the published schedule, by a tenth or more.",
          partial(_published_over_exact, what="error"), *A_TENTH),
    Claim("exact-beats-published-in-time",
          "The exact recovery takes a thousandth of the published schedule's time or less.",
          partial(_published_over_exact, what="seconds"), float(np.log2(1000)), "a thousandth is what the claim says"),
    Claim("certificate-honest", f"In more than nine draws of ten {HONEST}.", _draws_certified_right, *MOST),
    Claim("fast-beats-schedule-in-steps",
          f"The published schedule takes at least {FEWER_STEPS} times the steps of the fast one to the same error.",
          partial(_published_over_fast, what="steps"), float(np.log2(FEWER_STEPS)), BARS),
    Claim("fast-beats-schedule-in-time",
          f"The published schedule takes at least {LESS_TIME} times the time of the fast one to the same error.",
          partial(_published_over_fast, what="seconds"), float(np.log2(LESS_TIME)), BARS),
)  # fmt: skip
